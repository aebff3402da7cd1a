"""Drawing a disconnectivity graph for print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from thalweg.core.errors import InputError
from thalweg.report.blocks import PaperFigure
from thalweg.report.figures import PALETTE, as_svg, paper_figure, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thalweg.diagnostics.disconnectivity import Tree

_STUB = 0.06  # how far the line of a basin that joins no other reaches above the highest node, as a share of the range


def draw_tree(
    tree: Tree,
    *,
    marked: dict[int, str] | None = None,
    groups: Sequence[int] | None = None,
    y_title: str = "energy",
    width: Literal["single", "double"] = "single",
) -> Figure:
    """A disconnectivity graph as a Matplotlib figure: see `disconnectivity_figure`."""
    from matplotlib.collections import LineCollection

    count = len(tree.energies)
    colours = _colours(groups, count)
    x, heights = tree.layout(), tree.heights
    span = float(np.ptp(heights)) or 1.0
    lines, shades = [], []
    for node, parent in enumerate(tree.parents):
        top = heights[parent] if parent >= 0 else float(heights.max()) + _STUB * span
        # Up to the height at which it joins, and over to the basin that it joins.
        over = [(x[node], top), (x[parent], top)] if parent >= 0 else [(x[node], top)]
        lines.append([(x[node], heights[node]), *over])
        shades.append(colours[node] if node < count else "black")
    figure, axes = paper_figure(width)
    with paper_style():
        axes.add_collection(LineCollection(lines, colors=shades, linewidths=0.7))
        for leaf, name in sorted((marked or {}).items()):
            if not 0 <= leaf < count:
                raise InputError(
                    f"disconnectivity_figure: there is no minimum {leaf} to mark: choose 0 to {count - 1}."
                )
            axes.annotate(name, (x[leaf], heights[leaf]), (0, -3), textcoords="offset points", ha="center", va="top")
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(heights.min() - 0.12 * span, heights.max() + 1.5 * _STUB * span)
        axes.set_ylabel(y_title)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    return figure


def disconnectivity_figure(
    tree: Tree,
    *,
    marked: dict[int, str] | None = None,
    groups: Sequence[int] | None = None,
    y_title: str = "energy",
    width: Literal["single", "double"] = "single",
    caption: str = "",
    name: str = "disconnectivity.svg",
) -> PaperFigure:
    """A disconnectivity graph for the page: each line ends below at a minimum, and lines meet at the lowest saddle.

    **Arguments:** `marked`, names written under some minima, by their places; `groups` [m], a number per minimum that
    chooses the colour of its line; `y_title`, with the unit; `width`, one or two columns; `caption` and file `name`.

    **Raises:** `InputError` for a mark or groups that the tree has no minima for.
    """
    figure = draw_tree(tree, marked=marked, groups=groups, y_title=y_title, width=width)
    return PaperFigure(as_svg(figure), caption, name)


def _colours(groups: Sequence[int] | None, count: int) -> list[str]:
    if groups is None:
        return ["black"] * count
    if len(groups) != count:
        raise InputError(f"disconnectivity_figure: {len(groups)} groups for {count} minima: give one number for each.")
    return [PALETTE[int(group) % len(PALETTE)] for group in groups]
