"""Classified inputs: scikit-learn's digits, a user's own arrays, IDX files, or a public set."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from thalweg.core.errors import InputError

Channels = Literal["keep", "first", "last"]
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the third byte of an IDX file
_COLOURS = (1, 3, 4)
_IDX_NAME = re.compile(r"idx\d|ubyte|\.gz$")


class Classified(NamedTuple):
    """Inputs `x [n, ...]` within `lower` and `upper`, their labels `y [n]`, and the name of where they come from."""

    x: np.ndarray
    y: np.ndarray
    lower: float
    upper: float
    name: str = "the data"


def digits() -> tuple[Classified, Classified]:
    """The 8 x 8 digits that come with scikit-learn: 1,397 to train on and 400 to test on, grey levels in [0, 1].

    **Source:** E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998), CC BY 4.0.
    """
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = (pixels[order] / 16.0).reshape(-1, 8, 8), labels[order]
    return Classified(x[:1397], y[:1397], 0.0, 1.0, "digits"), Classified(x[1397:], y[1397:], 0.0, 1.0, "digits")


def read(source: str, *, lower: float = 0.0, upper: float = 1.0, channels: Channels = "keep") -> Classified:
    """Inputs and labels by name.

    **Arguments:**

    - `source`: `digits`, the built-in test set; an `.npz` file with `x [n, ...]` floats and `y [n]` integers; an IDX
      file of images or of labels, whose partner lies beside it, or both as `images,labels`; or a public data set
      (`thalweg data list`) that is an IDX pair. IDX files may be compressed; their bytes 0..255 become
      `lower..upper`.
    - `lower`, `upper`: the bounds of an input.
    - `channels`: `first` or `last` puts the channel axis of images there, and adds one to images without.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    if not lower < upper:
        raise InputError(f"the bounds [{lower}, {upper}] hold nothing: state --lower below --upper.")
    return laid_out(checked(_read(source, lower, upper)), channels)


def _read(source: str, lower: float, upper: float) -> Classified:
    if source == "digits":
        return digits()[1]._replace(lower=lower, upper=upper)
    paths = files(source)
    for path in paths:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "there is no such file"
            raise InputError(f"{path}: {what}: pass an .npz file with x and y, an IDX file, or `digits`.")
    return _read_npz(paths[0], lower, upper) if len(paths) == 1 else _read_pair(paths, lower, upper)


def files(source: str) -> list[Path]:
    """The files that `read` opens for a name; none for `digits`.

    **Raises:** `InputError` for an IDX file without its partner, and for a public set that is no IDX pair.
    """
    from thalweg import datasets

    if source == "digits":
        return []
    path = Path(source)
    if source in datasets.names() and not path.exists():
        found = [path for path in datasets.get(source) if _IDX_NAME.search(path.name)]
        if len(found) != 2:
            raise InputError(f"the data set {source} holds no inputs with labels: name an IDX pair or an .npz file.")
        return found
    if "," in source and not path.exists():
        if source.count(",") != 1:
            raise InputError(f"{source} names more than two files: name one of images and one of labels.")
        return [Path(name) for name in source.split(",")]
    return [path, _partner(path)] if path.is_file() and _IDX_NAME.search(path.name) else [path]


# Arrays


def _read_npz(path: Path, lower: float, upper: float) -> Classified:
    try:
        with zipfile.ZipFile(path) as archive:  # an .npz is one, and anything else is refused here
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in names}
    except MemoryError:
        raise InputError(f"{path}: holds an array that does not fit into memory: is the file damaged?") from None
    except Exception as error:  # damaged archives raise whatever the decoder of the damaged part raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as an .npz file of plain arrays ({reason}).") from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise InputError(f"{path}: holds {sorted(arrays)} but no array {missing[0]!r}: save it with x=..., y=....")
    return Classified(arrays["x"], arrays["y"], lower, upper, str(path))


# IDX files


def _partner(path: Path) -> Path:
    """The file of labels beside one of images, or the other way round."""
    plain = path.name.removesuffix(".gz")
    words = ("images", "labels") if "images" in plain else ("labels", "images")
    number = "1" if words[0] == "images" else "3"
    swapped = re.sub(r"idx\d", f"idx{number}", plain.replace(*words))
    if words[0] in plain:
        for name in (swapped, f"{swapped}.gz"):
            if path.with_name(name).is_file():
                return path.with_name(name)
        raise InputError(f"{path}: there is no {swapped} beside it: name both files, as in images,labels.")
    raise InputError(f"{path}: its name says neither images nor labels: name both files, as in images,labels.")


def _read_pair(files: list[Path], lower: float, upper: float) -> Classified:
    arrays = {path: read_idx(path) for path in files}
    labels = [path for path in files if arrays[path].ndim == 1]
    if len(labels) != 1:
        both = " and ".join(f"{path} {list(array.shape)}" for path, array in arrays.items())
        raise InputError(f"{both} are not one file of images and one of labels [n]: name a pair.")
    images = next(path for path in files if path != labels[0])
    x, y = arrays[images], arrays[labels[0]]
    if len(x) != len(y):
        raise InputError(f"{images} holds {len(x)} images but {labels[0]} {len(y)} labels: name a pair.")
    if x.dtype == np.uint8:
        x = (lower + (upper - lower) * (np.arange(256) / 255)).clip(lower, upper).astype(np.float32)[x]
    return Classified(x, y, lower, upper, str(images))


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, compressed or not.

    **Raises:** `InputError` for a file that is missing, cut off or no IDX file.

    **Source:** Y. LeCun, C. Cortes & C. Burges, The MNIST database of handwritten digits (1998), its file format.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file: check the path.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}): fetch it again.") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _DTYPES or raw[3] == 0 or len(raw) < 4 + 4 * raw[3]:
        raise InputError(f"{path}: does not begin as an IDX file does: fetch it again, or name another.")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", raw[3], offset=4))
    dtype, begin = np.dtype(_DTYPES[raw[2]]), 4 + 4 * raw[3]
    wanted = begin + dtype.itemsize * int(np.prod([float(size) for size in shape]))
    if len(raw) != wanted:
        raise InputError(f"{path}: holds {len(raw)} bytes, but its header {list(shape)} asks for {wanted}: fetch it "
                         "again.")  # fmt: skip
    return np.frombuffer(raw, dtype, offset=begin).reshape(shape).astype(dtype.newbyteorder("="))


# What all of them must be


def checked(items: Classified) -> Classified:
    """The same inputs, with labels as int64.

    **Raises:** `InputError` for shapes, dtypes or labels that are no classified inputs, and the first input that leaves
    its bounds.
    """
    x, y, name = np.asarray(items.x), np.asarray(items.y), items.name
    if x.ndim < 2 or y.shape != x.shape[:1] or x.size == 0:
        raise InputError(f"{name}: x has shape {x.shape} and y {y.shape}: they must be [n, ...] and [n] with n > 0.")
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{name}: y must hold class numbers from 0, but its dtype is {y.dtype}: convert it.")
    if y.min() < 0:
        raise InputError(f"{name}: y must hold class numbers from 0, but its least is {y.min()}: renumber the classes.")
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"{name}: x holds {x.dtype}: divide it into floats between the bounds first.")
    outside = ~((x >= items.lower) & (x <= items.upper))
    if outside.any():
        place = np.unravel_index(int(np.argmax(outside)), x.shape)
        where = ", ".join(str(int(one)) for one in place)
        raise InputError(f"{name}: x[{where}] is {x[place]:.6g}, outside [{items.lower}, {items.upper}]: state the "
                         "bounds with --lower and --upper.")  # fmt: skip
    return items._replace(x=x, y=y.astype(np.int64))


def laid_out(items: Classified, channels: Channels) -> Classified:
    """The same images with the axis of their channels `first` or `last`, made where there is none.

    An axis of 1, 3 or 4 is taken for the channels.

    **Raises:** `InputError` for inputs that are no images, or where that axis cannot be told.
    """
    if channels not in ("keep", "first", "last"):
        raise InputError(f"channels is {channels!r}: choose keep, first or last.")
    x, shape = items.x, list(items.x.shape)
    if channels == "keep":
        return items
    if x.ndim == 3:
        return items._replace(x=x[:, None] if channels == "first" else x[..., None])
    if x.ndim != 4:
        raise InputError(f"{items.name}: inputs of shape {shape[1:]} are no images: leave --channels out.")
    first, last = shape[1] in _COLOURS, shape[3] in _COLOURS
    if first == last:
        which = "two axes" if first else "no axis"
        raise InputError(f"{items.name}: x has shape {shape}, where {which} may be the channels (1, 3 or 4): bring "
                         "them in order and leave --channels out.")  # fmt: skip
    if first and channels == "last":
        return items._replace(x=np.moveaxis(x, 1, 3))
    return items._replace(x=np.moveaxis(x, 3, 1)) if last and channels == "first" else items
