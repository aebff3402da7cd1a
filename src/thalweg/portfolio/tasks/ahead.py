"""Forecast every company of a panel with intervals, each from its own last report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.fit import Recipe, fitted
from thalweg.portfolio.tasks.intervals import LEVELS, Scores, band, reach, volatility
from thalweg.portfolio.tasks.origins import EARLIER, FEWEST_YEARS, Rolled, rolled
from thalweg.portfolio.tasks.portfolio_intervals import cross_sections

_FEWEST = 2  # origins with errors, for a year ahead to be calibrated by them
LATEST = 3  # years by which a company's last report may lie before the base year


class Ahead(NamedTuple):
    """Forecasts of the companies of a panel.

    **Fields:**

    - `panel` until the base year, with every company's last report moved there; `behind`, by how many years it was.
    - `years` to come; `median`, tonnes, NaN rows where there is too little history.
    - `lower` and `upper` for each of `LEVELS`.
    - `calibrated`, for how many years ahead earlier forecasts say how far they were off; beyond that intervals widen
      with the square root of time.
    - `reads`, whether drivers passed the gate and were read, `None` where there were none.
    - `scores` of the model; `earlier`, its forecasts at earlier origins and now; `volatility`.
    """

    panel: Panel
    behind: Int[np.ndarray, " companies"]
    years: Int[np.ndarray, " horizon"]
    median: Float[np.ndarray, "companies horizon"]
    lower: Float[np.ndarray, "levels companies horizon"]
    upper: Float[np.ndarray, "levels companies horizon"]
    calibrated: int
    reads: bool | None
    scores: Scores
    earlier: Rolled
    volatility: Float[np.ndarray, " companies"]


def ahead(
    panel: Panel,
    horizon: int,
    *,
    base: int,
    model: str,
    recipe: Recipe | None = None,
    drivers: Float[np.ndarray, "steps drivers"] | None = None,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> Ahead:
    """Forecast the years after a base year, from what companies had reported by then.

    **Arguments:** `panel`, of which years after `base` are not looked at; `horizon` in years; `model` by name;
    `recipe` of the network; `drivers`, for the network: growth in the years of the panel until `base` and of the
    horizon (then every company must have reported `base`, and intervals are those of the network without drivers);
    `seed`; `done`, a store of finished forecasts; `hooks`; `executor`.

    **Raises:** `InputError` for a horizon longer than the histories, and where nothing can be calibrated.
    """
    late = 0 if drivers is not None else LATEST
    moved, behind = aligned(panel.until(base), late)
    longest = int(moved.recent().max(initial=0))
    if horizon < 1 or horizon > longest:
        raise InputError(
            f"a horizon of {horizon} years is longer than the history supports: the longest one up to {base} has "
            f"{longest} years, so choose 1 to {longest}."
        )
    steps = horizon + int(behind.max(initial=0))
    first = max(int(moved.years[0]) + FEWEST_YEARS - 1, base - EARLIER)
    found = rolled(moved, (*range(first, base), base), steps, [model], recipe=recipe, seed=seed, done=done, hooks=hooks,
                   executor=executor)  # fmt: skip
    scores, wide = found.scores(model), volatility(moved)
    widths = reach(scores, base, LEVELS)
    for year in range(2, steps + 1):
        if len(cross_sections(scores, base, year)) < _FEWEST:
            widths[:, year - 1 :] = np.inf  # a single year says nothing about years
            break
    widths, calibrated = extended(widths)
    now, reads = found.forecasts[model][-1], None
    if drivers is not None:
        known = fitted(moved, recipe, seed=seed, drivers=drivers[: moved.years.size])
        reads = known.gate is None or known.gate.open
        now = known.forecast(moved, steps, drivers if reads else None)
    lower, upper = band(now, wide, widths)
    at = behind[:, None] + np.arange(horizon)
    taken = [np.take_along_axis(values, np.broadcast_to(at, (*values.shape[:-1], horizon)), -1)
             for values in (now, lower, upper)]  # fmt: skip
    years = base + 1 + np.arange(horizon)
    return Ahead(moved, behind, years, taken[0], taken[1], taken[2], min(calibrated, horizon), reads, scores, found,
                 wide)  # fmt: skip


def aligned(panel: Panel, most: int) -> tuple[Panel, Int[np.ndarray, " companies"]]:
    """Move every history so that its last report lies in the last year, and say by how much.

    Companies that last reported more than `most` years before the last year stay where they are, and so have no
    recent history.
    """
    known = np.isfinite(panel.emissions)
    silent = np.where(known.any(axis=1), np.argmax(known[:, ::-1], axis=1), panel.years.size)
    behind = np.where(silent <= most, silent, 0)
    rows = [np.concatenate([np.full(by, np.nan), row[: row.size - by]])
            for by, row in zip(behind, panel.emissions, strict=True)]  # fmt: skip
    return panel._replace(emissions=np.stack(rows)), behind


def extended(reach: Float[np.ndarray, "levels horizon"]) -> tuple[Float[np.ndarray, "levels horizon"], int]:
    """Half widths without infinite ones, and for how many years ahead they were finite.

    Beyond those, they grow with the square root of time, as the error of a random walk does.

    **Raises:** `InputError` where not even the first year ahead is finite.
    """
    finite = np.isfinite(reach).all(axis=0)
    count = finite.size if finite.all() else int(np.argmin(finite))
    if not count:
        raise InputError(
            "too few companies with earlier years to say how far forecasts are off: an interval of 95 % takes 19 past "
            "errors, so add companies or longer histories."
        )
    steps = np.arange(1, finite.size + 1)
    grown = reach[:, count - 1 : count] * np.sqrt(np.maximum(steps / count, 1.0))
    return np.where(steps <= count, reach, grown), count
