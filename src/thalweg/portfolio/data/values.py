"""What cells hold: numbers, years, dates and text, with one sentence for what they must not hold."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from thalweg.core.errors import InputError, shown
from thalweg.portfolio.data.places import Dropped, dropped
from thalweg.portfolio.data.tables import Row

# What people write where they have no number.
_NOTHING = frozenset(
    "n/a na nan none null - -- – — . .. x ? n.a. n.a nd n.d. tbd missing excluded confidential #n/a".split()
) | {"not available", "not reported", "not applicable", "not disclosed", "no data"}
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")


def number(row: Row, column: str | None, lost: list[Dropped], *, strict: bool = True) -> float | None:
    """A number in a cell, None where it is empty or says that there is none; the latter is appended to `lost`.

    **Arguments:** `row`, `column`; `lost`; `strict`: whether any other text is an error, or lost as well.

    **Raises:** `InputError` for other text, with row and column.
    """
    value = row.get(column)
    if value is None or column is None:
        return None
    found = _spelled(value) if isinstance(value, str) else _host(value)
    if found is not None and math.isfinite(found):
        return found
    if isinstance(value, str) and (value.lower() in _NOTHING or value.startswith("#")):
        lost.append(dropped(row.place(column), value, f"{value} says that there is no number."))
        return None
    if not strict:
        lost.append(dropped(row.place(column), value, "This is text where a number belongs."))
        return None
    raise InputError(f"{row.place(column)}: {_wrong(value)}")


def _host(value: Any) -> float | None:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)  # Python's numbers, scalars of numpy, decimals
    except OverflowError:  # an integer beyond all floats
        return None


def _spelled(value: str) -> float | None:
    if "_" in value or value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _wrong(value: Any) -> str:
    if isinstance(value, str) and value.startswith("="):
        return f"the formula {shown(value)} was never calculated: open and save the workbook in a spreadsheet program."
    if isinstance(value, str) and "," in value:
        return f"{shown(value)} is no number: write it without commas, with a point before decimals."
    return f"{shown(value)} is no number: write one, or leave the cell empty."


def text(row: Row, column: str | None) -> str:
    """The text of a cell, empty where there is none; whole numbers without a decimal point."""
    value = row.get(column)
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def year(row: Row, column: str) -> int:
    """A calendar year in a cell: 2015, or a date in it.

    **Raises:** `InputError` for anything else.
    """
    value = row.get(column)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.year
    written = text(row, column)
    head = written[:4] if _DATE.match(written) else written.removesuffix(".0")
    if head.isdecimal() and len(head) == 4:
        return int(head)
    raise InputError(f"{row.place(column)}: {shown(written)} is no year: write it with four digits.")


def date(row: Row, column: str | None) -> datetime.date | None:
    """A date in a cell, None where it is empty.

    **Raises:** `InputError` for what is none.
    """
    value = row.get(column)
    if value is None or column is None:
        return None
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    found = parsed_date(str(value))
    if found is None:
        raise InputError(f"{row.place(column)}: {shown(value)} is no date: write it as 2022-12-31.")
    return found


def parsed_date(value: str) -> datetime.date | None:
    """A date written as 2022-12-31, perhaps with a time after it, or as a year (its last day); None for others."""
    if value.removesuffix(".0").isdecimal() and len(value.removesuffix(".0")) == 4:
        return datetime.date(int(value[:4]), 12, 31)
    match = _DATE.match(value)
    try:
        return datetime.date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
