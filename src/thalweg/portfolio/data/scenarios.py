"""Scenarios of economic drivers in the wide layout of the IAMC, and the years to come that they give a forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError, shown
from thalweg.portfolio.data.drivers import Growth, positive, spoken
from thalweg.portfolio.data.places import Note, silent
from thalweg.portfolio.data.tables import Row, Source, Table, read_tables
from thalweg.portfolio.data.values import text

COLUMNS = ("model", "scenario", "region", "variable", "unit")


class Scenario(NamedTuple):
    """Levels of drivers in the years that a scenario states, in units of its own.

    **Fields:** `title`: model, scenario and region; `names`: of the drivers; `years`: ascending, not always contiguous;
    `values`: positive levels.
    """

    title: str
    names: tuple[str, ...]
    years: Int[np.ndarray, " years"]
    values: Float[np.ndarray, "years drivers"]

    def yearly(self) -> Scenario:
        """The years between as well, each driver growing evenly in logarithms from one stated year to the next."""
        years = np.arange(self.years[0], self.years[-1] + 1)
        logs = [np.interp(years, self.years, np.log(column)) for column in self.values.T]
        return self._replace(years=years, values=np.exp(np.stack(logs, axis=1)))


def read_scenarios(
    source: Source,
    *,
    variables: Mapping[str, str] | None = None,
    region: str | None = None,
) -> dict[str, Scenario]:
    """The scenarios of a table with columns Model, Scenario, Region, Variable, Unit and one for each year.

    **Arguments:**

    - `source`: CSV, XLSX, or a table of pandas.
    - `variables`: from a variable of the table to the name of a driver; by default each variable is one.
    - `region`: which one, where the table has several.

    **Returns:** scenarios by name (with the model before it where two models share a name).

    **Raises:** `InputError` for missing columns, empty or negative cells, several regions, or rows given twice.
    **Source:** the template of the Integrated Assessment Modeling Consortium, as pyam reads it.
    """
    table = read_tables(source, "scenario")[0]
    columns = {name: table.named(name) for name in COLUMNS}
    if absent := [name for name, column in columns.items() if column is None]:
        raise InputError(f"{table}: the column {absent[0]!r} is missing: a scenario has {', '.join(COLUMNS)}.")
    years = [column for column in table.columns if column and column not in columns.values()]
    if wrong := [column for column in years if not (column.isdecimal() and len(column) == 4)]:
        raise InputError(f"{table}: the column {shown(wrong[0])} is no year: only years follow the column unit.")
    if not years:
        raise InputError(f"{table}: has no column for a year: add one for each year after the column unit.")
    rows = _chosen(table, columns, region, variables)
    pairs = dict.fromkeys((text(row, columns["scenario"]), text(row, columns["model"])) for row in rows)
    names = [scenario for scenario, _ in pairs]
    found = {}
    for scenario, model in pairs:
        own = [
            row for row in rows if (text(row, columns["scenario"]), text(row, columns["model"])) == (scenario, model)
        ]
        key = scenario if names.count(scenario) == 1 else f"{model} {scenario}"
        title = f"{model}, {scenario}, {text(own[0], columns['region'])}"
        found[key] = _scenario(title, own, str(columns["variable"]), years, variables or {})
    return found


def following(scenario: Scenario, growth: Growth, last: int, horizon: int, *, interpolate: bool = False,
              note: Note = silent) -> Float[np.ndarray, "horizon drivers"]:  # fmt: skip
    """The standardised growth that a scenario gives drivers in the years after `last`.

    Only ratios of the scenario's own levels are used, so that its units need not be those of the history: it has to
    state the year `last` as well.

    **Arguments:** `growth`: of the history, whose mean and spread standardise; `interpolate`: fill the years between
    stated ones by an even growth in logarithms, which `note` is told.

    **Raises:** `InputError` for drivers or years that the scenario lacks.
    """
    if absent := [name for name in growth.names if name not in scenario.names]:
        raise InputError(
            f"{scenario.title}: the driver {absent[0]!r} is missing among {', '.join(scenario.names)}: add a row for "
            "it, or name the variable that stands for it."
        )
    wanted = np.arange(last, last + horizon + 1)
    missing = sorted(set(wanted.tolist()) - set(scenario.years.tolist()))
    inside = bool(scenario.years[0] <= last and scenario.years[-1] >= last + horizon)
    if missing and not (interpolate and inside):
        remedy = "add them, or ask for interpolation" if inside else "add them, or shorten the horizon"
        raise InputError(f"{scenario.title}: lacks {spoken(missing)}, which this forecast needs: {remedy}.")
    if missing:
        note(f"{scenario.title}: {spoken(missing)} interpolated, growing evenly in logarithms between stated years.")
        scenario = scenario.yearly()
    levels = scenario.values[np.searchsorted(scenario.years, wanted)]
    levels = levels[:, [scenario.names.index(name) for name in growth.names]]
    return (np.diff(np.log(levels), axis=0) - growth.mean) / growth.spread


def _chosen(
    table: Table, columns: Mapping[str, str | None], region: str | None, variables: Mapping[str, str] | None
) -> list[Row]:
    rows = list(table.rows())
    regions = sorted({text(row, columns["region"]) for row in rows})
    if not rows:
        raise InputError(f"{table}: holds no rows below its headings: check the file.")
    if region is None and len(regions) > 1:
        raise InputError(f"{table}: holds the regions {', '.join(regions)}: choose one.")
    if region is not None and region not in regions:
        raise InputError(f"{table}: there is no region {region!r}: it holds {', '.join(regions)}.")
    known = {text(row, columns["variable"]) for row in rows}
    if absent := [variable for variable in variables or {} if variable not in known]:
        raise InputError(f"{table}: there is no variable {absent[0]!r}: it holds {', '.join(sorted(known))}.")
    kept = [row for row in rows if region is None or text(row, columns["region"]) == region]
    return kept if variables is None else [row for row in kept if text(row, columns["variable"]) in variables]


def _scenario(title: str, rows: list[Row], variable: str, years: list[str], variables: Mapping[str, str]) -> Scenario:
    levels: dict[str, list[float]] = {}
    for row in rows:
        driver = variables.get(text(row, variable), text(row, variable))
        if driver in levels:
            raise InputError(f"{row.place(variable)}: {title} has {driver} twice: keep one of the rows.")
        levels[driver] = [positive(row, year, driver) for year in years]
    order = np.argsort([int(year) for year in years])
    return Scenario(title, tuple(levels), np.array([int(year) for year in years])[order],
                    np.array(list(levels.values())).T[order])  # fmt: skip
