"""The parts of an audit, each of which is kept when it is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.atoms.tasks.audit_dynamics import run_at_constant_energy
from thalweg.atoms.tasks.audit_forces import differences, loops
from thalweg.atoms.tasks.audit_smoothness import Line, as_arrays, atom_line, pair_line, search
from thalweg.atoms.tasks.audit_symmetry import extensivity, isolated, symmetries
from thalweg.atoms.tasks.dissociation import Curve, bond_curves, dimer_curve
from thalweg.atoms.tasks.subject import Subject
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.methods.parts import Arrays, part_name

_LINES = 2  # frames of which atoms are drawn away


class Effort(NamedTuple):
    """How much an audit does.

    **Fields:** `frames` to test; `gradients` per side of a loop; `picoseconds` of dynamics, and from how many frames
    `runs` start; whether `curves` of pairs and bonds are drawn.
    """

    frames: int = 4
    gradients: int = 64
    picoseconds: float = 2.0
    runs: int = 1
    curves: bool = True


class Job(NamedTuple):
    """One part: its `kind`, what it is `about`, and the function that does it."""

    kind: str
    about: str
    work: Callable[[], Arrays]


def jobs(
    of: Subject, frames: Sequence[Frame], labelled: Sequence[Frame], effort: Effort, seed: int,
    hooks: Callable[[int], tuple[Hook, ...]],
) -> dict[str, Job]:  # fmt: skip
    """All parts by names that are hashes of what they follow from.

    **Arguments:** `frames` that are tested; `labelled`, frames of two atoms with energies; `hooks` of each run.
    """
    found: dict[str, Job] = {}

    def add(kind: str, about: str, work: Callable[[], Arrays], **key: Any) -> None:
        name = part_name(kind, model=of.name, precision=str(of.precision), cutoff=of.cutoff, seed=seed, **key)
        found[name] = Job(kind, about, work)

    def drawn(kind: str, about: str, line: Callable[[], tuple[Line, float, float]], **key: Any) -> None:
        add(kind, about, lambda: _optional(lambda: _searched(of, line)), **key)

    for number, frame in enumerate(frames):
        key, random = _key(frame), [seed, number]
        add("frame", frame.place, lambda f=frame, r=random: _of_frame(of, f, r), number=number, **key)
        add("doubled", frame.place, lambda f=frame: _optional(lambda: _arrays(extensivity(of, f))), **key)
        add("loops", frame.place, lambda f=frame, r=random: loops(of, f, r, gradients=effort.gradients)._asdict(),
            number=number, gradients=effort.gradients, **key)  # fmt: skip
    elements = elements_of(list(frames))
    add("alone", "atoms alone", lambda: _optional(lambda: _arrays(isolated(of, elements))), elements=elements)
    couples = list(itertools.combinations_with_replacement(elements, 2))
    for one, two in couples:
        drawn("line", f"a pair of {one} and {two}", lambda a=one, b=two: pair_line(of, a, b), pair=[one, two])
    for frame, fragment in itertools.product(frames[:_LINES], (False, True)):
        if not (fragment and any(frame.periodic)):
            about = f"{'half' if fragment else 'an atom'} of {frame.place}"
            drawn("line", about, lambda f=frame, half=fragment: atom_line(of, f, fragment=half), half=fragment,
                  **_key(frame))  # fmt: skip
    for number, frame in enumerate(frames[: effort.runs]):

        def run(number: int = number, frame: Frame = frame) -> Arrays:
            return _arrays(run_at_constant_energy(of, frame, picoseconds=effort.picoseconds, seed=seed + number,
                                                  hooks=hooks(number))._asdict())  # fmt: skip

        add("run", frame.place, run, number=number, picoseconds=effort.picoseconds, **_key(frame))
    if effort.curves:
        for one, two in couples:
            add("dimer", f"a pair of {one} and {two}",
                lambda a=one, b=two: _optional(lambda: _packed([dimer_curve(of, a, b, labelled)])), pair=[one, two],
                labels=[[frame.positions.ravel().tolist(), frame.energy] for frame in labelled])  # fmt: skip
        add("bonds", frames[0].place, lambda: _optional(lambda: _packed(bond_curves(of, frames[0]))), **_key(frames[0]))
    return found


def _key(frame: Frame) -> dict[str, Any]:
    """What of a frame its answers follow from."""
    return {"numbers": frame.numbers, "positions": frame.positions, "cell": frame.cell, "periodic": frame.periodic}


def _of_frame(of: Subject, frame: Frame, seed: list[int]) -> Arrays:
    energy, forces = of.answer(frame)
    moment = float(np.abs(forces).sum() * np.abs(frame.positions).max())
    sizes = {"energy": energy, "force": float(np.sqrt(np.mean(forces**2))), "moment": moment}
    return _arrays({**sizes, **symmetries(of, frame, seed), **differences(of, frame, seed)})


def _searched(of: Subject, line: Callable[[], tuple[Line, float, float]]) -> Arrays:
    ask, start, stop = line()
    return as_arrays(search(ask, start, stop, of.eps, stop))


def _arrays(values: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def _optional(work: Callable[[], Arrays]) -> Arrays:
    """A part, or why it cannot be had of what is audited."""
    try:
        return work()
    except InputError as error:
        return {"refused": text(str(error))}


def text(words: str) -> np.ndarray:
    """Words as an array, since parts are kept as arrays."""
    return np.frombuffer(words.encode(), np.uint8).copy()


def words(array: np.ndarray) -> str:
    """The words of such an array."""
    return np.asarray(array, np.uint8).tobytes().decode()


def _packed(curves: list[Curve]) -> Arrays:
    found: dict[str, np.ndarray] = {"count": np.array(float(len(curves)))}
    for place, curve in enumerate(curves):
        for name, value in curve._asdict().items():
            found[f"{place}-{name}"] = text(value) if isinstance(value, str) else np.asarray(value, np.float64)
    return found


def unpacked(arrays: Arrays) -> list[Curve]:
    """The curves of a part."""
    found = []
    for place in range(int(arrays["count"])):
        part = {name: arrays[f"{place}-{name}"] for name in Curve._fields}
        plain = {name: float(part[name]) for name in ("deepest", "hole", "jump")}
        found.append(Curve(words(part["name"]), part["distance"], part["energy"], part["labels"], int(part["minima"]),
                           **plain))  # fmt: skip
    return found
