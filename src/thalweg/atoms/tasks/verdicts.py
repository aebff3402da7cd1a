"""What is asked of a potential, with limits and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.audit_forces import CLOSED, Loops
from thalweg.atoms.tasks.audit_smoothness import Smoothness
from thalweg.atoms.tasks.subject import Subject

EXACT = 1e-10  # eV per atom
_SINGLE = 16  # units in the last place of float32, for sums of many terms
_FORCES = 1e-9  # relative, in float64
_SLOPES = 1e-6  # relative
_BLUNT = 0.05  # relative: where differences cannot tell better than this, they tell nothing
SHARP = 1e-6  # relative to the forces of the frames, over an Angstrom
_DRIFT, _SHORT = 1e-6, 0.5  # eV per atom and ps; ps
_FAR = 1e-6  # eV per atom between copies, for what may have long-ranged forces

_ENERGIES = ("rotation", "reflection", "translation", "permutation", "wrapping")


class Measured(NamedTuple):
    """Everything that was measured, before it is judged; each with what it was measured on."""

    subject: Subject
    frames: Sequence[Frame]
    of_frames: list[Mapping[str, Any]]
    doubled: list[Mapping[str, Any]]
    alone: list[Mapping[str, Any]]
    loops: list[tuple[str, Loops]]
    runs: list[tuple[str, dict[str, Any]]]
    lines: list[tuple[str, Smoothness]]

    @property
    def force(self) -> float:
        """The root mean square of the forces of the frames in eV/A."""
        return max(float(np.sqrt(np.mean([float(part["force"]) ** 2 for part in self.of_frames]))), 1e-3)

    @property
    def single(self) -> bool:
        """Whether it computes in float32."""
        return self.subject.precision == np.float32


class Verdict(NamedTuple):
    """One measure and what it says.

    **Fields:** `name`; the worst `value` of what was `tested`, or `None` where nothing could be; the `limit`; whether
    it `holds`, `None` where that cannot be told; and the `source` of the limit.
    """

    name: str
    value: float | None
    limit: float
    holds: bool | None
    tested: int
    source: str

    @property
    def plain(self) -> dict[str, Any]:
        """The verdict as numbers and words."""
        return {"holds": self.holds, "limit": self.limit, "tested": self.tested, "source": self.source}


def verdicts(found: Measured) -> list[Verdict]:
    """All verdicts, in the order in which they are read."""
    energy, told = _energy_limit(found)
    forces = (_SINGLE * 10 * found.subject.eps, "what float32 resolves of forces") if found.single else (
        _FORCES, "a thousand times what float64 rounds of forces")  # fmt: skip
    each = [
        *(_worst(f"{name}_eV_per_atom", found.of_frames, energy, told) for name in _ENERGIES),
        *(_worst(f"{name}_force_relative", found.of_frames, *forces) for name in _ENERGIES),
        _worst("net_force_relative", found.of_frames, *forces),
        _worst("net_torque_relative", found.of_frames, *forces),
        _worst("supercell_eV_per_atom", found.doubled, energy, told),
        _worst("far_copies_eV_per_atom", found.doubled, energy if found.subject.bound else max(energy, _FAR),
               told if found.subject.bound else "what molecules with long-ranged forces may feel at 100 A"),
        _worst("isolated_atom_eV", found.alone, EXACT, "energies are relative to isolated atoms"),
        _slopes(found), _closure(found), _mismatch(found), _smooth(found), _kept(found),
    ]  # fmt: skip
    return [one for one in each if one.tested or one.name in _ALWAYS]


_ALWAYS = ("cutoff_smoothness", "nve_drift_eV_per_atom_ps")


def _energy_limit(found: Measured) -> tuple[float, str]:
    if not found.single:
        return EXACT, "float64 rounds to below 1e-12 eV per atom; a hundred times that"
    sizes = [
        (abs(float(part["energy"])) + float(part["moment"])) / len(frame.numbers)
        for part, frame in zip(found.of_frames, found.frames, strict=True)
    ]
    limit = max(EXACT, _SINGLE * found.subject.eps * max(sizes))
    return limit, f"float32: {_SINGLE} units in the last place of the energy and of what positions contribute to it"


def _worst(name: str, parts: Sequence[Mapping[str, Any]], limit: float, source: str) -> Verdict:
    values = [float(part[name]) for part in parts if name in part]
    worst = max(values, default=None)
    return Verdict(name, worst, limit, None if worst is None else bool(worst <= limit), len(values), source)


def _slopes(found: Measured) -> Verdict:
    values = [(float(part["force_fd_relative"]), float(part["force_fd_uncertainty"])) for part in found.of_frames]
    limits = [max(_SLOPES, 10 * doubt) for _, doubt in values]
    value, limit = max(zip((value for value, _ in values), limits, strict=True), key=lambda pair: pair[0] / pair[1])
    source = "1e-6, relative"
    if limit > _SLOPES:
        source = f"ten times what steps and rounding in {found.subject.precision} leave undecided"
    holds = None if limit > _BLUNT and value <= limit else bool(value <= limit)
    return Verdict("force_fd_relative", value, limit, holds, len(values), source)


def _closure(found: Measured) -> Verdict:
    limits = [max(CLOSED, loop.floor) for _, loop in found.loops]
    return _paired("closure_relative", [loop.closure for _, loop in found.loops], limits,
                   lambda limit: "the work around a loop vanishes for every energy" if limit == CLOSED else
                   f"what rounding in {found.subject.precision} and the quadrature leave of it")  # fmt: skip


def _mismatch(found: Measured) -> Verdict:
    return _paired("closure_mismatch_relative", [loop.misses for _, loop in found.loops], [CLOSED] * len(found.loops),
                   lambda limit: "the work equals the loss of energy on every piece, however short")  # fmt: skip


def _paired(name: str, values: list[float], limits: list[float], source: Callable[[float], str]) -> Verdict:
    value, limit = max(zip(values, limits, strict=True), key=lambda pair: pair[0] / pair[1])
    return Verdict(name, value, limit, bool(value <= limit), len(values), source(limit))


def _smooth(found: Measured) -> Verdict:
    lines = [line for _, line in found.lines]
    if not lines:
        return Verdict("cutoff_smoothness", None, SHARP, None, 0, "nothing could be drawn apart")
    jumps = [line.relative(found.force) for line in lines if line.found.any()]
    sharp = [line._replace(jumps=np.where(line.found, line.jumps, 0.0)).relative(found.force) for line in lines]
    hidden = max(line.relative(found.force) for line in lines)
    limit = SHARP if not found.single else max(SHARP, hidden if not jumps else SHARP)
    source = (
        "jumps of energy, force or its slope, relative to the forces of the frames; below it lies what rounding hides"
    )
    return Verdict("cutoff_smoothness", max(sharp) if jumps else hidden, limit, max(sharp) <= limit, len(lines), source)


def _kept(found: Measured) -> Verdict:
    name = "nve_drift_eV_per_atom_ps"
    if any(float(run["exploded"]) for _, run in found.runs):
        return Verdict(name, None, _DRIFT, False, len(found.runs), "the run exploded")
    if not found.runs:
        return Verdict(name, None, _DRIFT, None, 0, "no run was asked for")
    drifts = [abs(float(run["drift"])) for _, run in found.runs]
    limits = [max(_DRIFT, 4 * float(run["error"])) for _, run in found.runs]
    told = _paired(name, drifts, limits, lambda limit: "1e-6 eV per atom and ps" if limit == _DRIFT else
                   "four standard errors: a run so short does not tell less")  # fmt: skip
    if not told.holds and min(float(run["series"][0, -1]) for _, run in found.runs) < _SHORT:
        return told._replace(holds=None, source=f"runs below {_SHORT:g} ps do not outlast the swings of the energy")
    return told
