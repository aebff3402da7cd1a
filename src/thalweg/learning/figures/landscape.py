"""Pictures of minima and saddles over the penalty, of paths between them, and of one valley."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.learning.tasks.landscape.connectivity import Connection
from thalweg.learning.tasks.landscape.following import Landscape, Merging, Stage
from thalweg.learning.tasks.landscape.valley import Valley
from thalweg.report import Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style
from thalweg.report.density import density_figure
from thalweg.report.figures import PALETTE
from thalweg.report.tree import disconnectivity_figure

_TREES = 3  # in a page; the table has all


def landscape_page(found: Landscape, connection: Connection | None = None, valley: Valley | None = None) -> Page:
    """The report of a survey, with what was measured between and around its minima."""
    first, last = found.stages[0], found.stages[-1]
    told = f"{len(first.names)} minima at the penalty {first.decay:g}"
    summary = told if first is last else f"{told}, {len(last.names)} at {last.decay:g}."
    blocks: list[Any] = [Prose(_story(found))]
    if len(found.stages) > 1:
        blocks.append(following_figure(found))
    chosen = np.unique(np.linspace(0, len(found.stages) - 1, _TREES).astype(int))
    blocks += [tree_figure(found.stages[int(place)]) for place in chosen]
    blocks.append(_points(found))
    sections = [Section("Minima and saddles", blocks)]
    if connection is not None:
        sections.append(Section("Between two trainings", [connection_figure(connection), _rows(connection.result)]))
    if valley is not None:
        pictures = [PaperFigure(as_svg(density_figure(valley.density)), "Density of the Hessian's eigenvalues.")]
        sections.append(Section("Around the lowest minimum", [*pictures, _rows(valley.result)]))
    return Page("Landscape of a training loss", summary, sections)


def _story(found: Landscape) -> str:
    told = [
        f"Minimum {one.minimum} gives way to {one.into} "
        + (
            f"at {one.decay:.6g} ({one.kind})."
            if one.decay is not None
            else f"between {one.below:g} and {one.above:g}."
        )
        for one in found.merged
    ]
    loose = [f"{stage.decay:g}" for stage in found.stages if not stage.survey.connected]
    if loose:
        told.append(f"Not all minima were joined by saddles at {', '.join(loose)}.")
    counted = "Copies under exchanges of units count once."
    notes = found.result["notes"] if found.problem.notes or not found.problem.units else [counted]
    return " ".join([f"{found.problem.name}.", *notes, *told])


def _where(one: Merging) -> str:
    return f"between {one.below:g} and {one.above:g}" if one.decay is None else f"at {one.decay:.6g} ({one.kind})"


def tree_figure(stage: Stage) -> PaperFigure:
    """The disconnectivity graph at one penalty."""
    marked = {place: str(name) for place, name in enumerate(stage.names)}
    caption = f"Disconnectivity graph at the penalty {stage.decay:g}; numbers name the minima."
    name = f"tree-{stage.decay:g}.svg"
    return disconnectivity_figure(
        stage.tree, marked=marked, groups=stage.names, y_title="loss", caption=caption, name=name
    )


def following_figure(found: Landscape) -> PaperFigure:
    """The loss of every minimum and saddle over the penalty; a cross where a minimum gives way."""
    names = sorted({name for stage in found.stages for name in stage.names})
    with paper_style():
        figure, axes = paper_figure("single")
        for name in names:
            at = [(stage, stage.names.index(name)) for stage in found.stages if name in stage.names]
            decays = [stage.decay for stage, _ in at]
            heights = [float(stage.survey.energies[place]) for stage, place in at]
            axes.plot(decays, heights, "o-", color=PALETTE[name % len(PALETTE)], markersize=3, label=f"minimum {name}")
        for stage in found.stages:
            tops = np.asarray(stage.survey.saddle_energies)
            axes.plot(np.full(len(tops), stage.decay), tops, "_", color="0.5", markersize=6)
        for one in found.merged:
            if one.decay is not None:
                axes.axvline(one.decay, color=PALETTE[one.minimum % len(PALETTE)], linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("penalty")
        axes.set_ylabel("loss")
        if len(names) <= 8:
            axes.legend()
        caption = "Minima over the penalty, bars are saddles; dotted where a minimum turns or loses its stability."
        return PaperFigure(as_svg(figure), caption, "minima.svg")


def connection_figure(found: Connection) -> PaperFigure:
    """The loss between two minima: straight, straight to the nearest copy, and along the path."""
    with paper_style():
        figure, axes = paper_figure("single")
        parts = np.linspace(0, 1, len(found.straight))
        axes.plot(parts, found.straight, label="straight line")
        axes.plot(parts, found.aligned, label="to the nearest copy")
        if found.path is not None:
            arc = np.asarray(found.path.arc)
            axes.plot(arc / arc[-1], np.asarray(found.path.energies), "o-", markersize=2, label="path of least loss")
        axes.set_xlabel("part of the way")
        axes.set_ylabel("loss")
        axes.legend()
        return PaperFigure(as_svg(figure), "The loss between two independent trainings.", "connection.svg")


def _points(found: Landscape) -> Table:
    rows = [
        (stage.decay, name, float(height), int(count), stage.escape(place))
        for stage in found.stages
        for place, (name, height, count) in enumerate(
            zip(stage.names, stage.survey.energies, stage.survey.found, strict=True)
        )
    ]
    return Table(("penalty", "minimum", "loss", "starts that found it", "barrier to a lower one"), rows)


def _rows(result: dict[str, Any]) -> Table:
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list | dict)]
    return Table(("quantity", "value"), rows)
