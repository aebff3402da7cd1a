"""Systems in the npy layout of DeePMD-kit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thalweg.atoms.data.check import sound
from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, require

_HALF_STEP = 5e-4  # eV: energies stored more coarsely than this are worth a word


def systems(folder: Path) -> list[Path]:
    """The systems in a folder or below it, in order: the folders with a `type.raw`."""
    return sorted(path.parent for path in folder.rglob("type.raw"))


def read_system(folder: Path, type_map: Sequence[str] | None = None) -> tuple[list[Frame], str | None]:
    """The frames of one system: `type.raw`, `type_map.raw`, and sets with coord, box, energy, force and virial.

    **Arguments:** `folder`; `type_map`, the symbols of the types in order, where the folder has no `type_map.raw`.

    **Returns:** the frames, and a sentence on their precision if it is coarse.

    **Raises:** `InputError` for what is missing or does not fit together, with the file.

    **Source:** H. Wang et al., Comput. Phys. Commun. 228, 178 (2018), its data format.
    """
    numbers = _numbers(folder, type_map)
    sets = sorted(folder.glob("set.*"))
    if not sets:
        raise InputError(f"{folder}: has a type.raw but no set.000 with coord.npy: copy the whole folder.")
    frames, coarse = [], 0.0
    for part in sets:
        found, step = _read_set(part, numbers, not (folder / "nopbc").exists())
        frames += [frame._replace(place=f"{folder}, frame {len(frames) + at}") for at, frame in enumerate(found)]
        coarse = max(coarse, step)
    for frame in frames:
        sound(frame)
    if coarse <= 2 * _HALF_STEP:
        return frames, None
    return frames, (f"{folder}: the energies are stored in single precision, in steps of {1000 * coarse:.2g} meV: "
                    "forces say more.")  # fmt: skip


def _numbers(folder: Path, type_map: Sequence[str] | None) -> np.ndarray:
    require("ase", extra="atoms")
    from ase.data import atomic_numbers

    path = folder / "type_map.raw"
    symbols = tuple(_words(path)) if path.exists() else tuple(type_map or ())
    words = _words(folder / "type.raw")
    try:
        types = np.array([int(word) for word in words])
    except ValueError:
        raise InputError(f"{folder / 'type.raw'}: must hold the type of each atom as an integer: mend it.") from None
    if len(types) == 0 or types.min() < 0:
        raise InputError(f"{folder / 'type.raw'}: must hold a type from 0 for each atom: mend it.")
    if not symbols:
        raise InputError(f"{folder}: nothing says which elements the types 0 to {types.max()} are: add a type_map.raw "
                         "with one symbol a line, or name them with --type-map.")  # fmt: skip
    if types.max() >= len(symbols):
        raise InputError(f"{folder}: type.raw has the type {types.max()}, but the type map only {len(symbols)} "
                         f"symbols ({', '.join(symbols)}): name one for each.")  # fmt: skip
    for symbol in symbols:
        if atomic_numbers.get(symbol, 0) == 0:
            raise InputError(f"{folder}: the type map holds {symbol!r}, which is no element: correct it.")
    return np.array([atomic_numbers[symbol] for symbol in symbols])[types]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}): copy the whole folder.") from None


def _read_set(part: Path, numbers: np.ndarray, periodic: bool) -> tuple[list[Frame], float]:
    count = len(numbers)
    coordinates = _load(part / "coord.npy", None, 3 * count)
    if coordinates is None:
        raise InputError(f"{part / 'coord.npy'}: is missing: copy the whole folder.")
    frames = len(coordinates)
    box = _load(part / "box.npy", frames, 9)
    if periodic and box is None:
        raise InputError(
            f"{part / 'box.npy'}: is missing: copy it, or make an empty file nopbc in the system's folder."
        )
    energy, force = _load(part / "energy.npy", frames, 1), _load(part / "force.npy", frames, 3 * count)
    virial = _load(part / "virial.npy", frames, 9)
    found = []
    for at in range(frames):
        cell = np.zeros((3, 3)) if box is None else box[at].reshape(3, 3).astype(np.float64)
        frame = Frame(
            numbers, coordinates[at].reshape(count, 3).astype(np.float64), cell, (periodic, periodic, periodic)
        )
        if energy is not None:
            frame = frame._replace(energy=float(energy[at, 0]))
        if force is not None:
            frame = frame._replace(forces=force[at].reshape(count, 3).astype(np.float64))
        if virial is not None and frame.volume:
            frame = frame._replace(stress=-virial[at].reshape(3, 3).astype(np.float64) / frame.volume)
        found.append(frame)
    step = 0.0 if energy is None else float(np.max(np.spacing(np.abs(energy)), initial=0.0))
    return found, step


def _load(path: Path, frames: int | None, width: int) -> np.ndarray | None:
    """An array `[frames, width]`, or `None` where there is no such file."""
    if not path.exists():
        return None
    try:
        array = np.load(path, allow_pickle=False)
        rows = array.reshape(len(array), -1)
    except Exception as error:  # damaged headers raise whatever their parsing raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as an array ({reason}): copy it again.") from None
    if array.dtype.kind != "f" or rows.shape[1] != width or frames not in (None, len(rows)) or len(rows) == 0:
        wanted = "frames" if frames is None else frames
        raise InputError(f"{path}: holds {array.dtype} of shape {list(array.shape)} where floats [{wanted}, {width}] "
                         "belong, as type.raw says: copy the folder again.")  # fmt: skip
    return rows
