"""From a panel to all forecasts that could have been made in its past."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.loss import Sample
from thalweg.portfolio.model.past import Past, pasts
from thalweg.portfolio.model.recursion import Prior, with_trend
from thalweg.portfolio.model.trend import DampedTrend

_BLOCK = 1024  # samples, in which they are counted: panels of about the same size compile once
_RUNS = 32  # the same for contiguous stretches of history
_YEARS = 32  # the same for years


class Runs(NamedTuple):
    """Contiguous stretches of histories, one in each row: what lies before and after is not known.

    **Fields:** `history`, log emissions with 0 where not known; `known`; `company`, the row of the panel.
    """

    history: Float[np.ndarray, "runs years"]
    known: Bool[np.ndarray, "runs years"]
    company: Int[np.ndarray, " runs"]


def runs(panel: Panel) -> Runs:
    """The contiguous stretches of a panel that hold a growth; a gap parts one company's history in two."""
    reported = np.isfinite(panel.emissions)
    edge = np.diff(np.pad(reported, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (company, begin), (_, end) = np.nonzero(edge == 1), np.nonzero(edge == -1)
    kept = end - begin >= 2
    company, begin, end = company[kept], begin[kept], end[kept]
    places = np.arange(panel.years.size)
    known = (places >= begin[:, None]) & (places < end[:, None])
    log = np.log(np.where(reported, panel.emissions, 1.0))[company]
    return Runs(np.where(known, log, 0.0), known, company)


def prior(found: Runs, years: float, drivers: Float[np.ndarray, "years drivers"]) -> Prior:
    """What a panel says before a company of it is looked at.

    **Raises:** `InputError` where there is no growth to learn from.
    """
    both = found.known[:, 1:] & found.known[:, :-1]
    change = np.abs(np.diff(found.history, axis=1))
    if not both.any():
        raise InputError("no company has two contiguous years of emissions: nothing can be learnt from this panel.")
    usual = float(np.median(np.sum(change * both, axis=1) / np.sum(both, axis=1)))
    if usual == 0:
        usual = float(np.mean(change[both]))
    if usual == 0:
        raise InputError("the emissions of the panel never change: there is nothing to forecast.")
    shape = drivers.shape[-1]
    seen = drivers[np.isfinite(drivers).all(axis=1)]
    if shape and len(seen) < 3:
        raise InputError("the drivers are known in fewer than 3 years of the panel: give more of them, or none.")
    spread = seen.std(axis=0) if shape else np.zeros(0)
    return Prior(usual, years, seen.mean(axis=0) if shape else np.zeros(0), np.where(spread > 0, spread, 1.0))


def samples(
    panel: Panel,
    known_prior: Prior,
    drivers: Float[np.ndarray, "years drivers"],
    *,
    horizon: int,
    least: int,
    halflife: float = np.inf,
    trends: DampedTrend | None = None,
) -> tuple[Sample, int]:
    """All past forecasts as one batch, filled up with samples of no weight to a round number, and their origins.

    **Arguments:** `drivers`, growth in every year of the panel, NaN where not known: years after that do not count;
    `least`, how many growths must be known before a forecast is made; `halflife`, years after which a past origin
    counts half; `trends`, one for each company of a panel without gaps, to which the network is added.
    """
    found = runs(panel)
    rows, years = (-(-size // block) * block for size, block in zip(found.known.shape, (_RUNS, _YEARS), strict=True))
    pad = ((0, rows - found.known.shape[0]), (years - found.known.shape[1], 0))
    history, known = np.pad(found.history, pad), np.pad(found.known, pad)
    past = _pasts(history, known, known_prior.usual, known_prior.years)
    if trends is not None:
        settings = np.pad(np.asarray(trends.settings)[found.company], (pad[0], (0, 0)))
        past = _with_trends(past, DampedTrend(jnp.asarray(settings), trends.logarithmic), history, known)
    past = jax.tree.map(np.asarray, past)
    sensible = trends is None or _sensible(past)
    change = np.pad(np.diff(history, axis=1), ((0, 0), (1, horizon)))
    seen = np.pad(known[:, 1:] & known[:, :-1], ((0, 0), (1, horizon)))
    driven = np.pad(drivers, ((years - drivers.shape[0], horizon), (0, 0)), constant_values=np.nan)
    seen &= np.isfinite(driven).all(axis=1)
    run, origin = np.nonzero(known & sensible & (past.count >= least) & seen[:, 1 : years + 1])
    after = origin[:, None] + 1 + np.arange(horizon)
    alive = np.cumprod(seen[run[:, None], after], axis=1).astype(np.float64)
    steps = (driven[after] - np.asarray(known_prior.centre)) / np.asarray(known_prior.spread)
    batch = Sample(
        past=jax.tree.map(lambda leaf: leaf[run, origin], past),
        growth=jnp.asarray(np.where(alive > 0, change[run[:, None], after], 0.0)),
        known=jnp.asarray(alive),
        drivers=jnp.asarray(np.where(alive[..., None] > 0, steps, 0.0)),
        weight=0.5 ** ((years - 1 - origin) / halflife),
    )
    return _filled(batch), np.unique(origin).size


def _filled(batch: Sample) -> Sample:
    items = batch.weight.size
    if not items:
        raise InputError(
            "no company has enough contiguous years to learn a forecast from: give longer histories, or use a model "
            "that needs none, such as naive."
        )
    full = -(-items // _BLOCK) * _BLOCK
    places = np.arange(full) % items
    filled = jax.tree.map(lambda leaf: jnp.asarray(leaf[places]), batch)
    return filled._replace(weight=jnp.where(np.arange(full) < items, filled.weight, 0.0))


@jax.jit
def _pasts(history, known, usual, years):
    return jax.vmap(lambda one, mask: pasts(one, mask, usual, years))(history, known)


@eqx.filter_jit
def _with_trends(past, trends, history, known):
    return jax.vmap(with_trend)(past, trends, history, known)


def _sensible(past: Past) -> Bool[np.ndarray, "runs years"]:
    """Where the trend expects a growth that is not unheard of: a slope in tonnes may be too much for a small start."""
    expected = np.asarray(jax.vmap(jax.vmap(lambda one: one.expected()))(past))
    return np.abs(expected) <= 3 * past.volatility
