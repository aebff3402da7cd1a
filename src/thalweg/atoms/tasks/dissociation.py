"""Energies of pairs of atoms over their distance, and of bonds that are stretched: against labels, and for holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.check import symbol
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import pairs
from thalweg.atoms.tasks.subject import Subject

_NEAR, _STEP = 0.4, 0.02  # of the sum of the covalent radii; A
_BEYOND = 7.0  # A, for what has no known cutoff
_BONDED = 1.25  # times the covalent radii
_STRETCHED = 8  # bonds at the most
_AROUND, _ODD = 15, 100.0  # points to both sides; times the usual
_REAL = 0.02  # eV: shallower wells are van der Waals' or nothing


class Curve(NamedTuple):
    """The energy along one distance.

    **Fields:** `name`, as in `C-O` or `C0-O2 stretched`; `distance` in A; `energy` in eV relative to the far end;
    `labels`, distances and energies relative to the farthest label, where there are some; `minima`, how many wells;
    `deepest`, the distance of the lowest point; `hole`, how deep the energy falls at short distance, behind the wall
    that ought to keep atoms apart, in eV; `jump`, the largest step in eV that what is around it does not account for.
    """

    name: str
    distance: Float[np.ndarray, " points"]
    energy: Float[np.ndarray, " points"]
    labels: Float[np.ndarray, "2 labels"]
    minima: int
    deepest: float
    hole: float
    jump: float

    @property
    def off(self) -> float | None:
        """The root mean square deviation from labels that lie within the curve, in eV, or `None` without any."""
        here = (self.labels[0] >= self.distance[0]) & (self.labels[0] <= self.distance[-1])
        if not here.any():
            return None
        mine = np.interp(self.labels[0][here], self.distance, self.energy)
        return float(np.sqrt(np.mean((mine - self.labels[1][here]) ** 2)))

    @property
    def row(self) -> dict[str, Any]:
        """The numbers of the curve."""
        return {
            "curve": self.name,
            "wells": self.minima,
            "lowest_at_A": self.deepest,
            "depth_eV": -float(self.energy.min()),
            "hole_eV": self.hole,
            "jump_eV": self.jump,
            "rmse_eV": self.off,
            "labels": int(self.labels.shape[1]),
        }


def dimer_curve(of: Subject, first: int, second: int, labelled: Sequence[Frame]) -> Curve:
    """A pair of elements from close to beyond the cutoff.

    **Arguments:** `labelled`, frames of two atoms with energies, of which those of this pair are taken.
    """
    distance = _distances(of, first, second)
    along = np.array([0.48, 0.6, 0.64])
    positions = np.stack([np.zeros(3), distance[-1] * along])
    name = f"{symbol(first)}-{symbol(second)}"
    frame = Frame(np.array([first, second]), positions, np.zeros((3, 3)), place=f"the pair {name}")
    points = np.stack([np.zeros((len(distance), 3)), distance[:, None] * along], axis=1)
    energy, _ = of.field(frame).value_and_force_batch(points)
    mine = [one for one in labelled if sorted(one.numbers) == sorted((first, second)) and one.energy is not None]
    known = np.array(sorted((float(np.linalg.norm(one.positions[1] - one.positions[0])), one.energy) for one in mine))
    labels = known.T if len(known) else np.zeros((2, 0))
    if len(known):
        labels = np.stack([labels[0], labels[1] - labels[1, -1]])
    return judged(name, distance, np.asarray(energy, float), labels)


def bond_curves(of: Subject, frame: Frame) -> list[Curve]:
    """The bonds of a molecule that hold it together, each stretched with all that hangs on it.

    Bonds in rings, and those to further atoms of the same elements, are passed over.
    """
    curves, seen = [], set()
    for first, second, side in _bridges(frame):
        kind = (int(frame.numbers[first]), int(frame.numbers[second]), int(side.sum()))
        if kind in seen or len(seen) == _STRETCHED:
            continue
        seen.add(kind)
        way = frame.positions[second] - frame.positions[first]
        length = float(np.linalg.norm(way))
        distance = _distances(of, *kind[:2])
        points = frame.positions + np.where(side[:, None], way / length, 0.0) * (distance - length)[:, None, None]
        energy = np.asarray(of.field(frame).value_and_force_batch(points)[0], float)
        ends = [f"{symbol(int(frame.numbers[atom]))}{atom}" for atom in (first, second)]
        curves.append(judged(f"{'-'.join(ends)} stretched", distance, energy - energy[-1], np.zeros((2, 0))))
    return curves


def judged(name: str, distance: np.ndarray, energy: np.ndarray, labels: np.ndarray) -> Curve:
    """A curve with its wells, holes and jumps."""
    energy = energy - energy[-1]
    lowest = int(np.argmin(energy))
    wells = _wells(energy)
    # Going in from the well the energy must rise for good; what it loses again on the way is a hole.
    well = wells[-1] if wells else len(energy) - 1
    inner = energy[: well + 1][::-1]
    hole = float(np.max(np.maximum.accumulate(inner) - inner))
    return Curve(name, distance, energy, labels, len(wells), float(distance[lowest]), hole if hole > _REAL else 0.0,
                 _jump(energy))  # fmt: skip


def _jump(energy: np.ndarray) -> float:
    """The largest step that the neighbourhood does not account for, by sixth differences; ten times it, of a jump."""
    if len(energy) < 2 * _AROUND:
        return 0.0
    sixth = np.abs(np.convolve(energy, [1.0, -6.0, 15.0, -20.0, 15.0, -6.0, 1.0], mode="valid"))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(sixth, _AROUND, mode="reflect"), 2 * _AROUND + 1)
    usual = np.median(around, axis=1) + 1e-12 * np.abs(energy).max()
    odd = sixth > _ODD * usual
    return float(np.max(sixth[odd], initial=0.0)) / 10


def _wells(energy: np.ndarray) -> list[int]:
    """The minima that lie deeper than a trifle below what is on both their sides."""
    found = []
    inside = (energy[1:-1] <= energy[:-2]) & (energy[1:-1] < energy[2:])
    for place in np.flatnonzero(inside) + 1:
        left, right = _barrier(energy[place::-1]), _barrier(energy[place:])
        if min(left, right) > _REAL:
            found.append(int(place))
    return found


def _barrier(away: np.ndarray) -> float:
    """How high one climbs from the first point before one is below it."""
    below = np.flatnonzero(away < away[0])
    return float(away[: below[0] if len(below) else len(away)].max() - away[0])


def _distances(of: Subject, first: int, second: int) -> np.ndarray:
    from ase.data import covalent_radii

    near = _NEAR * (covalent_radii[first] + covalent_radii[second])
    return np.arange(near, (_BEYOND if of.cutoff is None else of.cutoff + 0.2), _STEP)


def _bridges(frame: Frame) -> list[tuple[int, int, np.ndarray]]:
    """The bonds whose loss parts a molecule: two atoms, and which atoms hang on the second, the smaller part."""
    from ase.data import covalent_radii
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if any(frame.periodic):
        return []
    radii = _BONDED * covalent_radii[frame.numbers]
    i, j, _, lengths = pairs(frame, 2 * float(radii.max()))
    bonded = (lengths < radii[i] + radii[j]) & (i < j)
    i, j = i[bonded], j[bonded]
    count, found = len(radii), []
    order = np.lexsort((j, i))
    for place in order:
        left = np.delete(np.stack([i, j]), place, axis=1)
        parts = connected_components(csr_array((np.ones(left.shape[1]), left), shape=(count, count)), directed=False)[1]
        a, b = int(i[place]), int(j[place])
        if parts[a] == parts[b]:
            continue
        if (parts == parts[b]).sum() > (parts == parts[a]).sum():
            a, b = b, a
        found.append((a, b, parts == parts[b]))
    return found
