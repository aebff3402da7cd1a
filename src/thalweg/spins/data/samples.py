"""Samples of binary units or spins from files and arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int8, Shaped

from thalweg.core.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Configurations `[samples, n]`, and the values that they came in.

    **Fields:** `bits`, in {0, 1}; `valued`, `binary` for 0 and 1, `signs` for -1 and +1; `source`, for messages.
    """

    bits: Int8[np.ndarray, "samples n"]
    valued: Literal["binary", "signs"]
    source: str = "samples"

    @property
    def signs(self) -> Int8[np.ndarray, "samples n"]:
        """The same in {-1, +1}."""
        return (2 * self.bits - 1).astype(np.int8)


def samples(values: Shaped[np.ndarray, "samples n"] | Samples, source: str = "samples") -> Samples:
    """Samples from an array of zeros and ones, or of minus and plus ones; which of the two is found from the values.

    All ones could be either, and count as binary.

    **Raises:** `InputError` for another shape, or with row and column for another value.
    """
    if isinstance(values, Samples):
        return values
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{source}: the samples have shape {list(array.shape)}: give [samples, n], neither of them 0.")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise InputError(f"{source}: the samples hold {array.dtype}, no numbers: write 0 and 1, or -1 and 1.")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise InputError(f"{source}: the samples are complex numbers: write 0 and 1, or -1 and 1.")
    signs = bool((array == -1).any())
    low, wanted = (-1, "-1 or 1") if signs else (0, "0 or 1")
    wrong = np.argwhere((array != low) & (array != 1))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise InputError(
            f"{source}: row {row}, column {column} (from zero) is {array[row, column]}, but the others say that it "
            f"must be {wanted}: mend it, or binarise the data."
        )
    return Samples((array == 1).astype(np.int8), "signs" if signs else "binary", source)


def read_samples(path: str | Path) -> Samples:
    """The samples in a `.npy`, `.npz` (its only two-dimensional array, or the one called `samples`) or `.csv` file.

    A `.csv` has one sample per line, separated by commas or blanks; a first line without numbers is a heading.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"{path}: there is no such file: name a .npy, .npz or .csv file of samples.")
    kind = path.suffix.lower()
    if kind not in (".npy", ".npz", ".csv"):
        raise InputError(f"{path}: samples are read from .npy, .npz and .csv files: convert {kind or 'it'} to one.")
    try:
        array = _from_text(path) if kind == ".csv" else _from_archive(path) if kind == ".npz" else _from_array(path)
    except InputError:
        raise
    except Exception as error:  # NumPy evaluates a damaged header, and its archives raise what their decoders do
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as a {kind} file of plain numbers ({reason}): save it anew."
        ) from error
    return samples(array, str(path))


def _from_array(path: Path) -> np.ndarray:
    with open(path, "rb") as file:  # NumPy leaves a damaged file open
        return np.load(file, allow_pickle=False)


def _from_archive(path: Path) -> np.ndarray:
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        if "samples" in file.files:
            return np.asarray(file["samples"])
        tables = {name: array for name in file.files if (array := np.asarray(file[name])).ndim == 2}
    if len(tables) != 1:
        raise InputError(f"{path}: holds {len(tables)} arrays [samples, n]: call the one that is meant 'samples'.")
    return next(iter(tables.values()))


def _from_text(path: Path) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            if number == 1:
                continue
            bad = next(word for word in words if not _is_number(word))
            raise InputError(f"{path}: line {number}: {bad!r} is no number: write 0 and 1, or -1 and 1.") from None
        if rows and len(row) != len(rows[0]):
            raise InputError(f"{path}: line {number}: {len(row)} values, but {len(rows[0])} before: give as many.")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: holds no samples: give one per line.")
    return np.array(rows)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
