"""Pictures and the page; tasks know nothing of them."""

from __future__ import annotations

import numpy as np

from thalweg.report import Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style
from thalweg_pendulums.tasks.kink import Kink


def kink_page(found: Kink) -> Page:
    """The report of one kink."""
    result = found.result
    pinned = "over no barrier that could be seen" if result["barrier"] is None else f"over {result['barrier']:.3g}"
    told = f"The kink holds {result['energy']:.6g} and moves on {pinned}."
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    blocks = [Prose(told), _angles(found), _way(found), Table(("quantity", "value"), rows)]
    return Page("A kink among pendulums", told, [Section("Kink", blocks)])


def _angles(found: Kink) -> PaperFigure:
    with paper_style():
        figure, axes = paper_figure("single")
        axes.plot(np.arange(len(found.angles)), np.asarray(found.angles) / np.pi, "o-", markersize=3)
        axes.set(xlabel="pendulum", ylabel="angle / pi")
        return PaperFigure(as_svg(figure), "The chain at rest.", "kink.svg")


def _way(found: Kink) -> PaperFigure:
    with paper_style():
        figure, axes = paper_figure("single")
        axes.plot(np.asarray(found.arc), np.asarray(found.energies) - found.result["energy"], "o-", markersize=3)
        axes.set(xlabel="way to the next pendulum", ylabel="energy above rest")
        return PaperFigure(as_svg(figure), "What holds the kink in its place.", "way.svg")
