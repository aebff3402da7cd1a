"""Configurations of spins in files: one a line, -1 and +1, or 0 and 1."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int8

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.spins.data.text import contents, fault, page, rows


def write_spins(path: str | os.PathLike[str], signs: Int[np.ndarray, " n"], *, note: str = "") -> Path:
    """Write spins, one a line, under a comment.

    **Arguments:** `signs`, -1 and +1; `note`, more words for the comment.

    **Raises:** `InputError` for anything but one row of signs; `ThalwegError` if the place cannot be written.
    """
    signs = np.asarray(signs)
    if signs.ndim != 1 or not signs.size or not (np.abs(signs) == 1).all():
        raise InputError(
            f"{path}: spins are one row of -1 and +1, not an array {signs.shape}: write one configuration."
        )
    comment = " ".join(f"thalweg spins n={signs.size} {note}".split())
    return write_atomic(path, f"# {comment}\n" + "".join(f"{sign}\n" for sign in signs.astype(int).tolist()))


def read_spins(path: str | os.PathLike[str], *, size: int | None = None) -> Int8[np.ndarray, " n"]:
    """Spins from a file of numbers in one column or one line; 0 is read as -1.

    **Arguments:** `size`, how many there must be.

    **Raises:** `InputError` with the line of what is neither -1 and +1 nor 0 and 1, or for another count than `size`.
    """
    path = Path(path)
    table = rows(page(path, contents(path)), None)
    if 1 not in table.numbers.shape:
        fault(path, int(table.lines[0]), "one spin a line (or all in one)", f"{table.numbers.shape[1]} columns")
    values = table.numbers.ravel()
    lines = np.broadcast_to(table.lines[:, None], table.numbers.shape).ravel()
    low = 0 if (values == 0).any() and not (values == -1).any() else -1
    wrong = np.flatnonzero((values != 1) & (values != low))
    if wrong.size:
        found = f"{values[wrong[0]]:g}"
        fault(path, int(lines[wrong[0]]), "spins of -1 and +1, or of 0 and 1 throughout", found)
    if size is not None and values.size != size:
        raise InputError(f"{path}: holds {values.size} spins, but the problem has {size}: give a matching file.")
    return np.where(values == 1, 1, -1).astype(np.int8)
