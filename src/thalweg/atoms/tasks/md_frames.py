"""The frames of a trajectory, and the signs that dynamics has left what makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase import units

from thalweg.atoms.data.ase_atoms import from_atoms
from thalweg.atoms.data.check import FARTHEST, overlap_sentence, overlaps, symbol
from thalweg.atoms.data.extxyz import atoms_of, chunks
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import pairs
from thalweg.atoms.data.write import whole_frames
from thalweg.atoms.energy import Potential, offset
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.md_start import Start
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.uncertain import Said, said

_FASTEST = 0.5  # A in one step: half a bond; at 1000 K and 1 fs hydrogen goes 0.05
_ON_THE_WAY = 4  # frames that are labelled besides the unknown one


class Trouble(NamedTuple):
    """Why dynamics does not go on: the `kind`, the `step`, a `sentence`, and the `frame` that shows it."""

    kind: Literal["exploded", "uncertain"]
    step: int
    sentence: str
    frame: Frame


class Frames:
    """Turns what was recorded of a walk into frames, up to the first that shows trouble.

    **Arguments:** `trained`, in the precision of the walk; `start`; `potential`, for the energies of replicas and for
    uncertainties; `timestep` in fs; `moving`, the directions that atoms move in; `most`, the expected error of a force
    in eV/A that is trouble.
    """

    def __init__(
        self, trained: Trained, start: Start, potential: Potential, timestep: float, moving: int, most: float | None
    ):
        self.start, self.potential, self.timestep, self.moving, self.most = start, potential, timestep, moving, most
        self.alone = offset(start.frame, trained.energies)
        self.together = self._together(start.frame)

    def of(self, steps: Sequence[int], records: dict[str, Any]) -> tuple[list[Frame], Trouble | None]:
        """The frames of all replicas, step by step."""
        found: list[Frame] = []
        for place, at in enumerate(steps):
            each = self.at(at, {name: rows[place] for name, rows in records.items()})
            found += each
            for frame in each:
                trouble = self._trouble(frame, at)
                if trouble is not None:
                    return found, trouble
        return found, None

    def at(self, step: int, record: dict[str, Any]) -> list[Frame]:
        """The frames of all replicas at one step."""
        wide = {name: np.asarray(array, np.float64) for name, array in record.items()}
        several = wide["points"].ndim == 3
        names = ("points", "velocities", "forces")
        rows = zip(*(wide[name] if several else wide[name][None] for name in names), strict=True)
        return [self._frame(step, wide, replica if several else None, *row) for replica, row in enumerate(rows)]

    def _frame(self, step: int, record: dict, replica: int | None, points, velocities, forces) -> Frame:
        first, masses = self.start.frame, self.start.masses
        cell = record.get("cell", first.cell)
        told = self._said(points, cell) if replica is not None or isinstance(self.potential.net, Committee) else None
        bound = record["energy"] if replica is None or told is None else told.energies.sum()
        kinetic = 0.5 * (masses[:, None] * velocities**2).sum()
        info: dict[str, Any] = {"step": step, "time_fs": round(step * self.timestep, 9)}
        info["temperature_K"] = float(2 * kinetic / (max(self.moving, 1) * units.kB))
        columns = {"momenta": masses[:, None] * velocities}
        if replica is not None:
            info["replica"] = replica
        else:
            info["conserved_eV"] = float(record["conserved"] + self.alone)
        if "masses" in first.columns:
            columns["masses"] = masses
        if told is not None and told.spread is not None:
            columns["forces_uncertainty"] = told.spread
        place = f"step {step}" if replica is None else f"step {step}, replica {replica}"
        return Frame(first.numbers, points, cell, first.periodic, float(bound + self.alone), forces, None, place, info,
                     columns)  # fmt: skip

    def _said(self, points: np.ndarray, cell: np.ndarray) -> Said:
        found, self.potential = said(self.potential, points, cell)
        return found

    def _trouble(self, frame: Frame, step: int) -> Trouble | None:
        sentence = self._exploded(frame)
        if sentence is not None:
            return Trouble("exploded", step, sentence, frame)
        spread = frame.columns.get("forces_uncertainty")
        if self.most is None or spread is None or not spread.max() > self.most:
            return None
        atom = int(np.argmax(spread))
        sentence = (f"{frame.place}: the force on {self._named(frame, atom)} is expected to be wrong by "
                    f"{spread[atom]:.3g} eV/A, more than {self.most:g}")  # fmt: skip
        return Trouble("uncertain", step, sentence, frame)

    def _exploded(self, frame: Frame) -> str | None:
        if np.abs(frame.positions).max() > FARTHEST:
            return f"{frame.place}: an atom is beyond {FARTHEST:g} A"
        moves = np.linalg.norm(frame.columns["momenta"], axis=1) / self.start.masses * self.timestep * units.fs
        if moves.max() > _FASTEST:
            atom = int(np.argmax(moves))
            return f"{frame.place}: {self._named(frame, atom)} moves {moves[atom]:.3g} A in one step"
        if near := overlaps([frame]):
            return overlap_sentence([frame], near).rpartition(": correct")[0]
        lonely = self._lonely(frame) if self.together else np.zeros(0, int)
        if len(lonely):
            return f"{frame.place}: {self._named(frame, int(lonely[0]))} has left all others"
        return None

    def _lonely(self, frame: Frame) -> np.ndarray:
        near = pairs(frame, self.potential.net.cutoff)[0]
        return np.setdiff1d(np.arange(len(frame.numbers)), near)

    def _together(self, frame: Frame) -> bool:
        """Whether every atom of a molecule sees another: then none may leave."""
        return not any(frame.periodic) and len(frame.numbers) > 1 and not len(self._lonely(frame))

    @staticmethod
    def _named(frame: Frame, atom: int) -> str:
        return f"{symbol(int(frame.numbers[atom]))} {atom}"


def on_the_way(path: Path) -> list[Frame]:
    """The last frame of a trajectory and a few before it, evenly spaced, without labels."""
    ends = whole_frames(path)
    chosen = np.unique(np.linspace(0, len(ends) - 1, _ON_THE_WAY + 1).round().astype(int))
    found = []
    with open(path, "rb") as file:
        for number in chosen.tolist():
            begin = ends[number - 1] if number else 0
            file.seek(begin)
            text = file.read(ends[number] - begin).decode()
            ((atoms, _),) = atoms_of(chunks(text, str(path)), str(path))
            frame = from_atoms(atoms, f"{path}, frame {number}")
            info = {key: value for key, value in frame.info.items() if key in ("step", "time_fs", "replica")}
            found.append(frame._replace(energy=None, forces=None, stress=None, info=info, columns={}))
    return found
