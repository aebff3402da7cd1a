"""Matrix Market text, read here because SciPy's reader ends the process on some damaged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.errors import InputError
from thalweg.spins.data.text import MOST_SPINS, Page, fault, header, page, rows, whole_number

_MOST_ENTRIES = 10**10
_EXPECTED = "`%%MatrixMarket matrix coordinate|array real|integer|pattern general|symmetric`"


def matrix(path: Path, content: bytes) -> Any:
    """The sparse matrix of a `.mtx` text; a symmetric one comes with both of its triangles.

    **Raises:** `InputError` with the file, the line, what was expected and what was found.

    **Source:** R. F. Boisvert, R. Pozo & K. A. Remington, The Matrix Market exchange formats, NISTIR 5935 (1996).
    """
    from scipy.sparse import coo_array

    first = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0][:200].decode("ascii", "backslashreplace")
    words = first.lower().split()
    layouts, fields = ("coordinate", "array"), ("real", "double", "integer", "pattern")
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"] or words[2] not in layouts:
        fault(path, 1, _EXPECTED, repr(first[:60]))
    if words[3] not in fields or words[4] not in ("general", "symmetric"):
        fault(path, 1, _EXPECTED, repr(first[:60]))
    sizes, line, rest = header(page(path, content, b"%"))
    if len(sizes) != (3 if words[2] == "coordinate" else 2):
        fault(path, line, f"the size of a matrix in the {words[2]} layout", " ".join(sizes))
    counts = [whole_number(path, line, each, "the size of a matrix", _MOST_ENTRIES) for each in sizes]
    if counts[0] != counts[1] or not 0 < counts[0] <= MOST_SPINS:
        fault(path, line, f"a square matrix of 1 to {MOST_SPINS} rows", f"{counts[0]} x {counts[1]}")
    if words[2] == "coordinate":
        places, values = _coordinates(rest, line, counts[0], counts[2], words[3] == "pattern")
    else:
        places, values = _columns(rest, line, counts[0], words[4] == "symmetric")
    if words[4] == "symmetric":
        mirrored = places[0] != places[1]
        places = np.hstack([places, places[::-1, mirrored]])
        values = np.append(values, values[mirrored])
    return coo_array((values, (places[0], places[1])), shape=(counts[0], counts[0]))


def _coordinates(text: Page, line: int, size: int, count: int, pattern: bool) -> tuple[np.ndarray, np.ndarray]:
    table = rows(text, (2,) if pattern else (3,), "a row, a column and a number")
    if len(table.lines) != count:
        fault(text.path, line, f"{count} lines below", len(table.lines))
    places = table.numbers[:, :2] - 1
    wrong = np.flatnonzero(((places < 0) | (places >= size) | (places % 1 != 0)).any(axis=1))
    if wrong.size:
        found = " ".join(f"{place:g}" for place in table.numbers[wrong[0], :2].tolist())
        fault(text.path, int(table.lines[wrong[0]]), f"rows and columns from 1 to {size}", found)
    return places.T.astype(np.int64), np.ones(count, np.int64) if pattern else table.numbers[:, 2]


def _columns(text: Page, line: int, size: int, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Column after column, of a symmetric matrix from the diagonal downwards."""
    values = rows(text, (1,), "one number").numbers.ravel()
    expected = size * (size + 1) // 2 if symmetric else size * size
    if values.size != expected:
        raise InputError(f"{text.path}, line {line}: expected {expected} numbers below, found {values.size}: mend it.")
    columns, lines = np.triu_indices(size) if symmetric else np.divmod(np.arange(expected), size)
    return np.array([lines, columns]), values
