"""Pictures of atoms in motion: temperature, conserved energy, how far atoms are apart, and the motion itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.check import symbol
from thalweg.atoms.figures.molecule import trajectory_viewer
from thalweg.atoms.tasks.conserved import line_through
from thalweg.atoms.tasks.glance import Distances, Glance, distances, glance
from thalweg.atoms.tasks.md import Dynamics, Settings
from thalweg.methods.baoab import Baoab
from thalweg.methods.cell_rescaling import CellRescaling
from thalweg.methods.verlet import Verlet
from thalweg.report import Citations, Page, PaperFigure, Section, Table, as_svg, paper_figure, paper_style

_POINTS = 1000  # of a line: more make the page large and not clearer
_FRAMES = 200  # of which distances are counted
_SAID = {"nve": "constant energy", "nvt": "constant temperature", "npt": "constant temperature and pressure"}
_METHODS = {"nve": Verlet, "nvt": Baoab, "npt": CellRescaling}


def drift_figure(times: Float[np.ndarray, " n"], energies: Float[np.ndarray, " n"]) -> PaperFigure:
    """A conserved energy per atom over time, with the line through it.

    **Arguments:** `times` in ps; `energies` in eV per atom.
    """
    line = line_through(times, energies)
    some = np.unique(np.linspace(0, len(times) - 1, min(_POINTS, len(times))).astype(int))
    low = 1e3 * (np.asarray(energies, np.float64) - energies[0])[some]
    fitted = 1e3 * (line.start - energies[0] + line.slope * (times - times[0]))[some]
    with paper_style():
        figure, axes = paper_figure("double", 0.36)
        axes.plot(times[some], low, linewidth=0.5, alpha=0.7, label="conserved energy")
        axes.plot(times[some], fitted, linewidth=1.4, label="line through it")
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("change (meV per atom)")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        error = f" ± {line.error:.1g}" if np.isfinite(line.error) else ""
        caption = (
            f"The energy that ought to stay: the line has a slope of {line.slope:.2g}{error} eV per atom and ps; about "
            f"it the energy swings by {1e3 * line.fluctuation:.2g} meV per atom."
        )
        return PaperFigure(as_svg(figure), caption, "drift.svg")


def temperature_figure(seen: Glance, wanted: float | None) -> PaperFigure:
    """Temperatures over time, of each replica."""
    with paper_style():
        figure, axes = paper_figure("double", 0.36)
        alpha = 0.9 if seen.replicas == 1 else max(0.15, 1 / np.sqrt(seen.replicas))
        axes.plot(seen.times, seen.heat, linewidth=0.6, alpha=alpha, color="C0")
        if seen.replicas > 1:
            axes.plot(seen.times, seen.heat.mean(axis=1), linewidth=1.2, color="C1", label="mean of the replicas")
        if wanted is not None:
            axes.axhline(wanted, color="0.4", linewidth=0.8, linestyle="--", label="as asked for")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("temperature (K)")
        told = f" The {seen.replicas} replicas do not see each other." if seen.replicas > 1 else ""
        caption = f"The temperature: {seen.heat.mean():.0f} K in the mean.{told}"
        return PaperFigure(as_svg(figure), caption, "temperature.svg")


def distances_figure(found: Distances) -> PaperFigure:
    """How often elements are found at a distance."""
    with paper_style():
        figure, axes = paper_figure("double", 0.42)
        dashes = ("-", "--", ":", "-.")
        for number, ((a, b), curve) in enumerate(found.curves.items()):
            dash = dashes[(number // 6) % 4]
            axes.plot(found.distance, curve, dash, linewidth=0.9, label=f"{symbol(a)}-{symbol(b)}")
        if found.periodic:
            axes.axhline(1, color="0.6", linewidth=0.6)
        else:
            farthest = max(found.distance[curve > 0][-1] for curve in found.curves.values())
            axes.set_xlim(0, min(found.distance[-1], farthest + 0.3))
        axes.set_xlabel("distance (A)")
        axes.set_ylabel("radial distribution" if found.periodic else "share of the pairs (1/A)")
        axes.legend(ncols=6, loc="lower left", bbox_to_anchor=(0, 1))
        caption = "Radial distribution functions: 1 is what atoms without order would have."
        if not found.periodic:
            caption = "How far the atoms of a molecule are apart: bonds on the left, the shape of the whole further on."
        return PaperFigure(as_svg(figure), caption, "distances.svg")


def md_page(found: Dynamics, settings: Settings) -> Page:
    """The report of dynamics, from what it says and the trajectory that it wrote."""
    result = found.result
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list)]
    blocks: list[Any] = [Table(("quantity", "value"), rows)]
    moving: list[Any] = []
    seen = glance(Path(result["trajectory"]), result["replicas"])
    if len(seen.times) > 1:
        frames = seen.of(0)
        told = "The first of the replicas." if seen.replicas > 1 else ""
        words = [f"{1000 * time:,.1f} fs" for time in seen.times]
        moving.append(trajectory_viewer("The atoms in motion", frames, words, caption=told))
        moving.append(temperature_figure(seen, None if settings.ensemble == "nve" else settings.temperature))
        if seen.conserved is not None:
            moving.append(drift_figure(seen.times, seen.conserved / len(frames[0].numbers)))
        shown = np.unique(np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).astype(int))
        near = distances([frames[place] for place in shown])
        if near.curves:  # none where no two atoms come near each other
            moving.append(distances_figure(near))
    summary = f"{result['time_ps']:g} ps of {result['atoms']} atoms at {_SAID[settings.ensemble]}. {found.sentence}"
    sections = [Section("Motion", moving)] if moving else []
    sections += [Section("Numbers", blocks), Section("Sources", [Citations([_METHODS[settings.ensemble].bibtex])])]
    return Page("Molecular dynamics", summary, sections)
