"""Forecasts of several models at rolling origins, each from what was known then; finished ones are kept."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.methods.parts import in_parts, part_name
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.combine import COMBINATIONS, combined
from thalweg.portfolio.tasks.fit import Recipe
from thalweg.portfolio.tasks.intervals import Scores, actual, scores, volatility
from thalweg.portfolio.tasks.models import method, settings, simple
from thalweg.portfolio.tasks.portfolio_intervals import Made

EARLIER = 14  # origins before the first one, whose errors make the first intervals
FEWEST_YEARS = 3  # of the panel before the earliest origin
_VERSION = 2  # of what a kept forecast means


class Rolled(NamedTuple):
    """Forecasts at rolling origins.

    **Fields:** `panel`, with what happened; `origins`, ascending; `horizon`; `forecasts` in tonnes for each model;
    `seconds` that each model took at every origin, those of its members added up for a combination.
    """

    panel: Panel
    origins: tuple[int, ...]
    horizon: int
    forecasts: dict[str, Float[np.ndarray, "origins companies horizon"]]
    seconds: dict[str, Float[np.ndarray, " origins"]]

    def scores(self, name: str) -> Scores:
        """The errors of a model at all origins, as far as they are known by the end of the panel."""
        return scores(self.panel, list(self.forecasts[name]), self.origins)

    def made(self, name: str) -> list[Made]:
        """What a model said at every origin."""
        return [
            Made(
                origin,
                forecast,
                volatility(self.panel.until(origin))[:, None],
                actual(self.panel, origin, self.horizon),
            )
            for origin, forecast in zip(self.origins, self.forecasts[name], strict=True)
        ]


def read_origins(text: str) -> tuple[int, ...]:
    """Origins as they are written: `2007..2017`, `2007,2012,2017` or one year.

    **Raises:** `InputError` for anything else, and for a range that runs backwards.
    """
    first, dots, last = text.partition("..")
    try:
        found = range(int(first), int(last) + 1) if dots else sorted({int(part) for part in text.split(",")})
    except ValueError as wrong:
        raise InputError(f"origins {text!r}: write 2007..2017, 2007,2012,2017 or one year.") from wrong
    if not found:
        raise InputError(f"origins {text!r}: the first year is after the last one, write {last}..{first}.")
    return tuple(found)


def check_origins(panel: Panel, origins: Sequence[int], horizon: int) -> None:
    """Whether there is history before the origins, and something to compare with after them.

    **Raises:** `InputError` otherwise, naming what would do.
    """
    first, last = int(panel.years[0]), int(panel.years[-1])
    earliest, latest = first + FEWEST_YEARS - 1, last - horizon
    if horizon < 1:
        raise InputError(f"a horizon of {horizon} years is none: backtest at least one year.")
    if latest < earliest:
        raise InputError(
            f"a horizon of {horizon} years is longer than the emissions from {first} to {last} support: choose at most "
            f"{max(last - earliest, 0)}."
        )
    if wrong := [origin for origin in origins if not earliest <= origin <= latest]:
        raise InputError(
            f"the origin {wrong[0]} lies outside of the panel: with emissions from {first} to {last} and a horizon of "
            f"{horizon} years, origins from {earliest} to {latest} can be scored."
        )


def earlier(panel: Panel, origins: Sequence[int], count: int = EARLIER) -> tuple[int, ...]:
    """All years from the first origin to the last, and as many before as there are, up to `count`.

    Years between the origins are not scored, but intervals need their errors as well.
    """
    first = max(int(panel.years[0]) + FEWEST_YEARS - 1, min(origins) - count)
    return tuple(range(first, max(origins) + 1))


def rolled(
    panel: Panel,
    origins: Sequence[int],
    horizon: int,
    models: Sequence[str],
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> Rolled:
    """Forecast with every model at every origin, and combine.

    **Arguments:** `panel`; ascending `origins`; `horizon` in years; `models` by name; `recipe` and `seed` of the
    network; `done`, where finished forecasts are kept; `hooks`, called after each of them;
    `executor`, where they are made.

    **Raises:** `InputError` for a name that is no model; `WalkError` where a hook stopped it.
    """
    names = simple(models)
    plan = {
        part_name("forecast", version=_VERSION, model=name, origin=origin, horizon=horizon,
                  emissions=panel.until(origin).emissions, **settings(name, recipe, seed)): (name, origin)
        for origin in origins
        for name in names
    }  # fmt: skip

    compute = functools.partial(_forecast, plan, panel, horizon, recipe, seed)
    task = "the forecasts at earlier origins"
    parts = in_parts(list(plan), compute, done=done, hooks=hooks, task=task, executor=executor)
    forecasts: dict[str, np.ndarray] = {}
    seconds: dict[str, np.ndarray] = {}
    for name in names:
        own = [parts[part] for part, (whose, _) in plan.items() if whose == name]
        forecasts[name] = np.stack([part["forecast"] for part in own])
        seconds[name] = np.array([float(part["seconds"]) for part in own])
    for name in models:
        if name in COMBINATIONS:
            members = COMBINATIONS[name]
            each = [{member: forecasts[member][place] for member in members} for place in range(len(origins))]
            forecasts[name] = np.stack([combined(one, members) for one in each])
            seconds[name] = np.sum([seconds[member] for member in members], axis=0)
    return Rolled(panel, tuple(origins), horizon, forecasts, seconds)


def _forecast(
    plan: Mapping[str, tuple[str, int]], panel: Panel, horizon: int, recipe: Recipe | None, seed: int, part: str
) -> Mapping[str, np.ndarray]:
    name, origin = plan[part]
    known, began = panel.until(origin), time.perf_counter()
    found = method(name, recipe=recipe, seed=seed)(known, horizon)
    return {"forecast": np.asarray(found, np.float64), "seconds": np.array(time.perf_counter() - began)}


def chosen(panel: Panel, least_years: int = 1, since: int | None = None) -> Panel:
    """The companies of a panel with at least so many years in a row up to the last one, and no year before `since`.

    **Raises:** `InputError` where nothing is left.
    """
    if since is not None:
        if not panel.years[0] <= since <= panel.years[-1]:
            raise InputError(f"the emissions are of {panel.years[0]} to {panel.years[-1]}, not since {since}.")
        kept = panel.years >= since
        panel = Panel(panel.companies, panel.years[kept], panel.emissions[:, kept])
    found = panel.only(panel.recent() >= least_years) if least_years > 1 else panel
    if not found.companies:
        raise InputError(f"no company has {least_years} years in a row up to {panel.years[-1]}: ask for fewer.")
    return found
