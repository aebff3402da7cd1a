"""Draws of the emissions of all companies: paths of the drivers by their law, and whole years of what is left over."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.portfolio.model.footprint import Footprint
from thalweg.portfolio.model.law import Law

_FEWEST = 3  # years, below which nothing is drawn
_KEPT = (0.01, 0.99)


def emission_draws(
    footprint: Footprint, law: Law, horizon: int, *, count: int = 500, seed: int = 0
) -> Float[np.ndarray, "draws companies"]:
    """Emissions of every company in the last year of the horizon, t CO2e.

    The drivers follow their law. To the log emissions the growth of as many years of the history, drawn with
    replacement, is added as it deviates from each company's mean: whole years at once, so that what companies have in
    common stays. Years in which a company reported nothing add nothing to it, and what lies beyond the 1 % and 99 %
    quantiles of all companies is drawn in to them: short histories hold jumps of accounting, which would be repeated.
    """
    random = np.random.default_rng(seed)
    shocks = random.normal(size=(count, horizon, law.mean.size))
    logs = np.asarray(_last(footprint, law, jnp.asarray(shocks)))
    left = leftovers(footprint)
    if left.shape[0] >= _FEWEST:
        years = random.integers(left.shape[0], size=(count, horizon))
        logs = logs + left[years].sum(axis=1)
    return np.exp(logs)


def leftovers(footprint: Footprint) -> Float[np.ndarray, "years companies"]:
    """Growth of log emissions less each company's own mean; 0 where it is not known."""
    known = np.asarray(footprint.known)
    both = (known[:, 1:] & known[:, :-1]).T
    change = np.where(both, np.diff(np.asarray(footprint.history), axis=1).T, 0.0)
    if both.any():
        change = np.clip(change, *np.quantile(change[both], _KEPT))
    mean = change.sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    return np.where(both, change - mean, 0.0)[both.any(axis=1)]


@eqx.filter_jit
def _last(footprint: Footprint, law: Law, shocks: Float[Array, "draws horizon drivers"]) -> Array:
    # One draw after the other: all at once would hold every draw's recursion in memory.
    return jax.lax.map(lambda one: jnp.log(footprint.companies(law.path(one))[:, -1]), shocks, batch_size=16)
