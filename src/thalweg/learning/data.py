"""Regression data for small networks: the textbook parabola, or a user's own CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError

Regression = tuple[np.ndarray, np.ndarray]


def parabola(points: int = 64, start: float = -1.0, stop: float = 1.5) -> Regression:
    """The textbook's example `y = x^2` on an even grid: inputs `[n, 1]` and targets `[n, 1]`, float64.

    The grid is off-centre on purpose: on [-1, 1] two tied tanh neurons do best as a constant, and that state is
    stable against parting, so that there is no split to see.
    """
    x = np.linspace(start, stop, points)
    return x[:, None], x[:, None] ** 2


def read_csv(path: Path, targets: int = 1) -> Regression:
    """Inputs `[n, k]` and targets `[n, m]` from a CSV file with a header: the last columns are the targets.

    **Raises:** `InputError` with file and line for anything that is not a finite number in every cell.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV file ({error}).") from error
    if targets < 1:
        raise InputError(f"{path}: {targets} target columns were asked for, but at least one is needed.")
    if not rows or len(rows[0]) < 1 + targets:
        wanted = "the target column" if targets == 1 else f"the {targets} target columns"
        raise InputError(f"{path}: line 1 must be a header with at least one input column and {wanted}.")
    table = [_numbers(path, line, row, len(rows[0])) for line, row in enumerate(rows[1:], start=2) if row]
    if len(table) < 2:
        raise InputError(f"{path}: there are {len(table)} rows of numbers, but at least two are needed.")
    numbers = np.asarray(table)
    return numbers[:, :-targets], numbers[:, -targets:]


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


def standardised(data: Regression) -> Regression:
    """Inputs and targets with mean zero and variance one, column by column.

    **Raises:** `InputError` for a column that does not vary.
    """
    columns = []
    for what, array in zip(("input", "target"), data, strict=True):
        spread = array.std(axis=0)
        if (spread == 0).any():
            raise InputError(f"{what} column {int(np.argmin(spread)) + 1} does not vary: leave it out.")
        columns.append((array - array.mean(axis=0)) / spread)
    return columns[0], columns[1]


def whitened(data: Regression) -> Regression:
    """Centred inputs with unit covariance, and centred targets: what the exact formulas of linear networks assume.

    **Raises:** `InputError` for inputs that are linearly dependent.
    """
    x, y = (array - array.mean(axis=0) for array in data)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    if values[0] <= 1e-12 * values[-1]:
        raise InputError("the input columns are linearly dependent, so that they cannot be whitened: leave some out.")
    return x @ vectors / np.sqrt(values), y
