"""Classified inputs: scikit-learn's digits, or a user's own arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thalweg.core.errors import InputError


class Classified(NamedTuple):
    """Inputs `x [n, ...]` within `lower` and `upper`, and their labels `y [n]`."""

    x: np.ndarray
    y: np.ndarray
    lower: float
    upper: float


def digits() -> tuple[Classified, Classified]:
    """The 8 x 8 digits that come with scikit-learn: 1,397 to train on and 400 to test on, grey levels in [0, 1].

    **Source:** E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998), CC BY 4.0.
    """
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = (pixels[order] / 16.0).reshape(-1, 8, 8), labels[order]
    return Classified(x[:1397], y[:1397], 0.0, 1.0), Classified(x[1397:], y[1397:], 0.0, 1.0)


def read(source: str, *, lower: float = 0.0, upper: float = 1.0) -> Classified:
    """The test set of a name (`digits`) or of an `.npz` file with `x [n, ...]` floats and `y [n]` integers.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    if source == "digits":
        return digits()[1]
    path = Path(source)
    try:
        with zipfile.ZipFile(path) as archive:  # an .npz is one, and anything else is refused here
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file: pass an .npz file with x and y, or `digits`.") from None
    except MemoryError:
        raise InputError(f"{path}: holds an array that does not fit into memory: is the file damaged?") from None
    except Exception as error:  # damaged archives raise whatever the decoder of the damaged part raises
        raise InputError(f"{path}: cannot be read as an .npz file of plain arrays ({error}).") from error
    return _checked(path, arrays, lower, upper)


def _checked(path: Path, arrays: dict[str, np.ndarray], lower: float, upper: float) -> Classified:
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise InputError(f"{path}: holds {sorted(arrays)} but no array {missing[0]!r}: save it with x=..., y=....")
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != x.shape[:1] or len(x) == 0:
        raise InputError(f"{path}: x has shape {x.shape} and y {y.shape}: they must be [n, ...] and [n] with n > 0.")
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{path}: y must hold class numbers from 0, but its dtype is {y.dtype}: convert it.")
    if y.min() < 0:
        raise InputError(f"{path}: y must hold class numbers from 0, but its least is {y.min()}: renumber the classes.")
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"{path}: x holds {x.dtype}: divide it into floats between the bounds first.")
    outside = ~((x >= lower) & (x <= upper))
    if outside.any():
        item = int(np.argwhere(outside)[0][0])
        raise InputError(f"{path}: x[{item}] leaves [{lower}, {upper}]: state the bounds with --lower and --upper.")
    return Classified(x, y.astype(np.int64), lower, upper)
