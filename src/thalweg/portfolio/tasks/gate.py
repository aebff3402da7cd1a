"""Whether drivers are read: only if held-out forecasts were better with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.tasks.forecasts import forecasts

_ORIGINS = 3  # the last ones of the panel
_ERRORS = 2.0  # standard errors by which drivers must win
_FEWEST = 5  # companies to judge by


class Gate(NamedTuple):
    """How it was decided whether drivers are read.

    **Fields:** `open`, whether they are; `reason`, one sentence; `origins`, years from which was forecast, with what
    drivers really did; `without` and `with_drivers`, mean absolute scaled errors over companies; `difference`, the
    second less the first, and `error`, its standard error over companies. Companies see the same drivers, so that this
    error is too small: hence a win by two of them. NaN where nothing could be compared.
    """

    open: bool
    reason: str
    origins: tuple[int, ...]
    without: float
    with_drivers: float
    difference: float
    error: float


def judged(
    panel: Panel,
    drivers: Float[np.ndarray, "years drivers"],
    fit: Callable[[Panel, Float[np.ndarray, "years drivers"]], AbstractForecaster],
    horizon: int,
) -> Gate:
    """Fit with and without drivers to what was known before the last origins of a panel, and compare.

    **Arguments:** `fit`, from a panel and its drivers to a forecaster, no columns without drivers; `horizon` of the
    comparison, in years.
    """
    last = int(panel.years[-1]) - horizon
    origins = tuple(range(last - _ORIGINS + 1, last + 1))
    early = panel.until(origins[0])
    try:
        if not early.years.size:
            raise InputError("the panel is too short to hold out any origin.")
        models = [fit(early, part[: early.years.size]) for part in (drivers[:, :0], drivers)]
        errors = [_errors(model, panel, drivers, origins, horizon) for model in models]
    except InputError as error:
        return _closed(f"closed: {error}", origins)
    both = np.isfinite(errors[0]) & np.isfinite(errors[1])
    if both.sum() < _FEWEST:
        return _closed(f"closed: only {both.sum()} companies could be compared, {_FEWEST} are needed.", origins)
    without, with_drivers = (each[both] for each in errors)
    each = with_drivers - without
    difference, error = float(each.mean()), float(each.std(ddof=1) / np.sqrt(each.size))
    wins = difference + _ERRORS * error < 0
    reason = (
        f"{'open' if wins else 'closed'}: with drivers the scaled error changed by {difference:+.4f} +- {error:.4f} "
        f"over {each.size} companies."
    )
    return Gate(wins, reason, origins, float(without.mean()), float(with_drivers.mean()), difference, error)


def _closed(reason: str, origins: tuple[int, ...]) -> Gate:
    return Gate(False, reason, origins, np.nan, np.nan, np.nan, np.nan)


def _errors(
    model: AbstractForecaster, panel: Panel, drivers: np.ndarray, origins: tuple[int, ...], horizon: int
) -> Float[np.ndarray, " companies"]:
    """The mean absolute error of each company over origins and years, in its mean yearly change; NaN without any."""
    found = []
    for origin in origins:
        past = panel.until(origin)
        years = past.years.size
        ahead = forecasts(model, past, horizon, drivers[: years + horizon])
        came = panel.emissions[:, years : years + horizon]
        change = np.abs(np.diff(past.emissions, axis=1))
        count = np.isfinite(change).sum(axis=1)
        scale = np.divide(np.nansum(change, axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
        scale = np.where(scale > 0, scale, np.nan)
        found.append(np.abs(ahead - came) / scale[:, None])
    stacked = np.concatenate(found, axis=1)
    many = np.isfinite(stacked).sum(axis=1)
    return np.divide(np.nansum(stacked, axis=1), many, out=np.full(many.shape, np.nan), where=many > 0)
