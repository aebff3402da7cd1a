"""Exponential smoothing with a damped trend, as a recursion."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.methods.unrolled import AbstractRecursion

FLOOR = 0.01  # of the last level, below which a falling trend does not go


class State(NamedTuple):
    """Where a series stands: its smoothed `level` and `slope`, per year."""

    level: Float[Array, ""]
    slope: Float[Array, ""]


class Smoothing(AbstractRecursion):
    """Additive errors and a damped additive trend: `ETS(A, Ad, N)`.

    `e_t = y_t - l_{t-1} - phi b_{t-1}`, `l_t = l_{t-1} + phi b_{t-1} + alpha e_t`, `b_t = phi b_{t-1} + beta e_t`.

    **Fields:** `level`, alpha; `slope`, beta, at most alpha; `damping`, phi.

    **Source:** Hyndman, Koehler, Ord & Snyder, Forecasting with Exponential Smoothing (2008), section 2.5.
    """

    level: Float[Array, ""]
    slope: Float[Array, ""]
    damping: Float[Array, ""]

    def forecast(self, state: State, now: Float[Array, ""]) -> Float[Array, ""]:
        return state.level + self.damping * state.slope

    def fed(self, state: State, value: Float[Array, ""], now: Float[Array, ""]) -> State:
        """The state after a value; where `now` is 0 there was none, and the state stays as it was."""
        expected = self.forecast(state, now)
        error = jnp.where(now > 0, value - expected, 0.0)
        level, slope = expected + self.level * error, self.damping * state.slope + self.slope * error
        return State(jnp.where(now > 0, level, state.level), jnp.where(now > 0, slope, state.slope))


class Trend(NamedTuple):
    """A damped trend of emissions under way.

    **Fields:** `smoothing` and its `state`, in units of the emissions whose logarithm is `unit`.
    """

    smoothing: Smoothing
    state: State
    unit: Float[Array, ""]

    def growth(self, level: Float[Array, ""]) -> Float[Array, ""]:
        """The growth of log emissions into the next year, from where they are."""
        now = jnp.exp(level - self.unit)
        ahead = jnp.maximum(self.smoothing.forecast(self.state, jnp.ones_like(now)), FLOOR * now)
        return jnp.log(ahead / now)

    def fed(self, level: Float[Array, ""]) -> Trend:
        """A year later, when log emissions are at `level`."""
        now = jnp.exp(level - self.unit)
        return self._replace(state=self.smoothing.fed(self.state, now, jnp.ones_like(now)))
