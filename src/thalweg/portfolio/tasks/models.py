"""Every model of a backtest by its name, and which of them are computed from others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.baselines import BASELINES, Method
from thalweg.portfolio.tasks.combine import COMBINATIONS
from thalweg.portfolio.tasks.corrected import corrected, fitted_corrected
from thalweg.portfolio.tasks.fit import Recipe, fitted
from thalweg.portfolio.tasks.forecasts import LEAST
from thalweg.portfolio.tasks.samples import runs
from thalweg.portfolio.tasks.trend import trend

NAMES = (*BASELINES, "network", "trend", "trend_network", *COMBINATIONS)
_LEARNT = ("network", "trend_network")
DEFAULT = ("naive", "drift", "damped_drift", "itr", "ets", "theta", "network", "trend", "own_median")


def simple(names: Sequence[str]) -> tuple[str, ...]:
    """The models that are computed themselves, those that combinations need included, each once and in order.

    **Raises:** `InputError` for a name that is none, and for no names.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in NAMES:
            raise InputError(f"there is no model {name!r}: choose among {', '.join(NAMES)}.")
        found |= dict.fromkeys(COMBINATIONS.get(name, (name,)))
    if not found:
        raise InputError(f"a backtest needs a model: choose among {', '.join(NAMES)}.")
    return tuple(found)


def method(name: str, *, recipe: Recipe | None = None, seed: int = 0) -> Method:
    """The model of this name, as a map from a panel and a horizon to emissions of the years after the panel.

    A network to which a panel has nothing to teach is left as it starts: it forecasts the random walk, or the trend
    that it corrects.

    **Arguments:** `recipe` and `seed`, for the networks.
    """

    def network(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
        if not teaches(panel, recipe or Recipe()):
            return np.where(panel.recent()[:, None] >= LEAST, BASELINES["naive"](panel, horizon), np.nan)
        return fitted(panel, recipe, seed=seed).forecast(panel, horizon)

    def trend_network(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
        if not teaches(panel, recipe or Recipe()):
            return trend(panel, horizon)
        return corrected(fitted_corrected(panel, recipe, seed=seed), panel, horizon)

    return {**BASELINES, "network": network, "trend": trend, "trend_network": trend_network}[name]


def teaches(panel: Panel, recipe: Recipe) -> bool:
    """Whether a panel has a past forecast that a network can learn from: a growth after the first `least` ones."""
    years = runs(panel).known.sum(axis=1)
    return bool(years.size and years.max() >= recipe.least + 2)


def settings(name: str, recipe: Recipe | None, seed: int) -> dict[str, Any]:
    """What a forecast of this model follows from, beside the panel and the horizon."""
    return {"recipe": dataclasses.asdict(recipe or Recipe()), "seed": seed} if name in _LEARNT else {}
