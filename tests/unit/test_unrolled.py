"""Unrolled recursions: against a plain loop, gradients against central differences, fed by themselves or by others."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.methods.unrolled import AbstractRecursion, forced, unrolled

pytestmark = pytest.mark.usefixtures("x64")

STEPS, WIDTH, INPUTS = 9, 2, 3


class Gated(AbstractRecursion):
    """A memory of two numbers that forgets, and the last value: enough for errors to go back on two ways."""

    mixing: Float[Array, "width width"]
    reading: Float[Array, "width inputs"]
    forgetting: Float[Array, ""]

    def forecast(self, state, now):
        return jnp.tanh(self.mixing @ state["memory"] + self.reading @ now["drive"] + 0.5 * state["last"])

    def fed(self, state, value, now):
        memory = self.forgetting * state["memory"] + value * now["gain"]
        return {"memory": memory, "last": value}


class Growing(AbstractRecursion):
    """The next value is a multiple of the last one, whose gradients are known in closed form."""

    factor: Float[Array, ""]

    def forecast(self, state, now):
        return self.factor * state

    def fed(self, state, value, now):
        return value


def drawn(steps: int = STEPS, seed: int = 0):
    """A recursion far from rest, a start, and what comes in from outside."""
    random = np.random.default_rng(seed)
    array = lambda *shape: jnp.asarray(random.normal(size=shape))  # noqa: E731
    recursion = Gated(0.7 * array(WIDTH, WIDTH), 0.5 * array(WIDTH, INPUTS), jnp.asarray(0.8))
    start = {"memory": array(WIDTH), "last": array(WIDTH)}
    return recursion, start, {"drive": array(steps, INPUTS), "gain": 1.0 + 0.2 * array(steps)}


def by_hand(recursion: Gated, start, steps) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same in a Python loop over NumPy arrays."""
    mixing, reading, forgetting = (np.asarray(each) for each in jax.tree.leaves(recursion))
    memory, last = np.asarray(start["memory"]), np.asarray(start["last"])
    values = []
    for drive, gain in zip(np.asarray(steps["drive"]), np.asarray(steps["gain"]), strict=True):
        last = np.tanh(mixing @ memory + reading @ drive + 0.5 * last)
        memory = forgetting * memory + last * gain
        values.append(last)
    return np.array(values).reshape(-1, WIDTH), {"memory": memory, "last": last}


def close(found, expected, rtol=1e-13):
    """A few dozen products and sums of numbers around one, in float64."""
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol), found, expected)


def same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_an_unrolled_recursion_is_the_loop_it_stands_for():
    recursion, start, steps = drawn()
    values, end = unrolled(recursion, start, steps)
    assert values.shape == (STEPS, WIDTH)
    assert values.dtype == jnp.float64
    close((values, end), by_hand(recursion, start, steps))


def test_a_forced_recursion_forecasts_one_step_ahead_of_what_came():
    recursion, start, steps = drawn()
    given = jnp.asarray(np.random.default_rng(1).normal(size=(STEPS, WIDTH)))
    values, states = forced(recursion, start, steps, given)
    state = start
    for at in range(STEPS):
        now = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
        close(values[at], recursion.forecast(state, now))
        state = recursion.fed(state, given[at], now)
        close(jax.tree.map(lambda leaf, at=at: leaf[at], states), state)


def test_a_recursion_that_is_fed_its_own_forecasts_cannot_tell_who_feeds_it():
    recursion, start, steps = drawn()
    values, end = unrolled(recursion, start, steps)
    again, states = forced(recursion, start, steps, values)
    close(again, values)
    close(jax.tree.map(lambda leaf: leaf[-1], states), end)


def test_a_forced_forecast_knows_what_came_before_it_and_nothing_after():
    recursion, start, steps = drawn()
    values, _ = unrolled(recursion, start, steps)
    changed, _ = forced(recursion, start, steps, values.at[4].add(1.0))
    same(changed[:5], forced(recursion, start, steps, values)[0][:5])
    assert np.all(np.abs(changed[5:] - values[5:]).max(axis=1) > 1e-3)


@pytest.mark.parametrize("part", ["parameters", "start", "steps"])
@pytest.mark.parametrize("fed_itself", [True, False])
def test_gradients_through_time_are_those_of_central_differences(part, fed_itself):
    drew: dict[str, Any] = dict(zip(("parameters", "start", "steps"), drawn(), strict=True))
    given = jnp.asarray(np.random.default_rng(2).normal(size=(STEPS, WIDTH)))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(STEPS, WIDTH)))
    flat, back = ravel_pytree(drew[part])

    @jax.jit
    def loss(moved):
        own = drew | {part: back(moved)}
        recursion, start, steps = own["parameters"], own["start"], own["steps"]
        if fed_itself:
            values, end = unrolled(recursion, start, steps)
        else:
            values, end = forced(recursion, start, steps, given)
        return jnp.sum(weights * values**2) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(end))

    width = 1e-5
    ahead, behind = (jax.vmap(loss)(flat + sign * width * jnp.eye(flat.size)) for sign in (1, -1))
    slopes = np.asarray(jax.grad(loss)(flat))
    # Third derivatives around ten times 1e-10, and rounding of 1e-15 over 1e-5, are both far below.
    np.testing.assert_allclose((ahead - behind) / (2 * width), slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())
    assert np.all(slopes != 0)


def test_a_gradient_goes_back_through_every_forecast_that_was_fed():
    factor, first, count = 0.9, 1.7, 6
    power = np.arange(1, count + 1)
    recursion, start, steps = Growing(jnp.asarray(factor)), jnp.asarray(first), jnp.zeros((count, 0))
    values, end = unrolled(recursion, start, steps)
    close(values, first * factor**power)
    close(end, first * factor**count)
    slopes = jax.jacobian(lambda each: unrolled(Growing(each), start, steps)[0])(recursion.factor)
    close(slopes, first * power * factor ** (power - 1))
    close(jax.jacobian(lambda each: unrolled(recursion, each, steps)[0])(start), factor**power)
    # What really came carries no gradient: each forecast hears of the factor once.
    taught = jax.jacobian(lambda each: forced(Growing(each), start, steps, values)[0])(recursion.factor)
    close(taught, first * factor ** (power - 1))


def test_compiled_and_in_batches_it_is_the_same_recursion():
    recursion, start, steps = drawn()
    plain = unrolled(recursion, start, steps)
    close(eqx.filter_jit(unrolled)(recursion, start, steps), plain)
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1.0, -leaf]), start)
    values, ends = jax.vmap(unrolled, (None, 0, None))(recursion, starts, steps)
    assert values.shape == (3, STEPS, WIDTH)
    for row in range(3):
        own = jax.tree.map(lambda leaf, row=row: leaf[row], starts)
        found = values[row], jax.tree.map(lambda leaf, row=row: leaf[row], ends)
        close(found, by_hand(recursion, own, steps))


def test_many_recursions_side_by_side_do_not_hear_of_each_other():
    drew = [drawn(seed=seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drew)
    values, _ = jax.jit(jax.vmap(unrolled))(*stacked)
    for row, own in enumerate(drew):
        close(values[row], by_hand(*own)[0])


def test_without_a_step_nothing_is_forecast_and_the_state_stays():
    recursion, start, steps = drawn(0)
    values, end = unrolled(recursion, start, steps)
    assert values.shape == (0, WIDTH)
    same(end, start)
    values, states = forced(recursion, start, steps, jnp.zeros((0, WIDTH)))
    assert values.shape == (0, WIDTH)
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(states))
    slopes = jax.grad(lambda each: jnp.sum(unrolled(recursion, each, steps)[1]["memory"]))(start)
    same(slopes, {"memory": jnp.ones(WIDTH), "last": jnp.zeros(WIDTH)})


def test_one_step_is_one_forecast_fed_or_not():
    recursion, start, steps = drawn(1)
    values, end = unrolled(recursion, start, steps)
    now = jax.tree.map(lambda leaf: leaf[0], steps)
    close(values[0], recursion.forecast(start, now))
    close(end, recursion.fed(start, values[0], now))
    taught, _ = forced(recursion, start, steps, jnp.full((1, WIDTH), 5.0))
    close(taught, values)


def test_a_walk_in_two_halves_is_the_whole_one():
    recursion, start, steps = drawn()
    whole, end = unrolled(recursion, start, steps)
    first, second = (jax.tree.map(lambda leaf, part=part: leaf[part], steps) for part in (slice(4), slice(4, None)))
    early, middle = unrolled(recursion, start, first)
    late, last = unrolled(recursion, middle, second)
    close(jnp.concatenate([early, late]), whole)
    close(last, end)
