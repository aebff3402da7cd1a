"""The field's own file format: a CSV with the column `angle`, in radians, one pendulum a line."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError


def read_angles(path: str | Path) -> Float[np.ndarray, " pendulums"]:
    """The angles in radians.

    **Raises:** `InputError` for a file that cannot be read, lacks the column, or has a line without a number.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if "angle" not in (rows.fieldnames or ()):
                raise InputError(f"{path}, line 1: there is no column `angle`: name it in the header.")
            angles = [_angle(path, rows.line_num, row["angle"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}.") from error
    if len(angles) < 3:
        raise InputError(f"{path} has {len(angles)} pendulums: a chain needs at least three.")
    return np.asarray(angles)


def _angle(path: str | Path, line: int, word: str | None) -> float:
    try:
        value = float(word or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, line {line}: the angle must be a number, in radians.")
    return value
