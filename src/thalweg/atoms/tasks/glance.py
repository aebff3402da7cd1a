"""A trajectory at a glance: a few of its frames, evenly spaced, however long it is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.ase_atoms import from_atoms
from thalweg.atoms.data.extxyz import atoms_of, chunks
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import pairs
from thalweg.atoms.data.write import whole_frames

_MOST = 600  # frames: more make a picture no clearer
_REACH, _BINS = 6.0, 150  # A


class Glance(NamedTuple):
    """Some frames of a trajectory.

    **Fields:** the `frames`, those of all replicas at each time; `replicas`; `times [times]` in ps; `heat [times,
    replicas]`, temperatures in K; `conserved [times]` in eV, or `None` where there are several replicas.
    """

    frames: list[Frame]
    replicas: int
    times: Float[np.ndarray, " times"]
    heat: Float[np.ndarray, "times replicas"]
    conserved: Float[np.ndarray, " times"] | None

    def of(self, replica: int) -> list[Frame]:
        """The frames of one replica."""
        return self.frames[replica :: self.replicas]


class Distances(NamedTuple):
    """How often two elements are found at a distance.

    **Fields:** `distance` in A; `curves`, by the two elements' atomic numbers: in a cell the radial distribution
    function, which is 1 where nothing is ordered, and else the share per A of the pairs.
    """

    distance: Float[np.ndarray, " bins"]
    curves: dict[tuple[int, int], Float[np.ndarray, " bins"]]
    periodic: bool


def glance(path: Path, replicas: int = 1) -> Glance:
    """Read up to 600 frames of a trajectory that `dynamics` wrote."""
    ends = whole_frames(path)
    times = len(ends) // replicas
    shown = np.unique(np.linspace(0, times - 1, min(times, max(2, _MOST // replicas))).round().astype(int))
    frames: list[Frame] = []
    with open(path, "rb") as file:
        for first in (shown * replicas).tolist():
            begin = ends[first - 1] if first else 0
            file.seek(begin)
            text = file.read(ends[first + replicas - 1] - begin).decode()
            frames += [from_atoms(atoms, place) for atoms, place in atoms_of(chunks(text, str(path)), str(path))]
    clock = np.array([frame.info["time_fs"] for frame in frames[::replicas]], np.float64) / 1000
    heat = np.array([frame.info["temperature_K"] for frame in frames], np.float64).reshape(-1, replicas)
    conserved = [frame.info.get("conserved_eV") for frame in frames]
    whole = np.array(conserved, np.float64) if replicas == 1 and None not in conserved else None
    return Glance(frames, replicas, clock, heat, whole)


def distances(frames: list[Frame]) -> Distances:
    """How far atoms are apart, up to 6 A, in frames of the same atoms."""
    edges = np.linspace(0, _REACH, _BINS + 1)
    numbers, periodic = frames[0].numbers, all(frames[0].periodic)
    kinds = np.unique(numbers)
    counts = {(int(a), int(b)): np.zeros(_BINS) for place, a in enumerate(kinds) for b in kinds[place:]}
    density = 0.0
    for frame in frames:
        first, second, _, apart = pairs(frame, _REACH)
        density += 1 / (frame.volume or 1.0) / len(frames)
        for (a, b), total in counts.items():
            chosen = (numbers[first] == a) & (numbers[second] == b)
            total += np.histogram(apart[chosen], edges)[0] / len(frames)
    width, middle = edges[1], (edges[1:] + edges[:-1]) / 2
    curves = {}
    for (a, b), total in counts.items():
        ordered = np.sum(numbers == a) * (np.sum(numbers == b) - (a == b))
        if not total.any():
            continue
        share = total / max(ordered, 1) / width
        curves[a, b] = share / (4 * np.pi * middle**2 * density) if periodic else share
    return Distances(middle, curves, periodic)
