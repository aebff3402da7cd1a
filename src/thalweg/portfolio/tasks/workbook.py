"""The footprint as a workbook in which every number names the cell that it came from, and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import require
from thalweg.portfolio.data.places import Place
from thalweg.portfolio.tasks.attribution import Attribution
from thalweg.portfolio.tasks.footprint import Account, coverage, result

HEADINGS = ("company", "name", "sector", "value", "share", "year", "emissions_t", "financed_t", "data_quality",
            "revenue", "estimated", "lower80_t", "upper80_t")  # fmt: skip
CONVERTED = ("company", "name", "currency", "value", "rate", "converted", "into", "row", "rate_date", "rate_file",
             "rate_row")  # fmt: skip
_USED = {
    "value": "financed_emissions, footprint_per_million, waci, data_quality",
    "denominator": "financed_emissions, footprint_per_million",
    "rate": "financed_emissions, footprint_per_million, waci, data_quality",
    "company rate": "financed_emissions, footprint_per_million, waci, total_carbon_emissions, carbon_intensity",
    "emissions": "financed_emissions, footprint_per_million, waci, total_carbon_emissions",
    "revenue": "waci, carbon_intensity",
    "market_cap": "total_carbon_emissions, carbon_intensity",
}


def rows(account: Account) -> list[tuple[Any, ...]]:
    """A row for each company with a share, under `HEADINGS`; None where something is not known."""
    found, attribution = [], account.attribution
    for place, company in enumerate(attribution.companies):
        one = account.estimates.get(place)
        found.append((
            company, attribution.names[place], attribution.sector[place], float(attribution.value[place]),
            float(attribution.factor[place]), int(account.years[place]) or None, _known(account.tonnes[place]),
            _known(account.measures.contributions[place]), _known(account.score[place]),
            _known(attribution.revenue[place]), "" if one is None else f"{one.basis}, {one.reporting} of {one.sector}",
            None if one is None else one.lower, None if one is None else one.upper,
        ))  # fmt: skip
    return found


def converted_rows(attribution: Attribution) -> list[tuple[Any, ...]]:
    """A row for each holding that was converted, under `CONVERTED`: `converted = value rate`, in units of `into`."""
    found = []
    for line in attribution.lines:
        if line.rate is not None:
            day = None if line.rate.date is None else line.rate.date.isoformat()
            found.append((line.holding.company, line.holding.name, line.holding.currency, line.holding.value,
                          line.rate.rate, line.value, attribution.currency, line.holding.places["value"].row, day,
                          line.rate.place.file, line.rate.place.row))  # fmt: skip
    return found


def provenance(account: Account) -> list[tuple[Any, ...]]:
    """For each number that enters a figure: which figures, company, quantity, file, sheet, row, column, letter."""
    found: list[tuple[Any, ...]] = []
    attribution = account.attribution

    def add(company: str, quantity: str, places: Iterable[Place]) -> None:
        found.extend((_USED[quantity], company, quantity, *place) for place in places)

    for line in attribution.lines:
        if account.covered(line):
            for quantity, places in line.places.items():
                add(line.company, quantity, places)
    for place, company in enumerate(attribution.companies):
        if not np.isfinite(account.tonnes[place]):
            continue
        add(company, "emissions", account.emissions.places(company, int(account.years[place])))
        figures = account.figures.of[company]
        for quantity, amounts in (("revenue", attribution.revenue), ("market_cap", attribution.market_cap)):
            if np.isfinite(amounts[place]):
                add(company, quantity, (figures.places[quantity],))
    return found


def write_workbook(account: Account, path: str | os.PathLike[str]) -> Path:
    """Write a footprint as XLSX, whole or not at all.

    Sheets: Summary, Companies, Provenance (the cell behind every number), Missing, Dropped, Restated, and Converted if
    holdings were converted into the portfolio's currency.

    **Raises:** `ThalwegError` if the place cannot be written; `MissingExtra` without openpyxl.
    """
    openpyxl = require("openpyxl", extra="portfolio")
    book = openpyxl.Workbook()
    book.remove(book.active)
    answer = result(account)
    flat = {name: value for name, value in answer.items() if not isinstance(value, (list, dict))}
    flat |= {f"coverage: {name.replace('_', ' ')}": value for name, value in coverage(account).items()}
    flat |= {f"estimated: {name}": value for name, value in answer.get("estimated", {}).items()}
    flat |= {f"{name}: score": value["score"] for name, value in answer.get("temperature", {}).items()}
    _sheet(book, "Summary", ("figure", "value"), list(flat.items()))
    _sheet(book, "Companies", HEADINGS, rows(account))
    _sheet(book, "Provenance", ("used in", "company", "quantity", "file", "sheet", "row", "column", "letter"),
           provenance(account))  # fmt: skip
    missing = [(*each.values(),) for each in answer["missing"]]
    _sheet(book, "Missing", ("company", "name", "value", "row", "column", "why"), missing)
    _sheet(book, "Dropped", ("file", "sheet", "row", "column", "value", "why", "kind"), account.dropped)
    _sheet(book, "Restated", ("company", "year", "scope", "before_t", "after_t", "before_row", "after_row"),
           account.emissions.restated)  # fmt: skip
    if listed := converted_rows(account.attribution):
        _sheet(book, "Converted", CONVERTED, listed)
    packed = io.BytesIO()
    book.save(packed)
    return write_atomic(path, packed.getvalue())


def write_table(account: Account, path: str | os.PathLike[str]) -> Path:
    """Write the companies of a footprint as CSV, whole or not at all."""
    return _csv(HEADINGS, rows(account), path)


def write_converted(attribution: Attribution, path: str | os.PathLike[str]) -> list[Path]:
    """Write the holdings that were converted as CSV, whole or not at all.

    **Returns:** the file, or nothing where no holding was converted.
    """
    listed = converted_rows(attribution)
    return [_csv(CONVERTED, listed, path)] if listed else []


def _csv(headings: Sequence[str], values: Sequence[Sequence[Any]], path: str | os.PathLike[str]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(values)
    return write_atomic(path, text.getvalue())


def _sheet(book: Any, title: str, headings: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
    sheet = book.create_sheet(title)
    for number, row in enumerate([headings, *values], 1):
        for column, value in enumerate(row, 1):
            if value is None or value == "":
                continue
            cell = sheet.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"  # a name that begins with = is no formula
    sheet.freeze_panes = "A2"


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
