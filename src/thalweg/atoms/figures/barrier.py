"""Pictures of the way over a barrier."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.atoms.figures.molecule import molecule_slider, swinging, trajectory_viewer
from thalweg.atoms.tasks.barrier import Barrier
from thalweg.report import Marker, Page, PaperFigure, Section, Slider, Table, as_svg, paper_figure, paper_style


def profile(found: Barrier) -> tuple[np.ndarray, np.ndarray, np.ndarray, int | None]:
    """The path with its saddle put between the images that are nearest to it.

    **Returns:** lengths along the path in A (of all atoms together), energies in eV above the start, positions, and
    the place of the saddle.
    """
    chain = list(found.path)
    place = None
    if found.saddle is not None:
        far = [float(np.linalg.norm(frame.positions - found.saddle.positions)) for frame in chain]
        nearest = int(np.argmin(far))
        before = nearest > 0 and (nearest == len(chain) - 1 or far[nearest - 1] < far[nearest + 1])
        place = nearest if before else nearest + 1
        if far[nearest] < 1e-6:  # the climber stands on it
            chain[nearest], place = found.saddle, nearest
        else:
            chain.insert(place, found.saddle)
    points = np.stack([frame.positions for frame in chain])
    steps = np.maximum(np.linalg.norm(np.diff(points, axis=0), axis=(1, 2)), 1e-9)
    energies = np.array([frame.energy for frame in chain], np.float64)
    return np.concatenate([[0.0], np.cumsum(steps)]), energies - energies[0], points, place


def path_slider(found: Barrier) -> Slider:
    """The atoms on their way over the barrier, beside their energy."""
    length, energy, points, place = profile(found)
    markers = [] if place is None else [Marker("saddle", float(length[place]))]
    return molecule_slider(
        "Over the barrier", found.path[0].numbers, points, length, energy,
        labels=("length of the path (A)", "Energy above the start (eV)"), markers=markers,
        caption="The images of the band, and the saddle that was refined from the highest. Bonds are those of the "
        "start.",
    )  # fmt: skip


def path_figure(found: Barrier) -> PaperFigure:
    """The energy along the path, for print."""
    length, energy, _, place = profile(found)
    with paper_style():
        figure, axes = paper_figure("single")
        axes.plot(length, energy, "-", linewidth=0.8, color="0.6", zorder=0)
        images = np.arange(len(length)) != (-1 if place is None else place)
        axes.plot(length[images], energy[images], "o", label="images")
        if place is not None:
            axes.plot(length[place], energy[place], "D", color="C1", label="saddle")
        axes.set_xlabel("length of the path (A)")
        axes.set_ylabel("energy above the start (eV)")
        axes.legend()
        return PaperFigure(
            as_svg(figure), "The path of least energy; lines between images are for the eye.", "path.svg"
        )


def barrier_page(found: Barrier) -> Page:
    """The report of a barrier."""
    result = found.result
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    blocks: list[Any] = [path_slider(found), path_figure(found)]
    if found.saddle is not None:
        frames = swinging(found.saddle, np.asarray(found.saddle.columns["mode"]))
        told = f"The saddle's mode with the lowest curvature, {result['imaginary_per_cm']:.0f}i 1/cm"
        if result["saddle_index"] == 0:
            told = "The softest mode of the point at rest"
        blocks.append(trajectory_viewer(told, frames, caption="Its amplitude is drawn, not computed."))
    blocks.append(Table(("quantity", "value"), rows))
    summary = (
        f"The barrier is {result['barrier_eV']:.4g} eV high, and {result['reverse_barrier_eV']:.4g} eV from the other "
        f"side. {found.sentence}"
    )
    return Page("A barrier", summary, [Section("Path", blocks)])
