"""Damped trends with the network on top: fitted one after the other, to the same panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.core.hooks import Hook
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.recursion import Corrected
from thalweg.portfolio.tasks.fit import Recipe, trained
from thalweg.portfolio.tasks.forecasts import forecasts
from thalweg.portfolio.tasks.trend import fitted_trend


def fitted_corrected(
    panel: Panel, recipe: Recipe | None = None, *, seed: int = 0, hooks: tuple[Hook, ...] = ()
) -> Corrected:
    """Each company's damped trend, then one network of what all of them miss.

    The trends are fitted to whole histories, so that the network sees them better than they are ahead of time.

    **Arguments:** as of `fitted`; only what is contiguous up to the last year is learnt from.

    **Returns:** a forecaster whose `trend` has a leading axis of companies.
    """
    recent = np.arange(panel.years.size) >= panel.years.size - panel.recent()[:, None]
    kept = panel._replace(emissions=np.where(recent, panel.emissions, np.nan))
    trends = fitted_trend(kept)
    none = np.zeros((kept.years.size, 0))
    return Corrected(trends, trained(kept, Recipe() if recipe is None else recipe, seed, none, hooks, trends)[0])


def corrected(found: Corrected, panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """Emissions of the years after the panel of a fit, in t CO2e; NaN for fewer than 3 recent years."""
    axes: Any = Corrected(0, None)  # pyright: ignore[reportArgumentType]
    return forecasts(found, panel, horizon, own=axes)
