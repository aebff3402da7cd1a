"""Recursions that forecast one step after the other: fed their own forecasts, or fed what really came."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
from jaxtyping import Array, PyTree


class AbstractRecursion(eqx.Module):
    """A forecast of the next value from a state, and the state after a value has come."""

    @abc.abstractmethod
    def forecast(self, state: PyTree, now: PyTree) -> Array:
        """The next value, from the state before it and from what else is known of the step."""

    @abc.abstractmethod
    def fed(self, state: PyTree, value: Array, now: PyTree) -> PyTree:
        """The state after a value: a forecast or an observation, which the recursion cannot tell apart."""


def unrolled(recursion: AbstractRecursion, start: PyTree, steps: PyTree) -> tuple[Array, PyTree]:
    """The forecasts of a recursion that is fed its own outputs; a gradient goes back through all of them.

    **Arguments:** `start`, the state before the first step; `steps`, what else is known, leaves `[steps, ...]`.

    **Returns:** the forecasts `[steps, ...]` and the state after the last.

    **Source:** Werbos, Proc. IEEE 78, 1550 (1990), for the gradient.
    """

    def step(state, now):
        value = recursion.forecast(state, now)
        return recursion.fed(state, value, now), value

    end, values = jax.lax.scan(step, start, steps)
    return values, end


def forced(recursion: AbstractRecursion, start: PyTree, steps: PyTree, given: Array) -> tuple[Array, PyTree]:
    """The forecasts, each one step ahead, of a recursion that is fed what really came: teacher forcing.

    **Arguments:** `start` and `steps`, as of `unrolled`; `given`, the observed values `[steps, ...]`.

    **Returns:** the forecasts `[steps, ...]` and the states after each step, leaves `[steps, ...]`.

    **Source:** Williams & Zipser, Neural Comput. 1, 270 (1989), sec. 4.
    """

    def step(state, both):
        now, value = both
        after = recursion.fed(state, value, now)
        return after, (recursion.forecast(state, now), after)

    return jax.lax.scan(step, start, (steps, given))[1]
