"""Which table of a source is which, told by its columns: nobody has to say what format a file has."""

from __future__ import annotations

import re

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Note
from thalweg.portfolio.data.tables import Source, Table, read_tables

COMPANY = ("company_id", "unique_id", "company_isin", "isin", "company_lei", "lei")
NAME = ("company_name", "name", "company", "issuer")
VALUE = ("investment_value", "outstanding_amount", "outstanding", "market_value", "value")
YEAR = re.compile(r"(19|20)\d\d")
OLD = re.compile(r"((?:19|20)\d\d)_ghg_(s[123s]+)")  # a company in a row, as in the templates of 2022


def value_column(table: Table) -> str | None:
    """The column of what is invested; its heading may end in a currency: `investment_value [EUR]`."""
    found = table.named(*VALUE)
    return found or next((name for name in table.columns if re.match(r"investment[_ ]value\b", name.lower())), None)


def year_columns(table: Table) -> list[str]:
    """Columns that are headed by a year."""
    return [name for name in table.columns if YEAR.fullmatch(name)]


def is_holdings(table: Table) -> bool:
    """Whether a table says what is invested in which company."""
    return value_column(table) is not None and table.named(*COMPANY) is not None


def is_fundamentals(table: Table) -> bool:
    """Whether a table says what companies are worth or earn."""
    return table.named("evic", "revenue") is not None and table.named(*COMPANY) is not None


def emissions_format(table: Table) -> str | None:
    """`template`, `long`, `wide`, `old`, `carbon majors`, `eu ets`; None for a table that holds no emissions."""
    if table.named("total_emissions_MtCO2e") and table.named("parent_entity"):
        return "carbon majors"
    if table.named("tonnes_co2") and table.named("account_id"):
        return "eu ets"
    if table.named(*COMPANY) is None:
        return None
    if table.named("metric") and year_columns(table):
        return "template"
    if table.named("y", "emissions") and table.named("ds", "year"):
        return "long"
    if any(OLD.fullmatch(name) for name in table.columns):
        return "old"
    return "wide" if year_columns(table) and not table.named("target_type") else None


def find_holdings(source: Source, *, note: Note) -> Table:
    """The table of holdings in a source. **Raises:** `InputError` if there is none."""
    found = [table for table in read_tables(source, "holdings") if is_holdings(table)]
    return _one(found, source, "holdings", "company_id and investment_value [EUR]", note)


def find_fundamentals(source: Source, *, note: Note) -> Table:
    """The table of fundamentals in a source. **Raises:** `InputError` if there is none."""
    found = [table for table in read_tables(source, "fundamentals") if is_fundamentals(table)]
    return _one(found, source, "fundamentals", "company_id, currency, evic and revenue", note)


def find_emissions(source: Source, *, note: Note) -> tuple[Table, str]:
    """The table of emissions in a source, and its format. **Raises:** `InputError` if there is none."""
    found = [table for table in read_tables(source, "emissions") if emissions_format(table)]
    table = _one(found, source, "emissions", "unique_id, ds and y, or those of the ITR template", note)
    return table, str(emissions_format(table))


def _one(found: list[Table], source: Source, what: str, columns: str, note: Note) -> Table:
    if not found:
        name = source if isinstance(source, str) else getattr(source, "name", "the table")
        raise InputError(f"{name}: holds no table of {what}: it needs the columns {columns}.")
    # The template of OS-Climate keeps an older sheet, and notes of its authors, beside the one that counts.
    ranked = sorted(found, key=lambda table: (table.sheet.lower().startswith("extra"), "V2" not in table.sheet))
    if len(ranked) > 1:
        others = ", ".join(repr(table.sheet) for table in ranked[1:])
        note(f"{ranked[0]} is read for {what}, not {others}.")
    return ranked[0]
