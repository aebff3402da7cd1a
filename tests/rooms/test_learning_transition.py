"""Transitions over the weight decay: closed forms, orders, branches, and what the command answers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate

from thalweg.core.errors import InputError
from thalweg.learning.data import Regression, parabola, whitened
from thalweg.learning.model import exact
from thalweg.learning.model.families import family
from thalweg.learning.tasks.transition import kinks
from thalweg.learning.tasks.transition.collapse import collapsed
from thalweg.learning.tasks.transition.order import exponent, kinked_verdict, verdict
from thalweg.learning.tasks.transition.posed import posed, result
from thalweg.learning.tasks.transition.transition import transition
from thalweg.runs import Points

pytestmark = pytest.mark.usefixtures("x64")
TEXTBOOK = 64, -1.0, 1.0


def two_outputs(items: int = 40) -> Regression:
    random = np.random.default_rng(0)
    x = random.normal(size=(items, 2))
    return whitened((x, x @ np.array([[1, 0.3], [-0.2, 0.5]]) + 0.1 * random.normal(size=(items, 2))))


@functools.cache
def studied(name: str, depth: int | None = None, **options) -> tuple[Any, Any]:
    """A study of a built-in family on its default data, computed once for all tests."""
    of = posed(name=name, depth=depth, **options)
    return transition(of.problem, points=0, seeds=4), of.exact


# Closed forms


def with_slope(s: float) -> Regression:
    x = np.array([[-1.0], [1.0]])
    return x, s * x


def test_the_values_of_linear_networks_are_those_of_their_cost(x64):
    # Published to six digits for this slope.
    (three,) = exact.linear_transitions(with_slope(0.796848), 3)
    assert three.order == "first"
    assert three.coexistence == pytest.approx(0.293175, abs=1e-6)
    assert three.spinodal == pytest.approx(0.349040, abs=1e-6)
    (two,) = exact.linear_transitions(with_slope(0.8), 2)
    assert (two.order, two.coexistence) == ("second", pytest.approx(0.8, abs=1e-15))
    assert exact.linear_transitions(with_slope(0.8), 1) == ()
    signal = np.linspace(1e-3, 0.8, 400_001)
    for depth in (3, 4, 6):
        (one,) = exact.linear_transitions(with_slope(0.8), depth)
        assert one.coexistence is not None
        # The largest decay at which a signal is stationary, on a grid: off by the spacing squared.
        assert exact.linear_decay(signal, 0.8, depth).max() == pytest.approx(one.spinodal, rel=1e-8)
        cost = 0.5 * (signal - 0.8) ** 2 + one.coexistence * depth / 2 * signal ** (2 / depth)
        assert cost.min() == pytest.approx(0.32, rel=1e-9)  # as high as collapse, and no lower


def test_closed_forms_say_where_they_hold():
    raw = two_outputs()
    raw = raw[0] * [1.0, 3.0], raw[1]
    assert len(exact.linear_transitions(raw, 2)) == 1
    assert exact.linear_transitions(raw, 3) == ()
    assert len(exact.linear_transitions(two_outputs(), 3)) == 2
    assert len(exact.linear_transitions(two_outputs(), 3, width=1)) == 1
    # Without white inputs the first crossing of two layers is still the largest singular value.
    state = collapsed(family("linear", raw, depth=2, width=3))
    assert state.crossings == pytest.approx(np.linalg.svd(raw[1].T @ raw[0] / 40)[1], rel=1e-12)
    assert state.multiplicity.tolist() == [3, 3]


def test_the_growth_of_a_singular_value_solves_its_equation():
    time, step = np.linspace(0, 4, 9), 1e-6
    ahead, behind = (exact.linear_growth(time + way * step, 0.01, 0.9, tau=2.0) for way in (1, -1))
    now = exact.linear_growth(time, 0.01, 0.9, tau=2.0)
    # A central difference: rounding of 1e-16 over 1e-6.
    np.testing.assert_allclose(2.0 * (ahead - behind) / (2 * step), 2 * now * (0.9 - now), atol=1e-8)
    assert now[0] == pytest.approx(0.01)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_scan_over_directions_of_a_relu_unit_finds_the_best(outputs):
    random = np.random.default_rng(outputs)
    x, y = random.normal(size=(50, 1)), random.normal(size=(50, outputs))
    found = exact.relu_transition((x, y))
    assert found.certain
    angles = np.linspace(0, 2 * np.pi, 20_001)
    units = np.maximum(np.cos(angles)[:, None] * x[:, 0] + np.sin(angles)[:, None], 0)
    grid = np.linalg.norm(units @ (y - y.mean(axis=0)) / 50, axis=1).max()
    assert grid <= found.lambda_c <= grid * (1 + 1e-3)  # the grid may miss a maximum on a kink by its spacing, 3e-4
    active = np.maximum(np.append(x, np.ones_like(x), axis=1) @ found.direction, 0)
    assert np.linalg.norm(active @ (y - y.mean(axis=0)) / 50) == pytest.approx(found.lambda_c, rel=1e-12)


def test_the_relu_value_of_the_parabola():
    assert exact.relu_transition(parabola(*TEXTBOOK)).lambda_c == pytest.approx(0.0436398, abs=5e-8)


@pytest.mark.slow
def test_a_search_over_directions_finds_what_the_scan_does():
    x, y = parabola(*TEXTBOOK)
    scanned = exact.relu_transition((x, y)).lambda_c
    searched = exact._searched(np.append(x, np.ones_like(x), axis=1), y - y.mean(), 0)
    assert searched.lambda_c == pytest.approx(scanned, rel=1e-9)


# Branches


@pytest.mark.slow  # the quick tour measures the same
def test_two_layers_cease_to_learn_continuously():
    found, known = studied("linear", 2)
    assert found.verdict.order == "second"
    assert found.verdict.lambda_c == pytest.approx(known.lambda_c, rel=1e-12)  # an eigenvalue; the bar is 1e-6
    low, high = found.verdict.interval
    assert low <= known.lambda_c <= high
    assert found.onset.kind == "supercritical"
    assert found.exponent.beta == pytest.approx(0.5, rel=1e-3)
    assert found.exponent.interval[0] <= 0.5 <= found.exponent.interval[1]
    curve = found.ascent.curves[0]
    stable = curve.stable()
    # The learnt states themselves: squared weights of both layers are twice the product, s - lambda.
    assert (curve.x[stable] ** 2).sum(1) == pytest.approx(2 * (known.lambda_c - curve.decay[stable]), abs=1e-9)
    assert found.ascent.ends == "merged"


def test_three_layers_cease_to_learn_at_once():
    found, known = studied("linear", 3)
    assert (found.verdict.order, known.order) == ("first", "first")
    assert found.verdict.lambda_c == pytest.approx(known.lambda_c, rel=1e-9)  # roots to the last bits; the bar is 1e-4
    assert found.verdict.spinodal == pytest.approx(known.spinodal, rel=1e-9)
    assert found.verdict.hysteresis == pytest.approx(known.spinodal, rel=1e-9)  # collapse is stable at every decay
    assert found.collapsed.even
    assert found.collapsed.crossings.size == 0
    assert found.exponent is None
    answer = result(found, known)
    assert answer["lambda_c_exact"] == known.lambda_c
    assert json.dumps(answer)


@pytest.mark.slow
def test_ridge_regression_has_no_transition():
    found, known = studied("linear", 1)
    assert (found.verdict.order, found.verdict.lambda_c, known.order) == ("none", None, "none")
    assert not found.collapsed.even
    assert found.ascent is None


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 8])
def test_tanh_on_a_parabola_is_first_order(width):
    found, _ = studied("tanh", width=width)
    assert found.verdict.order == "first"
    assert found.collapsed.crossings.size == 0
    assert found.verdict.spinodal > found.verdict.lambda_c
    if width == 4:
        assert found.verdict.lambda_c == pytest.approx(0.016278, abs=1e-6)  # published to five digits


@pytest.mark.slow
def test_without_an_output_bias_tanh_first_learns_the_mean():
    found, _ = studied("tanh", output_bias=False)
    assert found.verdict.order == "second"
    assert found.verdict.lambda_c == pytest.approx(float(parabola(*TEXTBOOK)[1].mean()), rel=1e-9)


@pytest.mark.slow
def test_relu_on_a_parabola_is_second_order_at_its_formula():
    found, known = studied("relu")
    assert found.verdict.order == "second"
    assert found.verdict.lambda_c == pytest.approx(known.lambda_c, rel=1e-9)
    assert found.ebb.zero == pytest.approx(known.lambda_c, rel=1e-3)  # the bar of a fit
    assert found.verdict.interval[0] <= known.lambda_c <= found.verdict.interval[1]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_two_outputs_have_the_transition_of_the_larger_singular_value(depth):
    data = two_outputs()
    found = transition(family("linear", data, depth=depth, width=2), points=0)
    known = exact.linear_transitions(data, depth)[0]
    assert found.verdict.order == known.order
    assert found.verdict.lambda_c == pytest.approx(known.coexistence, rel=1e-9)


@pytest.mark.slow
def test_the_loop_of_relaxations_brackets_what_the_branches_say():
    of: Any = posed(name="linear", depth=2)
    found: Any = transition(of.problem, points=24, seeds=4)
    low, high = found.loop.lost
    step = high - low
    # The last states before the transition are closer to collapse than the loop tells apart.
    assert low - step <= of.exact.lambda_c <= high + step
    assert abs(found.loop.width) <= 2 * step


@pytest.mark.slow
def test_kept_parts_are_not_computed_again(tmp_path):
    problem = family("linear", with_slope(0.8), depth=3, width=1)
    first, *again = (transition(problem, points=6, seeds=2, done=Points(tmp_path)) for _ in range(2))
    assert first.verdict == again[0].verdict
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3  # the look, and the loop up and down: a second study wrote no other
    kept[0].unlink()
    last = transition(problem, points=6, seeds=2, done=Points(tmp_path))
    assert last.verdict == first.verdict
    assert last.loop is not None and first.loop is not None  # noqa: PT018
    assert np.array_equal(last.loop.up, first.loop.up)
    assert sorted(tmp_path.iterdir()) == kept


# Kinks, orders and refusals


@pytest.mark.parametrize(("name", "smooth"), [("relu", False), ("tanh", True)])
def test_kinks_are_seen(name, smooth):
    assert kinks.is_smooth(family(name, parabola(*TEXTBOOK))) is smooth


def test_exponents_are_extrapolated_through_corrections():
    decay = 0.7 * (1 - np.geomspace(1e-6, 0.1, 40))
    apart = 1 - decay / 0.7
    found: Any = exponent(decay, 3 * apart**0.5 * (1 + 0.4 * apart), 0.7)
    assert found.beta == pytest.approx(0.5, abs=1e-4)
    assert found.interval[0] <= 0.5 <= found.interval[1]
    assert exponent(decay[:3], apart[:3], 0.7) is None


def test_verdicts_do_not_contradict_their_evidence():
    assert verdict(None, None).order == "none"
    ends = kinks.Ebb(np.zeros(1), np.zeros((1, 1)), np.zeros(1), (0.99, 1.0), (0.9, 0.8, 0.95), 1.2, (1.1, 1.3), 0.7)
    first = kinked_verdict(-1e-9, ends, (1e-3, 10.0))
    assert (first.order, first.lambda_c, first.interval, first.hysteresis) == ("first", 0.9, (0.8, 0.95), 0.995)
    smooth = ends._replace(jump=0.01, zero=1.001, interval=(0.999, 1.002))
    second = kinked_verdict(1.0, smooth, (1e-3, 10.0))
    assert (second.order, second.lambda_c, second.interval) == ("second", 1.0, (0.999, 1.002))
    with pytest.raises(InputError, match="not where collapse is left"):
        kinked_verdict(2.0, smooth, (1e-3, 10.0))
    with pytest.raises(InputError, match="no learnt state was found"):
        kinked_verdict(1.0, None, (1e-3, 10.0))


def test_refusals_are_one_sentence():
    problem = family("linear", with_slope(0.8), depth=2)
    with pytest.raises(InputError, match="no range"):
        transition(problem, lambdas=(0.5, 0.1))
    with pytest.raises(InputError, match="at least one"):
        transition(problem, seeds=0)
    with pytest.raises(InputError, match="no order parameter"):
        transition(family("linear", with_slope(0.8), depth=1), parameter="activation")
    with jax.enable_x64(False), pytest.raises(InputError, match="float64"):
        transition(family("linear", with_slope(0.8), depth=2, dtype=jnp.float32))
    with pytest.raises(InputError, match="its own shape"):
        posed("net.py:make", "tanh")


@pytest.mark.slow
def test_the_command_answers_with_one_object_and_a_page(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    done = call("learning", "transition", "--depth", "3", "--points", "0", "--seeds", "3", "--json")
    answer = json.loads(done.stdout)
    wanted = {"order", "lambda_c", "lambda_c_interval", "lambda_spinodal", "beta", "hysteresis_width", "report"}
    assert wanted <= set(answer)
    assert answer["order"] == answer["order_exact"] == "first"
    assert "Two states change places" in Path(answer["report"]).read_text(encoding="utf-8")


@pytest.mark.slow
def test_units_that_become_unstable_together_still_make_a_second_order_transition():
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 2))
    y = np.sin(x[:, :1]) + 0.3 * x[:, 1:]
    # The first crossing of collapse has one mode per unit, and a branch with a single unit at work is a saddle.
    problem = family("tanh", (x, y), width=3, output_bias=False)
    found = transition(problem, parameter="norm", points=0)
    assert found.verdict.order == "second"
    slope = np.linalg.norm(np.append(x.T @ y / len(x), y.mean()))  # of the loss in the product of both layers
    assert found.verdict.lambda_c == pytest.approx(slope, rel=1e-9)
    assert found.exponent is not None
    assert found.exponent.beta == pytest.approx(1.0, rel=1e-3)
