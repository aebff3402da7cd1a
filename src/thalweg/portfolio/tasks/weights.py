"""Weights of a portfolio that lower the tail of its forecast footprint and stay near a benchmark."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.core.simplex import Simplex, Together
from thalweg.core.space import Euclidean
from thalweg.portfolio.energy import Tail
from thalweg.verbs.relax import relax

_WIDTHS = (1e-1, 1e-2, 1e-3, 1e-4)  # of the rounded corner, each walk beginning where the one before ended


class Weights(NamedTuple):
    """Long-only weights with what they reach.

    **Fields:** `weights`; the conditional values at risk `tail` and `benchmark_tail`, of these weights and of the
    benchmark's, in the unit of the intensity; `tracking`, the square root of the active weights' variance; `steps`.
    """

    weights: Float[np.ndarray, " companies"]
    tail: float
    benchmark_tail: float
    tracking: float
    steps: int


def conditional_value_at_risk(losses: np.ndarray, level: float) -> float:
    """The mean of the worst share `1 - level` of equally likely losses, the one at its edge in part.

    **Source:** Rockafellar & Uryasev, J. Bank. Finance 26, 1443 (2002), proposition 8.
    """
    ordered = np.sort(np.asarray(losses, np.float64))[::-1]
    share = np.clip((1 - level) * ordered.size - np.arange(ordered.size), 0, 1)
    return float(share @ ordered / share.sum())


def low_tail_weights(
    intensity: np.ndarray,
    benchmark: np.ndarray,
    *,
    strength: float = 1.0,
    tracking: np.ndarray | None = None,
    level: float = 0.95,
    max_steps: int = 3000,
) -> Weights:
    """The weights that minimise CVaR(intensity @ weights) / its benchmark + strength x tracking variance.

    Both terms are without a unit: the tracking variance is (w - b)' C (w - b) over b' C b.

    **Arguments:**

    - `intensity [draws, companies]`: footprint per unit of weight; draws are equally likely.
    - `benchmark [companies]`: weights, not negative; scaled to sum to one.
    - `tracking [companies, companies]`: the covariance C of returns; by default the identity, which measures how far
      weights move without knowing of returns.

    **Raises:** `InputError` for arrays that are not finite or disagree, weights below zero, or a level outside (0, 1).
    """
    intensity, benchmark = np.asarray(intensity, np.float64), np.asarray(benchmark, np.float64)
    covariance = np.eye(benchmark.size) if tracking is None else np.asarray(tracking, np.float64)
    _check(intensity, benchmark, covariance, level)
    benchmark = benchmark / benchmark.sum()
    before = conditional_value_at_risk(intensity @ benchmark, level)
    scaled, size = intensity / before, float(benchmark @ covariance @ benchmark)
    tail = Tail(jnp.asarray(scaled), jnp.asarray(benchmark), jnp.asarray(covariance / size), strength, level, 1.0)
    here = (jnp.asarray(benchmark), jnp.asarray(np.quantile(scaled @ benchmark, level)))
    space, steps = Together((Simplex(), Euclidean())), 0
    for width in _WIDTHS:
        energy = eqx.tree_at(lambda one: one.width, tail, jnp.asarray(width))
        rest = relax(energy, here, space=space, tol=1e-6, max_steps=max_steps, throw=False)
        here, steps = rest.value, steps + int(rest.stats["steps"])
    weights = np.asarray(here[0])
    active = weights - benchmark
    return Weights(weights, conditional_value_at_risk(intensity @ weights, level), before,
                   float(np.sqrt(active @ covariance @ active)), steps)  # fmt: skip


def _check(intensity: np.ndarray, benchmark: np.ndarray, covariance: np.ndarray, level: float) -> None:
    count = benchmark.size
    if intensity.ndim != 2 or intensity.shape[1] != count or covariance.shape != (count, count):
        raise InputError(
            f"there are {count} benchmark weights, but the intensity has shape {intensity.shape} and the tracking "
            f"covariance {covariance.shape}: give one column for each weight."
        )
    if not all(np.isfinite(array).all() for array in (intensity, benchmark, covariance)):
        raise InputError("intensity, benchmark and tracking covariance must be finite: leave out what is not known.")
    if (benchmark < 0).any() or benchmark.sum() <= 0:
        raise InputError("benchmark weights must not be negative and not all zero: this portfolio is long-only.")
    if not 0 < level < 1:
        raise InputError(f"the level is {level:g}, but it must lie between 0 and 1, such as 0.95.")
    if conditional_value_at_risk(intensity @ benchmark, level) <= 0:
        raise InputError("the benchmark has no footprint in its tail, so that there is nothing to lower.")
