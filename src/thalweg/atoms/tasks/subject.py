"""What is audited: a trained potential, or somebody else's ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.atoms.data.ase_atoms import to_atoms
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import Potential, potential
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.trained import Trained, load_trained
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError, ThalwegError, require
from thalweg.core.refresh import grown, refreshed
from thalweg.interop import load_object

_BATCH = 32  # configurations per call: one shape, for one compilation
_SLOTS = 16  # lists are as long as a multiple of it, so that frames of one composition are compiled once
_GROWTHS = 16

Answer = tuple[float, Float[np.ndarray, "atoms 3"]]


class Subject(NamedTuple):
    """What is audited.

    **Fields:** `name`; `precision` in which it computes; `answer`, from a frame to its energy in eV and forces in eV/A;
    `field`, from a frame to energies and forces of configurations of its atoms, energies relative to the frame's;
    `landscape`, what dynamics of a frame's atoms run on; `cutoff` in A if it is known; `bound`, whether energies are
    relative to isolated atoms; `slow`, whether it is asked for one configuration at a time; `committee`, if it is one.
    """

    name: str
    precision: np.dtype
    answer: Callable[[Frame], Answer]
    field: Callable[[Frame], AbstractHostField]
    landscape: Callable[[Frame], Landscape | AbstractHostField]
    cutoff: float | None
    bound: bool
    slow: bool
    committee: Committee | None = None

    @property
    def eps(self) -> float:
        """The relative rounding of the precision."""
        return float(np.finfo(self.precision).eps)


def brought(model: str) -> Trained | Any:
    """What `model` names: a trained potential, or an ASE calculator as `module:calculator`.

    That may also name a class or a function that makes one.

    **Raises:** `InputError` for what is neither.
    """
    if ":" not in model or Path(model).exists():
        return load_trained(model)
    found = load_object(model)
    if callable(found) and (isinstance(found, type) or not _is_calculator(found)):
        try:
            found = found()
        except ThalwegError:
            raise
        except Exception as error:  # the user's own code may raise anything
            raise InputError(f"{model}: calling it without arguments failed with {_reason(error)}: name a calculator, "
                             "or a function that makes one.") from error  # fmt: skip
    if not _is_calculator(found):
        raise InputError(f"{model}: is a {type(found).__name__}: name an ASE calculator, or a function that makes one.")
    return found


def subject_of(found: Trained | Any, name: str, frame: Frame, *, cutoff: float | None, dtype: Any) -> Subject:
    """What was brought, ready to be asked.

    **Arguments:** `frame`, on which it is tried; `cutoff` in A of a calculator, if it is known; `dtype` that a trained
    potential computes in.

    **Raises:** `InputError` for what cannot compute the frame, or answers differently each time.
    """
    if isinstance(found, Trained):
        return _of_trained(found.cast(dtype)._replace(name=name))
    return _of_calculator(found, name, frame, cutoff)


def _is_calculator(found: Any) -> bool:
    return hasattr(found, "get_potential_energy") and hasattr(found, "get_forces")


def _reason(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0].rstrip('.')}" if said else type(error).__name__


def _of_trained(trained: Trained) -> Subject:
    net = trained.net
    precision = np.dtype(jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))[0].dtype)

    def posed(frame: Frame) -> Potential:
        return _even(potential(net, frame))

    def answer(frame: Frame) -> Answer:
        try:
            field = PotentialField(posed(frame))
        except (TypeError, ValueError) as error:  # a network for a fixed number of atoms
            raise InputError(f"{trained.name}: cannot compute {frame.place}: {_reason(error)}.") from error
        return field.answer

    committee = net if isinstance(net, Committee) else None
    return Subject(trained.name, precision, answer, lambda frame: PotentialField(posed(frame)), posed, net.cutoff,
                   bound=True, slow=False, committee=committee)  # fmt: skip


class PotentialField(AbstractHostField):
    """Energies relative to those of where it was made, and forces, of many configurations of a potential's atoms.

    **Fields:** `answer`, energy and forces where it was made.
    """

    def __init__(self, energy: Potential):
        self._energy, self._whole = energy, bool(np.isinf(energy.skin))  # lists of all pairs never go stale
        values, forces = self._together(np.asarray(energy.built, np.float64)[None])
        self._zero = float(values[0])
        self.answer: Answer = (self._zero, forces[0])

    def value_and_force_batch(self, x: Float[Any, "n atoms 3"]) -> tuple[np.ndarray, np.ndarray]:
        points = np.asarray(x, np.float64)
        parts = [self._together(points[at : at + _BATCH]) for at in range(0, len(points), _BATCH)]
        values, forces = (np.concatenate(part) for part in zip(*parts, strict=True))
        return values - self._zero, forces

    def _together(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(points)
        full = jnp.asarray(points[np.minimum(np.arange(_BATCH), count - 1)])
        for _ in range(_GROWTHS):
            values, forces, ok = _asked(self._energy, full, jnp.asarray(count, jnp.int32), not self._whole)
            if bool(ok):
                break
            self._energy = grown(self._energy)
        return np.asarray(values, np.float64)[:count], np.asarray(forces, np.float64)[:count]


@eqx.filter_jit
def _asked(
    energy: Potential, points: Float[Array, "n atoms 3"], count: Int[Array, ""], refreshes: bool
) -> tuple[Float[Array, " n"], Float[Array, "n atoms 3"], Bool[Array, ""]]:
    """Energies and forces of the first `count` of some configurations, and whether the lists had room for all."""

    def asked(x: Array) -> tuple[Array, Array, Array]:
        here, ok = refreshed(energy, x) if refreshes else (energy, jnp.array(True))
        value, slope = jax.value_and_grad(here)(x)
        return value, -slope, ok

    def passed_over(x: Array) -> tuple[Array, Array, Array]:
        return jnp.zeros((), x.dtype), jnp.zeros_like(x), jnp.array(True)

    def one(item: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        # A condition, so that what fills the batch up costs nothing.
        return jax.lax.cond(item[0] < count, asked, passed_over, item[1])

    values, forces, room = jax.lax.map(one, (jnp.arange(points.shape[0]), points))
    return values, forces, jnp.all(room)


def _even(energy: Potential) -> Potential:
    """The same landscape with lists as long as a multiple of some slots."""
    own = jnp.arange(energy.species.shape[0])

    def longer(array: Array, fill: Any) -> Array:
        more = -array.shape[0] % _SLOTS if array.shape[0] else _SLOTS
        shape = (more, *array.shape[1:])
        return jnp.concatenate([array, jnp.broadcast_to(jnp.asarray(fill, array.dtype), shape)])

    lists = (
        tuple(longer(one, own) for one in energy.index),
        tuple(longer(one, 0) for one in energy.image),
        tuple(longer(one, True) for one in energy.far),
    )
    return eqx.tree_at(lambda each: (each.index, each.image, each.far), energy, lists)


def _of_calculator(calculator: Any, name: str, frame: Frame, cutoff: float | None) -> Subject:
    require("ase", extra="atoms")

    def answer(frame: Frame) -> Answer:
        return _calculated(calculator, name, frame)

    (energy, forces), (again, other) = answer(frame), answer(frame._replace(positions=frame.positions.copy()))
    single = np.array_equal(forces, forces.astype(np.float32)) and bool(np.any(forces))
    precision = np.dtype(np.float32 if single else np.float64)
    loose = 1e4 * np.finfo(precision).eps
    if abs(energy - again) > loose * abs(energy) or np.abs(forces - other).max() > loose * np.abs(forces).max():
        raise InputError(f"{name}: gives two answers for {frame.place}: it is random, so that nothing can be compared: "
                         "fix its random numbers.")  # fmt: skip

    def field(frame: Frame) -> AbstractHostField:
        return CalculatorField(calculator, name, frame)

    return Subject(name, precision, answer, field, field, cutoff, bound=False, slow=True)


def _calculated(calculator: Any, name: str, frame: Frame) -> Answer:
    """The energy that forces belong to, and the forces, of a calculator that keeps nothing of an earlier call."""
    atoms = to_atoms(frame._replace(energy=None, forces=None, stress=None))
    try:
        atoms.calc = calculator
        forces = np.array(atoms.get_forces(), np.float64)
        energy = float(atoms.get_potential_energy())
        # With smeared electrons, forces are the slopes of the free energy.
        energy = float(getattr(calculator, "results", {}).get("free_energy", energy))
    except Exception as error:  # somebody else's code may raise anything
        raise InputError(f"{name}: cannot compute {frame.place}: {_reason(error)}.") from error
    if forces.shape != frame.positions.shape or not (np.isfinite(forces).all() and np.isfinite(energy)):
        raise InputError(f"{name}: what it says of {frame.place} is no finite energy with a force on each atom: mend "
                         "the calculator, or leave the frame out.")  # fmt: skip
    return energy, forces


class CalculatorField(AbstractHostField):
    """Energies relative to that of a frame, and forces, of many configurations of its atoms, one after the other."""

    def __init__(self, calculator: Any, name: str, frame: Frame):
        self._calculator, self._name, self._frame = calculator, name, frame
        self._zero = _calculated(calculator, name, frame)[0]

    def value_and_force_batch(self, x: Float[Any, "n atoms 3"]) -> tuple[np.ndarray, np.ndarray]:
        each = [
            _calculated(self._calculator, self._name, self._frame._replace(positions=np.array(one, np.float64)))
            for one in np.asarray(x)
        ]
        values, forces = zip(*each, strict=True)
        return np.array(values) - self._zero, np.stack(forces)
