"""Where dynamics starts: the frame, its masses, and its velocities."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import units
from ase.data import atomic_masses
from jaxtyping import Float

from thalweg.atoms.data.check import apart, known
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import SAMPLES, read
from thalweg.atoms.tasks.trained import SHIPPED, Trained
from thalweg.core.errors import InputError
from thalweg.methods.dynamics import maxwell_velocities

Note = Callable[[str], object]


class Start(NamedTuple):
    """Atoms about to move.

    **Fields:** the `frame`; `masses` in u; `velocities` of each replica, in A per unit of time of ASE (10.18 fs).
    """

    frame: Frame
    masses: Float[np.ndarray, " atoms"]
    velocities: Float[np.ndarray, "replicas atoms 3"]


def first_frame(trained: Trained, source: str | os.PathLike[str] | None, note: Note | None = None) -> Frame:
    """The first frame of a source, or of the sample that a potential of the package was trained on.

    **Raises:** `InputError` for atoms that the potential does not know, or that overlap.
    """
    if source is None:
        if trained.name not in SHIPPED or trained.name not in SAMPLES:
            raise InputError(f"{trained.name}: does not say where to start: name a frame after it, as in start.xyz.")
        source = trained.name
    frame = read(source, note=note)[0]
    known([frame], trained.net.elements)
    apart([frame])
    return frame


def masses_of(frame: Frame) -> Float[np.ndarray, " atoms"]:
    """The masses of atoms in u: those of the frame's own column, or else of the elements.

    **Raises:** `InputError` for a mass that is not positive.
    """
    stated = frame.columns.get("masses")
    masses = np.asarray(atomic_masses[frame.numbers] if stated is None else stated, np.float64)
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise InputError(f"{frame.place}: a mass is not positive: correct its column of masses.")
    return masses


def begin(frame: Frame, temperature: float, replicas: int, seed: int, note: Note | None = None) -> Start:
    """Masses and velocities of a frame.

    Velocities are the frame's own, if it has momenta. Otherwise each replica's are drawn from Maxwell's distribution,
    freed of total momentum (and of angular momentum, where nothing is periodic), and scaled so that the temperature is
    exactly the one asked for.

    **Raises:** `InputError` for momenta of a wrong shape.
    """
    masses = masses_of(frame)
    momenta = frame.columns.get("momenta")
    if momenta is not None and replicas == 1:
        if np.shape(momenta) != frame.positions.shape or not np.isfinite(momenta).all():
            raise InputError(f"{frame.place}: its momenta are not three finite numbers for each atom: remove them.")
        if note is not None:
            note(f"{frame.place}: starts with the momenta that it has, not with new ones.")
        return Start(frame, masses, np.asarray(momenta, np.float64)[None] / masses[:, None])
    drawn = [_drawn(frame, masses, temperature, jax.random.key(seed), replica) for replica in range(replicas)]
    return Start(frame, masses, np.stack(drawn))


def freedom(frame: Frame, *, thermostat: bool) -> int:
    """How many directions the atoms can move in: a thermostat also moves them as a whole."""
    atoms = len(frame.numbers)
    if thermostat:
        return 3 * atoms
    return 3 * atoms - len(wholes(frame, np.ones(atoms)))


def _drawn(frame: Frame, masses: np.ndarray, temperature: float, key: Any, replica: int) -> np.ndarray:
    heat = units.kB * temperature
    drawn = maxwell_velocities(jax.random.fold_in(key, replica), np.zeros_like(frame.positions), masses, heat)
    roots = np.sqrt(masses)[:, None]
    weighted = (np.asarray(drawn, np.float64) * roots).ravel()
    for whole in wholes(frame, masses):
        weighted = weighted - whole * (whole @ weighted)
    moving, kinetic = freedom(frame, thermostat=False), 0.5 * weighted @ weighted
    if moving <= 0 or kinetic <= 0:
        return np.zeros_like(frame.positions)
    return (weighted * np.sqrt(0.5 * moving * heat / kinetic)).reshape(-1, 3) / roots


def wholes(frame: Frame, masses: np.ndarray) -> list[np.ndarray]:
    """The mass-weighted unit directions in which atoms move as a whole: shifts, and turns where nothing repeats."""
    roots, found = np.sqrt(masses), []
    middle = (masses[:, None] * frame.positions).sum(axis=0) / masses.sum()
    away = frame.positions - middle
    turns = [] if any(frame.periodic) else [np.cross(axis, away) for axis in np.eye(3)]
    for move in [*(np.broadcast_to(axis, away.shape) for axis in np.eye(3)), *turns]:
        flat = (roots[:, None] * move).ravel()
        size = np.linalg.norm(flat)
        for other in found:
            flat = flat - other * (other @ flat)
        # The turn of a straight molecule about itself moves nothing.
        if np.linalg.norm(flat) > 1e-4 * max(size, 1e-12):
            found.append(flat / np.linalg.norm(flat))
    return found
