"""One training of a comparison: who learns, and what is watched along the way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.model.build import Kind
from thalweg.atoms.model.gto import Shape
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Framed
from thalweg.atoms.tasks.audit_symmetry import random_rotation
from thalweg.atoms.tasks.evaluate import evaluate
from thalweg.atoms.tasks.prepare import Labels, framed, labels, predicted
from thalweg.atoms.tasks.train import Recipe, learnt, started
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.training import parameters
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Report
from thalweg.core.solution import Outcome
from thalweg.methods.trace import Trace
from thalweg.verbs.train import Training

MODELS: dict[str, tuple[Kind, str]] = {
    "naive": ("naive", "coordinates, each batch turned at random"),
    "unturned": ("naive", "coordinates as they are"),
    "radial": ("radial", "distances"),
    "gto": ("gto", "orbitals of all degrees"),
    "bessel": ("gto", "as gto, with Bessel functions for Gaussians"),
}
WATCHED = ("force_mae_meV_A", "turned_force_mae_meV_A", "energy_mae_meV", "turned_energy_mae_meV", "rotation_meV")
_RECORDS = 40  # of what is watched, along a training
_FRAMES, _TURNS = 32, 5  # that are watched, the first turn being none


class Contender(NamedTuple):
    """Who learns: its `name` among `MODELS`, and its `kind`, `shape` and `recipe`."""

    name: str
    kind: Kind
    shape: Shape
    recipe: Recipe

    @property
    def told(self) -> dict[str, Any]:
        """All that its training follows from, beside the frames."""
        return {"kind": self.kind, "shape": dataclasses.asdict(self.shape), "recipe": dataclasses.asdict(self.recipe)}

    def but(self, **changed: Any) -> Contender:
        """The same with other fields of shape or recipe."""
        shape = {name: value for name, value in changed.items() if hasattr(self.shape, name)}
        recipe = {name: value for name, value in changed.items() if name not in shape}
        return self._replace(
            shape=dataclasses.replace(self.shape, **shape), recipe=dataclasses.replace(self.recipe, **recipe)
        )


def contender(name: str, shape: Shape, recipe: Recipe) -> Contender:
    """The model of a name, with a shape and recipe that all have in common.

    **Raises:** `InputError` for an unknown name.
    """
    if name not in MODELS:
        raise InputError(f"compare: there is no model {name!r}: choose among {', '.join(MODELS)}.")
    found = Contender(name, MODELS[name][0], shape, dataclasses.replace(recipe, turned=name == "naive"))
    return found.but(radial="bessel") if name == "bessel" else found


class Clock:
    """Reads the pace of a training once it is compiled; with a limit in seconds it stops the training then."""

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self._first = self._last = (0, 0.0)

    def __call__(self, report: Report) -> Outcome | None:
        self._last = report.step, time.perf_counter()
        if self._first[1] == 0.0:
            self._first = self._last
        over = self.limit is not None and self._last[1] - self._first[1] >= self.limit
        return Outcome.TIME if over else None

    @property
    def pace(self) -> float | None:
        """Steps per second without compilation; `None` where fewer than two chunks were seen."""
        steps, seconds = (last - first for last, first in zip(self._last, self._first, strict=True))
        return steps / seconds if steps > 0 and seconds > 0 else None


class Watch(eqx.Module):
    """Frames on which a network is watched, each as it is and turned several times, with their labels."""

    frames: Framed
    wanted: Labels

    @staticmethod
    def over(frames: Sequence[Frame], energies: Mapping[int, float], cutoff: float) -> Watch:
        """A watch over some of the test frames."""
        some = [frames[place] for place in np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).astype(int)]
        together = some + [frame for turn in range(1, _TURNS) for frame in turned_frames_of(some, seed=turn)]
        atoms = max(len(frame.numbers) for frame in some)
        arrays = framed(together, sorted(energies), cutoff, np.float32)
        return Watch(arrays, labels(together, energies, atoms, np.float32))


@eqx.filter_jit
def watched(net: AbstractNetwork, of: Watch) -> Float[Array, " watched"]:
    """What `WATCHED` names: errors as they are and turned, and how far turning moves the energy of a frame."""
    energy, forces, _ = predicted(net, of.frames)
    energy, wanted = energy.reshape(_TURNS, -1), of.wanted.energy.reshape(_TURNS, -1)
    count = jnp.sum(of.frames.real, axis=1).reshape(_TURNS, -1)
    off = jnp.sum(jnp.abs(forces - of.wanted.forces), axis=(1, 2)).reshape(_TURNS, -1) / (3 * count)
    miss = jnp.abs(energy - wanted)
    spread = jnp.sqrt(jnp.mean(jnp.var(energy, axis=0, ddof=1)))
    return 1e3 * jnp.stack([jnp.mean(off[0]), jnp.mean(off[1:]), jnp.mean(miss[0]), jnp.mean(miss[1:]), spread])


def _average(walk: Training) -> Any:
    """What is recorded of a training: networks are cheaper kept, and measured once it is over, than compiled in."""
    return eqx.filter(walk.average, eqx.is_inexact_array)


def turned_frames_of(frames: Sequence[Frame], *, seed: int) -> list[Frame]:
    """Labelled frames, each turned at random with its cell, forces and stress."""
    random = np.random.default_rng(seed)

    def turned(frame: Frame) -> Frame:
        by = random_rotation(random)
        forces = None if frame.forces is None else frame.forces @ by.T
        stress = None if frame.stress is None else by @ frame.stress @ by.T
        return frame._replace(
            positions=frame.positions @ by.T, cell=frame.cell @ by.T, forces=forces, stress=stress, columns={}
        )

    return [turned(frame) for frame in frames]


def trained_part(
    who: Contender,
    frames: Sequence[Frame],
    energies: Mapping[int, float],
    test: Sequence[Frame],
    *,
    seed: int,
    hooks: tuple[Hook, ...] = (),
) -> dict[str, np.ndarray]:
    """Train one network and measure it on test frames, as they are and turned at random.

    **Returns:** `errors`, forces in meV/A and energies in meV, as they are and turned; `steps` and `watched`, what was
    recorded along the training, in the order of `WATCHED`; `seconds` of the training without compilation, zero where
    an earlier process did all of it; `parameters`.
    """
    start = started(who.kind, who.shape, frames, energies, seed=seed, turned=who.recipe.turned)
    clock, every = Clock(), max(1, who.recipe.steps // _RECORDS)
    found = learnt(start, frames, energies, who.recipe, seed=seed, hooks=(clock, *hooks), trace=Trace(_average, every))
    of, fixed = Watch.over(test, energies, who.shape.cutoff), eqx.filter(start, eqx.is_inexact_array, inverse=True)
    records = len(jax.tree.leaves(found.trace)[0])
    nets = (eqx.combine(jax.tree.map(lambda leaf: leaf[at], found.trace), fixed) for at in range(records))  # noqa: B023
    along = np.array([watched(net, of) for net in nets], np.float64)
    trained = Trained(found.value, dict(energies), {})
    errors = [evaluate(trained, each) for each in (test, turned_frames_of(test, seed=0))]
    return {
        "errors": np.array([[each["force_mae_meV_A"], each["energy_mae_meV"]] for each in errors]),
        "steps": np.arange(records) * every,
        "watched": along,
        "seconds": np.array(0.0 if clock.pace is None else who.recipe.steps / clock.pace),
        "parameters": np.array(parameters(found.value)),
    }
