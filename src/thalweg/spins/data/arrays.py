"""Couplings as matrices: NumPy and SciPy in memory, `.npy`, `.npz`, `.mtx` and `.csv` in files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from thalweg.core.errors import InputError
from thalweg.spins.data import market
from thalweg.spins.data.problem import Kind, Problem
from thalweg.spins.data.statement import Statement
from thalweg.spins.data.text import MOST_SPINS, one_line, page, rows

_WHOLE = 2.0**53
_Numbers = Shaped[np.ndarray, "..."]


def from_array(
    matrix: Shaped[np.ndarray, "n n"],
    field: Shaped[np.ndarray, " n"] | None = None,
    *,
    kind: Kind = "ising",
    labels: tuple[object, ...] | None = None,
    source: str = "the matrix",
) -> Problem:
    """A problem from a dense matrix J, W, Q or w, as `from_sparse` reads it.

    **Raises:** `InputError` as `from_sparse` does.
    """
    from scipy.sparse import csr_array

    matrix = np.asarray(matrix)
    if matrix.ndim != 2:
        raise InputError(f"{source}: an array of the shape {matrix.shape}: give a square matrix of couplings.")
    _refuse_other(source, matrix)
    return from_sparse(csr_array(matrix), field, kind=kind, labels=labels, source=source)


def from_sparse(
    matrix: Any,
    field: Shaped[np.ndarray, " n"] | None = None,
    *,
    kind: Kind = "ising",
    labels: tuple[object, ...] | None = None,
    source: str = "the matrix",
) -> Problem:
    """A problem from a sparse matrix of SciPy `[n, n]`; floats that are all whole count as integers.

    A QUBO is `sum_ij Q_ij x_i x_j` over the whole matrix. In the other kinds each pair counts once, so that the matrix
    is symmetric or has one triangle only, and the diagonal means nothing: a max-cut leaves it out, J and W must not
    have one.

    **Arguments:** `matrix`, J (`ising`), W (`boltzmann`), Q (`qubo`) or w (`maxcut`); `field`, h, b, or more of the
    diagonal of Q.

    **Raises:** `InputError` for a matrix that is not square, neither symmetric nor triangular where it must be, or has
    an entry that is not finite.
    """
    from scipy.sparse import coo_array, csr_array, triu

    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{source}: a matrix of the shape {matrix.shape}: couplings need a square one.")
    size = matrix.shape[0]
    if not 0 < size <= MOST_SPINS:
        raise InputError(f"{source}: couplings of {size} spins: give from 1 to {MOST_SPINS}.")
    entries = coo_array(matrix)
    field = np.zeros(size, np.int64) if field is None else np.asarray(field)
    if field.shape != (size,):
        raise InputError(f"{source}: a field of the shape {field.shape}: give one number for each of {size} spins.")
    values, field = plain_numbers(source, entries.data, field)
    square = csr_array((values, entries.coords), shape=entries.shape)  # repeated entries are summed
    above, below = triu(square, 1).tocsr(), triu(square.T, 1).tocsr()
    if kind == "qubo":
        above = above + below
    elif not above.count_nonzero():
        above = below
    elif below.count_nonzero() and (above - below).count_nonzero():
        raise InputError(
            f"{source}: the matrix is neither symmetric nor triangular, so that a pair of {kind} has two numbers: "
            "pass (J + J.T) / 2, or one triangle."
        )
    pairs, single = coo_array(above), np.flatnonzero(square.diagonal())
    first, second = (np.concatenate([np.asarray(end, np.int64), single]) for end in pairs.coords)
    values = np.concatenate([pairs.data, square.diagonal()[single]])
    return from_entries(first, second, values, field, kind=kind, labels=labels, source=source)


def from_entries(
    first: _Numbers, second: _Numbers, values: _Numbers, field: _Numbers, *, kind: Kind, labels: Any, source: str
) -> Problem:
    """A problem from pairs, each once, and what stands on the diagonal.

    **Raises:** `InputError` for a diagonal of J or W.
    """
    loops = np.flatnonzero((first == second) & (values != 0))
    if loops.size and kind in ("ising", "boltzmann"):
        where = int(first[loops[0]])
        raise InputError(
            f"{source}: {where} (from zero) is coupled to itself, which is a constant for spins and a bias for units: "
            "set the diagonal to zero and pass what you mean as `field`."
        )
    return Statement(kind, first, second, values, field, labels=labels, source=source).problem()


def plain_numbers(source: str, *parts: Any) -> tuple[np.ndarray, ...]:
    """The parts as `int64` if all of them are whole and their sums are exact in floats, otherwise as `float64`.

    **Raises:** `InputError` for what is no number, or not finite.
    """
    arrays = [np.asarray(part) for part in parts]
    for array in arrays:
        _refuse_other(source, array)
    floats = [array.astype(np.float64) for array in arrays]
    for array in floats:
        if not np.isfinite(array).all():
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise InputError(f"{source}: number {place[0]} (from zero) is {array[place]}: give finite numbers.")
    whole = all((array % 1 == 0).all() for array in floats)
    if whole and sum(float(np.abs(array).sum()) for array in floats) < _WHOLE:
        return tuple(array.astype(np.int64) for array in floats)
    return tuple(floats)


def _refuse_other(source: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{source}: holds {array.dtype}, not real numbers: convert it to integers or floats.")


def parse(path: Path, content: bytes, suffix: str, kind: Kind | None = None) -> Problem:
    """The problem of a matrix in a file: `suffix` is `.npy`, `.npz` (of `scipy.sparse.save_npz`), `.mtx` or `.csv`.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    kind = kind or "ising"
    if suffix == ".csv":
        table = rows(page(path, content.translate(bytes.maketrans(b",;", b"  "))), None)
        return from_array(table.numbers, kind=kind, source=str(path))
    if suffix == ".mtx":
        return from_sparse(market.matrix(path, content), kind=kind, source=str(path))
    try:
        found = _loaded(content, suffix)
    except Exception as error:  # damaged archives raise whatever the decoder of the damaged part raises
        raise InputError(f"{path}: cannot be read as a {suffix} matrix ({one_line(error)}).") from None
    if isinstance(found, np.ndarray):
        return from_array(found, kind=kind, source=str(path))
    return from_sparse(found, kind=kind, source=str(path))


def _loaded(content: bytes, suffix: str) -> Any:
    from scipy.sparse import load_npz

    if suffix == ".npy":
        return np.load(io.BytesIO(content), allow_pickle=False)
    found = load_npz(io.BytesIO(content))
    if found.format in ("csr", "csc", "bsr"):
        found.check_format(full_check=True)  # the constructor believes indices, and compiled code follows them
    return found
