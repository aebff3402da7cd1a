"""Results as JSON that every parser accepts, and tables for the terminal."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

from thalweg.core.errors import InputError
from thalweg.report.blocks import Cell, Table

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def jsonable(x: Any, key: str = "result") -> Any:
    """Turn a result into dictionaries, lists, numbers and strings.

    Arrays become nested lists, dataclasses dictionaries, enums their names (string enums their values), dates ISO
    text. JSON has no NaN and no infinity: such a value is refused, since `null` would hide that something diverged.

    **Arguments:** `x`, the result; `key`, the name that errors call it by.

    **Raises:** `InputError` naming the key of a value that JSON cannot hold.
    """
    if isinstance(x, enum.Enum):
        return x.value if isinstance(x, str) else x.name
    if x is None or isinstance(x, (str, bool, int)):
        return x
    if isinstance(x, float):
        return _finite(float(x), key)
    if isinstance(x, (datetime.datetime, datetime.date)):
        return x.isoformat()
    if isinstance(x, os.PathLike):
        return os.fspath(x)
    if isinstance(x, Mapping):
        return {_name(name, key): jsonable(value, f"{key}.{name}") for name, value in x.items()}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: jsonable(getattr(x, f.name), f"{key}.{f.name}") for f in dataclasses.fields(x)}
    if isinstance(x, Sequence) and not isinstance(x, (bytes, bytearray)):
        return [jsonable(value, f"{key}[{i}]") for i, value in enumerate(x)]
    if hasattr(x, "dtype"):
        return _array(x, key)
    raise InputError(f"{key} is a {type(x).__name__}, which JSON cannot hold: give numbers, text, lists or arrays.")


def _name(name: Any, key: str) -> str:
    if isinstance(name, (bool, float)) or not isinstance(name, (str, int, np.integer)):
        raise InputError(f"{key} has the key {name!r}: JSON keys are text.")
    return str(name)


def _finite(value: float, key: str) -> float:
    if not math.isfinite(value):
        raise InputError(f"{key} is {value}, which JSON cannot hold: leave it out, or say None and why.")
    return value


def _array(x: Any, key: str) -> Any:
    try:
        array = np.asarray(x)
        if array.dtype.kind == "V":  # bfloat16 and the like, which numpy knows only as bytes with a cast
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} is a {type(x).__name__} that is no array of numbers.") from error
    if array.dtype.kind not in "biufU":
        raise InputError(f"{key} is an array of {array.dtype}, which JSON cannot hold: give numbers or text.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        where = f"{key}{place}" if place else key
        raise InputError(
            f"{where} is {array[tuple(place)]}, which JSON cannot hold: leave it out, or say None and why."
        )
    return array.tolist()


def to_json(result: Any, *, indent: int | None = None) -> str:
    """`result` as JSON text (see `jsonable`); floats keep all their digits."""
    return json.dumps(jsonable(result), allow_nan=False, ensure_ascii=False, indent=indent)


def number(value: Any) -> str:
    """A cell as people read it: six digits, a true minus, powers of ten; `None` is a dash, text stays as it is."""
    if value is None:
        return "\u2013"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)):
        return str(value).replace("-", "\u2212")
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "\u2212infinite"
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    power = f" \u00d7 10{str(int(exponent)).translate(_SUPERSCRIPT)}" if exponent else ""
    return mantissa.replace("-", "\u2212") + power


def is_number(value: Cell) -> bool:
    """Whether a cell belongs to a right-aligned column."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def print_table(table: Table, *, file: IO[str] | None = None) -> None:
    """Print `table` for a reader at the terminal, on standard error unless `file` is given."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=table.caption or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(table.columns):
        numeric = all(is_number(row[i]) or row[i] is None for row in table.rows)
        grid.add_column(Text(str(name)), justify="right" if numeric else "left")
    for row in table.rows:
        grid.add_row(*(Text(number(cell)) for cell in row))  # Text: no cell is read as markup
    Console(file=file or sys.stderr, highlight=False).print(grid)
