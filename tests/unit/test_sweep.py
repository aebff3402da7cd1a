"""Sweeps: one compilation, reproducible lanes, hysteresis at the spinodal, and every refusal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.sweepable import LIMIT, Tilted

from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.solution import Outcome, Solution
from thalweg.interop.host import HostField
from thalweg.runs import Checkpoint
from thalweg.verbs.relax import relax
from thalweg.verbs.sweep import sweep


def rest(energy, x0, key):
    return relax(energy, x0, throw=False)


def still(energy, x0, key):
    """A solve that costs nothing to compile: it stays where it is."""
    return Solution(x0, energy(x0), jnp.array(Outcome.DONE.code), None, {"words": jax.random.bits(key, (2,))})


def position(energy, solution):
    return {"x": solution.value, "energy": solution.energy}


def words(energy, solution):
    return {"words": solution.stats["words"], "x": solution.value}


def shaken(key):
    return jax.random.uniform(key, (2,), jnp.float32, -1, 1)


def test_two_hundred_values_and_eight_seeds_compile_once():
    traces = []

    def family(tilt):
        traces.append(tilt.shape)
        return Tilted(tilt)

    values = np.linspace(-1, 1, 200, dtype=np.float32)
    table = sweep(family, values, rest, shaken, observe=position, key=jax.random.key(0), seeds=8, batch=300)
    assert traces == [()]
    assert table.attrs["traces"] == 1
    assert table.x.dims == ("value", "seed", "x_0")
    assert table.x.shape == (200, 8, 2)
    assert table.x.dtype == np.float32
    assert (table.outcome == Outcome.DONE.code).mean() > 0.99  # float32 may stall beside a spinodal
    slope = np.abs(table.x**3 - table.x - table.value)
    assert float(slope.where(table.outcome == Outcome.DONE.code).max()) < 2e-3  # the default tol of relax
    assert len(np.unique(table.x[100].round(1))) == 2  # the seeds find both wells
    assert 0 < table.attrs["compile_seconds"] <= table.attrs["seconds"]
    assert json.loads(table.attrs["versions"])["jax"] == jax.__version__


def test_hysteresis_ends_at_the_spinodal(x64):
    # Within 1e-4 of it the well is 0.02 wide still, 1e-3 beyond it the walk slides away: the grid decides.
    offsets = np.array([-1e-2, -1e-3, -1e-4, 1e-4, 1e-3, 1e-2])
    values = np.concatenate([-LIMIT + offsets, [0.0], LIMIT + offsets])
    start = {"a": -jnp.ones(1)}

    def family(tilt):
        return lambda x: Tilted(tilt)(x["a"])

    def solve(energy, x0, key):
        return relax(energy, x0, throw=False, max_steps=50_000)

    observe = lambda energy, solution: {"x": solution.value["a"][0]}  # noqa: E731
    key = jax.random.key(0)
    table = sweep(family, values, solve, start, observe=observe, key=key, seeds=2, follow=True, order="both", batch=5)
    assert table.x.dims == ("direction", "value", "seed")
    assert table.x.dtype == np.float64
    assert bool((table.outcome == Outcome.DONE.code).all())
    up, down = (table.x.sel(direction=way).values for way in ("up", "down"))
    assert np.array_equal(up > 0, np.broadcast_to(values[:, None] > LIMIT, up.shape))
    assert np.array_equal(down > 0, np.broadcast_to(values[:, None] > -LIMIT, down.shape))
    alone = sweep(family, values, solve, start, observe=observe, key=key, seeds=2, follow=True)
    assert alone.x.dims == ("value", "seed")
    assert np.array_equal(alone.x.values, up)  # blocks of another length change no bit
    assert table.attrs["traces"] == 1


def test_every_lane_has_its_own_random_numbers_whatever_the_batch():
    values = np.linspace(-1, 1, 7, dtype=np.float32)
    runs = [
        sweep(Tilted, values, still, shaken, observe=words, key=jax.random.key(1), seeds=5, batch=batch)
        for batch in (1, 4, 64)
    ]
    for other in runs[1:]:
        assert np.array_equal(other.words, runs[0].words)
        assert np.array_equal(other.x, runs[0].x)
    assert len(np.unique(runs[0].words.values.reshape(-1, 2), axis=0)) == 35
    fewer = sweep(Tilted, values, still, shaken, observe=words, key=jax.random.key(1), seeds=2)
    assert np.array_equal(fewer.words, runs[0].words[:, :2])
    old = sweep(Tilted, values, still, shaken, observe=words, key=jax.random.PRNGKey(1), seeds=2)
    assert np.array_equal(fewer.words, old.words)


def test_values_may_be_a_pytree_and_follow_the_precision_of_x0(x64):
    values = {"tilt": np.linspace(-1, 1, 4), "pair": np.arange(8).reshape(4, 2)}
    observe = lambda energy, solution: {"sum": solution.energy}  # noqa: E731
    family = lambda value: lambda x: value["tilt"] * x[0] + value["pair"].sum() * x[1]  # noqa: E731
    table = sweep(family, values, still, jnp.ones(2, jnp.float32), observe=observe, key=jax.random.key(0))
    assert table["sum"].dtype == np.float32
    assert np.allclose(table["sum"][:, 0], values["tilt"] + values["pair"].sum(1), atol=1e-6)
    assert np.array_equal(table["value.pair"], values["pair"])
    assert table["value.tilt"].dtype == np.float32


def test_threads_keep_the_precision_of_the_caller(x64):
    values, key = np.linspace(-1, 1, 6), jax.random.key(0)
    with ThreadPoolExecutor(2) as threads:
        table = sweep(Tilted, values, still, jnp.ones(1), observe=position, key=key, batch=2, executor=threads)
    assert table.x.dtype == np.float64
    assert table.attrs["traces"] == 1


def test_a_hook_hears_every_batch_and_may_stop():
    heard = []

    def stop(report):
        heard.append((report.step, report.steps))
        return Outcome.TIME if report.step == 2 else None

    values, key = np.linspace(-1, 1, 10, dtype=np.float32), jax.random.key(0)
    with pytest.raises(WalkError, match=r"^sweep: stopped after 2 of 5 batches.*time limit") as caught:
        sweep(Tilted, values, still, shaken, observe=position, key=key, batch=2, on_chunk=stop)
    assert heard == [(1, 5), (2, 5)]
    assert len(caught.value.solution.value) == 2
    late = lambda report: Outcome.CANCELLED if report.step == report.steps else None  # noqa: E731
    assert sweep(Tilted, values, still, shaken, observe=position, key=key, batch=2, on_chunk=late).sizes["value"] == 10


class Reshaping:
    """An executor that cuts tasks in half."""

    def map(self, function, tasks, /):
        for task in tasks:
            yield function(task)
            half = jax.tree.map(lambda leaf: leaf[: len(leaf) // 2], task)
            yield function(half)


def refused(match: str, *, values=None, solve=still, x0=shaken, observe=position, kind: type = InputError, **options):
    values = np.linspace(-1, 1, 4, dtype=np.float32) if values is None else values
    family = options.pop("family", Tilted)
    with pytest.raises(kind, match=match) as caught:
        sweep(family, values, solve, x0, observe=observe, key=jax.random.key(0), **options)
    assert "\n" not in str(caught.value)


def test_refusals_are_one_sentence(tmp_path):
    refused("pass follow=True", order="both")
    refused("choose one of up, down, both", order="left")
    refused("leave the executor out", follow=True, executor=Reshaping())
    refused("other shapes", batch=2, executor=Reshaping())
    refused("at least one", seeds=0)
    refused("common leading axis", values=np.float32(1.0))
    refused("common leading axis", values={"a": np.ones(2), "b": np.ones(3)})
    refused("finite", values=np.array([np.nan]))
    refused("increasing", values=np.array([1.0, 0.0]), follow=True)
    refused("done=Points", on_chunk=Checkpoint(tmp_path / "state.safetensors"))
    refused("dict of named arrays", observe=lambda energy, solution: solution.energy)
    refused("taken", observe=lambda energy, solution: {"seed": solution.energy})
    refused("verb's Solution", solve=lambda energy, x0, key: x0)
    refused("host field", family=lambda value: HostField(lambda x: (x, x)))
    refused(
        "another structure", follow=True, solve=lambda e, x, k: eqx.tree_at(lambda s: s.value, still(e, x, k), x[0])
    )
    refused("Python number", family=lambda value: lambda x: x.sum() * float(value))
    # A verb that would raise says so itself.
    refused("pass throw=False", solve=lambda energy, x0, key: relax(energy, x0))
    refused("float64", x0=np.zeros(2), kind=PrecisionError)
