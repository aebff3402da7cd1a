"""Forecast a portfolio's financed emissions: companies and their sum, with intervals and what is covered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.data.places import Note, silent
from thalweg.portfolio.tasks.accounting import weighted_average_carbon_intensity
from thalweg.portfolio.tasks.ahead import LATEST, Ahead, ahead
from thalweg.portfolio.tasks.attribution import Attribution
from thalweg.portfolio.tasks.estimated import Estimated, added, estimated
from thalweg.portfolio.tasks.fit import Recipe
from thalweg.portfolio.tasks.footprint import Account
from thalweg.portfolio.tasks.intervals import LEVELS, actual, volatility
from thalweg.portfolio.tasks.portfolio_intervals import Made, totals

MODEL = "own_median"
_ALIKE = 100
_RECENT = 3  # contiguous years, for a company to be forecast by every model


class Forecast(NamedTuple):
    """A portfolio's financed emissions in the years to come.

    **Fields:**

    - `ahead`, the forecasts of all companies of the panel; `places` in it of those that are held and forecast.
    - `factor`, the financed share of each of these; `value`, what is held of each.
    - `base`, the last year that was looked at; `history`, the financed emissions of these companies in years that all
      of them report, by year.
    - `median`, `lower` and `upper` (for each of `LEVELS`) of the sum, in tonnes.
    - `left_out`, why each other company of the portfolio is not in it; `covered`, the share of the value that is.
    - `waci`, tonnes per million of revenue, if revenues stay as they are; `account`, the footprint as reported.
    - `estimated`, the part of the sum that is of companies without reports, `None` where none was asked for.
    """

    ahead: Ahead
    places: np.ndarray
    factor: Float[np.ndarray, " held"]
    value: Float[np.ndarray, " held"]
    base: int
    history: dict[int, float]
    median: Float[np.ndarray, " horizon"]
    lower: Float[np.ndarray, "levels horizon"]
    upper: Float[np.ndarray, "levels horizon"]
    left_out: dict[str, str]
    covered: float
    waci: list[float | None]
    account: Account
    model: str
    estimated: Estimated | None

    @property
    def result(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        ends = {f"{side}{100 * level:.0f}": values[place].tolist() for place, level in enumerate(LEVELS)
                for side, values in (("lower", self.lower), ("upper", self.upper))}  # fmt: skip
        return {
            "years": self.ahead.years.tolist(),
            "median": self.median.tolist(),
            **ends,
            "coverage_of_holdings": self.covered,
            "waci": self.account.measures.waci,
            "waci_ahead": self.waci,
            "data_quality": self.account.measures.data_quality,
            "unit": "t CO2e",
            "model": self.model,
            "base_year": self.base,
            "companies": len(self.places),
            "calibrated_years": self.ahead.calibrated,
            "drivers_read": self.ahead.reads,
            "left_out": self.left_out,
            **self._estimated(),
        }

    def _estimated(self) -> dict[str, Any]:
        part = self.estimated
        if part is None:
            return {}
        return {"estimated": {
            "companies": len(part.companies),
            "share_of_value": float(part.value.sum() / self.account.attribution.total),
            "median": part.median.tolist(), "lower80": part.lower[0].tolist(), "upper80": part.upper[0].tolist(),
        }}  # fmt: skip


def forecast(
    account: Account,
    horizon: int,
    *,
    model: str = MODEL,
    base: int | None = None,
    drivers: Float[np.ndarray, "steps drivers"] | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
    note: Note = silent,
) -> Forecast:
    """Forecast what a portfolio finances, its shares staying as they are.

    Every company is forecast from its own last report, which lies at most 3 years before the base year. All companies
    of the panel are learnt from, held or not. Companies that the account estimates stay where they are estimated, with
    an interval of their own (see `estimated`).

    **Arguments:** `account`, as `accounted` returns it; `horizon` in years; `model` by name; `base`, the last year that
    is looked at, by default the latest one that most of the held companies report; `drivers`, for the model `network`:
    growth in the years of the panel until `base` and of the horizon; `recipe`; `seed`; `done`, a store of finished
    forecasts; `hooks`; `executor`, where forecasts of earlier years are made; `note`, told what the user ought to know.

    **Raises:** `InputError` for a horizon longer than the history supports, drivers with a model that reads none, and a
    portfolio of which no company can be forecast.
    """
    if drivers is not None and model != "network":
        raise InputError(f"the model {model} reads no drivers: choose network.")
    held, panel = account.attribution, account.emissions.panel
    base = base_year(panel, held) if base is None else base
    if not panel.years[0] < base <= panel.years[-1]:
        raise InputError(f"the base year {base} lies outside of the emissions, from {panel.years[0]} to "
                         f"{panel.years[-1]}: choose a year between them.")  # fmt: skip
    found = ahead(panel, horizon, base=base, model=model, recipe=recipe, drivers=drivers, seed=seed, done=done,
                  hooks=hooks, executor=executor)  # fmt: skip
    factors, values = held.over(panel.companies), _over(held, held.value, panel)
    there = np.asarray(np.isfinite(found.median).all(axis=1))
    places = np.flatnonzero(there & (factors > 0))
    if not places.size:
        raise InputError(f"no company of the portfolio has {_RECENT} years of emissions in a row up to {base}: check "
                         "that all tables name companies by the same identifiers.")  # fmt: skip
    part = estimated(account, horizon, float(np.median(found.volatility)), seed=seed)
    left_out = _left_out(held, panel, there, base, found)
    left_out = {name: why for name, why in left_out.items() if part is None or name not in part.companies}
    _tell(note, found, left_out, horizon)
    middle, lower, upper = _sums(found, np.where(there, factors, 0.0), model, seed)
    if part is not None:
        middle, lower, upper = added(middle, lower, upper, part)
    worth = float(values[places].sum()) + (0.0 if part is None else float(part.value.sum()))
    history = _history(panel, places, factors, base)
    return Forecast(found, places, factors[places], values[places], base, history, middle, lower, upper, left_out,
                    worth / held.total, _intensity(found, held, places, part), account, model, part)  # fmt: skip


def _tell(note: Note, found: Ahead, left_out: Mapping[str, str], horizon: int) -> None:
    if left_out:
        note(f"{len(left_out)} companies of the portfolio cannot be forecast; the report lists each with its reason.")
    if found.reads is False:
        note("The drivers did not improve held-out forecasts, so the network does not read them: the scenario changes "
             "nothing.")  # fmt: skip
    if found.calibrated < horizon:
        note(f"Past errors reach {found.calibrated} years ahead; beyond them intervals widen with the square root of "
             "time, which nothing here has tested.")  # fmt: skip


def _intensity(found: Ahead, held: Attribution, places: np.ndarray, part: Estimated | None) -> list[float | None]:
    """The weighted average carbon intensity of each year, revenues staying as they are."""
    values, revenue = (_over(held, each, found.panel)[places] for each in (held.value, held.revenue))
    tonnes = found.median[places]
    if part is not None:
        rows = [held.companies.index(company) for company in part.companies]
        values, revenue = np.append(values, part.value), np.append(revenue, held.revenue[rows])
        tonnes = np.vstack([tonnes, np.repeat(part.tonnes[:, None], tonnes.shape[1], axis=1)])
    return [weighted_average_carbon_intensity(values, year, revenue) for year in tonnes.T]


def base_year(panel: Panel, held: Attribution) -> int:
    """The latest year that at least half of the held companies that ever report, report."""
    known = np.isfinite(panel.emissions[held.over(panel.companies) > 0])
    if not len(known):
        raise InputError("none of the portfolio's companies has emissions: check that all tables name companies by "
                         "the same identifiers.")  # fmt: skip
    return int(panel.years[np.flatnonzero(known.sum(axis=0) * 2 >= len(known))[-1]])


def _over(held: Attribution, values: Float[np.ndarray, " held"], panel: Panel) -> Float[np.ndarray, " companies"]:
    known = dict(zip(held.companies, values, strict=True))
    return np.array([known.get(company, 0.0) for company in panel.companies])


def _left_out(held: Attribution, panel: Panel, there: np.ndarray, base: int, found: Ahead) -> dict[str, str]:
    known, recent = dict(zip(panel.companies, there, strict=True)), found.panel.recent()
    rows = {company: place for place, company in enumerate(panel.companies)}
    reasons = {line.holding.company: line.why for line in held.lines if line.why}
    for company in held.companies:
        if company not in known:
            reasons[company] = "It reports no emissions."
        elif not known[company] and not recent[rows[company]]:
            reasons[company] = f"Its last report lies more than {LATEST} years before {base}."
        elif not known[company]:
            reasons[company] = f"It reports only {recent[rows[company]]} years in a row, too few for the model."
    return reasons


def _history(panel: Panel, places: np.ndarray, factors: np.ndarray, base: int) -> dict[int, float]:
    known = np.isfinite(panel.emissions[places]).all(axis=0) & (panel.years <= base)
    sums = factors[places] @ np.nan_to_num(panel.emissions[places])
    return {int(year): float(total) for year, total in zip(panel.years[known], sums[known], strict=True)}


def _sums(
    found: Ahead, factors: Float[np.ndarray, " companies"], model: str, seed: int
) -> tuple[Float[np.ndarray, " horizon"], Float[np.ndarray, "levels horizon"], Float[np.ndarray, "levels horizon"]]:
    """The sum over companies with its intervals; a company that reported earlier is less certain by that much time."""
    steps = np.arange(1, found.years.size + 1)
    wide = found.volatility[:, None] * np.sqrt(1 + found.behind[:, None] / steps)
    now = Made(int(found.panel.years[-1]), found.median, wide, np.full(found.median.shape, np.nan))
    before = [
        Made(origin, forecast[:, : steps.size], volatility(found.panel.until(origin))[:, None],
             actual(found.panel, origin, steps.size))
        for origin, forecast in zip(found.earlier.origins[:-1], found.earlier.forecasts[model][:-1], strict=True)
    ]  # fmt: skip
    held = np.flatnonzero(factors)
    # One portfolio has only a handful of earlier years: many like it, of its companies drawn again, say more.
    times = np.random.default_rng((seed, 4)).multinomial(held.size, np.full(held.size, 1 / held.size), _ALIKE)
    alike = np.zeros((_ALIKE, factors.size))
    alike[:, held] = times * factors[held]
    said = totals(factors[None], now, before, found.scores, LEVELS, alike=alike, seed=seed)
    middle = said.middle[0]
    count = found.calibrated
    grow = np.sqrt(np.maximum(steps / count, 1.0))
    ends = []
    for values in (said.lower[:, 0], said.upper[:, 0]):
        off = np.log(values[:, :count] / middle[:count])
        ends.append(middle * np.exp(np.concatenate([off, off[:, -1:] * grow[count:]], axis=1)))
    return middle, ends[0], ends[1]
