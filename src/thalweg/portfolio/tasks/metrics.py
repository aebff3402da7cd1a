"""How good forecasts are: errors of the middle, of quantiles and of intervals, each with its formula and source.

Rows are companies, columns are the years ahead. NaN in a forecast or an actual value is NaN in what follows from it:
`scored` says which rows have everything.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.baselines import pasts

HYNDMAN = """@article{hyndman2006another, title={Another look at measures of forecast accuracy},
  author={Hyndman, Rob J and Koehler, Anne B}, journal={International Journal of Forecasting}, volume={22},
  pages={679--688}, year={2006}}"""
GNEITING = """@article{gneiting2007strictly, title={Strictly proper scoring rules, prediction, and estimation},
  author={Gneiting, Tilmann and Raftery, Adrian E}, journal={Journal of the American Statistical Association},
  volume={102}, pages={359--378}, year={2007}}"""


def scored(
    forecast: Float[np.ndarray, "companies horizon"], actual: Float[np.ndarray, "companies horizon"]
) -> Bool[np.ndarray, " companies"]:
    """The companies with a forecast and a reported value in every year ahead."""
    return np.asarray(np.isfinite(forecast).all(axis=1) & np.isfinite(actual).all(axis=1))


def scale(panel: Panel) -> Float[np.ndarray, " companies"]:
    """The mean |y_t - y_{t-1}| of each company's latest years without a gap, in tonnes; NaN for a single year.

    **Source:** Hyndman & Koehler, Int. J. Forecasting 22, 679 (2006): the in-sample error of the naive forecast.
    """
    return np.array([np.nan if past is None else np.abs(np.diff(past)).mean() for past in pasts(panel, 2)])


def mase(
    forecast: Float[np.ndarray, "companies horizon"],
    actual: Float[np.ndarray, "companies horizon"],
    scale: Float[np.ndarray, " companies"],
) -> Float[np.ndarray, " companies"]:
    """The mean absolute scaled error, mean_h |F - y| / scale, without a unit.

    **Raises:** `InputError` for a company whose emissions never changed, which has no scale.

    **Source:** Hyndman & Koehler, Int. J. Forecasting 22, 679 (2006), equation for MASE.
    """
    if (scale == 0).any():
        raise InputError("a company's emissions never changed in the history, so that its error has no scale.")
    return np.abs(forecast - actual).mean(axis=1) / scale


def smape(
    forecast: Float[np.ndarray, "companies horizon"], actual: Float[np.ndarray, "companies horizon"]
) -> Float[np.ndarray, " companies"]:
    """The symmetric mean absolute percentage error, 200 mean_h |F - y| / (|F| + |y|), in percent, from 0 to 200.

    **Source:** Makridakis & Hibon, Int. J. Forecasting 16, 451 (2000), as in the M3 and M4 competitions.
    """
    return 200 * (np.abs(forecast - actual) / (np.abs(forecast) + np.abs(actual))).mean(axis=1)


def mape(
    forecast: Float[np.ndarray, "*cases horizon"], actual: Float[np.ndarray, "*cases horizon"]
) -> Float[np.ndarray, "*cases"]:
    """The mean absolute percentage error, 100 mean_h |F - y| / |y|, in percent.

    **Source:** Hyndman & Koehler, Int. J. Forecasting 22, 679 (2006), section 2.2.
    """
    return 100 * (np.abs(forecast - actual) / np.abs(actual)).mean(axis=-1)


def wape(forecast: Float[np.ndarray, "*cases"], actual: Float[np.ndarray, "*cases"]) -> float:
    """The weighted absolute percentage error, 100 sum |F - y| / sum |y| over everything, in percent.

    **Source:** Kolassa & Schuetz, Foresight 6, 40 (2007): the ratio of mean absolute error and mean.
    """
    return float(100 * np.abs(forecast - actual).sum() / np.abs(actual).sum())


def bias(forecast: Float[np.ndarray, "*cases"], actual: Float[np.ndarray, "*cases"]) -> float:
    """The weighted bias, 100 sum (F - y) / sum |y| over everything, in percent; positive where too much was forecast.

    **Source:** Kolassa & Schuetz, Foresight 6, 40 (2007), with its sign kept.
    """
    return float(100 * (forecast - actual).sum() / np.abs(actual).sum())


def pinball(
    quantile: Float[np.ndarray, "levels *cases"],
    actual: Float[np.ndarray, "*cases"],
    levels: Float[np.ndarray, " levels"],
) -> Float[np.ndarray, "levels *cases"]:
    """The quantile loss, max(q (y - F_q), (q - 1) (y - F_q)), in tonnes.

    **Arguments:** `quantile`, a forecast of each of the `levels` q, all between 0 and 1.

    **Source:** Koenker & Bassett, Econometrica 46, 33 (1978).
    """
    q = levels.reshape(-1, *([1] * actual.ndim))
    return np.maximum(q * (actual - quantile), (q - 1) * (actual - quantile))


def crps(
    quantile: Float[np.ndarray, "levels *cases"],
    actual: Float[np.ndarray, "*cases"],
    levels: Float[np.ndarray, " levels"],
) -> Float[np.ndarray, "*cases"]:
    """The continuous ranked probability score by quantiles, 2 mean_q pinball_q, in tonnes.

    **Source:** Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007), section 4.2 and equation 33; with levels at
    equal distances this is the rule of the rectangle for the integral over q.
    """
    return 2 * pinball(quantile, actual, levels).mean(axis=0)


def wql(
    quantile: Float[np.ndarray, "levels *cases"],
    actual: Float[np.ndarray, "*cases"],
    levels: Float[np.ndarray, " levels"],
) -> float:
    """The weighted quantile loss, 100 sum crps / sum |y| over everything, in percent of the emissions.

    **Source:** Salinas et al., Int. J. Forecasting 36, 1181 (2020), averaged over the levels.
    """
    return float(100 * crps(quantile, actual, levels).sum() / np.abs(actual).sum())


def winkler(
    lower: Float[np.ndarray, "*cases"],
    upper: Float[np.ndarray, "*cases"],
    actual: Float[np.ndarray, "*cases"],
    level: float,
) -> Float[np.ndarray, "*cases"]:
    """The interval score: the width, and 2 / (1 - level) times the distance of a value outside, in tonnes.

    **Source:** Winkler, J. Am. Stat. Assoc. 67, 187 (1972); Gneiting & Raftery (2007), equation 43.
    """
    outside = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
    return upper - lower + 2 / (1 - level) * outside


def coverage(
    lower: Float[np.ndarray, "*cases"], upper: Float[np.ndarray, "*cases"], actual: Float[np.ndarray, "*cases"]
) -> float:
    """The share of values inside of their intervals, ends included; what is NaN counts on neither side.

    **Source:** Christoffersen, Int. Econ. Rev. 39, 841 (1998): the unconditional coverage.
    """
    known = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(actual)
    return float(((lower <= actual) & (actual <= upper))[known].mean()) if known.any() else float("nan")
