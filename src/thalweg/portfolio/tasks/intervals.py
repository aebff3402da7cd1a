"""Intervals by conformal prediction: how far forecasts were off before says how far they may be off now.

Errors are told as scores, log(actual / forecast) over the company's volatility, so that companies of every size share
them. What is known at an origin is only what had happened by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.baselines import pasts

# Chosen on the Carbon Majors with origins before 2007 (naive, damped drift, Theta).
HALF_LIFE = 5.0  # years after which a growth counts half in the volatility
PRIOR_YEARS = 10.0  # of the panel's usual volatility that are added to a company's own
LARGEST = 10.0  # times the usual growth, beyond which one counts no more
WINDOW = 10  # the latest origins that count
CHECKED = 5  # the latest origins whose intervals are looked at afterwards
LEVELS = (0.80, 0.95)
QUANTILES = tuple(place / 20 for place in range(1, 20))  # by which the CRPS is computed
CONFORMAL = """@article{angelopoulos2023conformal, title={Conformal prediction: a gentle introduction},
  author={Angelopoulos, Anastasios N and Bates, Stephen}, journal={Foundations and Trends in Machine Learning},
  volume={16}, pages={494--591}, year={2023}}"""
DISTRIBUTIONAL = """@inproceedings{kuleshov2018accurate,
  title={Accurate uncertainties for deep learning using calibrated regression},
  author={Kuleshov, Volodymyr and Fenner, Nathan and Ermon, Stefano},
  booktitle={International Conference on Machine Learning}, pages={2796--2804}, year={2018}}"""


class Scores(NamedTuple):
    """Errors of one method at several origins.

    **Fields:** `origins`, the years at whose end was forecast, ascending; `values`, log(actual / forecast) over
    volatility, NaN where either is missing.
    """

    origins: Int[np.ndarray, " origins"]
    values: Float[np.ndarray, "origins companies horizon"]

    def known(self, year: int, ahead: int) -> Scores:
        """What was known at the end of a year of forecasts of so many years ahead, of the latest `WINDOW` origins."""
        happened = np.flatnonzero(self.origins + ahead <= year)[-WINDOW:]
        return Scores(self.origins[happened], self.values[happened][:, :, ahead - 1 : ahead])


def volatility(panel: Panel) -> Float[np.ndarray, " companies"]:
    """The mean |log growth| of each company's latest years without a gap, of which recent ones count more.

    It is shrunk towards the panel's median, as if that had been seen for `PRIOR_YEARS` years more. A growth counts at
    most `LARGEST` times that median: a break in how a company reports is not its volatility.

    **Raises:** `InputError` where no company has two years.
    """
    steps = [np.zeros(0) if past is None else np.abs(np.diff(np.log(past)))[::-1] for past in pasts(panel, 2)]
    weights = [0.5 ** (np.arange(step.size) / HALF_LIFE) for step in steps]
    means = [(step @ weight) / weight.sum() for step, weight in zip(steps, weights, strict=True) if step.size]
    if not means:
        raise InputError(f"no company has emissions of {panel.years[-1]} and of the year before: add histories.")
    usual = max(float(np.median(means)), 1e-6)
    sums = np.array([np.minimum(step, LARGEST * usual) @ weight for step, weight in zip(steps, weights, strict=True)])
    counts = np.array([weight.sum() for weight in weights])
    return (sums + PRIOR_YEARS * usual) / (counts + PRIOR_YEARS)


def actual(panel: Panel, origin: int, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """What happened in the years after an origin, in tonnes, NaN where the panel does not say."""
    found = np.full((len(panel.companies), horizon), np.nan)
    after = (panel.years > origin) & (panel.years <= origin + horizon)
    found[:, panel.years[after] - origin - 1] = panel.emissions[:, after]
    return found


def scores(panel: Panel, forecasts: Sequence[Float[np.ndarray, "companies horizon"]], origins: Sequence[int]) -> Scores:
    """The errors of forecasts at several origins, as far as the panel goes.

    **Arguments:** `panel`, with what happened; `forecasts` in tonnes, one for each of the ascending `origins`, from
    what was known then.
    """
    values = [
        np.log(actual(panel, origin, forecast.shape[1]) / forecast) / volatility(panel.until(origin))[:, None]
        for origin, forecast in zip(origins, forecasts, strict=True)
    ]
    return Scores(np.asarray(origins, np.int64), np.stack(values))


def quantile(values: Float[np.ndarray, " scores"], level: float) -> float:
    """The conformal quantile of scores: a new, exchangeable one is at most this with a probability >= `level`.

    **Returns:** the ceil((n + 1) level)-th smallest of n scores; infinite where n is too small for the level.

    **Source:** Angelopoulos & Bates, Found. Trends Mach. Learn. 16, 494 (2023), equation 1; Vovk, Gammerman & Shafer,
    Algorithmic Learning in a Random World (2005).
    """
    # A level such as 0.8 is no binary fraction: what misses a whole number by rounding is that number.
    place = int(np.ceil((values.size + 1) * level - 1e-9))
    if place > values.size:
        return float("inf")
    return float(np.partition(values, place - 1)[place - 1]) if place > 0 else 0.0


def needed(values: Float[np.ndarray, " scores"], before: Float[np.ndarray, " earlier"]) -> Float[np.ndarray, " scores"]:
    """The level that the conformal quantile of earlier scores would have needed to reach each of the `values`."""
    return (np.searchsorted(np.sort(before), values, side="left") + 1) / (before.size + 1)


def raised(level: float, needs: Float[np.ndarray, " scores"], most: float) -> float:
    """A level that would have held what it says afterwards, and never less than itself, nor more than `most`.

    Raised levels only widen intervals: where scores are exchangeable, the guarantee of the quantile stays.

    **Source:** Kuleshov, Fenner & Ermon, ICML (2018), on scores of the past instead of a held-out set.
    """
    if not needs.size:
        return level
    held = float(np.quantile(needs, level, method="inverted_cdf"))
    return max(level, min(held, most))


def reach(scores: Scores, year: int, levels: Sequence[float]) -> Float[np.ndarray, "levels horizon"]:
    """How many volatilities an interval of each level reaches to either side, from what was known at a year's end.

    For every year ahead, the |scores| of all companies at the latest origins are pooled. Where intervals made in this
    way held less than their level at the latest origins, the level is raised as far as they would have needed. An
    interval is never narrower than that of a year before: where errors say so, they are few.

    **Arguments:** `scores` of one method; later ones than of `year` are not looked at; `levels` from 0 to 1.

    **Returns:** half widths; infinite where there are too few scores for a level.
    """
    horizon = scores.values.shape[2]
    found = np.zeros((len(levels), horizon))
    for ahead in range(1, horizon + 1):
        pool = _sizes(scores.known(year, ahead))
        needs = _needs(scores, year, ahead)
        most = pool.size / (pool.size + 1)
        found[:, ahead - 1] = [quantile(pool, raised(level, needs, most)) if level > 0 else 0.0 for level in levels]
    return np.maximum.accumulate(found, axis=1)


def band(
    forecast: Float[np.ndarray, "companies horizon"],
    volatility: Float[np.ndarray, " companies"],
    reach: Float[np.ndarray, "levels horizon"],
) -> tuple[Float[np.ndarray, "levels companies horizon"], Float[np.ndarray, "levels companies horizon"]]:
    """The lower and the upper ends of intervals, in tonnes: the forecast times exp(-+ volatility times reach)."""
    factor = np.exp(volatility[:, None] * reach[:, None, :])
    return forecast / factor, forecast * factor


def middle_levels(quantiles: Sequence[float] = QUANTILES) -> Float[np.ndarray, " quantiles"]:
    """For every quantile the level of the interval that ends there."""
    return np.round(np.abs(2 * np.asarray(quantiles) - 1), 12)


def _sizes(known: Scores) -> Float[np.ndarray, " scores"]:
    sizes = np.abs(known.values).ravel()
    return sizes[np.isfinite(sizes)]


def _needs(scores: Scores, year: int, ahead: int) -> Float[np.ndarray, " needs"]:
    """The levels that the latest intervals, made from what was known when they were made, would have needed."""
    recent = scores.known(year, ahead)
    found = []
    for origin, values in zip(recent.origins[-CHECKED:], recent.values[-CHECKED:], strict=True):
        before = _sizes(scores.known(int(origin), ahead))
        if before.size:
            found.append(needed(_sizes(Scores(np.array([origin]), values[None])), before))
    return np.concatenate(found) if found else np.zeros(0)
