"""Emissions in the templates of OS-Climate's ITR tool."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import NamedTuple

from thalweg.portfolio.data.observations import Observation
from thalweg.portfolio.data.places import Dropped, Note, dropped
from thalweg.portfolio.data.scopes import rank, scope
from thalweg.portfolio.data.sheets import COMPANY, NAME, OLD, year_columns
from thalweg.portfolio.data.tables import Row, Table
from thalweg.portfolio.data.units import tonnes
from thalweg.portfolio.data.values import date, number, text


class Read(NamedTuple):
    """What a table of emissions holds: its `observations`; the companies' `names`; what is `dropped`."""

    observations: list[Observation]
    names: dict[str, str]
    dropped: list[Dropped]


class _Block(NamedTuple):
    """What the rows below a company's first one leave out."""

    company: str = ""
    date: datetime.date | None = None


def read_template(table: Table, method: str, note: Note) -> Read:
    """The sheet 'ITR V2 esg data', in which a row is a metric of a report and years are columns.

    A company's name stands on its first row only and counts for those below. A row without a date of its report has
    that of the row above it, as OS-Climate's own reader takes it. Metrics that are no emissions are passed over.

    **Arguments:** `table`; `method`, `location` or `market`, for scope 2; `note`.
    """
    read, block, undated = Read([], {}, []), _Block(), Counter()
    columns = {name: table.named(name) for name in ("metric", "submetric", "boundary", "unit", "report_date")}
    keys = [named for each in COMPANY if (named := table.named(each)) is not None]
    for row in table.rows():
        company = next((found for key in keys if (found := text(row, key))), "")
        if company and company != block.company:
            block = _Block(company)
        day = date(row, columns["report_date"])
        block = block._replace(date=day or block.date)
        read.names.setdefault(block.company, text(row, table.named(*NAME)) or block.company)
        found = scope(text(row, columns["metric"]))
        if found is None or not block.company:
            continue
        added = _row(row, columns, found, block, method, read)
        undated[block.company] += bool(added and day is None)
    if total := undated.total():
        note(f"{table}: {total} rows of emissions have no report_date and take that of the row above, "
             f"those of {', '.join(sorted(+undated))}.")  # fmt: skip
    return read


def _row(row: Row, columns: dict[str, str | None], found: str, block: _Block, method: str, read: Read) -> bool:
    """Whether the row holds any value that counts."""
    filled = [name for name in year_columns(row.table) if row.get(name) is not None]
    if not filled:
        return False
    metric = columns["metric"] or ""
    submetric, boundary = text(row, columns["submetric"]), text(row, columns["boundary"])
    place, unit = rank(submetric, boundary, method), text(row, columns["unit"])
    said = " ".join(each for each in (text(row, metric), submetric, boundary) if each)
    if place is None:
        read.dropped.append(dropped(row.place(metric), said, f"{block.company}: the row is a part of a total.", "part"))
        return False
    mass = tonnes(unit)
    if mass is None:
        read.dropped.append(dropped(row.place(columns["unit"] or metric), unit, f"{block.company}: {unit or 'nothing'} "
                                    "is no unit of CO2e."))  # fmt: skip
        return False
    read_values = ((name, number(row, name, read.dropped, strict=False)) for name in filled)
    values = [(name, amount) for name, amount in read_values if amount is not None]
    last = max((int(name) for name, _ in values), default=0)
    read.observations.extend(
        Observation(block.company, int(name), found, amount * mass[0], place, block.date, last, None, True, row, name)
        for name, amount in values
    )
    return bool(values)


def read_old_template(table: Table) -> Read:
    """The sheet 'ITR input data' of 2022, in which a row is a company and columns are `2020_ghg_s1` and the like."""
    read = Read([], {}, [])
    keys = [named for each in COMPANY if (named := table.named(each)) is not None]
    unit_column = table.named("emissions_metric")
    for row in table.rows():
        company = next((found for key in keys if (found := text(row, key))), "")
        if not company:
            continue
        read.names.setdefault(company, text(row, table.named(*NAME)) or company)
        unit = text(row, unit_column)
        mass = tonnes(unit)
        for column in table.columns:
            match = OLD.fullmatch(column)
            found = scope(match[2]) if match else None
            if match is None or found is None or row.get(column) is None:
                continue
            if mass is None:
                read.dropped.append(dropped(row.place(column), row.get(column), f"{company}: {unit or 'nothing'} is no "
                                            "unit of CO2e."))  # fmt: skip
            elif (amount := number(row, column, read.dropped, strict=False)) is not None:
                read.observations.append(Observation(company, int(match[1]), found, amount * mass[0], 0, None, 0, None,
                                                     True, row, column))  # fmt: skip
    return read
