"""Neighbours within a cutoff, found on the host, as padded arrays for each species of neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Int32

from thalweg.atoms.data.check import FARTHEST, known
from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, require

_MOST_CELLS = 5000


class Lists(NamedTuple):
    """Frames and their neighbours, padded to the largest of each.

    The vector from atom `a` to the neighbour in slot `p` is `positions[index[p]] - positions[a] + offset[p] @ cell`.

    **Fields:** `species`, the place of each atom's element in `elements`, -1 for padding; `real`, which atoms are no
    padding; `positions` in A and `cells` in A, zeros for padding and along directions that are not periodic; and for
    each species of neighbour in a tuple: `index` of the neighbour, the atom itself in an empty slot; `offset`, the
    image of the neighbour in cells; `far`, whether a slot is empty. `elements` as atomic numbers; the `cutoff` in A.
    """

    species: Int32[np.ndarray, "frames atoms"]
    real: Bool[np.ndarray, "frames atoms"]
    positions: Float[np.ndarray, "frames atoms 3"]
    cells: Float[np.ndarray, "frames 3 3"]
    index: tuple[Int32[np.ndarray, "frames atoms slots"], ...]
    offset: tuple[Int8[np.ndarray, "frames atoms slots 3"], ...]
    far: tuple[Bool[np.ndarray, "frames atoms slots"], ...]
    elements: tuple[int, ...]
    cutoff: float


def pairs(
    frame: Frame, cutoff: float
) -> tuple[
    Int[np.ndarray, " edges"], Int[np.ndarray, " edges"], Int[np.ndarray, "edges 3"], Float[np.ndarray, " edges"]
]:
    """All ordered pairs of atoms within `cutoff` A of each other, images of an atom itself included.

    **Returns:** the first atom, the second, the image of the second in cells, and the distance in A.
    """
    vesin = require("vesin", extra="atoms")
    # One thread: the lists of many small frames, and the same order of pairs on every machine.
    search = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    return _compute(search, cutoff, frame)


def _compute(search: Any, cutoff: float, frame: Frame):
    positions, box = np.asarray(frame.positions, np.float64), _box(frame)
    reach = max(np.abs(positions).max(initial=0), np.abs(box).max())
    if not reach <= FARTHEST:  # nor NaN: vesin does not come back from either
        raise InputError(f"{frame.place}: atoms or cell reach beyond {FARTHEST:g} A: remove the frame, or correct its "
                         "unit.")  # fmt: skip
    # With more cells than this along one direction, vesin 0.6.2 divides by zero and takes the process with it.
    search.cutoff = max(cutoff, reach / _MOST_CELLS)
    i, j, images, distances = search.compute(positions, box, np.array(frame.periodic, bool), "ijSd")
    if search.cutoff > cutoff:
        near = distances < cutoff
        i, j, images, distances = i[near], j[near], images[near], distances[near]
    return i.astype(np.int64), j.astype(np.int64), images, distances


def _box(frame: Frame) -> Float[np.ndarray, "3 3"]:
    """The cell, with vectors of its own making where the frame is not periodic: the search wants three of them."""
    if all(frame.periodic):
        return np.asarray(frame.cell, np.float64)
    if not any(frame.periodic):
        return np.zeros((3, 3))
    from ase.geometry import complete_cell

    return np.asarray(complete_cell(np.where(np.array(frame.periodic)[:, None], frame.cell, 0.0)), np.float64)


def neighbour_lists(
    frames: Sequence[Frame],
    elements: Sequence[int],
    cutoff: float,
    *,
    atoms: int = 0,
    slots: Sequence[int] | None = None,
) -> Lists:
    """The neighbours of every atom of every frame, both directions, sorted by species, neighbour and image.

    **Arguments:** `frames`; `elements` that are told apart, as atomic numbers; `cutoff` in A; `atoms` and `slots` (one
    per element), paddings at the least, so that several calls give arrays of the same shape.

    **Raises:** `InputError` for a cutoff that is not positive, an element that is not among `elements`, or atoms more
    than 127 cells away from their images.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"the cutoff is {cutoff} A: choose a positive one.")
    if slots is not None and len(slots) != len(elements):
        raise InputError(f"{len(slots)} numbers of slots for {len(elements)} elements: give one for each.")
    known(frames, elements)
    width = max([atoms, *(len(frame.numbers) for frame in frames)])
    edges = _edges(frames, cutoff, width)
    species, real, positions, cells = _padded(frames, elements, width)
    kind = species[edges[0], edges[2]]
    least = slots or [0] * len(elements)
    parts = [
        _slotted([part[kind == one] for part in edges], (len(frames), width), least[one])
        for one in range(len(elements))
    ]
    index, offset, far = zip(*parts, strict=True) if parts else ((), (), ())
    return Lists(species, real, positions, cells, index, offset, far, tuple(int(z) for z in elements), float(cutoff))


def _edges(frames: Sequence[Frame], cutoff: float, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frame, first atom, second atom and image of all pairs, in an order that the search has no part in."""
    vesin = require("vesin", extra="atoms")
    search = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    found = [_compute(search, cutoff, frame) for frame in frames]
    if not found:
        return (*(np.zeros(0, np.int64) for _ in range(3)), np.zeros((0, 3), np.int32))  # type: ignore[return-value]
    frame = np.repeat(np.arange(len(frames)), [len(i) for i, *_ in found])
    i, j, image = (np.concatenate([part[place] for part in found]) for place in range(3))
    too_far = np.abs(image).max(axis=1, initial=0) > np.iinfo(np.int8).max
    if too_far.any():
        raise InputError(
            f"{frames[frame[int(np.argmax(too_far))]].place}: atoms lie more than 127 cells outside of the cell: wrap "
            "them into it."
        )
    low = image.min(axis=0, initial=0)
    spans = (image.max(axis=0, initial=0) - low).tolist()
    key = frame * width + i  # one number for frame, atom, neighbour and image: a single sort
    key = key * width + j
    for axis in range(3):
        key = key * (spans[axis] + 1) + (image[:, axis] - low[axis])
    order = np.argsort(key, kind="stable")
    return frame[order], i[order], j[order], image[order]


def _padded(frames: Sequence[Frame], elements: Sequence[int], width: int):
    counts = np.array([len(frame.numbers) for frame in frames], np.int64)
    real = np.arange(width) < counts[:, None]
    species = np.full(real.shape, -1, np.int32)
    positions, cells = np.zeros((*real.shape, 3)), np.zeros((len(frames), 3, 3))
    if len(frames):
        place = np.zeros(max(elements) + 1, np.int32)
        place[list(elements)] = np.arange(len(elements))
        species[real] = place[np.concatenate([frame.numbers for frame in frames])]
        positions[real] = np.concatenate([frame.positions for frame in frames])
        periodic = np.array([frame.periodic for frame in frames], bool)
        cells[:] = np.where(periodic[:, :, None], np.stack([frame.cell for frame in frames]), 0.0)
    return species, real, positions, cells


def _slotted(edges: Sequence[np.ndarray], shape: tuple[int, int], least: int):
    """The pairs with neighbours of one species, each in a slot of its atom; they come sorted by frame and atom."""
    (frame, i, j, image), (frames, width) = edges, shape
    owner = frame * width + i
    counts = np.bincount(owner, minlength=frames * width)
    size = max(int(counts.max(initial=0)), least)
    slot = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    index = np.broadcast_to(np.arange(width, dtype=np.int32)[:, None], (frames, width, size)).copy()
    offset = np.zeros((frames, width, size, 3), np.int8)
    far = np.ones((frames, width, size), bool)
    index[frame, i, slot], offset[frame, i, slot], far[frame, i, slot] = j, image, False
    return index, offset, far
