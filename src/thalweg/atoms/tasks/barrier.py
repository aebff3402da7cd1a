"""The barrier between two arrangements of the same atoms: the path of least energy, its saddle and its mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from thalweg.atoms.data.check import symbol
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import potential
from thalweg.atoms.tasks.first_path import first_path, laid_on
from thalweg.atoms.tasks.landscapes import FixedLists
from thalweg.atoms.tasks.relax import relaxed, with_labels
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.vibrations import vibrations
from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Hook
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.path import Path, find_path

_AT_REST = 1e-3  # eV/A, of the two ends
_BAND = 0.02  # eV/A: the saddles are refined beyond it
_WIDENINGS = 4


class Barrier(NamedTuple):
    """A path and its highest saddle.

    **Fields:** the frames of the `path`, ends included, with the potential's labels; the `saddle`, with its downhill
    mode as the column `mode`, or `None`; the `result` in plain numbers; `ok`, whether a saddle of index one was found;
    `sentence`, how it ended.
    """

    path: list[Frame]
    saddle: Frame | None
    result: dict[str, Any]
    ok: bool
    sentence: str


def barrier(
    trained: Trained,
    a: Frame,
    b: Frame,
    *,
    images: int = 11,
    max_steps: int = 2000,
    hooks: Callable[[str], tuple[Hook, ...]] = lambda name: (),
) -> Barrier:
    """The barrier from `a` to `b` and back, in float64.

    Both ends are relaxed; `b` is then laid on `a`: turned and shifted if nothing is periodic, and else moved to the
    nearest images. The band starts from a path whose interatomic distances change evenly.

    **Arguments:** `a` and `b`, the same atoms in the same order (and cell); `images` along the path, ends included;
    `hooks`, from a name to the hooks of one walk: `from`, `to` and `band`.

    **Raises:** `InputError` for frames of other atoms, or that relax to the same place; `WalkError` where a hook
    stopped it.

    **Source:** as of `find_path`; Smidstrup et al., J. Chem. Phys. 140, 214106 (2014), for the first path.
    """
    _same_atoms(a, b)
    trained = trained.cast(np.float64)
    first, last = (
        relaxed(trained, frame, fmax=_AT_REST, hooks=hooks(name)) for frame, name in ((a, "from"), (b, "to"))
    )
    for end in (first, last):
        if not end.done:
            raise ThalwegError(f"{end.frame.place}: did not come to rest ({end.sentence}): start from a calmer frame.")
    start, goal = first.frame, laid_on(last.frame, first.frame)
    apart = float(np.abs(goal.positions - start.positions).max())
    if apart < 0.05:
        raise InputError(f"{a.place} and {b.place}: relax to the same place, {apart:.2g} A apart: there is no barrier "
                         "between them.")  # fmt: skip
    initial = first_path(start, goal, images)
    found = _path(trained, start, goal, initial, max_steps, hooks("band"))
    return _told(trained, start, found)


def _path(trained: Trained, a: Frame, b: Frame, initial: np.ndarray, max_steps: int, hooks: tuple[Hook, ...]) -> Path:
    """The path on lists that hold along all of it: these are widened until they do."""
    skin = None if not any(a.periodic) else 2 * float(np.linalg.norm(initial - a.positions, axis=2).max()) + 1.0
    if skin is None:
        skin = np.inf
    for _ in range(_WIDENINGS):
        energy = FixedLists.of(potential(trained.net, a, skin=skin))
        here, there = jnp.asarray(a.positions), jnp.asarray(b.positions)
        path = find_path(energy, here, there, initial=jnp.asarray(initial), tol=_BAND, max_steps=max_steps, throw=False,
                         on_chunk=hooks)  # fmt: skip
        refuse_stopped(path, "barrier")  # pyright: ignore[reportArgumentType]
        seen = [path.images, *(top.value[None] for top in path.saddles)]
        if all(energy.holds(each) for each in seen):
            return path
        skin *= 1.5
    raise ThalwegError("barrier: the path goes ever farther: begin with ends that are nearer to each other.")


def _told(trained: Trained, start: Frame, path: Path) -> Barrier:
    chain = [_labelled(trained, start, at, f"image {place}") for place, at in enumerate(np.asarray(path.images))]
    arrived = [top for top in path.saddles if top.solution.done]
    result: dict[str, Any] = {
        "barrier_eV": float(path.barrier),
        "reverse_barrier_eV": float(path.reverse_barrier),
        "images": len(chain),
        "saddles": len(arrived),
        "connected": bool(path.connected),
        "band_steps": int(path.stats["steps"]),
        "band_residual_eV_A": float(path.stats["residual"]),
        "saddle_index": None,
        "imaginary_per_cm": None,
    }
    if not arrived:
        return Barrier(chain, None, result, False, path.sentence)
    top = max(arrived, key=lambda each: float(each.energy))
    words = path.sentence if path.done else f"A saddle was found. {path.sentence}"
    saddle = _labelled(trained, start, np.asarray(top.value), "the saddle")
    moving = vibrations(trained, saddle)
    result |= {"saddle_index": moving.imaginary, "imaginary_per_cm": float(-moving.wavenumbers[0])}
    saddle = saddle._replace(columns={**saddle.columns, "mode": moving.modes[0]})
    if moving.imaginary != 1:
        words = f"The highest point at rest has {moving.imaginary} modes that go downhill, not 1: is a part leaving?"
    return Barrier(chain, saddle, result, moving.imaginary == 1, words)


def _labelled(trained: Trained, start: Frame, positions: np.ndarray, place: str) -> Frame:
    return with_labels(trained, start._replace(positions=np.array(positions, np.float64), place=place, info={}))


def _same_atoms(a: Frame, b: Frame) -> None:
    if len(a.numbers) != len(b.numbers):
        raise InputError(f"{a.place} has {len(a.numbers)} atoms and {b.place} {len(b.numbers)}: name two frames of the "
                         "same atoms.")  # fmt: skip
    other = np.flatnonzero(a.numbers != b.numbers)
    if len(other):
        atom = int(other[0])
        one, two = (symbol(int(frame.numbers[atom])) for frame in (a, b))
        raise InputError(f"atom {atom} is {one} in {a.place} and {two} in {b.place}: bring both into one order.")
    if a.periodic != b.periodic or (any(a.periodic) and not np.allclose(a.cell, b.cell, atol=1e-6)):
        raise InputError(f"{a.place} and {b.place}: have different cells: a path needs one.")
