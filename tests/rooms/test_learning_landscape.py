"""Minima and saddles modulo exchanges of units, followed over the penalty, and what lies between two trainings."""

from __future__ import annotations

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.learning.data import parabola
from thalweg.learning.model.dense import Dense
from thalweg.learning.model.families import dense_units, family
from thalweg.learning.model.units import Slot, UnitCopies, Units, check_units, permuted, table, tied, with_table
from thalweg.learning.tasks.landscape.connectivity import connect
from thalweg.learning.tasks.landscape.following import Effort, Landscape, landscape
from thalweg.learning.tasks.landscape.valley import valley
from thalweg.methods.copies import apart
from thalweg.runs import Points

DECAYS = (1e-2, 3e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("searches")


@pytest.fixture(scope="module")
def found(folder) -> Landscape:
    """Two tanh neurons on the parabola at two penalties, surveyed once for all tests."""
    with jax.enable_x64(True):
        problem = family("tanh", parabola(), width=2)
        return landscape(problem, DECAYS, effort=Effort(starts=12, rounds=2, searches=4), done=Points(folder))


# Units


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_nearest_copy_undoes_an_exchange_of_units(seed, inputs, width, odd):
    random = np.random.default_rng(seed)
    params = [random.normal(size=(width, inputs)), random.normal(size=width), random.normal(size=(2, width))]
    units = Units("hidden", width, (Slot(0, 0), Slot(1, 0), Slot(2, 1)), odd)
    signs = random.choice([-1.0, 1.0], width) if odd else np.ones(width)
    copy = with_table(params, units, table(params, units)[random.permutation(width)] * signs[:, None])
    assert apart(UnitCopies((units,)), params, copy) == 0
    # A distance modulo copies is symmetric, and never above the plain one.
    other = [random.normal(size=leaf.shape) for leaf in params]
    forth, back = apart(UnitCopies((units,)), params, other), apart(UnitCopies((units,)), other, params)
    plain = np.sqrt(sum(np.sum((one - two) ** 2) for one, two in zip(params, other, strict=True)))
    np.testing.assert_allclose(forth, back, rtol=1e-12)
    assert forth <= plain * (1 + 1e-12)


def test_exchanging_units_leaves_the_function_of_a_deep_net(x64):
    widths, biases = (2, 3, 4, 1), (True, True, True)
    network, x = Dense("tanh"), jnp.linspace(-1, 1, 10).reshape(5, 2)
    params = network.drawn(widths, jax.random.key(0), bias=biases)
    moved = params
    for layer in dense_units(widths, biases, odd=True):
        order, signs = np.arange(layer.width)[::-1], np.resize([1.0, -1.0], layer.width)
        moved = permuted(moved, layer, jnp.asarray(order), jnp.asarray(signs))
    np.testing.assert_allclose(network(moved, x), network(params, x), atol=1e-15)  # sums of a few terms of order one
    assert apart(UnitCopies(dense_units(widths, biases, odd=True)), params, moved) < 1e-12


def test_blocks_of_a_flattened_channel_move_together():
    params = [np.arange(6.0).reshape(2, 3), np.arange(16.0).reshape(2, 8)]
    units = Units("channels", 2, (Slot(0, 0), Slot(1, 1, 4)))
    swapped = permuted([jnp.asarray(leaf) for leaf in params], units, jnp.array([1, 0]))
    np.testing.assert_array_equal(swapped[1], np.roll(params[1], 4, axis=1))
    both = tied([jnp.asarray(leaf) for leaf in params], units)
    np.testing.assert_array_equal(both[1][:, :4], both[1][:, 4:])
    with pytest.raises(InputError, match="length 8, but 2 units of 3"):
        check_units(params, (Units("channels", 2, (Slot(1, 1, 3),)),))


# Surveys


@eqx.filter_jit
def looked(energy, tree) -> tuple[jax.Array, jax.Array]:
    """The slope and the eigenvalues of the Hessian, by plain JAX."""
    flat, unravel = ravel_pytree(tree)
    slope, bend = (of(lambda z: energy(unravel(z)))(flat) for of in (jax.grad, jax.hessian))
    return slope, jnp.linalg.eigvalsh(bend)


def test_every_saddle_has_one_way_down_and_every_minimum_none(found, x64):
    for stage in found.stages:
        for points, downward in ((stage.survey.minima, 0), (stage.survey.saddles, 1)):
            for place in range(len(jax.tree.leaves(points)[0])):
                row = jax.tree.map(lambda leaf, place=place: jnp.asarray(leaf[place]), points)
                slope, bends = looked(found.problem.at(stage.decay), row)
                assert np.linalg.norm(slope) < 1e-7
                assert (bends < -1e-6).sum() == downward


def test_the_ridge_between_a_net_and_its_copy_is_the_saddle_of_two_tied_neurons(found, x64):
    stage = found.stages[0]
    own = [place for place, ends in enumerate(stage.survey.joined) if ends[0] == ends[1]]
    assert own
    (layer,) = found.problem.units
    saddle = jax.tree.map(lambda leaf: np.asarray(leaf[own[0]]), stage.survey.saddles)
    rows = np.asarray(table(saddle, layer))
    # Equal up to the sign that an odd activation leaves free.
    assert min(np.abs(rows[0] - rows[1]).max(), np.abs(rows[0] + rows[1]).max()) < 1e-6


def test_minima_are_followed_and_a_merging_one_is_found_at_its_fold(found, x64):
    low, high = found.stages
    assert low.survey.connected
    assert set(high.names) < set(low.names)
    (merged,) = found.merged
    assert DECAYS[0] < merged.decay < DECAYS[1]
    assert merged.kind == "fold"
    result = found.result
    assert result["decays"] == list(DECAYS)
    assert [len(row) for row in result["minima"]] == [2, 1]
    assert result["minima"][0][1]["barrier"] > 0


def test_a_second_survey_takes_its_searches_from_the_store(found, folder, x64):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = landscape(found.problem, DECAYS, effort=Effort(starts=12, rounds=2, searches=4), done=Points(folder))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert again.result == found.result


def test_a_stopped_survey_does_not_pass_for_a_finished_one(found, folder, x64):
    def stop(report):
        return Outcome.CANCELLED if report.step >= 4 else None

    effort = Effort(starts=12, rounds=2, searches=4)
    with pytest.raises(WalkError, match="finished searches being kept: Stopped on request"):
        landscape(found.problem, DECAYS, effort=effort, done=Points(folder), hooks=(stop,))


@pytest.mark.parametrize("decays", [[], [0.0], [-1.0], [float("nan")]])
def test_unusable_penalties_are_refused(decays):
    with pytest.raises(InputError, match="decays must be positive"):
        landscape(family("tanh", parabola()), decays)


def test_a_net_too_large_to_survey_is_refused():
    with pytest.raises(InputError, match="at most 300"):
        landscape(family("tanh", parabola(), width=101), [1e-3])


# Between and around minima


@pytest.mark.slow
def test_two_trainings_that_are_copies_have_a_ridge_only_on_the_straight_line(found, x64):
    stage = found.stages[0]
    a = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stage.survey.minima)
    b = permuted(a, found.problem.units[0], jnp.array([1, 0]), jnp.array([-1.0, 1.0]))
    told = connect(found.problem, stage.decay, (a, b)).result
    assert told["copies"]
    assert told["distance_aligned"] < 1e-6 < told["distance"]
    assert told["barrier_straight"] > 1e-3
    assert told["barrier_aligned"] < 1e-12


@pytest.mark.slow
def test_the_path_between_two_minima_passes_the_saddle_of_the_survey(found, x64):
    stage = found.stages[0]
    ends = [jax.tree.map(lambda leaf, place=place: jnp.asarray(leaf[place]), stage.survey.minima) for place in (0, 1)]
    told = connect(found.problem, stage.decay, (ends[0], ends[1])).result
    crossing = stage.tree.barrier(0, 1) - max(told["losses"])
    # A band that has converged can only be at or above the lowest saddle.
    assert told["barrier_path"] >= crossing * (1 - 1e-6)
    assert told["barrier_path"] <= told["barrier_aligned"]


@pytest.mark.slow
def test_the_valley_of_a_regular_minimum_has_half_its_parameters_as_coefficient(x64):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3))
    problem = family("linear", (x, x @ [[1.0], [-2.0], [0.5]] + 0.1 * random.normal(size=(400, 1))), depth=1)
    best = np.linalg.lstsq(x, np.asarray(problem.loss.y), rcond=None)[0]  # type: ignore[union-attr]
    at = jax.tree.map(lambda leaf: jnp.asarray(best.T), problem.start(jax.random.key(0)))
    told = valley(problem, 0.0, at, modes=3, items=400).result
    np.testing.assert_allclose(told["lowest"], np.linalg.eigvalsh(x.T @ x / 400), rtol=1e-9)
    low, high = told["learning_coefficient"]["interval"]
    # A 95 % interval widened threefold: outside with a chance of 4e-9.
    centre, half = (low + high) / 2, 3 * (high - low) / 2
    assert abs(centre - 1.5) < half


# The command


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--decays", "2..1"), "rising"),
        (("--family", "relu"), "ReLU has kinks"),
        (("nothing.py:net",), "there is no file nothing.py"),
        (("--family", "mlp", "--width", "40"), "at most 300"),
    ],
)
def test_the_command_says_what_it_refuses(words, sentence, tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    done = call("learning", "landscape", *words, "--quiet")
    assert done.exit_code == 1
    assert sentence in done.output


@pytest.mark.slow
def test_the_command_maps_and_reports(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ("--decay", "0.01", "--starts", "8", "--connect", "--spectrum", "--out", "run", "--json", "--quiet")
    done = call("learning", "landscape", *words)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["connected"] == [True]
    assert answer["connectivity"]["barrier_aligned"] <= answer["connectivity"]["barrier_straight"]
    assert len(answer["valley"]["lowest"]) == 6
    assert "disconnectivity" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8").lower()
