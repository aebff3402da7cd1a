"""What a forecast and a backtest leave for spreadsheets: XLSX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import require
from thalweg.portfolio.tasks.backtest import Backtest
from thalweg.portfolio.tasks.forecast import Forecast
from thalweg.portfolio.tasks.intervals import LEVELS

Sheet = tuple[Sequence[str], Sequence[Sequence[Any]]]
_ENDS = tuple(f"{side}{100 * level:.0f}" for level in LEVELS for side in ("lower", "upper"))


def forecast_sheets(found: Forecast) -> dict[str, Sheet]:
    """The sheets of a forecast: the portfolio by year, each company by year, and what is left out."""
    result, names = found.result, found.account.emissions.names
    years = [(year, *(result[key][place] for key in ("median", *_ENDS)), result["waci_ahead"][place])
             for place, year in enumerate(result["years"])]  # fmt: skip
    rows = []
    for place, factor, value in zip(found.places, found.factor, found.value, strict=True):
        company = found.ahead.panel.companies[place]
        for ahead, year in enumerate(result["years"]):
            ends = [float(side[level, place, ahead]) for level in range(len(LEVELS))
                    for side in (found.ahead.lower, found.ahead.upper)]  # fmt: skip
            median, last = float(found.ahead.median[place, ahead]), found.base - int(found.ahead.behind[place])
            rows.append((company, names.get(company, company), float(value), float(factor), last, year, median, *ends,
                         float(factor) * median))  # fmt: skip
    summary = [(key, value) for key, value in result.items() if isinstance(value, str | int | float)]
    sheets: dict[str, Sheet] = {
        "Portfolio": (("year", "median [t]", *(f"{end} [t]" for end in _ENDS), "WACI [t per million]"), years),
        "Companies": (("company", "name", f"value [{found.account.attribution.currency}]", "share", "last report",
                       "year", "median [t]", *(f"{end} [t]" for end in _ENDS), "financed median [t]"), rows),
        "Left out": (("company", "why"), list(found.left_out.items())),
        "Summary": (("what", "value"), summary),
    }  # fmt: skip
    return sheets if found.estimated is None else {**sheets, "Estimated": _estimated(found)}


def _estimated(found: Forecast) -> Sheet:
    """The companies whose emissions nobody reported, with what each estimate rests on."""
    part, held = found.estimated, found.account.attribution
    assert part is not None
    rows = []
    for company, one, factor, value in zip(part.companies, part.made, part.factor, part.value, strict=True):
        rows.append((company, held.names[one.company], float(value), float(factor), one.tonnes, one.lower, one.upper,
                     one.score, one.basis, one.sector, one.reporting, float(factor) * one.tonnes))  # fmt: skip
    return ("company", "name", f"value [{held.currency}]", "share", "estimate [t]", "lower80 [t]", "upper80 [t]",
            "data quality", "basis", "sector", "reporting companies", "financed [t]"), rows  # fmt: skip


def backtest_sheets(found: Backtest) -> dict[str, Sheet]:
    """The sheets of a backtest: models, portfolios, differences, and every forecast with what happened."""
    result = found.result
    differences = [
        (row["name"], base, row["mean"], *row["interval"], *_portfolio(row))
        for base in ("naive", "ets")
        for row in result.get(f"differences_to_{base}", ())
    ]
    rows = []
    for name, values in found.rolled.forecasts.items():
        if name not in found.errors:
            continue
        for place, one in enumerate(found.rolled.made(name)):
            if one.origin in found.origins:
                for company, row in enumerate(values[place]):
                    for ahead, value in enumerate(row):
                        rows.append((name, one.origin, found.rolled.panel.companies[company], one.origin + 1 + ahead,
                                     _known(value), _known(one.actual[company, ahead])))  # fmt: skip
    return {
        "Models": _table(result["models"]),
        "Portfolios": _table(result["portfolio"]),
        "Differences": (("model", "to", "MASE", "low", "high", "portfolio MAPE", "low", "high"), differences),
        "Forecasts": (("model", "origin", "company", "year", "forecast [t]", "actual [t]"), rows),
    }


def write_sheets(sheets: Mapping[str, Sheet], path: Path) -> Path:
    """Write sheets as XLSX, whole or not at all.

    **Raises:** `ThalwegError` if the place cannot be written; `MissingExtra` without openpyxl.
    """
    book = require("openpyxl", extra="portfolio").Workbook()
    book.remove(book.active)
    for title, (headings, rows) in sheets.items():
        sheet = book.create_sheet(title)
        for number, row in enumerate([headings, *rows], 1):
            for column, value in enumerate(row, 1):
                if value is not None:
                    cell = sheet.cell(number, column, value)
                    if isinstance(value, str):
                        cell.data_type = "s"  # a name that begins with = is no formula
        sheet.freeze_panes = "A2"
    buffer = io.BytesIO()
    book.save(buffer)
    return write_atomic(path, buffer.getvalue())


def write_csv(sheet: Sheet, path: Path) -> Path:
    """Write one sheet as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet[0])
    writer.writerows(sheet[1])
    return write_atomic(path, text.getvalue())


def _table(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    headings = list(rows[0]) if rows else ["name"]
    return headings, [[row.get(name) for name in headings] for row in rows]


def _portfolio(row: Mapping[str, Any]) -> tuple[Any, ...]:
    one = row.get("portfolio")
    return (None, None, None) if one is None else (one["mean"], *one["interval"])


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
