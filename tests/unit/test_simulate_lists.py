"""Simulation on landscapes with lists: they are kept fresh, grow where they overflow, and change no bit."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neighbours import fluid

from thalweg.core.errors import InputError
from thalweg.core.solution import Outcome
from thalweg.landscapes import DoubleWell
from thalweg.methods import drive as drive_module
from thalweg.methods.dynamics import maxwell_velocities
from thalweg.methods.trace import Trace
from thalweg.runs import Checkpoint
from thalweg.verbs.simulate import simulate

KEY = 7


def observed(walk) -> dict[str, Any]:
    return {"x": walk.x, "v": walk.v, "conserved": walk.conserved, "time": walk.time, "kinetic": walk.kinetic}


WATCH = Trace(observed)


def heated(capacity: int) -> tuple[Any, dict[str, Any]]:
    """A hot fluid with room for so many neighbours (it starts with 6), and how it moves."""
    energy, x, space = fluid(3, capacity)
    v = maxwell_velocities(jax.random.key(KEY), x, 1.0, 1.5)
    return energy, {"x0": x, "v0": v, "dt": 0.005, "steps": 160, "space": space, "trace": WATCH}


def same_walk(a, b) -> None:
    for left, right in zip(jax.tree.leaves(a.trace), jax.tree.leaves(b.trace), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.stats["velocity"], b.stats["velocity"])
    assert float(a.energy) == float(b.energy)
    assert float(a.stats["drift"].slope) == float(b.stats["drift"].slope)
    assert int(a.stats["rebuilds"]) == int(b.stats["rebuilds"]) > 3


def test_a_list_that_overflows_gives_the_bits_of_a_long_one(x64, monkeypatch, tmp_path):
    long, (short, go) = simulate(heated(12)[0], **heated(12)[1]), heated(8)
    same_walk(simulate(short, **go), long)
    # Killed after the list had grown, and begun anew with the short one; in chunks of one step.
    file = tmp_path / "walk.safetensors"
    place, shapes = Checkpoint(file, every_seconds=None, every_steps=7), set()

    def kill(report):
        shapes.add(report.state.lists.parts.near.shape)
        if report.step >= 120:
            raise KeyboardInterrupt

    monkeypatch.setattr(drive_module, "_CHUNK_SECONDS", 1e-9)
    with pytest.raises(KeyboardInterrupt):
        simulate(short, **go, on_chunk=(place, kill))
    assert shapes == {(27, 8), (27, 12)}
    kept = file.read_bytes()
    same_walk(simulate(short, **go, on_chunk=Checkpoint(file)), long)
    # Only lists may have another shape than the start: a checkpoint of other points is another walk's.
    file.write_bytes(kept)
    with pytest.raises(InputError, match=r"does not fit this walk: state.*motion\.x is float64\[27, 3\] in the file"):
        simulate(DoubleWell(), jnp.ones(3), dt=0.1, steps=200, trace=WATCH, on_chunk=Checkpoint(file))


def test_points_that_leave_through_a_wall_do_not_spoil_the_lists(x64):
    energy, go = heated(12)
    found = simulate(energy, **go)
    # All pairs: a list with a skin beyond all distances is never stale again.
    everyone = jnp.array([[j for j in range(27) if j != i] for i in range(27)], jnp.int32)
    pairs = eqx.tree_at(lambda e: (e.skin, e.built_at, e.near), energy, (jnp.array(1e3), go["x0"], everyone))
    exact = simulate(pairs, **go)
    assert float(jnp.abs(jnp.diff(found.trace["x"], axis=0)).max()) > float(go["space"].lengths) / 2  # around the cell
    assert int(exact.stats["rebuilds"]) == 0
    # The same terms added in another order: roundings of 2^-53, spread by a hot fluid's chaos over 0.8 time units
    # (an exponent of about ten).
    apart = go["space"].displacement(found.trace["x"], exact.trace["x"])
    assert float(jnp.abs(apart).max()) < 1e-10
    # So that lists add no drift to that of the time step.
    drift, plain = found.stats["drift"], exact.stats["drift"]
    np.testing.assert_allclose(drift.slope, plain.slope, atol=1e-8 * float(plain.fluctuation))


@pytest.mark.slow
def test_replicas_with_lists_go_on_when_one_of_them_overflows(x64):
    energy, go = heated(8)
    x, v = go.pop("x0"), go.pop("v0")
    run = lambda pace, x: simulate(energy, x, pace * v, **go, throw=False)  # noqa: E731
    batch = jax.jit(jax.vmap(run, in_axes=(0, None)))(jnp.array([0.0, 1.0]), x)
    assert [Outcome.of(code) for code in batch.outcome] == [Outcome.DONE, Outcome.CAPACITY]
    last = int(batch.stats["steps"][1])
    assert 0 < last < 160
    # The last good point of the lane; a batch may round otherwise than one alone.
    alone = simulate(energy, x, v, **go)
    np.testing.assert_allclose(batch.value[1], alone.trace["x"][last], atol=1e-10)
