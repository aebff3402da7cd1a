"""What frames must be before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, require

LAST_ELEMENT = 118
FARTHEST = 1e5  # A: ten micrometres
_THINNEST = 0.1  # A: half of the least distance of atoms; a thinner cell would see countless images of itself
_FLATTEST = 1e-6  # volume over the product of the edges: below it, a cell has no inside that lists could use
_OVERLAP = 0.3  # of the sum of the covalent radii: H-H at 0.19 A, far inside of what any data set scans


class Overlap(NamedTuple):
    """Two atoms that nearly coincide: the number of the frame, the two atoms, their distance and its limit in A."""

    frame: int
    first: int
    second: int
    distance: float
    limit: float


def symbol(number: int) -> str:
    """The symbol of an element by its atomic number."""
    require("ase", extra="atoms")
    from ase.data import chemical_symbols

    return chemical_symbols[number]


def sound(frame: Frame) -> Frame:
    """The same frame.

    **Raises:** `InputError` naming the place for what cannot be atoms in space: no atoms, unknown elements, positions
    or labels that are not finite, labels for another number of atoms, a periodic cell without volume.
    """
    where, count = frame.place, len(frame.numbers)
    if count == 0:
        raise InputError(f"{where}: holds no atoms: remove the frame.")
    wrong = (frame.numbers < 1) | (frame.numbers > LAST_ELEMENT)
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise InputError(f"{where}: atom {atom} has the atomic number {frame.numbers[atom]}, which is no element: "
                         "correct its symbol.")  # fmt: skip
    for name, array, remedy in (
        ("position", frame.positions, "remove the frame or mend its file"),
        ("force", frame.forces, "label the frame again or remove it"),
    ):
        if array is None:
            continue
        if array.shape != (count, 3):
            raise InputError(f"{where}: has {count} atoms but {name}s of shape {array.shape}: give [atoms, 3].")
        if not np.isfinite(array).all():
            atom = int(np.argmax(~np.isfinite(array).all(axis=1)))
            raise InputError(f"{where}: the {name} of atom {atom} is {_row(array[atom])}, not finite: {remedy}.")
    if np.abs(frame.positions).max() > FARTHEST:
        atom = int(np.argmax(np.abs(frame.positions).max(axis=1)))
        raise InputError(f"{where}: atom {atom} is at {_row(frame.positions[atom])}, beyond {FARTHEST:g} A: correct "
                         "the unit, or remove the frame.")  # fmt: skip
    for name, value in (("energy", frame.energy), ("stress", frame.stress)):
        if value is not None and not np.isfinite(value).all():
            raise InputError(f"{where}: the {name} is not finite: label the frame again or remove it.")
    _check_cell(frame)
    return frame


def _row(values: np.ndarray) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _check_cell(frame: Frame) -> None:
    if not np.isfinite(frame.cell).all():
        raise InputError(f"{frame.place}: the cell is not finite: mend its Lattice.")
    edges = frame.cell[np.array(frame.periodic, bool)]
    if len(edges) == 0:
        return
    lengths = np.linalg.norm(edges, axis=1)
    along = ", ".join("abc"[axis] for axis in range(3) if frame.periodic[axis])
    if not (lengths > 0).all() or np.prod(np.linalg.svd(edges / lengths[:, None])[1]) < _FLATTEST:
        raise InputError(f"{frame.place}: is periodic along {along}, but its cell has no volume there: give its "
                         'vectors in Lattice, or state pbc="F F F".')  # fmt: skip
    thickness = 1 / np.linalg.norm(np.linalg.pinv(edges), axis=0).max()
    if thickness < _THINNEST or lengths.max() > FARTHEST:
        raise InputError(f"{frame.place}: its cell is {thickness:.3g} A thick and up to {lengths.max():.3g} A long: "
                         "correct its unit.")  # fmt: skip


def labelled(frames: Sequence[Frame], *, energy: bool = True, forces: bool = True) -> None:
    """Pass if all frames have labels.

    **Raises:** `InputError` that says how many have not, the first of them, and which other keys might be meant.
    """
    if not frames:
        raise InputError("there are no frames: name a file that holds some.")
    for name, wanted in (("energy", energy), ("forces", forces)):
        missing = [frame for frame in frames if getattr(frame, name) is None]
        if wanted and missing:
            first = missing[0]
            held = {**first.info, **first.columns}
            alike = sorted(key for key in held if name[:5] in key.lower())
            hint = f"; it has {', '.join(alike)}" if alike else ""
            remedy = (
                f"name the key with --{name}-key" if alike else "label them (thalweg atoms label) or leave them out"
            )
            raise InputError(
                f"{first.place}: has no {name}{hint}, as {len(missing)} of {len(frames)} frames: {remedy}."
            )


def known(frames: Sequence[Frame], elements: Sequence[int]) -> None:
    """Pass if only the elements that a model knows occur.

    **Raises:** `InputError` naming the first frame and atom of another element.
    """
    for frame in frames:
        other = ~np.isin(frame.numbers, elements)
        if other.any():
            atom = int(np.argmax(other))
            raise InputError(
                f"{frame.place}: atom {atom} is {symbol(int(frame.numbers[atom]))}, but the model knows only "
                f"{', '.join(symbol(int(number)) for number in elements)}: train one on data with that element."
            )


def overlaps(frames: Sequence[Frame], *, factor: float = _OVERLAP) -> list[Overlap]:
    """The nearest pair of each frame in which some pair is nearer than `factor` times its covalent radii, images too.

    **Returns:** one `Overlap` for each such frame, in order.

    **Source:** B. Cordero et al., Dalton Trans. 2832 (2008), the radii, through ASE.
    """
    require("ase", extra="atoms")
    from ase.data import covalent_radii

    from thalweg.atoms.data.lists import pairs

    found = []
    for number, frame in enumerate(frames):
        radii = factor * covalent_radii[frame.numbers]
        i, j, _, distances = pairs(frame, 2 * float(radii.max()))
        limits = radii[i] + radii[j]
        near = distances < limits
        if near.any():
            worst = int(np.argmin(np.where(near, distances / limits, np.inf)))
            ends = sorted((int(i[worst]), int(j[worst])))
            found.append(Overlap(number, ends[0], ends[1], float(distances[worst]), float(limits[worst])))
    return found


def apart(frames: Sequence[Frame], *, factor: float = _OVERLAP) -> None:
    """Pass if no two atoms nearly coincide.

    **Raises:** `InputError` naming the first frame, its pair of atoms and their distance, and how many frames more.
    """
    found = overlaps(frames, factor=factor)
    if found:
        raise InputError(overlap_sentence(frames, found))


def overlap_sentence(frames: Sequence[Frame], found: Sequence[Overlap]) -> str:
    """What to say of atoms that nearly coincide."""
    first, frame = found[0], frames[found[0].frame]
    ends = [f"{symbol(int(frame.numbers[atom]))} {atom}" for atom in (first.first, first.second)]
    pair = f"atoms {ends[0]} and {ends[1]}" if first.first != first.second else f"atom {ends[0]} and its own image"
    more = f" (and so in {len(found) - 1} further frames)" if len(found) > 1 else ""
    return (f"{frame.place}: {pair} are {first.distance:.3g} A apart, nearer than {first.limit:.3g} A{more}: "
            "correct the positions or their unit, or remove the frame.")  # fmt: skip
