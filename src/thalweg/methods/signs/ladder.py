"""Temperatures from the distribution of local fields."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from thalweg.methods.signs.graph import SignGraph
from thalweg.methods.signs.lanes import quenched, scattered

_SMALLEST = 0.01  # the quantile of fields at rest that counts as the smallest: reals have no smallest


def beta_range(graph: SignGraph, words: np.ndarray, hot: float, cold: float) -> tuple[float, float]:
    """The inverse temperatures, in units of the graph, between which signs freeze.

    **Arguments:** `graph`, as `narrow` makes it; `words`, the random words for some descents from random signs, whose
    local fields tell what the smallest costs are; `hot`, one beta times the root mean square field of random signs;
    `cold`, the other times the smallest field at rest: `exp(-2 cold)` of such flips are accepted.
    """
    squares = np.concatenate([[0.0], np.cumsum(graph.couplings.astype(np.float64) ** 2)])
    spread = squares[graph.starts[1:]] - squares[graph.starts[:-1]] + graph.field.astype(np.float64) ** 2
    typical = float(np.sqrt(spread.mean()))
    if not typical > 0:
        return 1.0, 1.0  # every state has the same energy
    felt = np.abs(quenched(graph, scattered(graph, 1, words)).fields).ravel()
    felt = felt[felt > 0]
    smallest = float(np.quantile(felt, _SMALLEST, method="lower")) if felt.size else typical
    return hot / typical, max(cold / smallest, 2 * hot / typical)


def schedule(beta_hot: float, beta_cold: float, sweeps: int) -> Float[np.ndarray, " sweeps"]:
    """Inverse temperatures in equal ratios, so that couplings of all scales get their share of sweeps."""
    if sweeps == 1:
        return np.array([beta_cold])
    return beta_hot * (beta_cold / beta_hot) ** (np.arange(sweeps) / (sweeps - 1))
