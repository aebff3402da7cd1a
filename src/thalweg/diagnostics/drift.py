"""Drift: the slope of a quantity that ought to be conserved."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError


class Drift(eqx.Module):
    """A straight line through a quantity over time, by least squares.

    **Fields:** `slope`, in units of the quantity over those of time; `error`, its standard error (infinite for fewer
    than three records), from residuals that are taken as independent (records closer than the quantity's own
    oscillation are correlated, and a whole number of them averages out faster than this says), and in `simulate` with
    a thermostat, where the quantity wanders, from its changes over 32 stretches of the run, which errs on the large
    side; `fluctuation`, the root mean square of the residuals, in units of the quantity.
    """

    slope: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    fluctuation: Float[Array, "*batch"]


def drift(energies: Float[Array, " n"], times: Float[Array, " n"]) -> Drift:
    """The drift of a recorded series.

    **Arguments:** `energies`, or any quantity that ought to be conserved (for a thermostat the total energy minus the
    heat), at increasing `times`.

    **Raises:** `InputError` for series of different lengths, for fewer than two records, and for equal times.
    """
    energies, times = jnp.asarray(energies), jnp.asarray(times)
    if energies.ndim != 1 or energies.shape != times.shape or energies.shape[0] < 2:
        raise InputError(
            f"drift: energies {[*energies.shape]} at times {[*times.shape]}: pass two series of one length, at least 2."
        )
    if not jnp.issubdtype(energies.dtype, jnp.floating):
        energies = energies.astype(float)
    # Relative to the first value and to the middle, so that float32 resolves a small change.
    clock, height = times.astype(energies.dtype) - times[0].astype(energies.dtype), energies - energies[0]
    clock, height = clock - jnp.mean(clock), height - jnp.mean(height)
    spread = jnp.sum(clock**2)
    if not bool(spread > 0):
        raise InputError("drift: the times are all equal: a slope needs at least two of them.")
    slope = jnp.sum(clock * height) / spread
    return _line(slope, jnp.sum((height - slope * clock) ** 2), spread, jnp.asarray(energies.shape[0]))


class Wandering(eqx.Module):
    """How far a random walk goes in stretches of `length` records: their `count`, `mean` change, sum of `squares`."""

    length: Int[Array, ""]
    last: Float[Array, ""]
    count: Int[Array, ""]
    mean: Float[Array, ""]
    squares: Float[Array, ""]

    def saw(self, value: Float[Array, ""], records: Int[Array, ""]) -> Wandering:
        """The same after one more value, the `records`-th after the first."""
        count = self.count + 1
        change = value - self.last
        mean = self.mean + (change - self.mean) / count.astype(change.dtype)
        squares = self.squares + (change - self.mean) * (change - mean)
        new = Wandering(self.length, value, count, mean, squares)
        return jax.tree.map(lambda after, before: jnp.where(records % self.length == 0, after, before), new, self)

    @property
    def error(self) -> Float[Array, ""]:
        """The standard error of a least-squares slope per record, 6/5 of the variance of the mean change per record."""
        known, n = self.count > 2, self.count.astype(self.mean.dtype)
        variance = self.squares / jnp.where(known, n - 1, 1) / jnp.where(known, n, 1)
        error = jnp.sqrt(1.2 * variance) / self.length.astype(n.dtype)
        return jnp.where(known, error, jnp.asarray(np.inf, n.dtype))


class Running(eqx.Module):
    """The least-squares line through all that was seen so far, at equal distances in time, in a few numbers.

    **Fields:** `count` of what was seen; the `first` value; the `mean` and the `slope` per record, relative to it;
    `residual`, the sum of squares around the line; the `wandering` of a quantity that is a random walk.

    **Source:** Brown, Durbin & Evans, J. R. Stat. Soc. B 37, 149 (1975): the residual sum of squares grows by the
    squares of recursive residuals, so that nothing cancels.
    """

    count: Int[Array, ""]
    first: Float[Array, ""]
    mean: Float[Array, ""]
    slope: Float[Array, ""]
    residual: Float[Array, ""]
    wandering: Wandering | None = None

    def saw(self, value: Float[Array, ""]) -> Running:
        """The line after one more value."""
        count = self.count + 1
        n = count.astype(self.first.dtype)
        height = value - self.first
        # The surprise at record n, seen from the line through the n - 1 before it, whose middle is n / 2 back; the
        # factors are those of least squares at the equidistant times 0, 1, ..., n - 1.
        surprise = height - self.mean - self.slope * n / 2
        slope = self.slope + surprise * 6 / (n * (n + 1))
        residual = self.residual + surprise**2 * ((n - 1) / n * jnp.maximum(n - 2, 0) / (n + 1))
        wandering = None if self.wandering is None else self.wandering.saw(height, self.count)
        return Running(count, self.first, self.mean + (height - self.mean) / n, slope, residual, wandering)

    def drift(self, dt: Any) -> Drift:
        """The drift, for records `dt` apart."""
        n = self.count.astype(self.first.dtype)
        per_record = _line(self.slope, self.residual, n * (n**2 - 1) / 12, self.count)
        dt = jnp.asarray(dt).astype(self.first.dtype)
        error = per_record.error if self.wandering is None else self.wandering.error
        return Drift(per_record.slope / dt, error / dt, per_record.fluctuation)


def running(value: Float[Array, ""], stretch: Int[Array, ""] | None = None) -> Running:
    """The line through one value; with a `stretch`, a number of records, through the first of a random walk."""
    zero, none = jnp.zeros_like(value), jnp.zeros((), jnp.int32)
    wandering = None if stretch is None else Wandering(stretch, zero, none, zero, zero)
    return Running(none + 1, value, zero, zero, zero, wandering)


def _line(slope: Array, residual: Array, spread: Array, count: Array) -> Drift:
    known, n = count > 2, count.astype(slope.dtype)
    variance = residual / jnp.where(known, n - 2, 1)
    error = jnp.where(known, jnp.sqrt(variance / jnp.where(known, spread, 1)), jnp.asarray(np.inf, slope.dtype))
    return Drift(slope, error, jnp.sqrt(residual / n))
