"""The audit of a potential: what every potential must keep, measured on the user's own frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.atoms.data.read import read
from thalweg.atoms.data.reference import split_isolated
from thalweg.atoms.tasks.audit_forces import Loops
from thalweg.atoms.tasks.audit_parts import Effort, Job, jobs, unpacked, words
from thalweg.atoms.tasks.audit_smoothness import Smoothness
from thalweg.atoms.tasks.audit_uncertainty import Uncertainty, uncertainty
from thalweg.atoms.tasks.dissociation import Curve
from thalweg.atoms.tasks.subject import Subject, brought, subject_of
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.verdicts import SHARP, Measured, Verdict, verdicts
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.methods.parts import in_parts

Note = Callable[[str], object]
_SAMPLE = "ethanol"


class Posed(NamedTuple):
    """What is audited on what.

    **Fields:** `of`, the subject; `frames` of several atoms that are tested; frames of `two` atoms with energies; `all`
    that were read, and from what `source`; the potential as it was `trained`, if it is one of this package.
    """

    of: Subject
    frames: list[Frame]
    two: list[Frame]
    all: list[Frame]
    source: str
    trained: Trained | None


class Audit(NamedTuple):
    """What an audit found.

    **Fields:** the `verdicts`; the `loops` and `runs` by frame; the `lines` along which jumps were looked for, by what
    was moved; the `curves` of pairs and bonds; the `uncertainty` of a committee; the root mean square `force` of the
    frames in eV/A; `notes` on what could not be asked.
    """

    posed: Posed
    verdicts: list[Verdict]
    loops: list[tuple[str, Loops]]
    runs: list[tuple[str, dict[str, Any]]]
    lines: list[tuple[str, Smoothness]]
    curves: list[Curve]
    uncertainty: Uncertainty | None
    force: float
    notes: list[str]

    @property
    def alarms(self) -> list[str]:
        """What does not hold."""
        return [each.name for each in self.verdicts if each.holds is False]

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers: every measure, its verdict, and warnings on the curves."""
        posed, curves = self.posed, self.curves
        values = {each.name: each.value for each in self.verdicts}
        kind = [one.found & (one.jumps > SHARP * self.force) for _, one in self.lines]
        jumps = np.any(kind, axis=0) if kind else np.zeros(3, bool)
        sharp = [name for name, seen in zip(("energy", "force", "slope of the force"), jumps, strict=True) if seen]
        found: dict[str, Any] = {
            **values,
            "alarm": bool(self.alarms),
            "alarms": self.alarms,
            "verdict": {each.name: each.plain for each in self.verdicts},
            "jumps_of": sharp,
            "exploded": any(bool(run["exploded"]) for _, run in self.runs),
            "nve_drift_error_eV_per_atom_ps": max((float(run["error"]) for _, run in self.runs), default=None),
            "nve_fluctuation_eV_per_atom": max((float(run["fluctuation"]) for _, run in self.runs), default=None),
            "warnings": _warnings(curves),
            "curves": [curve.row for curve in curves],
            "model": posed.of.name,
            "precision": str(posed.of.precision),
            "test": posed.source,
            "n": len(posed.frames),
            "notes": self.notes,
        }
        if found["exploded"]:  # a drift of what flew apart is no number
            found["nve_drift_error_eV_per_atom_ps"] = found["nve_fluctuation_eV_per_atom"] = None
        if self.uncertainty is not None:
            one = self.uncertainty
            found["uncertainty"] = {
                "error_over_expected": one.ratio,
                "rank_correlation": one.rank,
                "within_expected": one.within,
                "force_rmse_eV_A": one.error,
                "atoms": one.atoms,
            }
        return found


def pose(
    model: str,
    test: str | None = None,
    *,
    frames: int = 4,
    cutoff: float | None = None,
    dtype: Any = np.float64,
    note: Note | None = None,
    **keys: Any,
) -> Posed:
    """A potential or calculator and frames to audit it on.

    **Arguments:** `model`, as `brought` knows it; `test`, as `read` knows it, by default the frames that the model's
    card names, or the sample; `frames`, how many are tested, evenly from all with the most atoms if these differ;
    `cutoff` in A of a calculator, where it is known; `dtype` that a trained potential computes in; `keys`, for `read`.

    **Raises:** `InputError` for a model, frames or a cutoff that cannot be used.
    """
    told = note or (lambda sentence: None)
    found = brought(model)
    trained = found if isinstance(found, Trained) else None
    source = test if test is not None else _own_frames(trained, told)
    everything = read(source, note=told, **keys)
    several = [frame for frame in split_isolated(everything)[0] if len(frame.numbers) > 2 or any(frame.periodic)]
    two = [frame for frame in everything if len(frame.numbers) == 2 and not any(frame.periodic)]
    several = several or two
    if not several:
        raise InputError(f"{source}: holds isolated atoms only: name frames of molecules or crystals.")
    if test is None:
        held = [frame for frame in several if frame.info.get("split") == "test"]
        several = held or several
    chosen = [several[place] for place in np.linspace(0, len(several) - 1, min(frames, len(several))).astype(int)]
    if trained is not None:
        _known(trained, chosen)
    of = subject_of(found, model, chosen[0], cutoff=cutoff, dtype=dtype)
    labelled = [frame for frame in two if frame.energy is not None]
    return Posed(of, chosen, labelled, everything, source, trained)


def audit(
    posed: Posed,
    effort: Effort | None = None,
    *,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    walk_hooks: Callable[[int], tuple[Hook, ...]] = lambda number: (),
) -> Audit:
    """Measure symmetries, forces, smoothness, dynamics and dissociation of a potential.

    **Arguments:** `done`, where finished parts are kept; `hooks`, called after each part; `walk_hooks`, from the number
    of a run of dynamics to its hooks.

    **Raises:** `InputError` for a frame that cannot be computed; `WalkError` where a hook stopped it.
    """
    effort = effort or Effort()
    planned = jobs(posed.of, posed.frames, posed.two, effort, seed, walk_hooks)
    parts = in_parts(list(planned), lambda name: planned[name].work(), done=done, hooks=hooks, task="audit")
    found = [(planned[name], part) for name, part in parts.items()]
    notes = list(dict.fromkeys(words(part["refused"]) for _, part in found if "refused" in part))
    kept = [(job, part) for job, part in found if "refused" not in part]
    measured = _measured(posed, kept)
    known = posed.of.committee is not None and posed.trained is not None
    try:
        spread = uncertainty(posed.trained, posed.all) if known and posed.trained is not None else None
    except InputError as error:
        spread, notes = None, [*notes, str(error)]
    curves = [curve for job, part in kept if job.kind in ("dimer", "bonds") for curve in unpacked(part)]
    return Audit(posed, verdicts(measured), measured.loops, measured.runs, measured.lines, curves, spread,
                 measured.force, notes)  # fmt: skip


def _measured(posed: Posed, kept: Sequence[tuple[Job, Any]]) -> Measured:
    def of(kind: str) -> list[tuple[str, Any]]:
        return [(job.about, part) for job, part in kept if job.kind == kind]

    lines = [
        (about, Smoothness(part["jumps"], part["at"], part["found"] > 0, part["line"])) for about, part in of("line")
    ]
    return Measured(
        subject=posed.of,
        frames=posed.frames,
        of_frames=[part for _, part in of("frame")],
        doubled=[part for _, part in of("doubled")],
        alone=[part for _, part in of("alone")],
        loops=[(about, Loops(**part)) for about, part in of("loops")],
        runs=of("run"),
        lines=lines,
    )


def _own_frames(trained: Trained | None, note: Note) -> str:
    """The frames that a model's card names, or the sample."""
    from thalweg.core.errors import ThalwegError

    named = None if trained is None else trained.card.get("data")
    if isinstance(named, str):
        try:
            read(named)
        except ThalwegError as error:
            note(f"The frames that the card names cannot be read ({error}), so that the sample {_SAMPLE} is taken.")
        else:
            note(f"No frames are named: those of the model's card are taken, {named}.")
            return named
    note(f"No frames are named: the sample {_SAMPLE} is taken.")
    return _SAMPLE


def _known(trained: Trained, frames: Sequence[Frame]) -> None:
    from thalweg.atoms.data.check import known

    known(frames, trained.net.elements)
    assert set(elements_of(list(frames))) <= set(trained.net.elements)


def _warnings(curves: Sequence[Curve]) -> list[str]:
    found = []
    for curve in curves:
        if curve.hole:
            found.append(f"{curve.name}: the energy falls by {curve.hole:.3g} eV behind its repulsive wall.")
        if curve.minima > 1:
            found.append(f"{curve.name}: has {curve.minima} wells.")
        if curve.jump:
            found.append(f"{curve.name}: the energy jumps by {curve.jump:.3g} eV.")
    return found
