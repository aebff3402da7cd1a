"""What a forecast of emissions has to beat: last year's value, trends, and the statistical models of one series."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel

Method = Callable[[Panel, int], Float[np.ndarray, "companies horizon"]]
Series = Callable[[Float[np.ndarray, " years"], int], Float[np.ndarray, " horizon"]]
Statistical = Literal["ets", "theta", "arima"]

DAMPING = 0.85  # of a trend per year, as exponential smoothing has it between 0.8 and 0.98 (Hyndman et al. 2008)
ITR_YEARS = 6  # of history: as many as almost all companies of the ITR sample report
_LOWEST, _HIGHEST = -0.10, 0.03  # growth per year to which the ITR tool clips a trend
# What each needs of a company's latest years without a gap.
LEAST = {"naive": 1, "drift": 2, "damped_drift": 2, "itr": 2, "ets": 8, "theta": 5, "arima": 5}


def naive(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """The last value for all years to come: the best forecast of a random walk, NaN where there is no last value."""
    return _each(panel, horizon, LEAST["naive"], lambda past, steps: np.full(steps, past[-1]))


def drift(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """The last value and the mean yearly change since the history began, NaN for less than two years.

    **Source:** Hyndman & Athanasopoulos, Forecasting: Principles and Practice (2021), section 5.2.
    """
    return damped_drift(panel, horizon, damping=1.0)


def damped_drift(panel: Panel, horizon: int, *, damping: float = DAMPING) -> Float[np.ndarray, "companies horizon"]:
    """The last value and the mean yearly change, of which every further year brings less, NaN for less than two years.

    F_{t+h} = y_t + (damping + ... + damping^h) (y_t - y_1) / (t - 1), and never less than a hundredth of y_t.
    """

    def one(past: Float[np.ndarray, " years"], steps: int) -> Float[np.ndarray, " horizon"]:
        change = (past[-1] - past[0]) / (past.size - 1)
        return past[-1] + change * np.cumsum(damping ** np.arange(1, steps + 1))

    return _each(panel, horizon, LEAST["damped_drift"], one)


def itr(panel: Panel, horizon: int, *, years: int | None = ITR_YEARS) -> Float[np.ndarray, "companies horizon"]:
    """The trend rule of the OS-Climate ITR tool: the median yearly ratio, within -10 % and +3 % per year.

    The history is first clipped to its own 10 % and 90 % quantiles; growth starts from the last value as reported.

    **Arguments:** `panel`; `horizon` in years; `years`, how much of the history counts, by default as much as the
    template holds; `None` for all.

    **Returns:** emissions in tonnes of CO2e, NaN for companies with less than two years.

    **Source:** os-climate/ITR, `EITrajectoryProjector` in `ITR/data/base_providers.py` (`_winsorize`, `_get_trends`,
    `_extrapolate`) and `ProjectionControls` in `ITR/configs.py`.
    """

    def one(past: Float[np.ndarray, " years"], steps: int) -> Float[np.ndarray, " horizon"]:
        read = past if years is None else past[-years:]
        clipped = np.clip(read, *np.quantile(read, [0.1, 0.9]))
        rate = np.clip(np.median(clipped[1:] / clipped[:-1] - 1), _LOWEST, _HIGHEST)
        return past[-1] * (1 + rate) ** np.arange(1, steps + 1)

    return _each(panel, horizon, LEAST["itr"], one)


def ets(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """Exponential smoothing with a damped trend, its form chosen by AICc, NaN for less than eight years.

    **Raises:** `InputError` where statsforecast is missing.

    **Source:** Hyndman, Koehler, Ord & Snyder, Forecasting with Exponential Smoothing (2008); statsforecast `AutoETS`.
    """
    return _statistical("ets", panel, horizon)


def theta(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """The dynamic optimised Theta model, NaN for less than five years.

    **Raises:** `InputError` where statsforecast is missing.

    **Source:** Fiorucci et al., Int. J. Forecasting 32, 1151 (2016); statsforecast `DynamicOptimizedTheta`.
    """
    return _statistical("theta", panel, horizon)


def arima(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """ARIMA with its orders chosen by AICc, NaN for less than five years.

    **Raises:** `InputError` where statsforecast is missing.

    **Source:** Hyndman & Khandakar, J. Stat. Softw. 27, 3 (2008); statsforecast `AutoARIMA`.
    """
    return _statistical("arima", panel, horizon)


BASELINES: dict[str, Method] = {
    "naive": naive,
    "drift": drift,
    "damped_drift": damped_drift,
    "itr": itr,
    "ets": ets,
    "theta": theta,
    "arima": arima,
}


def skipped(name: str, panel: Panel) -> tuple[str, ...]:
    """The companies whose latest years without a gap are too few for the baseline `name`."""
    short = panel.recent() < LEAST[name]
    return tuple(company for company, is_short in zip(panel.companies, short, strict=True) if is_short)


def pasts(panel: Panel, least: int = 1) -> list[Float[np.ndarray, " years"] | None]:
    """Each company's latest years without a gap, `None` where they are fewer than `least`."""
    lengths = panel.recent()
    return [
        row[row.size - length :] if length >= least else None
        for row, length in zip(panel.emissions, lengths, strict=True)
    ]


def _each(panel: Panel, horizon: int, least: int, one: Series) -> Float[np.ndarray, "companies horizon"]:
    if horizon < 1:
        raise InputError(f"a horizon of {horizon} years is none: forecast at least one year.")
    found = np.full((len(panel.companies), horizon), np.nan)
    for place, past in enumerate(pasts(panel, least)):
        if past is not None:
            # A straight line may cross zero, which emissions do not.
            found[place] = np.maximum(one(past, horizon), past[-1] / 100)
    return found


def _statistical(name: Statistical, panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    make = _model(name)

    def one(past: Float[np.ndarray, " years"], steps: int) -> Float[np.ndarray, " horizon"]:
        # Their optimisers stop by absolute sizes: a series is told in units of its own.
        unit = float(past.mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return unit * np.asarray(make().forecast(y=past / unit, h=steps)["mean"], np.float64)

    return _each(panel, horizon, LEAST[name], one)


def _model(name: Statistical) -> Callable[[], Any]:
    try:
        from statsforecast.models import AutoARIMA, AutoETS, DynamicOptimizedTheta
    except ImportError as missing:
        raise InputError(
            f"{name} is computed by statsforecast, which is missing: pip install 'thalweg[portfolio]'."
        ) from missing
    made: dict[str, Callable[[], Any]] = {
        "ets": lambda: AutoETS(season_length=1, damped=True),
        "theta": lambda: DynamicOptimizedTheta(season_length=1),
        "arima": lambda: AutoARIMA(season_length=1),
    }
    return made[name]
