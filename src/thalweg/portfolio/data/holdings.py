"""Holdings: what is invested in which company."""

from __future__ import annotations

from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Dropped, Note, Place, dropped, silent
from thalweg.portfolio.data.sheets import COMPANY, NAME, find_holdings, value_column
from thalweg.portfolio.data.tables import Row, Source, Table
from thalweg.portfolio.data.units import currency_of, money
from thalweg.portfolio.data.values import number, text


class Holding(NamedTuple):
    """One line of a portfolio.

    **Fields:** `company`, its identifier as written; `isin` and `lei`, empty if not given; `name`; `value`, the
    outstanding amount in `currency`; `asset_class`, empty if not given; `score`, a temperature score in degrees, if
    given; `quality`, a data-quality score, if given; `places`, where each number stands.
    """

    company: str
    isin: str
    lei: str
    name: str
    value: float
    currency: str
    asset_class: str
    score: float | None
    quality: float | None
    places: dict[str, Place]


class Holdings(NamedTuple):
    """A portfolio: its `lines`; what of the file is `dropped`; the `source`, as errors name it."""

    lines: tuple[Holding, ...]
    dropped: tuple[Dropped, ...]
    source: str


def read_holdings(source: Source, *, note: Note = silent) -> Holdings:
    """The holdings of a portfolio from CSV, XLSX or a table of pandas.

    Columns: `company_id` (or `company_isin`, `isin`, `company_lei`, `lei`), `investment_value` (or
    `outstanding_amount`, `market_value`) with its currency in brackets (`investment_value [EUR]`) or in a column
    `currency`; further `company_name`, `asset_class`, `temperature_score`, `data_quality`.

    **Raises:** `InputError` with file, row and column for values that are no number, negative or without a currency,
    and for a table without holdings.
    """
    table = find_holdings(source, note=note)
    lost: list[Dropped] = []
    value = value_column(table)
    assert value is not None
    lines = [line for row in table.rows() if (line := _line(table, row, value, lost)) is not None]
    if not lines:
        raise InputError(f"{table}: holds no holding with a company and a value: check the file.")
    return Holdings(tuple(lines), tuple(lost), str(table))


def _line(table: Table, row: Row, column: str, lost: list[Dropped]) -> Holding | None:
    keys = [named for each in COMPANY if (named := table.named(each)) is not None]
    company = next((found for key in keys if (found := text(row, key))), "")
    value = number(row, column, lost)
    place = row.place(column)
    if not company:
        if value is not None:
            raise InputError(f"{row.place(keys[0])}: names no company for a holding of {value:g}: write its "
                             "identifier, or remove the row.")  # fmt: skip
        return None
    if value is None:
        if row.get(column) is None:
            lost.append(dropped(place, None, f"The holding of {company} has no value."))
        return None
    if value < 0:
        raise InputError(f"{place}: the holding of {company} is {value:g}: short positions finance no emissions, leave "
                         "the row out.")  # fmt: skip
    if value == 0:
        lost.append(dropped(place, 0, f"The holding of {company} is zero."))
        return None
    currency = currency_of(column) or text(row, table.named("currency"))
    if not currency:
        raise InputError(f"{place}: names no currency: head the column {column} [EUR], or add a column currency.")
    scale, currency = money(currency)
    extras, places = _extras(table, row, lost)
    isin, lei = (text(row, table.named(*names)) for names in (("company_isin", "isin"), ("company_lei", "lei")))
    return Holding(company, isin, lei, text(row, table.named(*NAME)), value * scale, currency,
                   text(row, table.named("asset_class", "exposure")), *extras, {"value": place, **places})  # fmt: skip


def _extras(table: Table, row: Row, lost: list[Dropped]) -> tuple[tuple[float | None, float | None], dict[str, Place]]:
    places: dict[str, Place] = {}
    found: list[float | None] = []
    for name, column in (("score", table.named("temperature_score")), ("quality", table.named("data_quality"))):
        amount = number(row, column, lost)
        if amount is not None and column is not None:
            places[name] = row.place(column)
            if name == "quality":
                checked_quality(amount, places[name])
        found.append(amount)
    return (found[0], found[1]), places


def checked_quality(score: float, place: Place) -> float:
    """A data-quality score. **Raises:** `InputError` for one that PCAF does not know."""
    if not 1 <= score <= 5:
        raise InputError(f"{place}: the data-quality score is {score:g}, but PCAF knows 1 (best) to 5: correct it.")
    return score


def valid_isin(name: str) -> bool:
    """Whether a name is an ISIN whose check digit is right (ISO 6166: Luhn's sum over its letters as numbers)."""
    plain = name.strip().upper()
    if len(plain) != 12 or not (plain.isascii() and plain.isalnum() and plain[:2].isalpha() and plain[-1].isdigit()):
        return False
    digits = "".join(str(int(letter, 36)) for letter in plain)
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled // 10 + doubled % 10
    return total % 10 == 0
