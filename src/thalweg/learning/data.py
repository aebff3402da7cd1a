"""Regression data for small networks: the textbook parabola, or a user's own CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError

Regression = tuple[np.ndarray, np.ndarray]


def parabola(points: int = 64, start: float = -1.0, stop: float = 1.5) -> Regression:
    """The textbook's example `y = x^2` on an even grid: inputs `[n, 1]` and targets `[n]`, float64.

    The grid is off-centre on purpose: on [-1, 1] two tied tanh neurons do best as a constant, and that state is
    stable against parting, so that there is no split to see.
    """
    x = np.linspace(start, stop, points)
    return x[:, None], x**2


def read_csv(path: Path) -> Regression:
    """Inputs `[n, k]` and targets `[n]` from a CSV file with a header: the last column is the target.

    **Raises:** `InputError` with file and line for anything that is not a finite number in every cell.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV file ({error}).") from error
    if not rows or len(rows[0]) < 2:
        raise InputError(f"{path}: line 1 must be a header with at least one input column and the target column.")
    table = [_numbers(path, line, row, len(rows[0])) for line, row in enumerate(rows[1:], start=2) if row]
    if len(table) < 2:
        raise InputError(f"{path}: there are {len(table)} rows of numbers, but at least two are needed.")
    numbers = np.asarray(table)
    return numbers[:, :-1], numbers[:, -1]


def _numbers(path: Path, line: int, row: list[str], columns: int) -> list[float]:
    if len(row) != columns:
        raise InputError(f"{path}:{line}: {len(row)} columns, but the header has {columns}: add or remove cells.")
    try:
        numbers = [float(cell) for cell in row]
    except ValueError as error:
        raise InputError(f"{path}:{line}: {error}: every cell must be a number.") from error
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}:{line}: NaN or infinity: mend or drop this row.")
    return numbers
