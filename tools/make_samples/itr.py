"""Makes itr_panel_*.csv: holdings, fundamentals and reported histories from OS-Climate's ITR sample workbook.

Needs: itr-examples openpyxl tomli-w. Run: python itr.py.
"""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import io
import warnings
from typing import Any

import openpyxl
from _card import SAMPLES, versions, write, write_card

NAME = "itr_panel"
WORKBOOK = "20230106 ITR V2 Sample Data.xlsx"
COMPANY = 3  # the first three columns name the company; in the history sheet they stand only on a block's first row
YEARS = range(2015, 2023)

Row = tuple[Any, ...]


def sheets() -> dict[str, list[Row]]:
    place = importlib.metadata.distribution("itr-examples").locate_file(f"ITR_examples/data/{WORKBOOK}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl on drop-down lists, which a CSV file cannot hold anyway
        book = openpyxl.load_workbook(str(place), data_only=True)
    return {name: list(book[name].iter_rows(values_only=True)) for name in book.sheetnames}


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def named_columns(rows: list[Row]) -> list[Row]:
    """The table without columns that have neither a heading nor a value."""
    keep = [c for c in range(len(rows[0])) if any(row[c] is not None for row in rows)]
    if any(rows[0][c] is None for c in keep):
        raise SystemExit("a column with values has no heading")
    return [tuple(row[c] for c in keep) for row in rows]


def filled_down(rows: list[Row]) -> tuple[list[Row], int]:
    """The history with its company on every row; rows without a metric or a yearly number are left out and counted."""
    head = rows[0]
    years = [head.index(year) for year in YEARS]
    company: Row = ()
    kept, left_out = [head], 0
    for row in rows[1:]:
        if row[0] is not None:
            company = row[:COMPANY]
        if row[COMPANY] is not None and any(number(row[c]) for c in years):
            kept.append((*company, *row[COMPANY:]))
        else:
            left_out += 1
    return kept, left_out


def table(rows: list[Row]) -> bytes:
    """Values as the workbook has them; dates in ISO form; floats with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([v.date().isoformat() if isinstance(v, datetime.datetime) else v for v in row])
    return text.getvalue().encode()


def main() -> None:
    book = sheets()
    holdings = named_columns(book["Portfolio"])
    fundamentals = named_columns(book["ITR V2 input data"])
    history, left_out = filled_down(named_columns(book["ITR V2 esg data"]))
    undated = sum(row[history[0].index("report_date")] is None for row in history)
    held, known, reported = ({row[2] for row in rows[1:]} for rows in (holdings, fundamentals, history))
    parts = {"holdings": holdings, "fundamentals": fundamentals, "emissions": history}
    for part, rows in parts.items():
        write(SAMPLES / f"{NAME}_{part}.csv", table(rows))
    write_card(
        NAME,
        {
            f"{NAME}_holdings.csv": "sheet 'Portfolio': company and investment value in EUR",
            f"{NAME}_fundamentals.csv": "sheet 'ITR V2 input data': sector, currency, revenue, EVIC, assets and more",
            f"{NAME}_emissions.csv": "sheet 'ITR V2 esg data': metric, unit, report date and the years 2015-2022",
        },
        {
            "what": f"{len(holdings) - 1} sample holdings with fundamentals and reported emissions of their companies",
            "origin": f"Python package itr-examples (OS-Climate), workbook '{WORKBOOK}'",
            "licence": "Apache-2.0 (OS-Climate), notice in LICENSES.md",
            "made": "three sheets written as CSV, headings and cell values unchanged; columns without heading or value"
            f" dropped; in the history the company filled down, {left_out} rows without metric or yearly number (links,"
            " notes, blanks) left out",
            "units": "investment_value EUR; fundamentals in the row's currency, fx_rate turns it into fx_quote;"
            " emissions in the row's unit, for example 'kt CO2e'",
            "notes": "the same year can stand in several rows, once per report_date (restatements); some cells hold"
            f" text such as 'N/A'; {undated} rows have no report_date (OS-Climate's own reader takes the one above);"
            " some LEI are 0 or missing; company_id may carry a business after '+' or '-'",
            "script": "tools/make_samples/itr.py",
            "versions": versions("itr-examples", "openpyxl"),
            "holdings": len(holdings) - 1,
            "holdings_with_fundamentals": len(held & known),
            "holdings_with_history": len(held & reported),
            "holdings_with_both": len(held & known & reported),
            "history_rows": len(history) - 1,
        },
    )


if __name__ == "__main__":
    main()
