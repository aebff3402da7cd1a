"""Exchange rates: what one unit of each currency is in the currency that a portfolio is told in."""

from __future__ import annotations

import datetime
import math
import os
from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Place
from thalweg.portfolio.data.tables import Row, Source, Table, read_tables
from thalweg.portfolio.data.units import money
from thalweg.portfolio.data.values import date, number, text


class Rate(NamedTuple):
    """One exchange rate.

    **Fields:** `currency`; `rate`, what one unit of it is in the reporting currency; `date` of the rate, if given;
    `place`, where it stands.
    """

    currency: str
    rate: float
    date: datetime.date | None
    place: Place


class Rates(NamedTuple):
    """Exchange rates into one reporting currency: `of`, from currency to rate; the `source`, as errors name it."""

    of: dict[str, Rate]
    source: str


def read_rates(source: Source) -> Rates:
    """Exchange rates from CSV, XLSX or a table of pandas, one for each currency.

    Columns: `currency` (a scale counts: a rate of `EUR m` is that of a million EUR), `rate` (one unit of `currency` in
    units of the reporting currency) and, if known, `date`.

    **Raises:** `InputError` with file, row and column for rates that are missing, not positive or no number, rates
    without a currency, and two different rates of a currency; and for a source without one table of rates.
    """
    table = _only(source)
    found: dict[str, Rate] = {}
    for row in table.rows():
        one = _rate(table, row)
        if one is None:
            continue
        other = found.setdefault(one.currency, one)
        if not math.isclose(one.rate, other.rate, rel_tol=1e-12):  # a scale may round
            raise InputError(f"{one.place}: one {one.currency} is {_told(one)} here and {_told(other)} in row "
                             f"{other.place.row}: keep one of the rows.")  # fmt: skip
    if not found:
        raise InputError(f"{table}: holds no exchange rate: check the file.")
    return Rates(found, str(table))


def _only(source: Source) -> Table:
    found = [table for table in read_tables(source, "rates") if table.named("currency") and table.named("rate")]
    if not found:
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the table"
        raise InputError(f"{name}: holds no table of exchange rates: it needs the columns currency and rate.")
    if len(found) > 1:
        sheets = ", ".join(repr(table.sheet) for table in found)
        raise InputError(f"{found[0].file}: holds tables of exchange rates in the sheets {sheets}: keep one of them.")
    return found[0]


def _rate(table: Table, row: Row) -> Rate | None:
    named, column = str(table.named("currency")), str(table.named("rate"))
    written, place = text(row, named), row.place(column)
    rate = number(row, column, [])
    if not written:
        if rate is None:
            return None
        raise InputError(f"{row.place(named)}: names no currency for the rate {rate:g}: write its code, or remove the "
                         "row.")  # fmt: skip
    if rate is None:
        raise InputError(f"{place}: there is no rate of {written}: write what one unit of it is in the portfolio's "
                         "currency, or remove the row.")  # fmt: skip
    scale, currency = money(written)
    if not (rate > 0 and 0 < rate / scale < math.inf):
        raise InputError(f"{place}: the rate of {written} is {rate:g}: it must be positive.")
    return Rate(currency, rate / scale, date(row, table.named("date")), place)


def _told(one: Rate) -> str:
    return f"{one.rate:.12g}" + ("" if one.date is None else f" of {one.date}")
