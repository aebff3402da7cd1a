"""Fundamentals: what companies are worth and earn, in which currency, on which date."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Dropped, Note, Place, dropped, silent
from thalweg.portfolio.data.sheets import COMPANY, NAME, find_fundamentals
from thalweg.portfolio.data.tables import Row, Source, Table
from thalweg.portfolio.data.units import currency_of, money
from thalweg.portfolio.data.values import date, number, text

_MONEY = {
    "evic": ("evic", "enterprise_value_including_cash"),
    "market_cap": ("market_cap", "market_capitalisation", "company_market_cap"),
    "revenue": ("revenue", "company_revenue"),
    "ev": ("ev", "enterprise_value", "company_enterprise_value"),
    "assets": ("assets", "total_assets", "company_total_assets"),
    "equity": ("equity", "total_equity"),
    "debt": ("debt", "total_debt"),
    "cash": ("cash", "cash_equivalents", "company_cash_equivalents"),
    "origination_value": ("origination_value", "property_value"),
    "gdp": ("gdp_ppp", "ppp_adjusted_gdp"),
}


class Fundamental(NamedTuple):
    """One company's figures.

    **Fields:** `company`, its identifier; `isin`, `lei`, `name`, `sector`, `asset_class`, empty if not given;
    `currency` of the amounts; `fx_rate`, what one unit of it is in `fx_quote`, if given; `date` of the figures;
    `amounts`, from `evic`, `revenue`, `market_cap`, `ev`, `assets`, `equity`, `debt`, `cash` and more to money;
    `places`, where each stands; `row`, the place of its identifier.
    """

    company: str
    isin: str
    lei: str
    name: str
    sector: str
    asset_class: str
    currency: str
    fx_rate: float | None
    fx_quote: str
    date: datetime.date | None
    amounts: dict[str, float]
    places: dict[str, Place]
    row: Place


class Fundamentals(NamedTuple):
    """Figures of companies: `of`, from identifier to figures; what is `dropped`; the `source`, as errors name it."""

    of: dict[str, Fundamental]
    dropped: tuple[Dropped, ...]
    source: str


def read_fundamentals(source: Source, *, evic_date: datetime.date | None = None, note: Note = silent) -> Fundamentals:
    """Fundamentals from CSV, XLSX or a table of pandas; of several rows of a company the latest one.

    Columns: `company_id` (or an ISIN or LEI), `currency`, `evic`, `revenue`, and as far as needed `market_cap`, `ev`,
    `assets`, `equity`, `debt`, `cash`, `sector`, `report_date`, `fx_rate` with `fx_quote`.

    **Arguments:** `source`; `evic_date`: use the latest figures of that day or before, and none after it, so that
    shares of ownership stay comparable: they drift with the market's value.

    **Raises:** `InputError` with file, row and column for text in number columns, an exchange rate that is not
    positive, and two rows of a company that disagree on the same date.
    """
    table = find_fundamentals(source, note=note)
    lost: list[Dropped] = []
    kept: dict[str, Fundamental] = {}
    for row in table.rows():
        found = _row(table, row, lost)
        if found is None:
            continue
        if evic_date is not None and (found.date is None or found.date > evic_date):
            when = "without a date" if found.date is None else f"of {found.date}"
            lost.append(dropped(found.row, found.company, f"The figures are {when}, not of {evic_date} or before."))
            continue
        other = kept.get(found.company)
        kept[found.company] = found if other is None else _newer(other, found, lost)
    if not kept:
        when = "" if evic_date is None else f" on or before {evic_date}"
        raise InputError(f"{table}: holds no company's figures{when}: check the file.")
    return Fundamentals(kept, tuple(lost), str(table))


def _row(table: Table, row: Row, lost: list[Dropped]) -> Fundamental | None:
    keys = [named for each in COMPANY if (named := table.named(each)) is not None]
    key = next((key for key in keys if text(row, key)), None)
    if key is None:
        lost.append(dropped(row.place(keys[0]), None, "The row names no company."))
        return None
    amounts, places = {}, {}
    written = text(row, table.named("currency"))
    scale, currency = money(written)
    for name, spellings in _MONEY.items():
        column = _column(table, spellings)
        amount = number(row, column, lost)
        if amount is not None and column is not None:
            bracketed = currency_of(column)
            own, code = money(bracketed) if bracketed else (1.0, currency)
            if currency and code != currency:
                raise InputError(f"{row.place(column)}: is headed {code}, but the row's currency is {currency}: "
                                 "state one of them.")  # fmt: skip
            currency = currency or code
            amounts[name], places[name] = amount * own, row.place(column)
    rate, quote = _exchange(table, row, written, lost)
    unit = currency
    if rate is None:
        amounts = {name: amount * scale for name, amount in amounts.items()}
    elif scale != 1.0:
        unit = written  # megaEUR at a rate of 1000000 into EUR: the rate holds the scale already
    return Fundamental(text(row, key), text(row, table.named("company_isin", "isin")),
                       text(row, table.named("company_lei", "lei")), text(row, table.named(*NAME)),
                       text(row, table.named("sector")), text(row, table.named("asset_class", "exposure")), unit, rate,
                       quote, date(row, table.named("report_date", "date")), amounts, places,
                       row.place(key))  # fmt: skip


def _column(table: Table, spellings: tuple[str, ...]) -> str | None:
    found = table.named(*spellings)
    if found:
        return found
    bare = {name.partition("[")[0].strip().lower().replace(" ", "_"): name for name in table.columns if "[" in name}
    return next((bare[each] for each in spellings if each in bare), None)


def _exchange(table: Table, row: Row, currency: str, lost: list[Dropped]) -> tuple[float | None, str]:
    column = table.named("fx_rate")
    rate, quote = number(row, column, lost), text(row, table.named("fx_quote")).upper()
    if rate is None or column is None:
        return None, quote
    if rate <= 0:
        raise InputError(f"{row.place(column)}: the exchange rate of {currency} is {rate:g}: it must be positive.")
    return rate, quote


def _newer(one: Fundamental, other: Fundamental, lost: list[Dropped]) -> Fundamental:
    if one.date == other.date:
        for name in sorted(one.amounts.keys() & other.amounts.keys()):
            if one.amounts[name] != other.amounts[name]:
                raise InputError(f"{other.places[name]}: {other.company} has {other.amounts[name]:g} here and "
                                 f"{one.amounts[name]:g} in row {one.row.row} for the same date: keep one of "
                                 "the rows.")  # fmt: skip
        lost.append(dropped(other.row, other.company, f"The row repeats row {one.row.row}."))
        return one
    older, newer = sorted((one, other), key=lambda each: each.date or datetime.date.min)
    lost.append(dropped(older.row, older.company, f"Row {newer.row.row} holds later figures of the company."))
    return newer
