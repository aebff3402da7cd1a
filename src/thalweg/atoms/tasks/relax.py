"""Relax atoms, and their cell if it may yield, to where no force acts."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import offset, potential
from thalweg.atoms.tasks.landscapes import Yielding
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.uncertain import said
from thalweg.core.cell import Celled
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome
from thalweg.methods.descent import tree_norm
from thalweg.methods.lbfgs import Lbfgs
from thalweg.methods.trace import Trace
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.relax import relax

_WATCHED, _SHOWN = 3000, 100  # coordinates of which every step is kept in memory, and frames that are shown
_STRIDE = 0.3  # A, of all atoms together: a longer first step on a stiff bond ends anywhere


class Relaxed(NamedTuple):
    """Atoms at rest.

    **Fields:** the `frame`, labelled with energy, forces and stress of the potential; `before`, its energy in eV where
    it began; `steps`; `largest`, the largest force on an atom in eV/A; `done`, whether that is as small as was asked;
    `sentence`, how it ended; after each step the `energies` relative to isolated atoms in eV and the norms of all
    `forces` together in eV/A; `way`, the atoms at some of them, `way_steps`.
    """

    frame: Frame
    before: float
    steps: int
    largest: float
    done: bool
    sentence: str
    energies: Float[np.ndarray, " steps"]
    forces: Float[np.ndarray, " steps"]
    way: list[Frame]
    way_steps: list[int]


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
    seen = Trace(_seen if frame.positions.size <= _WATCHED else _felt)
    found = relax(energy, x, chosen, tol=fmax, max_steps=max_steps, throw=False, trace=seen, on_chunk=hooks)
    refuse_stopped(found, "relax")
    end = _lifted(energy, found.value) if cell else Celled(found.value, one.cell)
    place = f"{frame.place}, relaxed"
    box = np.asarray(end.cell) if cell else frame.cell
    at_rest = frame._replace(positions=np.asarray(end.points), cell=box, place=place)
    labelled = with_labels(trained, at_rest)
    assert labelled.forces is not None
    largest = float(np.linalg.norm(labelled.forces, axis=1).max())
    done, steps = Outcome.of(found.outcome) is Outcome.DONE, int(found.stats["steps"])
    heights, forces, *points = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[: steps + 1], found.trace)
    shown = np.unique(np.linspace(0, steps, min(_SHOWN, steps + 1)).round().astype(int)).tolist() if points else []
    way = [at_rest._replace(positions=_points(energy, points[0], step), columns={}) for step in shown]
    return Relaxed(labelled, float(before), steps, largest, done, found.sentence, heights, forces, way, shown)


def with_labels(trained: Trained, frame: Frame) -> Frame:
    """The frame with the energy, forces and stress that a potential gives it."""
    told = said(potential(trained.net, frame), frame.positions)[0]
    stress = None if frame.volume is None else told.virial / frame.volume
    columns = {name: array for name, array in frame.columns.items() if name != "momenta"}
    energy = float(told.energies.sum()) + offset(frame, trained.energies)
    return frame._replace(energy=energy, forces=told.forces, stress=stress, columns=columns)


def _felt(walk: Any) -> tuple[Any, ...]:
    return walk.state.value, tree_norm(walk.state.force)


def _seen(walk: Any) -> tuple[Any, ...]:
    return *_felt(walk), walk.state.x


def _points(energy: Any, records: Any, step: int) -> np.ndarray:
    """Where the atoms were; those in a cell that yields are lifted from its strain."""
    if isinstance(energy, Yielding):
        return np.asarray(_lifted(energy, jax.tree.map(lambda leaf: jnp.asarray(leaf[step]), records)).points)
    return records[step]


@eqx.filter_jit
def _lifted(energy: Yielding, x: Celled) -> Celled:
    return jax.tree.map(jnp.asarray, energy.lift(x))
