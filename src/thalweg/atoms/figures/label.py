"""Pictures of labels: the spread of energies and forces, and what could not be labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.atoms.data.check import symbol
from thalweg.atoms.data.frame import Frame
from thalweg.report import Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style


def labels_figure(frames: Sequence[Frame]) -> PaperFigure:
    """Histograms of energies, apart for each composition, and of the norms of forces."""
    groups = compositions(frames)
    spread = [1e3 * (energies - energies.mean()) / atoms for atoms, energies in groups.values()]
    norms = np.concatenate([np.linalg.norm(np.asarray(frame.forces), axis=1) for frame in frames])
    with paper_style():
        figure, _ = paper_figure("double", 0.4)
        figure.clear()
        left, right = figure.subplots(1, 2)
        left.hist(np.concatenate(spread), bins=min(60, max(12, len(frames) // 8)))
        left.set_xlabel("energy per atom about the mean of its composition (meV)")
        left.set_ylabel("frames")
        right.hist(norms, bins=min(80, max(12, len(norms) // 12)), color="C1")
        right.set_xlabel("force on an atom (eV/A)")
        right.set_ylabel("atoms")
        for axes in (left, right):
            axes.set_yscale("log" if len(frames) > 400 else "linear")  # the rare ones are seen, too
        return PaperFigure(as_svg(figure), "What was labelled.", "labels.svg")


def compositions(frames: Sequence[Frame]) -> dict[str, tuple[int, np.ndarray]]:
    """For each composition, as `C2H6O`, its number of atoms and the energies of its frames in eV."""
    found: dict[str, list[Frame]] = {}
    for frame in frames:
        kinds, counts = np.unique(frame.numbers, return_counts=True)
        words = sorted(
            f"{symbol(int(kind))}{count if count > 1 else ''}" for kind, count in zip(kinds, counts, strict=True)
        )
        found.setdefault("".join(words), []).append(frame)
    return {name: (len(of[0].numbers), np.array([frame.energy for frame in of])) for name, of in found.items()}


def label_page(frames: Sequence[Frame], failed: Sequence[str], method: str) -> Page:
    """The report of a labelling.

    **Arguments:** `frames` with labels; `failed`, a sentence for each frame that was left out; `method`, in words.
    """
    blocks: list[Any] = []
    if frames:
        rows = [(name, len(energies), float(energies.mean()), float(1e3 * energies.std() / atoms))
                for name, (atoms, energies) in compositions(frames).items()]  # fmt: skip
        columns = ("composition", "frames", "mean energy (eV)", "spread per atom (meV)")
        blocks = [labels_figure(frames), Table(columns, rows, "Labels.")]
    sections = [Section("Labels", blocks or [Prose("No frame could be labelled.")])]
    if failed:
        sections.append(Section("Left out", [Table(("frame and reason",), [(sentence,) for sentence in failed])]))
    summary = f"{len(frames)} frames have labels of {method}, and {len(failed)} could not be labelled."
    return Page("Labels", summary, sections)
