"""The footprint of a portfolio from its tables: every company's part, what is covered, what is missing and why."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.portfolio.data.emissions import Emissions
from thalweg.portfolio.data.fundamentals import Fundamentals
from thalweg.portfolio.data.holdings import Holdings
from thalweg.portfolio.data.places import Dropped, Note, dropped, silent
from thalweg.portfolio.data.rates import Rates
from thalweg.portfolio.tasks.accounting import Footprint, footprint
from thalweg.portfolio.tasks.aggregations import METHODS, NEEDS, aggregated
from thalweg.portfolio.tasks.attribution import (
    Attribution,
    Line,
    amount,
    attributed,
    converted,
    convertible,
    exchange,
)
from thalweg.portfolio.tasks.estimate import Estimate, Estimates, sector_intensity
from thalweg.portfolio.tasks.plausible import Outlier, outliers

REPORTED = 2.0  # PCAF's score of emissions that a company reports, unverified, where the table states none


class Missing(NamedTuple):
    """A holding that is in no figure: its `line`, and `why`."""

    line: Line
    why: str


class Account(NamedTuple):
    """A portfolio's footprint with all that it rests on.

    **Fields:**

    - `measures`; `attribution`; `emissions`, as read.
    - `years`: of each company's value, 0 where there is none or it is estimated; `tonnes`, its emissions, NaN where
      not known; `score`, its data quality.
    - `estimates`, by place among the companies; `missing` holdings; `dropped` values of all tables.
    - `assumed`: how many scores were not stated; `temperature`: from aggregation to score and covered value.
    - `figures`: the companies' fundamentals; `outliers`: companies whose unit is probably wrong.
    """

    measures: Footprint
    attribution: Attribution
    emissions: Emissions
    years: Int[np.ndarray, " companies"]
    tonnes: Float[np.ndarray, " companies"]
    score: Float[np.ndarray, " companies"]
    estimates: dict[int, Estimate]
    missing: tuple[Missing, ...]
    dropped: tuple[Dropped, ...]
    assumed: int
    temperature: dict[str, tuple[float, float]]
    figures: Fundamentals
    outliers: tuple[Outlier, ...]

    def covered(self, line: Line) -> bool:
        """Whether a holding is in the figures."""
        place = {company: place for place, company in enumerate(self.attribution.companies)}
        return not line.why and bool(np.isfinite(self.tonnes[place[line.company]]))


def accounted(
    holdings: Holdings,
    fundamentals: Fundamentals,
    emissions: Emissions,
    *,
    year: int | None = None,
    estimate: Literal["sector-intensity"] | None = None,
    rates: Rates | None = None,
    currency: str | None = None,
    note: Note = silent,
) -> Account:
    """The footprint of a portfolio.

    **Arguments:**

    - `holdings`, `fundamentals`, `emissions`, as read.
    - `year`: of the emissions; by default the latest that each company reports.
    - `estimate`: `sector-intensity` fills in companies that report nothing (see `sector_intensity`); by default they
      are left out of every figure and listed.
    - `rates`: exchange rates into the portfolio's `currency`, by default the one of all holdings (see `attributed`).
    - `note`: told what the user ought to know.

    **Raises:** `InputError` for tables that do not fit together (see `attributed`).
    """
    attribution = attributed(holdings, fundamentals, rates=rates, currency=currency, note=note)
    years, tonnes, stated = _reported(emissions, attribution.companies, year)
    score = np.where(np.isfinite(stated), stated, attribution.quality)
    assumed = int((np.isfinite(tonnes) & ~np.isfinite(score)).sum())
    score = np.where(np.isfinite(tonnes) & ~np.isfinite(score), REPORTED, score)
    far = outliers(tonnes, attribution.revenue, attribution.sector)
    if far:
        names = ", ".join(attribution.companies[one.company] for one in far)
        note(f"{emissions.source}: emissions by revenue are more than 300 times off those of the sector, as if a unit "
             f"were wrong, for {names}.")  # fmt: skip
    found = Estimates((), {})
    if estimate is not None:
        found = _estimated(attribution, fundamentals, emissions, year)
        for one in found.made:
            tonnes[one.company], score[one.company] = one.tonnes, one.score
        note(f"{len(found.made)} companies without reported emissions are estimated from the intensity of their sector,"
             f" {len(found.refused)} cannot be.")  # fmt: skip
    owned, unowned = _owned(attribution, fundamentals)
    attribution = attribution._replace(market_cap=owned)
    measures = footprint(attribution.factor, attribution.value, tonnes, score, attribution.revenue, owned)
    missing = _missing(attribution, tonnes, emissions, year, found.refused)
    lost = (*holdings.dropped, *fundamentals.dropped, *emissions.dropped, *unowned)
    return Account(measures, attribution, emissions, years, tonnes, score, {one.company: one for one in found.made},
                   missing, lost, assumed, _temperature(attribution, fundamentals, tonnes),
                   fundamentals, far)  # fmt: skip


def _owned(attribution: Attribution, fundamentals: Fundamentals) -> tuple[np.ndarray, list[Dropped]]:
    """Market values that a holding can be a share of, and those that are smaller than what is held of them."""
    wrong = attribution.value > attribution.market_cap
    lost = []
    for company in np.asarray(attribution.companies, object)[wrong]:
        one = fundamentals.of[company]
        place = one.places["market_cap"]
        lost.append(dropped(place, one.amounts["market_cap"], f"The holding of {company} is worth more than this market"
                            " value, as if units or currencies differed."))  # fmt: skip
    return np.where(wrong, np.nan, attribution.market_cap), lost


def _reported(
    emissions: Emissions, companies: tuple[str, ...], year: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Year, tonnes and stated data quality of each company."""
    panel, rows = emissions.panel, {company: row for row, company in enumerate(emissions.panel.companies)}
    years, tonnes, stated = np.zeros(len(companies), np.int64), *np.full((2, len(companies)), np.nan)
    for place, company in enumerate(companies):
        if company not in rows:
            continue
        known = np.isfinite(panel.emissions[rows[company]]) & ((panel.years == year) | (year is None))
        if known.any():
            column = int(np.flatnonzero(known)[-1])
            years[place] = panel.years[column]
            tonnes[place] = panel.emissions[rows[company], column]
            stated[place] = emissions.quality[rows[company], column]
    return years, tonnes, stated


def _estimated(
    attribution: Attribution, fundamentals: Fundamentals, emissions: Emissions, year: int | None
) -> Estimates:
    """Estimates of the held companies without emissions; the sectors are those of all companies with figures."""
    held = {company: place for place, company in enumerate(attribution.companies)}
    others = tuple(
        name for name, one in fundamentals.of.items()
        if name not in held and convertible(one, attribution.currency, attribution.rates)
    )  # fmt: skip
    names = (*attribution.companies, *others)
    _, tonnes, _ = _reported(emissions, names, year)
    figures = [fundamentals.of[name] for name in names]
    revenue, assets = (
        np.array([amount(one, what, attribution.currency, attribution.rates) for one in figures])
        for what in ("revenue", "assets")
    )
    missing = np.flatnonzero(~np.isfinite(tonnes[: len(held)]))
    return sector_intensity(missing, tuple(one.sector for one in figures), tonnes, revenue, assets)


def _missing(
    attribution: Attribution, tonnes: np.ndarray, emissions: Emissions, year: int | None, refused: dict[int, str]
) -> tuple[Missing, ...]:
    places = {company: place for place, company in enumerate(attribution.companies)}
    found = []
    for line in attribution.lines:
        if line.why:
            found.append(Missing(line, line.why))
        elif not np.isfinite(tonnes[places[line.company]]):
            when = "" if year is None else f" in {year}"
            why = f"{line.company} has no emissions of {emissions.scope or 'any scope'}{when}"
            told = refused.get(places[line.company])
            found.append(Missing(line, f"{why}, and {told}" if told else why))
    return tuple(found)


def _temperature(
    attribution: Attribution, fundamentals: Fundamentals, tonnes: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Each aggregation over the companies that have all it needs, if the holdings state temperature scores."""
    stated = {line.company: line.holding.score for line in attribution.lines if line.holding.score is not None}
    if not stated:
        return {}
    score = np.array([stated.get(company, np.nan) for company in attribution.companies])
    figures = [fundamentals.of[company] for company in attribution.companies]
    into = [exchange(one, attribution.currency, attribution.rates) for one in figures]
    found = {}
    for method in METHODS:
        amounts = {
            name: np.array([one.amounts.get(name, np.nan) * rate for one, rate in zip(figures, into, strict=True)])
            for name in NEEDS.get(method, ())
        }
        whole = np.isfinite(score) & (np.isfinite(tonnes) | (method == "wats"))
        if amounts:
            whole &= np.isfinite(np.sum(list(amounts.values()), axis=0)) & (np.sum(list(amounts.values()), axis=0) > 0)
        if whole.any():
            parts = aggregated(method, score[whole], attribution.value[whole], tonnes[whole],
                               {name: values[whole] for name, values in amounts.items()})  # fmt: skip
            found[method] = float(parts.sum()), float(attribution.value[whole].sum())
    return found


def result(account: Account) -> dict[str, Any]:
    """What `--json` prints of a footprint."""
    measures, attribution = account.measures, account.attribution
    estimated = list(account.estimates.values())
    factor = attribution.factor
    years = sorted(Counter(account.years[account.years > 0].tolist()).items())
    answer: dict[str, Any] = {
        "financed_emissions": measures.financed_emissions,
        "unit": "t CO2e",
        "currency": attribution.currency,
        **converted(attribution),
        "scope": account.emissions.scope,
        "years": {str(year): count for year, count in years},
        "waci": measures.waci,
        "footprint_per_million": measures.footprint_per_million,
        "total_carbon_emissions": measures.total_carbon_emissions,
        "carbon_intensity": measures.carbon_intensity,
        "data_quality": measures.data_quality,
        "data_quality_assumed": account.assumed,
        "coverage": coverage(account),
        "denominators": attribution.edition,
        "figures_dated": _dates(account),
        "missing": [_missed(one) for one in account.missing],
        "dropped": [one._asdict() for one in account.dropped if one.kind == "lost"],
        "outliers": [
            {"company": attribution.companies[one.company], "times_the_median": one.times} for one in account.outliers
        ],
        "parts_of_totals": sum(one.kind == "part" for one in account.dropped),
        "restated": len(account.emissions.restated),
        "gaps": [{"company": gap.company, "years": list(gap.years)} for gap in account.emissions.gaps],
    }
    if estimated:
        answer["estimated"] = {
            "companies": len(estimated),
            "financed_emissions": sum(float(factor[one.company]) * one.tonnes for one in estimated),
            "lower80": sum(float(factor[one.company]) * one.lower for one in estimated),
            "upper80": sum(float(factor[one.company]) * one.upper for one in estimated),
        }
    if account.temperature:
        answer["temperature"] = {
            name: {"score": score, "by_value": value / attribution.total}
            for name, (score, value) in account.temperature.items()
        }
    return answer


def coverage(account: Account) -> dict[str, float | int]:
    """How much of a portfolio is in the figures, by number and by value."""
    lines = account.attribution.lines
    covered = [line for line in lines if account.covered(line)]
    estimated = {account.attribution.companies[place] for place in account.estimates}
    total, measures = account.attribution.total, account.measures
    return {
        "holdings": len(lines),
        "holdings_covered": len(covered),
        "holdings_estimated": sum(line.company in estimated for line in covered),
        "holdings_by_issuer": sum(line.by in ("ISIN", "issuer") for line in covered),
        "by_number": len(covered) / len(lines),
        "value": total,
        "value_covered": measures.value,
        "by_value": measures.value / total,
        "by_value_estimated": sum(line.value for line in covered if line.company in estimated) / total,
        "by_value_waci": measures.waci_value / total,
        "by_value_owned": measures.owned_value / total,
    }


def _dates(account: Account) -> dict[str, str | None]:
    days = [
        each.date
        for company, known in zip(account.attribution.companies, np.isfinite(account.tonnes), strict=True)
        if known and (each := account.figures.of[company]).date is not None
    ]
    return {"from": min(days).isoformat() if days else None, "to": max(days).isoformat() if days else None}


def _missed(one: Missing) -> dict[str, Any]:
    holding, place = one.line.holding, one.line.holding.places["value"]
    return {"company": holding.company, "name": holding.name, "value": one.line.value, "row": place.row,
            "column": place.column, "why": one.why}  # fmt: skip
