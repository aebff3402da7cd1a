"""Whether energies and forces are in one unit: between near frames, energy differences must be the forces' work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError

_MOST_FRAMES, _MOST_PAIRS = 300, 1000  # of one composition, of all: enough to decide, and a fraction of a second
_MOST_ATOMS = 64  # whose distances say which frames are near
_MOST_NUMBERS = 3e7
_CONCORDANT, _CHANCE = 0.8, 1e-3  # a verdict needs signs that agree (or disagree) so often, and so little by chance
_FACTOR = 5.0  # below 13.6, the least ratio of units of energy in use; far above what curvature does to the trapezium
_QUARTER, _MEDIAN = 1.3, 1.5  # Bohr against Angstrom is 1.89; sound sets have a lower quartile below 1
_ENERGIES = {"eV": 1.0, "Hartree": 1 / 27.2114, "Rydberg": 1 / 13.6057, "kcal/mol": 23.0605, "kJ/mol": 96.4853,
             "meV": 1000.0}  # fmt: skip
_FORCES = {"eV/A": 1.0, "Hartree/Bohr": 1 / 51.4221, "Rydberg/Bohr": 1 / 25.7110, "eV/Bohr": 0.529177,
           "kcal/mol/A": 23.0605, "kJ/mol/A": 96.4853, "kJ/mol/nm": 964.853, "meV/A": 1000.0}  # fmt: skip


class Agreement(NamedTuple):
    """What near frames say of the units.

    **Fields:** `pairs` of near frames; `concordant`, the share of them whose energy difference has the sign of the
    work; `ratio`, the median of energy difference over work, 1 in one unit; `verdict`.
    """

    pairs: int
    concordant: float
    ratio: float
    verdict: Literal["agree", "energies and forces differ in unit", "forces have the sign of gradients", "unknown"]


def agreement(frames: Sequence[Frame]) -> Agreement:
    """Compare energy differences with the work -(F_a + F_b)/2 . (x_b - x_a) between each frame and its nearest.

    Molecules are laid on each other first; periodic frames are compared within one cell. Only the nearer half of the
    pairs is asked, and where their signs say nothing, the verdict is `unknown`: frames too far apart prove nothing.
    """
    from scipy.stats import binomtest

    found = np.array([pair for group in _groups(frames) for pair in _pairs(group)][:_MOST_PAIRS]).reshape(-1, 3)
    found = found[(found[:, 1] != 0) & (found[:, 0] != 0)]
    found = found[found[:, 2] <= np.median(found[:, 2])] if len(found) else found
    if not len(found):
        return Agreement(0, math.nan, math.nan, "unknown")
    ratios = found[:, 0] / found[:, 1]
    same, ratio = int((ratios > 0).sum()), float(np.median(ratios))
    share = same / len(ratios)
    told = Agreement(len(ratios), share, ratio, "unknown")
    if binomtest(same, len(ratios)).pvalue >= _CHANCE or 1 - _CONCORDANT < share < _CONCORDANT:
        return told
    if share < 0.5:
        return told._replace(verdict="forces have the sign of gradients")
    lengths = ratio > _MEDIAN and np.quantile(ratios, 0.25) > _QUARTER
    if lengths or not 1 / _FACTOR <= ratio <= _FACTOR:
        return told._replace(verdict="energies and forces differ in unit")
    return told._replace(verdict="agree")


def units_agree(
    frames: Sequence[Frame],
    units: Literal["check", "trust"] = "check",
    *,
    note: Callable[[str], object] | None = None,
) -> Agreement:
    """Pass unless energies and forces contradict each other.

    **Arguments:** `units`, `trust` to go on all the same; `note`, told of the contradiction then.

    **Raises:** `InputError` that says by what factor they differ and which units would explain it.
    """
    if units not in ("check", "trust"):
        raise InputError(f"units is {units!r}: choose check or trust.")
    found = agreement(frames)
    if found.verdict not in ("agree", "unknown"):
        sentence = _sentence(frames[0].place, found)
        if units == "check":
            raise InputError(sentence)
        if note is not None:
            note(sentence)
    return found


def _sentence(place: str, found: Agreement) -> str:
    where = f"{place} and the frames after it"
    if found.ratio < 0:
        return (f"{where}: in {found.pairs} pairs of near frames the energy rises along the forces: they are "
                "gradients, so turn their sign, or go on with --units trust.")  # fmt: skip
    guesses = {
        (energy, force): _ENERGIES[energy] / _FORCES[force]
        for energy, force in [
            *((energy, "eV/A") for energy in _ENERGIES),
            *(("eV", force) for force in _FORCES),
            ("Hartree", "Hartree/Bohr"),
        ]
        if (energy, force) != ("eV", "eV/A")
    }
    energy, force = min(guesses, key=lambda pair: abs(math.log(guesses[pair] / found.ratio)))
    return (f"{where}: energies differ by {found.ratio:.3g} times the work of the forces ({found.pairs} pairs of near "
            f"frames), as with energies in {energy} and forces in {force}: convert them to eV and eV/A, or go on with "
            "--units trust.")  # fmt: skip


def _groups(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Frames of the same atoms in the same order, and in the same cell where that matters."""
    groups: dict[tuple, list[Frame]] = {}
    for frame in frames:
        if frame.energy is not None and frame.forces is not None and len(frame.numbers) > 1:
            cell = np.asarray(frame.cell).tobytes() if any(frame.periodic) else b""
            group = groups.setdefault((frame.numbers.tobytes(), frame.periodic, cell), [])
            most = min(_MOST_FRAMES, max(2, int(math.sqrt(_MOST_NUMBERS / len(frame.numbers)))))
            if len(group) < most:
                group.append(frame)
    yield from (group for group in groups.values() if len(group) > 1)


def _pairs(group: list[Frame]) -> Iterator[tuple[float, float, float]]:
    """Energy difference, work and distance of each frame and its nearest, each pair once."""
    positions = np.stack([frame.positions for frame in group])
    near = _nearest_in_cell(positions, group[0]) if any(group[0].periodic) else _nearest(positions)
    for a, b in {(min(pair), max(pair)) for pair in enumerate(near.tolist())}:
        first, second = group[a], group[b]
        if any(first.periodic):
            shift, turn = _shifts(second.positions - first.positions, first), np.eye(3)
        else:
            centred = [frame.positions - frame.positions.mean(axis=0) for frame in (first, second)]
            turn = _turn(*centred)
            shift = centred[1] @ turn - centred[0]
        (energy, forces), (energy_there, forces_there) = _labels(first), _labels(second)
        work = -0.5 * float(((forces + forces_there @ turn) * shift).sum())
        yield energy_there - energy, work, float(np.sqrt((shift**2).sum(axis=1).mean()))


def _labels(frame: Frame) -> tuple[float, np.ndarray]:
    assert frame.energy is not None
    assert frame.forces is not None
    return frame.energy, frame.forces


def _nearest(positions: Float[np.ndarray, "frames atoms 3"]) -> np.ndarray:
    """The nearest other frame of each by the distances within it, which turning and shifting leave alone."""
    atoms = positions.shape[1]
    chosen = np.unique(np.linspace(0, atoms - 1, min(atoms, _MOST_ATOMS)).astype(int))
    i, j = np.triu_indices(len(chosen), 1)
    lengths = np.linalg.norm(positions[:, chosen[i]] - positions[:, chosen[j]], axis=-1)
    squares = (lengths**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * lengths @ lengths.T
    np.fill_diagonal(apart, np.inf)
    return apart.argmin(axis=1)


def _nearest_in_cell(positions: Float[np.ndarray, "frames atoms 3"], frame: Frame) -> np.ndarray:
    near = []
    for at in range(len(positions)):
        apart = (_shifts(positions - positions[at], frame) ** 2).sum(axis=(1, 2))
        apart[at] = np.inf
        near.append(int(apart.argmin()))
    return np.array(near)


def _shifts(shifts: np.ndarray, frame: Frame) -> np.ndarray:
    """The nearest images of some shifts, for cells that are not too oblique."""
    periodic = np.array(frame.periodic)
    cell = np.where(periodic[:, None], frame.cell, 0.0)
    return shifts - np.round(shifts @ np.linalg.pinv(cell)) @ cell


def _turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The proper rotation that lays `second` on `first` (W. Kabsch, Acta Cryst. A 32, 922, 1976)."""
    u, _, v = np.linalg.svd(second.T @ first)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
