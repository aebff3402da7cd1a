"""Frames from ASE's Atoms and back, with the labels under whatever keys they were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from thalweg.atoms.data.check import sound
from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, require

if TYPE_CHECKING:
    from ase import Atoms

# REF_ first: who writes it keeps the labels apart from what a calculator may leave under the plain names.
ENERGIES = ("REF_energy", "energy", "free_energy")
FORCES = ("REF_forces", "forces")
_OF_ATOMS = ("forces", "energies", "stresses", "charges", "magmoms")  # results that ASE gives one of for each atom
STRESSES = ("REF_stress", "stress", "REF_virials", "REF_virial", "virials", "virial")


class Keys(NamedTuple):
    """The keys under which labels are looked for, the first that is there being taken."""

    energy: tuple[str, ...] = ENERGIES
    forces: tuple[str, ...] = FORCES
    stress: tuple[str, ...] = STRESSES


class Taken(NamedTuple):
    """The keys that the labels of a frame came from, and those that were there besides.

    **Fields:** `constrained`: whether the atoms carried constraints, which a frame does not hold.
    """

    energy: str | None
    forces: str | None
    stress: str | None
    passed_over: tuple[str, ...] = ()
    constrained: bool = False


def from_atoms(atoms: Atoms, place: str, *, keys: Keys | None = None) -> Frame:
    """The frame that an `ase.Atoms` holds; nothing is computed, and results of other positions are not taken.

    **Arguments:** `atoms`; `place`, for messages; `keys` to look for labels under.

    **Raises:** `InputError` for what cannot be atoms in space, and for labels of a wrong kind.
    """
    return taken_from_atoms(atoms, place, keys or Keys())[0]


def taken_from_atoms(atoms: Atoms, place: str, keys: Keys) -> tuple[Frame, Taken]:
    """The same, and the keys of the labels."""
    info, columns = dict(atoms.info), dict(atoms.arrays)
    numbers, positions = columns.pop("numbers"), columns.pop("positions")
    for key, value in _results(atoms).items():
        (columns if key in _OF_ATOMS else info)[key] = value
    found = (info.keys() | columns.keys()) & {*keys.energy, *keys.forces, *keys.stress}
    energy_key, energy = _take(info, keys.energy)
    forces_key, forces = _take(columns, keys.forces)
    stress_key, stress = _take(info, keys.stress)
    frame = Frame(
        np.asarray(numbers, np.int64),
        np.array(positions, np.float64),
        np.array(atoms.get_cell(), np.float64),
        tuple(bool(each) for each in atoms.pbc),  # type: ignore[arg-type]
        None if energy_key is None else _energy(energy, energy_key, place),
        None if forces_key is None else _array(forces, forces_key, place, (len(atoms), 3)),
        None,
        place,
        {key: value.item() if isinstance(value, np.generic) else value for key, value in info.items()},
        columns,
    )
    sound(frame)
    if stress_key is not None and frame.volume is not None:
        frame = sound(frame._replace(stress=_stress(stress, stress_key, frame.volume, place)))
    over = found - {energy_key, forces_key, stress_key}
    over -= {key for key in over if key in info and np.ndim(info[key]) == 0 and info[key] == energy}
    return frame, Taken(energy_key, forces_key, stress_key, tuple(sorted(over)), bool(atoms.constraints))


def to_atoms(frame: Frame) -> Atoms:
    """The `ase.Atoms` of a frame, its labels as the results of a single-point calculator and under no other key."""
    require("ase", extra="atoms")
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.periodic)
    # Labels that were passed over would be taken for those of the frame when it is read again.
    taken = {*ENERGIES, *FORCES, *STRESSES}
    atoms.info.update({key: value for key, value in frame.info.items() if key not in taken})
    for name, array in frame.columns.items():
        if name not in taken:
            atoms.set_array(name, array)
    results: dict[str, Any] = {"energy": frame.energy, "forces": frame.forces}
    if frame.stress is not None:
        stress = (frame.stress + frame.stress.T) / 2
        results["stress"] = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    results = {name: value for name, value in results.items() if value is not None}
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _results(atoms: Atoms) -> Mapping[str, Any]:
    calculator = atoms.calc
    results, kept = dict(getattr(calculator, "results", None) or {}), getattr(calculator, "atoms", None)
    if results and kept is not None and kept is not atoms:
        same = (np.array_equal(getattr(kept, name), getattr(atoms, name)) for name in ("numbers", "positions", "pbc"))
        if not (all(same) and np.array_equal(kept.get_cell(), atoms.get_cell())):
            return {}  # they belong to positions where these atoms no longer are
    return {name: value for name, value in results.items() if value is not None}


def _take(held: dict[str, Any], keys: tuple[str, ...]) -> tuple[str | None, Any]:
    key = next((key for key in keys if key in held), None)
    return key, None if key is None else held.pop(key)


def _energy(value: Any, key: str, place: str) -> float:
    return float(_array(value, key, place, ()))


def _array(value: Any, key: str, place: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        if np.asarray(value).dtype.kind not in "fiu":
            raise ValueError
        array = np.array(value, np.float64)
        return array.reshape(shape) if array.size == 1 and shape == () else _shaped(array, shape)
    except (TypeError, ValueError):
        wanted = "one number" if shape == () else f"numbers of shape {list(shape)}"
        said = " ".join(str(value).split())[:60]
        raise InputError(f"{place}: {key} is {said!r}, but it must be {wanted}: mend it.") from None


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape != shape:
        raise ValueError
    return array


def _stress(value: Any, key: str, volume: float, place: str) -> np.ndarray:
    """A stress or a virial, as 3 x 3 or in Voigt's order, as a stress with ASE's sign."""
    size = np.size(value)
    if size == 6:
        xx, yy, zz, yz, xz, xy = _array(value, key, place, (6,))
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    else:
        stress = _array(np.reshape(value, (3, 3)) if size == 9 else value, key, place, (3, 3))
    return -stress / volume if "virial" in key else stress
