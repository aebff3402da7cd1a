"""Pictures of an audit: closure under refinement, and work against energy."""

from __future__ import annotations

import numpy as np

from thalweg.report import Citations, Page, PaperFigure, Section, Table, as_svg, paper_figure, paper_style
from thalweg.report.figures import PALETTE
from thalweg.robust.tasks.audit import BIBTEX, Audit


def refinement_figure(found: Audit) -> PaperFigure:
    """The worst closure of each input over the gradients that were spent on a path."""
    with paper_style():
        figure, axes = paper_figure("single")
        lines = np.maximum(found.by_input, 1e-17)
        for marked, colour, label in ((False, PALETTE[0], "consistent"), (True, PALETTE[1], "inconsistent")):
            for i, k in enumerate(np.flatnonzero(found.flagged == marked)):
                style = "o-" if marked else "-"
                name = label if i == 0 else None
                axes.plot(found.gradients, lines[:, k], style, color=colour, linewidth=0.8, markersize=2, label=name)
        floor = float(np.nanmedian(found.rounding))
        axes.axhline(floor, color="0.5", linestyle=":", linewidth=0.8, label="rounding")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(found.gradients, [str(count) for count in found.gradients])
        axes.minorticks_off()
        axes.set_xlabel("gradients per path")
        axes.set_ylabel("closure |W - dE| / |dE|")
        axes.legend()
        caption = (
            "Closure of each input, the worst of its paths, as the quadrature is refined. The verdict also follows the "
            "mismatch of ever shorter pieces, which a quantiser cannot hide where its errors cancel along the path."
        )
        return PaperFigure(as_svg(figure), caption, "refinement.svg")


def work_figure(found: Audit) -> PaperFigure:
    """The work along every long path against the fall of the energy, in parts of the largest fall of each energy."""
    with paper_style():
        figure, axes = paper_figure("single")
        for marked, colour, label in ((False, PALETTE[0], "consistent"), (True, PALETTE[1], "inconsistent")):
            scale = np.maximum(np.abs(found.fall[:, :2]).max(axis=(1, 2), keepdims=True), 1e-300)
            keep = found.flagged == marked
            fall, work = (array[:, :2][..., keep] / scale for array in (found.fall, found.work))
            axes.plot(
                fall.ravel(), work.ravel(), "o", color=colour, markersize=2.5, label=label if keep.any() else None
            )
        axes.axline((0, 0), slope=1, color="0.5", linewidth=0.8)
        axes.set_xlabel("fall of the energy")
        axes.set_ylabel("work of the gradient")
        axes.legend()
        return PaperFigure(as_svg(figure), "Work and fall, in parts of the largest fall of each energy.", "work.svg")


def audit_page(found: Audit) -> Page:
    """The report of an audit."""
    result = found.result
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, (list, dict))]
    inputs = result["inputs"]
    per_input = Table(tuple(inputs[0]), [tuple(row.values()) for row in inputs], "The worst path of each input.")
    refinement = Table(
        ("gradients per path", "median closure", "largest closure"),
        [tuple(row.values()) for row in result["refinement"]],
    )
    flagged = int(found.flagged.sum())
    summary = f"The gradient is {result['verdict']}: {flagged} of {result['n']} inputs do not close, however fine."
    pictures = [refinement_figure(found), work_figure(found), refinement]
    return Page(
        "Audit of a gradient",
        summary,
        [
            Section("Verdict", [Table(("quantity", "value"), rows)]),
            Section("Refinement", pictures),
            Section("Inputs", [per_input]),
            Section("Source", [Citations([BIBTEX])]),
        ],
    )
