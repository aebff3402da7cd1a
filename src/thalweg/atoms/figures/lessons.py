"""Pictures of several networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.report import PaperFigure, as_svg, paper_figure, paper_style

_NAMES = {
    "gto": "orbitals with directions",
    "radial": "distances only",
    "naive": "x, y and z, frames turned at random",
}


def lessons_figure(lessons: Sequence[Any]) -> PaperFigure:
    """Errors of forces over the steps of training.

    **Arguments:** `lessons`, each with `name`, `steps` and `errors` in meV/A.
    """
    with paper_style():
        figure, axes = paper_figure("single")
        for each, marker in zip(lessons, "osv", strict=False):
            axes.plot(each.steps[1:], each.errors[1:], marker=marker, label=_NAMES.get(each.name, each.name))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("step of 8 frames")
        axes.set_ylabel("mean error of force components (meV/A)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
        return PaperFigure(as_svg(figure), "Errors on frames that none of them saw, while they learn.", "lessons.svg")
