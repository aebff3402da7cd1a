"""How well a short run at constant energy keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.conserved import line_through
from thalweg.atoms.tasks.subject import Subject
from thalweg.core.errors import ThalwegError
from thalweg.core.hooks import Hook
from thalweg.methods.dynamics import maxwell_velocities
from thalweg.methods.trace import Trace
from thalweg.methods.verlet import Verlet
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.simulate import simulate

TEMPERATURE, STEP = 300.0, 0.5  # K, fs
_HOTTEST, _STRAINED = 10.0, 5.0  # times the temperature at the start, unless forces (eV/A) are such that it must heat
_LOST = 1.0  # eV per atom
_RECORDS, _STRETCHES = 200, 16


class Run(NamedTuple):
    """A run at constant energy.

    **Fields:** `drift` of the energy and its standard `error` in eV per atom and ps, its `fluctuation` in eV per atom;
    whether it `exploded`: stopped being finite, lost or won 1 eV per atom, or heated tenfold without being strained at
    the start; the highest `temperature` in K; `steps` done; `series`: time in ps, and the energy per atom relative to
    the start in eV.
    """

    drift: float
    error: float
    fluctuation: float
    exploded: float
    temperature: float
    steps: float
    series: Float[np.ndarray, "2 records"]


def run_at_constant_energy(
    of: Subject, frame: Frame, *, picoseconds: float, seed: int, hooks: tuple[Hook, ...] = ()
) -> Run:
    """Verlet's dynamics of a frame from velocities at 300 K without total momentum, in steps of 0.5 fs.

    **Arguments:** `seed`, for the velocities; `hooks` of the walk, a checkpoint among them.
    """
    from ase import units
    from ase.data import atomic_masses

    count, mass = len(frame.numbers), atomic_masses[frame.numbers]
    start = jnp.asarray(frame.positions, jnp.float64)
    velocity = maxwell_velocities(jax.random.key(seed), start, mass, TEMPERATURE * units.kB)
    velocity = velocity - jnp.asarray(mass @ np.asarray(velocity) / mass.sum())
    steps = max(2, round(1e3 * picoseconds / STEP))
    every = max(1, steps // _RECORDS)
    try:
        found = simulate(
            of.landscape(frame), start, velocity, Verlet(), dt=STEP * units.fs, steps=steps, mass=mass,
            trace=Trace(_observed, every), throw=False, on_chunk=hooks,
        )  # fmt: skip
    except ThalwegError:
        if not of.slow:
            raise
        # A calculator that refuses where the atoms went to: they have left all that it can compute.
        return Run(np.nan, np.nan, np.nan, 1.0, np.nan, 0.0, np.zeros((2, 1)))
    refuse_stopped(found, "dynamics")
    strain = float(np.sqrt(np.mean(of.answer(frame)[1] ** 2)))
    return _summed_up(found, every, count, steps, strain, units)


def _blocked(times: np.ndarray, energies: np.ndarray) -> float:
    """The standard error of the slope from the means of stretches, between which swings of the energy are forgotten."""
    if len(times) < 2 * _STRETCHES or not np.isfinite(energies).all():
        return 0.0
    return line_through(times, energies).error


def _observed(walk: Any) -> tuple[Any, Any, Any]:
    return walk.time, walk.conserved, walk.kinetic


def _summed_up(found: Any, every: int, count: int, steps: int, strain: float, units: Any) -> Run:
    done = int(found.stats["steps"])
    times, energies, kinetic = (np.asarray(each, float)[: done // every + 1] for each in found.trace)
    hot = 2 * kinetic / (3 * count * units.kB)
    broken = done < steps or not bool(np.abs(energies - energies[0]).max() < _LOST * count)
    drift, per_ps = found.stats["drift"], 1e3 * units.fs / count
    slope, error, spread = (float(each) for each in (drift.slope, drift.error, drift.fluctuation))
    return Run(
        slope * per_ps,
        max(error * per_ps, _blocked(times / (1e3 * units.fs), energies / count)),
        spread / count,
        float(broken or (strain < _STRAINED and hot.max() > _HOTTEST * max(hot[0], 1.0))),
        float(hot.max()),
        float(done),
        np.stack([times / (1e3 * units.fs), (energies - energies[0]) / count]),
    )
