"""Molecular dynamics on a trained potential: constant energy, temperature, or temperature and pressure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.write import Trajectory, write
from thalweg.atoms.energy import Potential, potential
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.landscapes import FixedLists, Replicas
from thalweg.atoms.tasks.md_frames import Frames, Trouble, on_the_way
from thalweg.atoms.tasks.md_start import Start, begin, freedom
from thalweg.atoms.tasks.precision import Precision, dtypes
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.trajectory import Piece, Plan, kept_step, pieces, taken
from thalweg.core.cell import Celled
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome
from thalweg.methods.baoab import Baoab
from thalweg.methods.cell_rescaling import CellRescaling
from thalweg.methods.dynamics import AbstractDynamics
from thalweg.methods.verlet import Verlet

Ensemble = Literal["nve", "nvt", "npt"]
PICOSECOND = 1000 * units.fs
_BAR = 1e5 * units.Pascal
_RELAXATION = 1.0  # ps; in which the volume forgets
_COMPRESSIBILITY = 4.6e-5  # 1/bar, of water; only how fast the volume moves depends on it


@dataclasses.dataclass(frozen=True)
class Settings:
    """What dynamics is run.

    **Fields:** `ensemble`; `temperature` in K; `pressure` in bar; `timestep` in fs; `steps`; `friction` in 1/ps;
    `replicas` of the atoms, which do not see each other; `every` how many steps a frame is written; `dtype`, as of
    `Calculator`; `stop_at_uncertainty`, the expected error of a force in eV/A at which a committee gives up.
    """

    ensemble: Ensemble = "nve"
    temperature: float = 300.0
    pressure: float = 1.0
    timestep: float = 0.5
    steps: int = 10_000
    friction: float = 1.0
    replicas: int = 1
    every: int = 20
    dtype: Precision = "mixed"
    stop_at_uncertainty: float | None = None

    def __post_init__(self):
        if self.ensemble not in ("nve", "nvt", "npt"):
            raise InputError(f"md: the ensemble is {self.ensemble!r}: choose nve, nvt or npt.")
        for name in ("temperature", "friction"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"md: {name} is {value}: give a number of at least 0.")
        if not (math.isfinite(self.timestep) and 0 < self.timestep <= 100):
            raise InputError(f"md: a time step of {self.timestep} fs: give one between 0 and 100, as 0.5.")
        for name in ("replicas", "every"):
            if getattr(self, name) < 1:
                raise InputError(f"md: {name} is {getattr(self, name)}: give at least 1.")
        if self.steps < 0:
            raise InputError(f"md: {self.steps} steps: give at least 0.")
        if self.ensemble == "npt" and self.replicas > 1:
            raise InputError("md: replicas share their cell, so npt has only one: start several runs, or choose nvt.")


class Dynamics(NamedTuple):
    """What came of it: the `result` in plain numbers, whether it is `ok`, and how it ended in a `sentence`."""

    result: dict[str, Any]
    ok: bool
    sentence: str


def dynamics(
    trained: Trained,
    frame: Frame,
    settings: Settings,
    folder: Path,
    *,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
    note: Callable[[str], object] | None = None,
    seconds: float = 5.0,
) -> Dynamics:
    """Move the atoms of a frame, and write frames to trajectory.xyz in a folder.

    A call with the same arguments goes on from what is in the folder, to the same bits. Positions are not wrapped into
    the cell. Where the dynamics explodes, or a committee meets what it does not know, it stops at that frame, which is
    written to exploded.xyz or, with some from the way there, to unknown.xyz.

    **Arguments:** `trained`; `frame`, with momenta or without; `settings`; `folder`, which must exist; `seed` of
    velocities and noise; `hooks`; `note`, told what is worth knowing; `seconds` between two writings, which changes no
    bit.

    **Raises:** `InputError` for settings that do not fit the frame; `WalkError` where a hook stopped it.
    """
    _check(trained, frame, settings)
    points, of_net = dtypes(settings.dtype)
    trained = trained.cast(of_net)
    start = begin(frame, settings.temperature, settings.replicas, seed, note)
    one = potential(trained.net, frame, dtype=points)
    plan = _plan(one, start, settings, seed, points)
    moving = freedom(frame, thermostat=settings.ensemble != "nve")
    reading = Frames(trained, start, one, settings.timestep, moving, settings.stop_at_uncertainty)
    place, step = folder / "state.safetensors", kept_step(folder / "state.safetensors")
    written = 0 if step is None else (step // settings.every + 1) * settings.replicas
    with Trajectory(folder / "trajectory.xyz", written) as trajectory:
        for piece in pieces(plan, place, hooks=hooks, seconds=seconds):
            frames, trouble = reading.of(piece.steps, piece.frames)
            trouble = trouble or _broken(piece, reading)
            trajectory.append(frames)
            if trouble is not None:
                break
        frames_written = trajectory.frames
    if trouble is None and piece.outcome is not Outcome.DONE:
        _stopped(piece, settings)
    members = trained.net.size if isinstance(trained.net, Committee) else 1
    result = _measured(piece, settings, start, moving, folder) | {"frames": frames_written, "members": members}
    return _ended(result, trouble, folder)


def _check(trained: Trained, frame: Frame, settings: Settings) -> None:
    if settings.stop_at_uncertainty is not None and not isinstance(trained.net, Committee):
        raise InputError(f"{trained.name}: is one network, which knows nothing of its uncertainty: train several with "
                         "--members, or leave out --stop-at-uncertainty.")  # fmt: skip
    if settings.ensemble == "npt" and not all(frame.periodic):
        raise InputError(f"{frame.place}: npt needs a cell that is periodic in all directions: choose nvt.")


def _plan(one: Potential, start: Start, settings: Settings, seed: int, dtype: Any) -> Plan:
    several = settings.replicas > 1
    positions = np.asarray(start.frame.positions, dtype)
    x: Any = np.broadcast_to(positions, start.velocities.shape) if several else positions
    v: Any = np.asarray(start.velocities if several else start.velocities[0], dtype)
    mass: Any = np.broadcast_to(start.masses[:, None], positions.shape).astype(dtype)
    if several:
        mass = np.broadcast_to(mass, x.shape)
    if settings.ensemble == "npt":
        x, v = Celled(x, np.asarray(start.frame.cell, dtype)), Celled(v, np.zeros((3, 3), dtype))
        mass = Celled(mass, np.ones((), dtype))
    x, v, mass = jax.tree.map(jnp.asarray, (x, v, mass))
    energy: Any = Replicas.of(one, settings.replicas) if several else one
    # All pairs of a molecule: nothing is ever built anew, and need not be compiled.
    energy = FixedLists.of(energy) if bool(jnp.isinf(one.skin)) else energy
    return Plan(
        energy=energy,
        x=x,
        v=v,
        method=_method(settings),
        mass=mass,
        dt=settings.timestep * units.fs,
        key=jax.random.fold_in(jax.random.key(seed), 2**31),  # not a key that velocities were drawn with
        steps=settings.steps,
        every=settings.every,
    )


def _method(settings: Settings) -> AbstractDynamics:
    heat, friction = units.kB * settings.temperature, settings.friction / PICOSECOND
    if settings.ensemble == "nve":
        return Verlet()
    if settings.ensemble == "nvt":
        return Baoab(heat, friction)
    return CellRescaling(heat, settings.pressure * _BAR, friction, _RELAXATION * PICOSECOND, _COMPRESSIBILITY / _BAR)


def _broken(piece: Piece, reading: Frames) -> Trouble | None:
    """The trouble of a walk that `simulate` could not go on with: its last good frame."""
    if piece.outcome not in (Outcome.NONFINITE, Outcome.CAPACITY, Outcome.STALLED):
        return None
    record = jax.tree.map(np.asarray, taken(piece.state))
    frame = reading.at(piece.step, record)[0]
    why = "the next step made energy or forces infinite"
    if piece.outcome is Outcome.CAPACITY:
        why = "after it atoms have so many neighbours that no list can hold them"
    elif not bool(reading.potential.reaches(jnp.asarray(frame.cell, piece.state.value.dtype))):
        why = "its cell has shrunk so much that the lists of neighbours must begin anew from it"
    return Trouble("exploded", piece.step, f"{frame.place}: {why}", frame)


def _stopped(piece: Piece, settings: Settings) -> None:
    where = f"md: stopped after {piece.step} of {settings.steps} steps, which are kept."
    raise WalkError(f"{where} {piece.outcome.value}", piece.solution)


def _measured(piece: Piece, settings: Settings, start: Start, moving: int, folder: Path) -> dict[str, Any]:
    stats, atoms = piece.solution.stats, len(start.frame.numbers) * settings.replicas
    slope = float(stats["drift"].slope) * PICOSECOND / atoms
    # `simulate` counts every coordinate; in nve the atoms do not move as a whole.
    heat = float(stats["temperature"]) / units.kB * 3 * len(start.frame.numbers) / max(moving, 1)
    result = {
        "steps": piece.step,
        "steps_per_second": None if piece.speed is None else round(piece.speed, 2),
        "drift_eV_per_atom_ps": slope if math.isfinite(slope) else None,
        "trajectory": str(folder / "trajectory.xyz"),
        "temperature_K": heat,
        "ensemble": settings.ensemble,
        "replicas": settings.replicas,
        "time_ps": piece.step * settings.timestep / 1000,
        "atoms": len(start.frame.numbers),
        "dtype": settings.dtype,
        "rebuilds": int(stats.get("rebuilds", 0)),
    }
    if settings.ensemble == "npt":
        result["volume_A3"] = float(piece.solution.value.volume)
    return result


def _ended(result: dict[str, Any], trouble: Trouble | None, folder: Path) -> Dynamics:
    if trouble is None:
        return Dynamics(result | {"ended": "steps"}, True, "Done.")
    result |= {"steps": trouble.step, "ended": trouble.kind, "reason": trouble.sentence}
    if trouble.kind == "exploded":
        written = write(folder / "exploded.xyz", [trouble.frame._replace(energy=None, forces=None, stress=None)])
        remedy = f"its frame is in {written}: lower --timestep, or train on such frames."
        return Dynamics(result | {"frame": str(written)}, False, f"The dynamics exploded: {trouble.sentence}; {remedy}")
    written = write(folder / "unknown.xyz", on_the_way(folder / "trajectory.xyz"))
    following = [
        f"thalweg atoms label {written} --method gfn2 --out {folder}-labels",
        f"cat {folder}-labels/labelled.xyz >> TRAINING.xyz",
        f"thalweg atoms train TRAINING.xyz --members {result['members']} --out {folder}-model",
    ]
    told = f"Stopped where the potential does not know: {trouble.sentence}; frames to label are in {written}."
    return Dynamics(result | {"frame": str(written), "next": following}, True, told)
