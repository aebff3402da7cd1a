"""Intervals of sums over companies: errors of the same origin go together, because years are good or bad for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from thalweg.portfolio.tasks.intervals import CHECKED, Scores, raised

DRAWS = 1000
_OUTERMOST = 0.1  # of an origin's worth of scores
_FEWEST = 5  # companies with a score that make a cross-section


class Made(NamedTuple):
    """What a method said at one origin.

    **Fields:** `origin`; `forecast` in tonnes, NaN rows where there was too little history; `volatility`, the same for
    all years ahead or one for each; `actual`, NaN where it is not known.
    """

    origin: int
    forecast: Float[np.ndarray, "companies horizon"]
    volatility: Float[np.ndarray, "companies #horizon"]
    actual: Float[np.ndarray, "companies horizon"]


class Totals(NamedTuple):
    """Intervals of portfolios' footprints.

    **Fields:** `middle`, the sum of the companies' forecasts; `lower` and `upper`, for each level; tonnes.
    """

    middle: Float[np.ndarray, "portfolios horizon"]
    lower: Float[np.ndarray, "levels portfolios horizon"]
    upper: Float[np.ndarray, "levels portfolios horizon"]


def cross_sections(scores: Scores, year: int, ahead: int) -> list[Float[np.ndarray, " scores"]]:
    """The scores of so many years ahead of each of the latest origins, as known at a year's end, where there are 5."""
    rows = scores.known(year, ahead).values[:, :, 0]
    return [row[np.isfinite(row)] for row in rows if np.isfinite(row).sum() >= _FEWEST]


def deviations(
    factors: Float[np.ndarray, "portfolios companies"],
    made: Made,
    scores: Scores,
    ahead: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draws portfolios"]:
    """Draws of log(footprint / forecast) so many years ahead, from cross-sections of what was known at the origin.

    Every draw takes an origin and gives each company a score that some company had there. In half of the draws what
    the origin's scores have in common, their median, is turned around: a trend of the past is not one of the future.
    Scores beyond the outermost 1 % of ten origins', and more of fewer, are drawn to there: a company's broken report
    is not another's, and few origins know no tails.

    **Arguments:** `factors`, the share of each company's emissions that a portfolio finances; `scores` of the method.

    **Returns:** the draws; none (no rows) where no origin has a cross-section.
    """
    generator = np.random.default_rng((seed, made.origin, ahead))
    sections = cross_sections(scores, made.origin, ahead)
    there = np.isfinite(made.forecast[:, ahead - 1])
    forecast, weights = made.forecast[there, ahead - 1], factors[:, there]
    if not sections:
        return np.zeros((0, len(factors)))
    most = float(np.quantile(np.abs(np.concatenate(sections)), 1 - _OUTERMOST / len(sections)))
    drawn = np.empty((draws, int(there.sum())))
    for place, turned in enumerate(generator.random(draws) < 0.5):
        section = np.clip(sections[place % len(sections)], -most, most)
        drawn[place] = generator.choice(section, drawn.shape[1]) - (2 * np.median(section) if turned else 0.0)
    volatility = np.broadcast_to(made.volatility, made.forecast.shape)[there, ahead - 1]
    totals = (forecast * np.exp(volatility * drawn)) @ weights.T
    return np.log(totals / (weights @ forecast))


def totals(
    factors: Float[np.ndarray, "portfolios companies"],
    now: Made,
    before: Sequence[Made],
    scores: Scores,
    levels: Sequence[float],
    *,
    alike: Float[np.ndarray, "alike companies"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Totals:
    """The footprints of portfolios with their intervals, from what was known at an origin.

    Where intervals made in this way held less than their level at the latest origins, for these portfolios together,
    the level is raised as far as they would have needed.

    **Arguments:** `factors`, the share of each company's emissions that a portfolio finances, 0 of a company without a
    forecast; `now`; `before`, what the method said at earlier origins, ascending; `scores` of the method; `levels`;
    `alike`, portfolios by which earlier intervals are looked at, by default the same.

    **Returns:** tonnes of CO2e; infinite upper ends where no earlier origin is known.
    """
    middle = factors @ np.nan_to_num(now.forecast)
    lower, upper = (np.zeros((len(levels), *middle.shape)) for _ in range(2))
    for ahead in range(1, middle.shape[1] + 1):
        drawn = deviations(factors, now, scores, ahead, draws=draws, seed=seed)
        known = [made for made in before if made.origin + ahead <= now.origin][-CHECKED:]
        needs = [_needs(factors if alike is None else alike, made, scores, ahead, draws, seed) for made in known]
        needs = np.concatenate(needs) if needs else np.zeros(0)
        for place, level in enumerate(levels):
            wide = raised(level, needs, draws / (draws + 1))
            ends = np.quantile(drawn, [(1 - wide) / 2, (1 + wide) / 2], axis=0) if len(drawn) else [[-np.inf], [np.inf]]
            # The forecast itself is always inside, however skewed its errors were.
            lower[place, :, ahead - 1] = np.minimum(ends[0], 0.0)
            upper[place, :, ahead - 1] = np.maximum(ends[1], 0.0)
    # Never narrower than a year before: where errors say so, they are few.
    below, above = np.minimum.accumulate(lower, axis=2), np.maximum.accumulate(upper, axis=2)
    return Totals(middle, middle * np.exp(below), middle * np.exp(above))


def _needs(
    factors: Float[np.ndarray, "portfolios companies"], made: Made, scores: Scores, ahead: int, draws: int, seed: int
) -> Float[np.ndarray, " needs"]:
    """The levels that the intervals of an earlier origin would have needed, of portfolios that were known then."""
    both = _both(made, ahead)
    weights = np.where(both, factors, 0.0)
    whole = (weights > 0).sum(axis=1) * 2 > (factors > 0).sum(axis=1)
    if not whole.any():
        return np.zeros(0)
    weights = weights[whole]
    drawn = deviations(weights, made, scores, ahead, draws=draws, seed=seed)
    if not len(drawn):
        return np.zeros(0)
    forecast, actual = (np.where(both, values[:, ahead - 1], 0.0) for values in (made.forecast, made.actual))
    happened = np.log((weights @ actual) / (weights @ forecast))
    below = (drawn < happened).sum(axis=0) / (len(drawn) + 1)
    return np.minimum(1.0, np.abs(2 * below - 1) + 1 / (len(drawn) + 1))


def _both(made: Made, ahead: int) -> Bool[np.ndarray, " companies"]:
    return np.isfinite(made.forecast[:, ahead - 1]) & np.isfinite(made.actual[:, ahead - 1])
