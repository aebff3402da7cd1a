"""Recurrences: against a plain loop, engine against engine, gradients against central differences, state carried."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.methods.recurrence import MinimalGRU, linear
from thalweg.methods.recurrence_gated import gru, lstm

TIME, BATCH, WIDTH = 13, 2, 3
CELLS = ("sequential", "associative", "gru", "lstm")


def cell_of(name: Any):
    if name in ("sequential", "associative"):
        return MinimalGRU(WIDTH, name)
    return (gru if name == "gru" else lstm)(WIDTH, jax.random.key(0), jnp.float64)


def words(seed=0):
    return np.random.default_rng(seed)


@eqx.filter_jit
def run(cell, drive, start, fresh, reverse=False):
    return cell(drive, start, fresh, reverse=reverse)


def drawn(cell, seed=1):
    """What a cell reads, a start that is not at rest, and two places where a sequence begins."""
    random = words(seed)
    drive = jnp.asarray(random.normal(size=(TIME, BATCH, cell.inputs)))
    start = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), cell.rest(BATCH, jnp.float64))
    fresh = np.zeros((TIME, BATCH), bool)
    fresh[4, 0] = fresh[9, 1] = True
    return drive, start, jnp.asarray(fresh)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_linear_recurrence_is_the_loop_it_stands_for(x64, reverse):
    random = words()
    decay, drive, start = (
        random.uniform(0, 1, (TIME, BATCH, WIDTH)),
        *(random.normal(size=size) for size in ((TIME, BATCH, WIDTH), (BATCH, WIDTH))),
    )
    expected, state = np.zeros_like(drive), start
    for at in reversed(range(TIME)) if reverse else range(TIME):
        state = decay[at] * state + drive[at]
        expected[at] = state
    for engine in ("sequential", "associative"):
        found, end = linear(*map(jnp.asarray, (decay, drive, start)), reverse=reverse, engine=engine)
        # Thirteen products and sums of numbers around one, in float64.
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(end, state, rtol=1e-12, atol=1e-13)


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="sequential"):
        linear(jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)), jnp.ones((1, 1)), engine="quick")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", [*CELLS, "linear"])
def test_back_propagation_through_time_is_the_slope(x64, name):
    """Both ways along the sequence, in a random direction of inputs, weights and states, by central differences."""
    random = words(2)
    ways: list[Any] = [(back, way) for back in (False, True) for way in ("sequential", "associative")]
    if name == "linear":
        sizes = ((TIME, BATCH, WIDTH), (TIME, BATCH, WIDTH), (BATCH, WIDTH))
        point = tuple(jnp.asarray(random.uniform(0.1, 0.9, size)) for size in sizes)
        both = lambda p: [linear(*p, reverse=back, engine=way) for back, way in (ways[0], ways[3])]  # noqa: E731
    else:
        cell = cell_of(name)
        drive, start, fresh = drawn(cell)
        point = (cell, drive, start)
        both = lambda p: [p[0](p[1], p[2], fresh, reverse=back) for back in (False, True)]  # noqa: E731
    shapes = eqx.filter_eval_shape(both, point)
    weights = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), shapes)
    floats, rest = eqx.partition(point, eqx.is_inexact_array)
    along = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), floats)

    def loss(by, moving):
        p = eqx.combine(jax.tree.map(lambda a, b: a + by * b, moving, along), rest)
        return sum(jnp.sum(a * jnp.sin(b)) for a, b in zip(*map(jax.tree.leaves, (weights, both(p))), strict=True))

    told = jax.jit(jax.value_and_grad(loss, argnums=1))
    slopes = told(0.0, floats)[1]
    expected = sum(float(jnp.sum(a * b)) for a, b in zip(*map(jax.tree.leaves, (slopes, along)), strict=True))
    moved = lambda by: float(told(by, floats)[0])  # noqa: E731
    # Two steps of central differences, extrapolated: what is left is of fourth order, 1e-12, and rounding, 1e-11.
    near, far = ((moved(step) - moved(-step)) / (2 * step) for step in (1e-4, 2e-4))
    assert (4 * near - far) / 3 == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_both_engines_agree_in_values_and_slopes(x64):
    drive, start, fresh = drawn(cell_of("sequential"))

    @eqx.filter_jit
    def told(cell):
        values, turned = jax.vjp(lambda drive, start: cell(drive, start, fresh), drive, start)
        return values, turned(jax.tree.map(jnp.cos, values))

    for one, other in zip(*(jax.tree.leaves(told(cell_of(name))) for name in CELLS[:2]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_may_be_read_in_parts_both_ways_and_forgets_where_another_begins(x64, name):
    cell = cell_of(name)
    drive, start, fresh = drawn(cell)
    drive, fresh = drive[:12], fresh[:12]
    whole, end = run(cell, drive, start, fresh)
    first, middle = run(cell, drive[:6], start, fresh[:6])
    second, last = run(cell, drive[6:], middle, fresh[6:])
    # The associative engine orders its products by the length.
    close = lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)  # noqa: E731
    close(jnp.concatenate([first, second]), whole)
    jax.tree.map(close, last, end)
    alone, _ = run(cell, drive[4:10], cell.rest(BATCH, jnp.float64), fresh[:6] & False)
    close(whole[4:9, 0], alone[:5, 0])
    assert not np.allclose(whole[4:9, 1], alone[:5, 1])
    back, begin = run(cell, drive[::-1], start, fresh[::-1], reverse=True)
    close(back, whole[::-1])
    jax.tree.map(close, begin, end)
