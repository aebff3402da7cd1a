"""What must leave the energy of a frame as it is, and how it turns the forces."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.subject import Subject
from thalweg.core.errors import InputError

APART = 100.0  # A between two copies
_WEAK = 0.01  # eV/A per atom: forces are compared with at least as much, so that a relaxed frame can be audited


def random_rotation(random: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation, all of them being equally likely."""
    matrix, upper = np.linalg.qr(random.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    return matrix * np.linalg.det(matrix)


def turned(frame: Frame, matrix: Float[np.ndarray, "3 3"]) -> Frame:
    """A frame and its cell under an orthogonal matrix."""
    return frame._replace(positions=frame.positions @ matrix.T, cell=frame.cell @ matrix.T)


def symmetries(of: Subject, frame: Frame, seed: list[int]) -> dict[str, float]:
    """How far the answers for a frame break what they must keep; in eV per atom, and for forces relative.

    What does not apply to a frame is left out: wrapping and supercells without a period, far copies and torque with.
    """
    random, count = np.random.default_rng(seed), len(frame.numbers)
    energy, forces = of.answer(frame)
    size = max(float(np.linalg.norm(forces)), _WEAK * np.sqrt(count))
    found: dict[str, float] = {}

    def compare(name: str, other: Frame, order: np.ndarray | None = None, turn: np.ndarray | None = None) -> None:
        value, push = of.answer(other)
        expected = forces if order is None else forces[order]
        expected = expected if turn is None else expected @ turn.T
        found[f"{name}_eV_per_atom"] = abs(value - energy) / count
        found[f"{name}_force_relative"] = float(np.linalg.norm(push - expected)) / size

    turn, order = random_rotation(random), random.permutation(count)
    compare("rotation", turned(frame, turn), turn=turn)
    compare("reflection", turned(frame, -turn), turn=-turn)
    compare("translation", frame._replace(positions=frame.positions + random.normal(scale=3.0, size=3)))
    mixed = frame._replace(numbers=frame.numbers[order], positions=frame.positions[order], columns={})
    compare("permutation", mixed, order=order)
    if any(frame.periodic):
        steps = random.integers(-2, 3, (count, 3)) * np.array(frame.periodic)
        compare("wrapping", frame._replace(positions=frame.positions + steps @ frame.cell))
    found["net_force_relative"] = float(np.linalg.norm(forces.sum(axis=0))) / np.sqrt(count) / size
    if not any(frame.periodic):
        arms = frame.positions - frame.positions.mean(axis=0)
        lever = max(float(np.linalg.norm(arms)) / np.sqrt(count), 1e-3)
        torque = np.cross(arms, forces).sum(axis=0)
        found["net_torque_relative"] = float(np.linalg.norm(torque)) / (np.sqrt(count) * size * lever)
    return found


def extensivity(of: Subject, frame: Frame) -> dict[str, float]:
    """How far two of a frame differ in energy from twice one, in eV per atom.

    Along the period of a periodic frame, or else far apart.

    **Raises:** `InputError` for what cannot be asked for another number of atoms.
    """
    energy, count = of.answer(frame)[0], len(frame.numbers)
    periodic = any(frame.periodic)
    axis = int(np.argmax(frame.periodic)) if periodic else 0
    shift = frame.cell[axis] if periodic else np.array([APART + np.ptp(frame.positions[:, 0]), 0.0, 0.0])
    cell = frame.cell * np.where(np.arange(3) == axis, 2.0, 1.0)[:, None] if periodic else frame.cell
    both = frame._replace(
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + shift]),
        cell=cell,
        columns={},
        place=f"two of {frame.place}",
    )
    name = "supercell_eV_per_atom" if periodic else "far_copies_eV_per_atom"
    return {name: abs(of.answer(both)[0] - 2 * energy) / (2 * count)}


def isolated(of: Subject, elements: tuple[int, ...]) -> dict[str, float]:
    """The largest energy of an atom alone, in eV, of what gives energies relative to isolated atoms."""
    if not of.bound:
        raise InputError(f"{of.name}: gives total energies, of which those of isolated atoms are not known.")
    found = [of.answer(Frame(np.array([one]), np.zeros((1, 3)), np.zeros((3, 3)), place="an atom")) for one in elements]
    return {"isolated_atom_eV": max(abs(energy) for energy, _ in found)}
