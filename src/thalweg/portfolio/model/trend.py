"""Exponential smoothing with a damped trend, as a recursion whose parameters have gradients."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.methods.unrolled import forced, unrolled
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.model.past import growths
from thalweg.portfolio.model.smoothing import FLOOR, Smoothing, State

SETTINGS = 5  # numbers that a series has: two smoothings, the damping, and the two of the start
_LEAST_DAMPING, _MOST_DAMPING = 0.8, 0.98


class DampedTrend(AbstractForecaster):
    """The damped trend of one company.

    **Fields:** `settings [5]`, free numbers: of alpha, of beta over alpha, of phi between 0.8 and 0.98 (each through a
    sigmoid), and level and slope before the first year, in mean yearly changes, the level from the first value;
    `logarithmic`, whether the trend is one of log emissions or of emissions.
    """

    settings: Float[Array, " settings"]
    logarithmic: bool = eqx.field(static=True)

    def __call__(
        self,
        history: Float[Array, " years"],
        known: Bool[Array, " years"],
        drivers: Float[Array, "steps drivers"],
    ) -> Float[Array, " horizon"]:
        last = jax.tree.map(lambda leaf: leaf[-1], self.states(history, known))
        ahead, _ = unrolled(self.smoothing(), last, jnp.ones(drivers.shape[0] - history.size, history.dtype))
        return history[-1] + (ahead if self.logarithmic else jnp.log(jnp.maximum(ahead, FLOOR)))

    def smoothing(self) -> Smoothing:
        """The recursion with its parameters between their bounds."""
        share = jax.nn.sigmoid(self.settings[:3])
        damping = _LEAST_DAMPING + (_MOST_DAMPING - _LEAST_DAMPING) * share[2]
        return Smoothing(level=share[0], slope=share[0] * share[1], damping=damping)

    def states(self, history: Float[Array, " years"], known: Bool[Array, " years"]) -> State:
        """Where the series stands after every year, in units of its last value (or logarithms over its last)."""
        values, scale = self._values(history, known)
        start, steps = self._start(values, known, scale), known.astype(values.dtype)
        return forced(self.smoothing(), start, steps, values)[1]

    def misfit(self, history: Float[Array, " years"], known: Bool[Array, " years"]) -> Float[Array, ""]:
        """Minus the logarithm of the likelihood of a history, up to a constant: `n / 2 log(mean e^2)`.

        The errors are in mean yearly changes of the company.
        """
        values, scale = self._values(history, known)
        steps = known.astype(values.dtype)
        led, _ = forced(self.smoothing(), self._start(values, known, scale), steps, values)
        error = jnp.where(known, led - values, 0.0) / scale
        many = jnp.sum(steps)
        return 0.5 * many * jnp.log(jnp.sum(error**2) / jnp.maximum(many, 1.0) + 1e-9)

    def _values(self, history: Array, known: Array) -> tuple[Array, Array]:
        """The series over its last value, or its logarithm, and its mean yearly change."""
        values = jnp.where(known, history - history[-1], 0.0)
        if not self.logarithmic:
            values = jnp.where(known, jnp.exp(values), 0.0)
        change, seen = growths(values, known)
        many = jnp.sum(seen)
        return values, jnp.sum(jnp.abs(change)) / jnp.maximum(many, 1.0) + 1e-6

    def _start(self, values: Array, known: Array, scale: Array) -> State:
        first = values[jnp.argmax(known)]
        return State(first + scale * self.settings[3], scale * self.settings[4])
