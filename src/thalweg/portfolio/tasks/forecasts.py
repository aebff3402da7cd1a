"""Forecast every company of a panel with one forecaster, or each with its own."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.forecaster import AbstractForecaster

LEAST = 3  # contiguous years up to the last one, for a company to be forecast
_ROWS, _YEARS = 64, 32  # multiples to which shapes are filled up, so that origins and panels share a compilation


def given_drivers(panel: Panel, drivers: np.ndarray | None, beyond: int = 0) -> Float[np.ndarray, "steps drivers"]:
    """Drivers in every year of a panel and of as many `beyond`; no columns where there are none.

    **Raises:** `InputError` for another number of years.
    """
    years = panel.years.size + beyond
    if drivers is None:
        return np.zeros((years, 0))
    drivers = np.asarray(drivers, np.float64)
    if drivers.ndim != 2 or drivers.shape[0] != years:
        raise InputError(
            f"the drivers have shape {drivers.shape}, but one row for each of the {years} years from {panel.years[0]} "
            f"to {panel.years[-1] + beyond} is needed."
        )
    return drivers


def padded(panel: Panel) -> tuple[Float[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """Log emissions of the recent contiguous years, 0 elsewhere, and where they are; filled up to a round shape."""
    companies, years = panel.emissions.shape
    known = np.arange(years) >= years - panel.recent()[:, None]
    history = np.log(np.where(known, panel.emissions, 1.0))
    pad = ((0, -companies % _ROWS), (-years % _YEARS, 0))
    return np.pad(history, pad), np.pad(known, pad)


def forecasts(
    forecaster: AbstractForecaster,
    panel: Panel,
    horizon: int,
    drivers: Float[np.ndarray, "steps drivers"] | None = None,
    *,
    own: Any = None,
) -> Float[np.ndarray, "companies horizon"]:
    """Emissions of the years after a panel, in t CO2e; NaN for companies with fewer than 3 recent years.

    **Arguments:** `forecaster`; `own`, where it has a leading axis of companies, as the `in_axes` of `vmap`; `drivers`,
    growth in the years of the panel and of the horizon, of which those of the horizon must be known.

    **Raises:** `InputError` for a horizon below 1 and drivers of other years.
    """
    if horizon < 1:
        raise InputError(f"a horizon of {horizon} years is none: choose 1 or more.")
    given = given_drivers(panel, drivers, horizon)
    if not np.isfinite(given[panel.years.size :]).all():
        raise InputError("the drivers are not known in every year of the horizon: complete the scenario.")
    companies, years = panel.emissions.shape
    history, known = padded(panel)
    steps = np.pad(np.where(np.isfinite(given), given, 0.0), ((history.shape[1] - years, 0), (0, 0)))
    if own is not None:
        forecaster = _filled(forecaster, own, history.shape[0] - companies)
    found = _each(forecaster, jnp.asarray(history), jnp.asarray(known), jnp.asarray(steps), own)
    return np.where(panel.recent()[:, None] >= LEAST, np.exp(np.asarray(found))[:companies], np.nan)


@eqx.filter_jit
def _each(
    forecaster: AbstractForecaster,
    history: Float[Array, "companies years"],
    known: Bool[Array, "companies years"],
    steps: Float[Array, "steps drivers"],
    own: Any,
) -> Float[Array, "companies horizon"]:
    return jax.vmap(lambda one, past, mask: one(past, mask, steps), (own, 0, 0))(forecaster, history, known)


def _filled(forecaster: Any, own: Any, rows: int) -> Any:
    def fill(axis: int | None, part: Any) -> Any:
        if axis is None:
            return part
        return jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, rows), *((0, 0),) * (leaf.ndim - 1))), part)

    return jax.tree.map(fill, own, forecaster, is_leaf=lambda leaf: leaf is None)
