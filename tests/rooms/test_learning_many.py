"""Many trainings: order parameters, the textbook's picture, slowing down and sizes, against exact values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import t as student

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.learning.data import parabola, whitened
from thalweg.learning.figures.many import collapse_figure, cumulants_figure, slowing_figure, trainings_figure
from thalweg.learning.model.dense import Dense, Layer
from thalweg.learning.model.families import family
from thalweg.learning.model.order_parameters import ORDER_PARAMETERS, order_parameter, order_parameters
from thalweg.learning.tasks.many.sizes import finite_size, linear_moments, sampled, windows
from thalweg.learning.tasks.many.slowing import slowing_down
from thalweg.learning.tasks.many.trainings import textbook_picture, trainings, unfinished
from thalweg.runs import Points

STRENGTH = 0.8
DECAYS = (0.2, 0.5, 0.7, 0.9, 1.1)
SETTINGS: dict[str, Any] = {"seeds": 6, "steps": 3000, "batch": 15}


def plain() -> tuple[np.ndarray, np.ndarray]:
    """White inputs, so that the exact formulas hold."""
    return np.array([[1.0], [-1.0]]), np.array([[STRENGTH], [-STRENGTH]])


def test_order_parameters_know_their_zero_and_the_end_to_end_norm(x64):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20, 3))
    problem = family("linear", whitened((x, x[:, :2])), depth=3)
    names = order_parameters(problem)
    assert names == tuple(ORDER_PARAMETERS)

    @jax.jit  # one compilation for all
    def measured(params):
        return {
            name: jax.value_and_grad(lambda p, name=name: ORDER_PARAMETERS[name](problem, p))(params) for name in names
        }

    params = jax.tree.map(np.asarray, problem.start(jax.random.key(0)))
    product = params[2].weight @ params[1].weight @ params[0].weight
    # Rounding of some tens of products.
    assert np.isclose(measured(params)["norm"][0], np.linalg.norm(product), rtol=1e-12)
    for value, slopes in measured(jax.tree.map(np.zeros_like, params)).values():
        assert float(value) == 0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_participation_counts_units(x64):
    problem = family("tanh", parabola(), width=6)
    first, last = problem.start(jax.random.key(0))
    # Three units of six have numbers, so small that their fourth powers are none.
    weight = np.array([[1e-90], [-1e-90], [1e-90], [0], [0], [0]])
    few = (Layer(jnp.asarray(weight), jnp.zeros(6)), Layer(jnp.zeros(last.weight.shape), None))
    assert np.isclose(jax.jit(lambda p: ORDER_PARAMETERS["participation"](problem, p))(few), 3.0, rtol=1e-12)
    assert first.weight.shape == weight.shape
    with pytest.raises(InputError, match="norm, weights"):
        order_parameter(family("linear", plain(), depth=1), "activation")


def test_columns_are_the_same_function(x64):
    x = jax.random.normal(jax.random.key(0), (9, 3), jnp.float64)
    layers = Dense("tanh").drawn((3, 5, 4, 2), jax.random.key(1), bias=(True, False, True), dtype=jnp.float64)

    @jax.jit
    def values(layers):
        return [[net(layers, x), *net.hidden(layers, x)] for net in (Dense("tanh", "columns"), Dense("tanh"))]

    for one, other in zip(*values(layers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)  # sums of at most five products


@pytest.fixture(scope="module")
def picture():
    problem = family("linear", plain(), width=2, form="columns", dtype=jnp.float32)
    found, summary = textbook_picture(problem, DECAYS, order="norm", key=jax.random.key(0), **SETTINGS)
    return problem, found, summary


def test_the_picture_follows_the_exact_curve(picture):
    _, found, summary = picture
    assert found["norm"].dims == ("value", "seed")
    assert found["norm"].shape == (5, 6)
    exact = np.maximum(STRENGTH - found["value"].to_numpy(), 0)
    # Two balanced layers have no other minimum; 1e-3 is what float32 gradients leave of a flat loss.
    np.testing.assert_allclose(found["norm"].to_numpy(), np.broadcast_to(exact[:, None], (5, 6)), atol=1e-3)
    assert summary["steepest"] == pytest.approx([0.2, 0.5])  # a slope: no jump at the transition between 0.7
    assert 0.9
    assert summary["unfinished"] == 0
    assert summary["trainings"] == 30
    assert "<svg" in trainings_figure(found, "norm", (found["value"].to_numpy(), exact)).svg


def test_unfinished_trainings_are_seen(picture):
    found = picture[1].copy(deep=True)
    found["gradient"][:, 0] = 0.02 * found["value"] * np.maximum(found["weights"][:, 0], 1)
    found["gradient"][:, 1] = np.nan
    late = unfinished(found).to_numpy()
    assert late[:, :2].all()
    assert not late[:, 2:].any()


def test_killed_trainings_go_on_to_the_same_bits(picture, tmp_path):
    problem, whole, _ = picture
    with pytest.raises(WalkError, match="1 of 2"):
        trainings(
            problem,
            DECAYS,
            key=jax.random.key(0),
            **SETTINGS,
            done=Points(tmp_path),
            hooks=(lambda _: Outcome.CANCELLED,),
        )
    again = trainings(problem, DECAYS, key=jax.random.key(0), **SETTINGS, done=Points(tmp_path))
    assert whole.drop_attrs().identical(again.drop_attrs())


@pytest.mark.parametrize(("decays", "said"), [([-1.0], "not negative"), ([], "give a list"), ([np.nan], "give a list")])
def test_trainings_refuse(decays, said):
    with pytest.raises(InputError, match=said):
        trainings(family("linear", plain()), decays, key=jax.random.key(0))


@pytest.mark.slow
def test_relaxation_diverges_as_the_softest_curvature_says(x64, tmp_path):
    decays = STRENGTH * (1 + np.array([-0.1, -0.05, -0.02, 0.02, 0.05, 0.1]))
    problem = family("linear", plain(), width=2)
    found = slowing_down(problem, decays, key=jax.random.key(0), starts=4, done=Points(tmp_path))
    exact = np.where(decays < STRENGTH, 2 * (STRENGTH - decays), decays - STRENGTH)
    np.testing.assert_allclose(found.curvature, exact, rtol=1e-8)  # the descents stall at forces near 1e-12
    assert found.result["relative_error"] < 1e-5  # the cubic terms of the nudge
    assert abs(found.lambda_c / STRENGTH - 1) < 1e-8
    assert found.below is not None
    assert abs(found.below[0] - 1) < 1e-6
    assert found.above is not None
    assert abs(found.above[0] - 1) < 1e-6
    kept = slowing_down(problem, decays, key=jax.random.key(0), starts=4, done=Points(tmp_path))
    assert (kept.measured == found.measured).all()
    assert "<svg" in slowing_figure(found).svg
    with pytest.raises(InputError, match="increasing"):
        slowing_down(problem, [0.3, 0.2, 0.1], key=jax.random.key(0))


@pytest.mark.slow
def test_draws_follow_the_exact_law(x64):
    values = windows(STRENGTH, 0.2, [40, 160], values=2)
    problem = family("linear", plain(), width=2, form="columns")
    settings = {"order": "norm", "steps": 400, "warmup": 200, "chains": 32, "key": jax.random.key(2)}
    draws = sampled(problem, values, batch=4, **settings)
    scores = []
    for size, rows in draws.items():
        for decay, row in zip(values[size], rows, strict=True):
            exact = linear_moments(STRENGTH, decay, size, 2)
            for power, mean in zip((1, 2, 4), exact, strict=True):
                chains = (row**power).mean(axis=0)  # independent of each other, whatever the autocorrelation
                scores.append((chains.mean() - mean) / (chains.std(ddof=1) / np.sqrt(chains.size)))
    # Twelve two-sided tests at 1e-4 together; a fixed seed.
    assert np.abs(scores).max() < student.isf(0.5e-4 / len(scores), 31)


def test_exact_moments_at_the_transition():
    # There p = a^2 / 2 with the law a^(w - 1) exp(-n a^4 / 8) for large n: the ratio of moments is 3 for two units and
    # 5 for one; corrections are of order n^-1/2.
    for width, ratio in ((1, 5.0), (2, 3.0)):
        _, second, fourth = linear_moments(STRENGTH, STRENGTH, 1e6, width)
        assert abs(fourth / second**2 / ratio - 1) < 5e-3


@pytest.mark.slow
def test_sizes_meet_at_the_transition(x64):
    sizes = [50, 100, 200, 400]
    problem = family("linear", plain(), width=1, form="columns")
    decays = windows(STRENGTH, 0.25, sizes)
    found = finite_size(problem, decays, sizes, steps=4000, warmup=400, key=jax.random.key(1))
    result = found.result
    assert result["mixed"]
    # Four errors: 6e-5 two-sided; the correction left after continuing to infinite size is below 0.002.
    assert abs(result["lambda_c"] - STRENGTH) < 4 * float(found.crossings.critical.error) + 0.002
    assert "<svg" in cumulants_figure(found).svg
    assert "<svg" in collapse_figure(found).svg
