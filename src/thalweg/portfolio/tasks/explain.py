"""Why two scenarios differ: integrated gradients along the straight way between their driver paths."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.paths import Straight
from thalweg.portfolio.model.footprint import Footprint
from thalweg.verbs.work import work


class Explanation(NamedTuple):
    """The difference of the footprint between two scenarios, shared out among drivers and years.

    **Fields:**

    - `start`, `end`: footprints of the two scenarios, weighted over the years, t CO2e.
    - `parts`: what the growth of each driver in each year contributes, t CO2e.
    - `incompleteness`: |sum of the parts - (end - start)| over |end - start|; 0 where nothing differs.
    - `error`: the quadrature's own estimate of the error of the sum, t CO2e.
    """

    start: float
    end: float
    parts: Float[np.ndarray, "horizon drivers"]
    incompleteness: float
    error: float


class _Along(eqx.Module):
    """The slope of a weighted footprint by the driver of one place alone: a force field on paths of the drivers."""

    footprint: Footprint
    weights: Float[Array, " horizon"]
    place: Float[Array, "horizon drivers"]

    def __call__(self, path: Float[Array, "horizon drivers"]) -> Float[Array, "horizon drivers"]:
        return self.place * jax.grad(lambda drivers: self.weights @ self.footprint(drivers))(path)


def explain(
    footprint: Footprint, start: np.ndarray, end: np.ndarray, *, weights: np.ndarray | None = None, tol: float = 1e-9
) -> Explanation:
    """The contribution of every driver and year to the difference between two scenarios.

    It is the work that the slopes of the footprint do along the straight way from one path to the other, one component
    at a time, so that the parts sum to the difference.

    **Arguments:** `start`, `end` `[horizon, drivers]`: standardised growth; `weights [horizon]`: of the years, by
    default the last one alone (ones: the cumulated footprint); `tol`: of each integral relative to the footprint.

    **Source:** Sundararajan, Taly & Yan, Axiomatic attribution for deep networks, ICML (2017), equation 1.
    """
    a, b = jnp.asarray(start, float), jnp.asarray(end, float)
    last = np.zeros(len(a))
    last[-1] = 1.0
    weights = last if weights is None else np.asarray(weights, np.float64)
    before, after = (float(weights @ np.asarray(_footprint(footprint, path))) for path in (a, b))
    # In units of the footprint, for the tolerance of a line integral is absolute where it is small.
    unit = max(abs(before), abs(after), np.finfo(float).tiny)
    moving = np.argwhere(np.asarray(a) != np.asarray(b))
    parts, error = np.zeros(a.shape), 0.0
    for year, driver in moving:
        place = jnp.zeros_like(a).at[year, driver].set(1.0)
        done = work(_Along(footprint, jnp.asarray(weights / unit), place), Straight(a, b), tol=tol)
        parts[year, driver] = unit * float(done.value)
        error += unit * float(done.error)
    difference = after - before
    missing = abs(parts.sum() - difference)
    return Explanation(before, after, parts, missing / abs(difference) if difference else 0.0, error)


@eqx.filter_jit
def _footprint(footprint: Footprint, path: Float[Array, "horizon drivers"]) -> Float[Array, " horizon"]:
    return footprint(path)
