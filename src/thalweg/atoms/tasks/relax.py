"""Relax atoms, and their cell if it may yield, to where no force acts."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import offset, potential
from thalweg.atoms.tasks.landscapes import Yielding
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.uncertain import said
from thalweg.core.cell import Celled
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome
from thalweg.methods.lbfgs import Lbfgs
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.relax import relax

_STRIDE = 0.3  # A, of all atoms together: a longer first step on a stiff bond ends anywhere


class Relaxed(NamedTuple):
    """Atoms at rest.

    **Fields:** the `frame`, labelled with energy, forces and stress of the potential; `before`, its energy in eV where
    it began; `steps`; `largest`, the largest force on an atom in eV/A; `done`, whether that is as small as was asked;
    `sentence`, how it ended.
    """

    frame: Frame
    before: float
    steps: int
    largest: float
    done: bool
    sentence: str


def relaxed(
    trained: Trained,
    frame: Frame,
    *,
    fmax: float = 0.01,
    cell: bool = False,
    method: Any = "lbfgs",
    max_steps: int = 2000,
    hooks: tuple[Hook, ...] = (),
) -> Relaxed:
    """Walk downhill in float64 until the norm of all forces together is below `fmax`.

    **Arguments:** `trained`; `frame`; `fmax` in eV/A; `cell`, whether the cell yields too (its strain times the root
    of the number of atoms then counts as a position); `method`, as in `relax`; `hooks`, a checkpoint among them.

    **Raises:** `InputError` for a cell that does not repeat in all directions, atoms that the potential does not know;
    `WalkError` where a hook stopped it.
    """
    if not (np.isfinite(fmax) and fmax > 0):
        raise InputError(f"relax: fmax is {fmax} eV/A: give a positive number, as 0.01.")
    if cell and not all(frame.periodic):
        raise InputError(f"{frame.place}: only a cell that is periodic in all directions can yield: leave out --cell.")
    trained = trained.cast(np.float64)
    one = potential(trained.net, frame)
    before = said(one, frame.positions)[0].energies.sum() + offset(frame, trained.energies)
    x: Any = jnp.asarray(frame.positions)
    energy: Any = one
    if cell:
        energy = Yielding(one, one.cell, jnp.sqrt(jnp.asarray(float(len(frame.numbers)))))
        x = Celled(x, jnp.zeros((3, 3)))
    chosen = Lbfgs(stride=_STRIDE) if method == "lbfgs" else method
    found = relax(energy, x, chosen, tol=fmax, max_steps=max_steps, throw=False, on_chunk=hooks)
    refuse_stopped(found, "relax")
    end = _lifted(energy, found.value) if cell else Celled(found.value, one.cell)
    place = f"{frame.place}, relaxed"
    box = np.asarray(end.cell) if cell else frame.cell
    at_rest = frame._replace(positions=np.asarray(end.points), cell=box, place=place)
    labelled = with_labels(trained, at_rest)
    assert labelled.forces is not None
    largest = float(np.linalg.norm(labelled.forces, axis=1).max())
    done = Outcome.of(found.outcome) is Outcome.DONE
    return Relaxed(labelled, float(before), int(found.stats["steps"]), largest, done, found.sentence)


def with_labels(trained: Trained, frame: Frame) -> Frame:
    """The frame with the energy, forces and stress that a potential gives it."""
    told = said(potential(trained.net, frame), frame.positions)[0]
    stress = None if frame.volume is None else told.virial / frame.volume
    columns = {name: array for name, array in frame.columns.items() if name != "momenta"}
    energy = float(told.energies.sum()) + offset(frame, trained.energies)
    return frame._replace(energy=energy, forces=told.forces, stress=stress, columns=columns)


@eqx.filter_jit
def _lifted(energy: Yielding, x: Celled) -> Celled:
    return jax.tree.map(jnp.asarray, energy.lift(x))
