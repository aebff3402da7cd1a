"""Landscapes with lists: found wherever they are, rebuilt when stale, grown when they overflow."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import Restrict, Scaled, Sum
from thalweg.core.errors import InputError, WalkError
from thalweg.core.refresh import (
    AbstractRefreshing,
    farthest,
    grown,
    padded,
    refreshed,
    refreshing,
    renewed,
    split,
)
from thalweg.core.solution import Outcome
from thalweg.core.space import Periodic
from thalweg.verbs.relax import relax


class Window(AbstractRefreshing):
    """`weight * (x - centre)^2`, where the centre is the list: it follows x once that is more than one away."""

    weight: jax.Array = eqx.field(converter=jnp.asarray)
    centre: jax.Array = eqx.field(converter=jnp.asarray)
    room: jax.Array  # its length is the largest |x| that fits
    calls: Any = eqx.field(default=None, static=True)

    def __call__(self, x):
        return self.weight * jnp.sum((x - self.centre) ** 2)

    def stale(self, x):
        return jnp.max(jnp.abs(x - self.centre)) > 1

    def rebuilt(self, x):
        if self.calls is not None:
            jax.debug.callback(lambda _: self.calls.append(1), x)
        return eqx.tree_at(lambda window: window.centre, self, x), jnp.max(jnp.abs(x)) <= self.room.shape[0]

    def grown(self):
        return eqx.tree_at(lambda window: window.room, self, padded(self.room, 0, 0))


def window(room: int = 4, calls: Any = None) -> Window:
    return Window(1.0, jnp.zeros(2), jnp.zeros(room), calls)


refresh = eqx.filter_jit(refreshed)


def test_a_refreshing_landscape_is_found_in_every_wrapper():
    far, near = jnp.array([3.0, 0.0]), jnp.array([0.5, 0.0])
    line = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    plain = lambda x: jnp.sum(x)  # noqa: E731
    for energy in (
        window(),
        Scaled(window(), 2.0),
        Sum(plain, window()),
        Restrict(Sum(window(), plain), near * 0, line),
    ):
        assert refreshing(energy)
        same, ok = refresh(energy, near)
        assert bool(ok)
        np.testing.assert_array_equal(same(near), energy(near))
        moved, ok = refresh(energy, far)
        assert bool(ok)
        assert float(moved(far)) < float(energy(far))
        assert not bool(refresh(energy, 2 * far)[1])
        assert bool(refresh(grown(energy), 2 * far)[1])
    assert not refreshing(plain)
    assert not refreshing(Sum(plain, plain))


def test_in_a_subspace_the_lists_are_made_at_the_lifted_point():
    base, along = jnp.array([0.0, 5.0]), jnp.array([[1.0, 0.0]])
    energy, ok = refresh(Restrict(window(8), base, along), jnp.array([2.0]))
    assert bool(ok)
    np.testing.assert_array_equal(energy.energy.centre, [2.0, 5.0])


def test_only_what_changes_travels_and_the_rest_is_shared():
    near, far = jnp.array([0.5, 0.0]), jnp.array([3.0, 0.0])
    lists, rest = split(Scaled(window(), 2.0), near, "walk")
    assert lists is not None
    # The centre, which rebuilding changes, and the room, which growing does; not the weight.
    assert [leaf.shape for leaf in jax.tree.leaves(lists.parts)] == [(2,), (4,)]
    assert (rest.energy.centre, float(rest.energy.weight), float(rest.factor)) == (None, 1.0, 2.0)
    renew = eqx.filter_jit(renewed)
    joined, lists = renew(lists, rest, near)
    assert lists is not None
    assert (float(joined(near)), int(lists.rebuilds)) == (0.5, 0)
    joined, lists = renew(lists, rest, far)
    assert lists is not None
    assert (float(joined(far)), int(lists.rebuilds)) == (0.0, 1)
    plain = lambda x: jnp.sum(x)  # noqa: E731
    assert split(plain, near, "walk") == (None, plain)
    assert renewed(None, plain, near) == (plain, None)


@pytest.mark.parametrize("nested", [False, True])
def test_a_batch_rebuilds_only_when_some_lane_is_stale(nested):
    calls: list = []
    energy = window(9, calls)
    both = lambda x: refreshed(energy, x)[0](x)  # noqa: E731
    batch = jax.jit(jax.vmap(jax.vmap(both)) if nested else jax.vmap(both))
    shape = (lambda x: x.reshape(2, 2, 2)) if nested else (lambda x: x)
    near = jnp.full((4, 2), 0.5)
    far = near.at[2].set(3.0)
    heights = batch(shape(near))
    jax.effects_barrier()
    np.testing.assert_array_equal(heights.reshape(-1), [0.5] * 4)
    assert not calls
    heights = batch(shape(far))
    jax.effects_barrier()
    np.testing.assert_array_equal(heights.reshape(-1), [0.5, 0.5, 0, 0.5])
    assert calls


def test_lists_are_not_differentiated(x64):
    far = jnp.array([3.0, 0.0])
    slope = jax.grad(lambda x: refreshed(window(), jnp.zeros(2))[0](x))(far)
    np.testing.assert_array_equal(slope, [6.0, 0.0])
    # Through the refreshing: the new centre is x itself, but it does not move with it.
    np.testing.assert_array_equal(jax.grad(lambda x: refreshed(window(), x)[0](x))(far), [0.0, 0.0])


def test_what_went_around_the_cell_has_not_gone_far():
    a, b = jnp.array([[0.1, 0.0, 0.0]]), jnp.array([[9.8, 0.0, 0.4]])
    np.testing.assert_allclose(farthest(Periodic(10.0), a, b), 0.5, rtol=1e-5)  # float32


class Shifty(AbstractRefreshing):
    """A landscape that breaks the rules."""

    near: jax.Array
    wrong: Any = eqx.field(static=True)

    def __call__(self, x):
        return jnp.sum(x**2)

    def stale(self, x):
        return jnp.array(True)

    def rebuilt(self, x):
        kept = {"shape": jnp.zeros(3), "dtype": jnp.zeros(2, jnp.int32), "full": jnp.zeros(2)}[self.wrong]
        return eqx.tree_at(lambda e: e.near, self, kept), jnp.array(self.wrong != "full")

    def grown(self):
        return self


BROKEN = [
    ("shape", r"Shifty.rebuilt makes .near float32\[3\] out of float32\[2\]: keep shapes and dtypes"),
    ("dtype", r"Shifty.rebuilt makes .near int32\[2\] out of float32\[2\]"),
    ("full", r"Shifty.grown\(\) grows nothing: pad its buffers"),
]


@pytest.mark.parametrize(("wrong", "sentence"), BROKEN)
def test_a_landscape_that_breaks_the_rules_is_told_so(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        relax(Shifty(jnp.zeros(2), wrong), jnp.ones(2))


# Relaxing on lists


class Tight(AbstractRefreshing):
    """A bowl whose list never has room enough."""

    near: jax.Array

    def __call__(self, x):
        return jnp.sum(x**2)

    def stale(self, x):
        return jnp.max(jnp.abs(x)) < 0.9

    def rebuilt(self, x):
        return eqx.tree_at(lambda e: e.near, self, self.near + 1), jnp.array(False)

    def grown(self):
        return eqx.tree_at(lambda e: e.near, self, jnp.pad(self.near, (0, 1)))


def test_a_list_that_never_has_room_ends_the_walk(monkeypatch):
    monkeypatch.setattr("thalweg.core.refresh._MOST_GROWTHS", 2)  # each growth compiles anew
    with pytest.raises(WalkError, match=r"^relax: A fixed-size buffer overflowed") as caught:
        relax(Tight(jnp.zeros(1)), jnp.ones(2))
    assert float(caught.value.solution.value[0]) >= 0.9  # the last good point


class Trek(AbstractRefreshing):
    """A bowl around `aim`, seen through a window: force from outside of it is lost, so that stale lists show."""

    aim: jax.Array = eqx.field(converter=jnp.asarray)
    window: Window

    def __call__(self, x):
        here = self.window.centre
        return jnp.sum((jnp.clip(x, here - 1.5, here + 1.5) - self.aim) ** 2)

    def stale(self, x):
        return self.window.stale(x)

    def rebuilt(self, x):
        inner, ok = self.window.rebuilt(x)
        return Trek(self.aim, inner), ok

    def grown(self):
        return Trek(self.aim, self.window.grown())


@pytest.mark.parametrize("method", ["fire", "projected"])
def test_relaxing_with_short_lists_is_relaxing_with_long_ones(method, x64):
    start, sizes = jnp.array([0.2, 0.1]), set()

    def look(report):
        sizes.add(report.state.lists.parts.window.room.shape[0])

    first, second = (relax(Trek(10.0, window(room)), start, method, tol=1e-8, on_chunk=look) for room in (6, 13))
    np.testing.assert_allclose(first.value, [10, 10], atol=1e-8)  # a force below 1e-8 at a curvature of 2
    assert sizes == {6, 9, 13}
    assert first.stats["steps"] == second.stats["steps"]
    np.testing.assert_array_equal(first.value, second.value)


def test_relaxing_inside_a_transformation_reports_the_overflow():
    starts = jnp.array([[3.0, 0.0], [0.5, 0.0], [5.0, 0.0]])
    batch = jax.vmap(lambda x: relax(window(), x, throw=False))(starts)
    assert [Outcome.of(code) for code in batch.outcome] == [Outcome.DONE, Outcome.DONE, Outcome.CAPACITY]
    np.testing.assert_array_equal(batch.value[0], [3.0, 0.0])  # where its centre was put at the start
    np.testing.assert_allclose(batch.value[1], [0.0, 0.0], atol=1e-3)  # the default tolerance of float32, halved
    # Outside of a transformation the list grows.
    assert relax(window(), starts[2]).done


def test_a_flow_refuses_lists():
    with pytest.raises(InputError, match="a gradient flow cannot refresh"):
        relax(window(), jnp.ones(2), "flow")
