"""Emissions in the long format, in a wide one, and as Carbon Majors and the EU ETS publish them."""

from __future__ import annotations

from thalweg.core.errors import InputError, shown
from thalweg.portfolio.data.holdings import checked_quality
from thalweg.portfolio.data.itr import Read
from thalweg.portfolio.data.observations import Observation
from thalweg.portfolio.data.places import Note, dropped
from thalweg.portfolio.data.scopes import scope
from thalweg.portfolio.data.sheets import COMPANY, NAME, year_columns
from thalweg.portfolio.data.tables import Row, Table
from thalweg.portfolio.data.units import currency_of, tonnes
from thalweg.portfolio.data.values import number, text, year


def read_long(table: Table, note: Note) -> Read:
    """A value in a row.

    Columns: `unique_id`, `ds`, `y` (or `company_id`, `year`, `emissions`), perhaps `scope`, `unit`, `quality`,
    `company_name`.

    **Raises:** `InputError` for a row without a company or a year, a unit that is none of emissions, and a
    scope that there is not.
    """
    read = Read([], {}, [])
    value, when = (table.named(*names) or "" for names in (("y", "emissions"), ("ds", "year")))
    unit, named_unit = table.named("unit"), currency_of(value)
    for row in table.rows():
        amount = number(row, value, read.dropped)
        if amount is None:
            if row.get(value) is None:
                read.dropped.append(dropped(row.place(value), None, "The row holds no value."))
            continue
        company = _company(table, row)
        read.names.setdefault(company, text(row, table.named(*NAME)) or company)
        spelled = text(row, unit) or named_unit
        factor = _factor(row, value, unit, spelled)
        score = number(row, quality := table.named("quality", "data_quality"), read.dropped)
        if score is not None and quality is not None:
            checked_quality(score, row.place(quality))
        read.observations.append(Observation(company, year(row, when), _scope(table, row), amount * factor, 0, None, 0,
                                             score, bool(spelled), row, value))  # fmt: skip
    _note_units(read, table, note)
    return read


def read_wide(table: Table, note: Note) -> Read:
    """A company in a row and years as columns, perhaps with `scope` and `unit`."""
    read = Read([], {}, [])
    unit = table.named("unit")
    for row in table.rows():
        company = _company(table, row)
        read.names.setdefault(company, text(row, table.named(*NAME)) or company)
        for column in year_columns(table):
            amount = number(row, column, read.dropped)
            if amount is not None:
                spelled = text(row, unit)
                factor = _factor(row, column, unit, spelled)
                read.observations.append(Observation(company, int(column), _scope(table, row), amount * factor, 0, None,
                                                     0, None, bool(spelled), row, column))  # fmt: skip
    _note_units(read, table, note)
    return read


def read_carbon_majors(table: Table, note: Note) -> Read:
    """Emissions of producers of oil, gas, coal and cement by commodity in Mt CO2e, to be summed over commodities."""
    entity, when, value = (_needed(table, name) for name in ("parent_entity", "year", "total_emissions_MtCO2e"))
    commodity = table.named("commodity")
    read, seen = Read([], {}, []), {}
    for row in table.rows():
        amount = number(row, value, read.dropped)
        if amount is None:
            continue
        company, at = text(row, entity), year(row, when)
        kind = text(row, commodity)
        if (company, at, kind) in seen:
            raise InputError(f"{row.place(value)}: {company} has {kind} in {at} here and in row "
                             f"{seen[company, at, kind]}: keep one of the rows.")  # fmt: skip
        seen[company, at, kind] = row.number
        read.names[company] = company
        read.observations.append(Observation(company, at, "", amount * 1e6, 0, None, 0, None, True, row, value))
    note(f"{table}: the emissions of what is produced and of its use, summed over commodities.")
    return read


def read_eu_ets(table: Table, note: Note) -> Read:
    """Verified emissions of installations in tonnes of CO2; `Excluded` is listed and left out."""
    account, when, value = (_needed(table, name) for name in ("account_id", "year", "tonnes_co2"))
    read = Read([], {}, [])
    for row in table.rows():
        amount = number(row, value, read.dropped)
        if amount is not None:
            company = text(row, account)
            read.names[company] = company
            read.observations.append(Observation(company, year(row, when), "", amount, 0, None, 0, 1.0, True, row,
                                                 value))  # fmt: skip
    note(f"{table}: verified emissions of carbon dioxide alone, scope 1.")
    return read


def _needed(table: Table, name: str) -> str:
    found = table.named(name)
    if found is None:
        raise InputError(f"{table}: the column {name} is missing: add it.")
    return found


def _company(table: Table, row: Row) -> str:
    keys = [named for each in COMPANY if (named := table.named(each)) is not None]
    found = next((found for key in keys if (found := text(row, key))), "")
    if not found:
        raise InputError(f"{row.place(keys[0])}: names no company: write its identifier, or remove the row.")
    return found


def _factor(row: Row, value: str, column: str | None, unit: str) -> float:
    if not unit:
        return 1.0
    mass = tonnes(unit)
    if mass is None:
        raise InputError(f"{row.place(column or value)}: {shown(unit)} is no unit of CO2e: write t, kt or Mt CO2e.")
    return mass[0]


def _scope(table: Table, row: Row) -> str:
    column = table.named("scope", "metric")
    written = text(row, column)
    found = scope(written) if written else ""
    if found is None:
        raise InputError(
            f"{row.place(column or '')}: there is no scope {shown(written)}: write s1, s2, s3, s1s2 or s1s2s3."
        )
    return found


def _note_units(read: Read, table: Table, note: Note) -> None:
    if not all(one.stated for one in read.observations):
        note(f"{table}: states no unit everywhere; where it does not, values are taken for tonnes of CO2e.")
