"""Pictures of atoms that come to rest, and of how they swing there."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.atoms.figures.molecule import swinging, trajectory_viewer
from thalweg.atoms.tasks.relax import Relaxed
from thalweg.atoms.tasks.vibrations import Vibrations
from thalweg.report import Page, PaperFigure, Section, Table, as_svg, paper_figure, paper_style


def descent_figure(energies: Float[np.ndarray, " steps"], forces: Float[np.ndarray, " steps"], fmax: float) -> Any:
    """The energy and the norm of all forces over the steps of a descent.

    **Arguments:** `energies` in eV; `forces` and `fmax` in eV/A.
    """
    above = np.maximum(energies - energies.min(), 0)
    with paper_style():
        figure, _ = paper_figure("double", 0.4)
        figure.clear()
        left, right = figure.subplots(1, 2)
        left.plot(np.maximum(forces, 1e-12), marker="." if len(forces) < 60 else None)
        left.axhline(fmax, color="0.4", linewidth=0.8, linestyle="--")
        left.set_yscale("log")
        left.set_ylabel("norm of all forces (eV/A)")
        right.plot(np.where(above > 0, above, np.nan), marker="." if len(forces) < 60 else None, color="C1")
        right.set_yscale("log")
        right.set_ylabel("energy above the lowest (eV)")
        for axes in (left, right):
            axes.set_xlabel("step")
        caption = f"The way down; the dashed line is the {fmax:g} eV/A that was asked for."
        return PaperFigure(as_svg(figure), caption, "descent.svg")


def spectrum_figure(moving: Vibrations) -> PaperFigure:
    """The wavenumbers of the harmonic vibrations; modes that go downhill stand left of zero."""
    with paper_style():
        figure, axes = paper_figure("double", 0.22)
        downhill = moving.wavenumbers < 0
        for chosen, colour in ((~downhill, "C0"), (downhill, "C1")):
            axes.vlines(moving.wavenumbers[chosen], 0, 1, color=colour, linewidth=1.0)
        axes.set_ylim(0, 1.15)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("wavenumber (1/cm), imaginary ones as negative")
        caption = f"{len(moving.wavenumbers)} harmonic vibrations, {moving.imaginary} of them imaginary."
        return PaperFigure(as_svg(figure), caption, "vibrations.svg")


def relax_page(found: Relaxed, result: dict[str, Any], moving: Vibrations | None, fmax: float) -> Page:
    """The report of atoms that were brought to rest."""
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list)]
    words = [f"step {step}" for step in found.way_steps]
    blocks: list[Any] = [descent_figure(found.energies, found.forces, fmax)]
    if found.way:
        blocks.insert(0, trajectory_viewer("The way to rest", found.way, words, loops=False))
    sections = [Section("Descent", [*blocks, Table(("quantity", "value"), rows)])]
    if moving is not None:
        sections.append(Section("Vibrations", _vibrations(found, moving)))
    gained = result["gained_eV"]
    summary = (
        f"{len(found.frame.numbers)} atoms lost {gained:.4g} eV on {found.steps} steps down; the largest force left is "
        f"{found.largest:.2g} eV/A. {found.sentence}"
    )
    return Page("Atoms at rest", summary, sections)


def _vibrations(found: Relaxed, moving: Vibrations) -> list[Any]:
    softest = f"The softest vibration, {moving.wavenumbers[0]:.0f} 1/cm" if len(moving.wavenumbers) else ""
    blocks: list[Any] = [spectrum_figure(moving)]
    if softest:
        frames = swinging(found.frame, moving.modes[0])
        blocks.append(trajectory_viewer(softest, frames, caption="Its amplitude is drawn, not computed."))
    rows = [(place + 1, float(value)) for place, value in enumerate(moving.wavenumbers)]
    return [*blocks, Table(("mode", "wavenumber (1/cm)"), rows, "Harmonic vibrations.")]
