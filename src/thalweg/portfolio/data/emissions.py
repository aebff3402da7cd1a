"""Emissions of companies from any table that holds them, as a panel whose every value knows its cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.itr import Read, read_old_template, read_template
from thalweg.portfolio.data.jumps import check_jumps
from thalweg.portfolio.data.long import read_carbon_majors, read_eu_ets, read_long, read_wide
from thalweg.portfolio.data.observations import Resolved, Restated, Value, resolved
from thalweg.portfolio.data.panel import Panel, panel
from thalweg.portfolio.data.places import Dropped, Note, Place, dropped, silent
from thalweg.portfolio.data.scopes import wanted_scope
from thalweg.portfolio.data.sheets import find_emissions
from thalweg.portfolio.data.tables import Source


class Gap(NamedTuple):
    """Years between a company's first and last reported one for which there is no value."""

    company: str
    years: tuple[int, ...]


class Emissions(NamedTuple):
    """Emissions of companies by year.

    **Fields:**

    - `panel`: tonnes of CO2e, NaN where nothing was reported: nothing is ever filled in.
    - `quality`: data-quality scores where the table states them, otherwise NaN.
    - `scope`: of the values; empty for tables that know no scopes.
    - `values`: from company and year to the observations behind a value of the panel.
    - `names` of the companies; `gaps` in their years.
    - `dropped`: every value that is not used, with the reason; `restated`: every one that a later report replaced.
    - `source`, as errors name it.
    """

    panel: Panel
    quality: Float[np.ndarray, "companies years"]
    scope: str
    values: dict[tuple[str, int], Value]
    names: dict[str, str]
    gaps: tuple[Gap, ...]
    dropped: tuple[Dropped, ...]
    restated: tuple[Restated, ...]
    source: str

    def places(self, company: str, year: int) -> tuple[Place, ...]:
        """The cells whose sum a value is, empty where there is none."""
        value = self.values.get((company, year))
        return () if value is None else tuple(one.row.place(one.column) for one in value.of)


def read_emissions(source: Source, *, scope: str = "s1s2", scope2: str = "location", note: Note = silent) -> Emissions:
    """Emissions from CSV, XLSX or a table of pandas; the format is told by the columns.

    Formats: the long one (`unique_id`, `ds`, `y`, and if they are there `scope`, `unit`, `quality`); a wide one with
    years as columns; OS-Climate's ITR templates, unchanged; Carbon Majors by entity and commodity (summed over the
    commodities); verified emissions of the EU ETS. `itr` names the packaged sample.

    **Arguments:**

    - `source`: a file, the name of a sample or data set, or a table of pandas.
    - `scope`: `s1`, `s2`, `s3`, `s1s2` or `s1s2s3`, where the table knows scopes.
    - `scope2`: `location` or `market`, which count of purchased electricity goes first.
    - `note`: told what the user ought to know.

    **Raises:** `InputError` with file, row and column for negative values, text in number columns, two values of a
    company and year that disagree, and for jumps by a thousand between years whose unit nobody states.
    """
    wanted = wanted_scope(scope)
    if scope2 not in ("location", "market"):
        raise InputError(f"there is no {scope2!r} count of scope 2: choose location or market.")
    table, kind = find_emissions(source, note=note)
    readers = {"long": read_long, "wide": read_wide, "carbon majors": read_carbon_majors, "eu ets": read_eu_ets}
    if kind == "template":
        read = read_template(table, scope2, note)
    else:
        read = read_old_template(table) if kind == "old" else readers[kind](table, note)
    scoped = any(one.scope for one in read.observations)
    found = resolved(read.observations, wanted if scoped else "", dated=kind == "template",
                     add=kind == "carbon majors")  # fmt: skip
    kept, lost = _positive(found)
    if not kept:
        raise InputError(f"{table}: holds no emissions of {wanted if scoped else 'any company'}: choose another scope.")
    check_jumps({} if kind == "eu ets" else kept, str(table), note)  # installations are closed and rebuilt
    _note(read, found, kept, wanted, scoped or kind in ("carbon majors", "eu ets"), str(table), note)
    made, quality = _panel(kept)
    names = {company: read.names.get(company, company) for company in made.companies}
    return Emissions(made, quality, wanted if scoped else "", kept, names, _gaps(made),
                     (*read.dropped, *found.dropped, *lost), found.restated, str(table))  # fmt: skip


def _positive(found: Resolved) -> tuple[dict[tuple[str, int], Value], list[Dropped]]:
    kept, lost = {}, []
    for key, value in found.values.items():
        one = value.of[0]
        if value.tonnes < 0:
            raise InputError(f"{one.row.place(one.column)}: {one.company} emits {value.tonnes:g} t in {one.year}: "
                             "gross emissions are not negative, correct the value or leave it out.")  # fmt: skip
        if value.tonnes == 0:
            lost += [dropped(each.row.place(each.column), each.row.get(each.column), f"{each.company} reports zero in "
                             f"{each.year}, which is taken for not reported.") for each in value.of]  # fmt: skip
        else:
            kept[key] = value
    return kept, lost


def _note(
    read: Read, found: Resolved, kept: dict[tuple[str, int], Value], wanted: str, scoped: bool, table: str, note: Note
) -> None:
    if not scoped:
        note(f"{table}: names no scope, so its values are taken for {wanted} as asked.")
    if found.restated:
        note(f"{table}: {len(found.restated)} values were restated by later reports, which count.")
    zeros = sorted({one.company for value in kept.values() for one in value.of if len(value.of) > 1 and not one.tonnes})
    if zeros:
        note(f"{table}: sums of scopes count a part that is reported as zero, for {', '.join(zeros)}.")
    lost = sum(each.kind == "lost" for each in (*read.dropped, *found.dropped))
    if lost:
        note(f"{table}: {lost} values cannot be used; the report lists each with its reason.")


def _panel(values: dict[tuple[str, int], Value]) -> tuple[Panel, np.ndarray]:
    companies = sorted({company for company, _ in values})
    first, last = min(year for _, year in values), max(year for _, year in values)
    emissions = np.full((len(companies), last - first + 1), np.nan)
    quality = emissions.copy()
    rows = {company: place for place, company in enumerate(companies)}
    for (company, year), value in values.items():
        emissions[rows[company], year - first] = value.tonnes
        scores = [one.quality for one in value.of if one.quality is not None]
        if scores:
            quality[rows[company], year - first] = max(scores)  # a sum is as good as its worst part
    return panel(tuple(companies), np.arange(first, last + 1), emissions), quality


def _gaps(found: Panel) -> tuple[Gap, ...]:
    gaps = []
    for company, row in zip(found.companies, np.isfinite(found.emissions), strict=True):
        known = np.flatnonzero(row)
        open_years = [int(found.years[place]) for place in range(known[0], known[-1]) if not row[place]]
        if open_years:
            gaps.append(Gap(company, tuple(open_years)))
    return tuple(gaps)
