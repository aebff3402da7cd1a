"""A gene as a track: exons of the annotation with what was found along it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.genome.data.genes import Gene
from thalweg.genome.data.tracks import Sites
from thalweg.report.figures import PALETTE, plotly_template

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = {"donor": PALETTE[0], "acceptor": PALETTE[1], "exon": "#777777"}


def blank(title: str, start: int, end: int, above: str) -> Figure:
    """An empty track of [start, end) of a chromosome, from -1 to 1."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template=plotly_template(),
        title=title,
        height=330,
        xaxis={"title": "position (bp)", "range": [start, end], "tickformat": ",d"},
        yaxis={"title": above, "range": [-1.12, 1.12], "tickvals": [-1, 0, 1], "ticktext": ["1", "0", "1"]},
    )
    figure.add_hline(y=0, line_width=1, line_color=COLOURS["exon"])
    return figure


def add_exons(figure: Figure, genes: Iterable[Gene]) -> None:
    """Boxes for the exons of the genes' chosen transcripts, filled on the plus strand and open on the minus strand."""
    for gene in genes:
        for start, end in {tuple(exon) for transcript in gene.chosen for exon in transcript.exons.tolist()}:
            figure.add_shape(
                type="rect", x0=start + 0.5, x1=end + 0.5, y0=-0.06, y1=0.06,
                line={"color": COLOURS["exon"], "width": 1},
                fillcolor=COLOURS["exon"] if gene.strand > 0 else "rgba(0,0,0,0)",
            )  # fmt: skip


def add_stems(
    figure: Figure, name: str, positions: Any, heights: Any, texts: Sequence[str], colour: str, sign: int = 1
) -> None:
    """A stem for each position (counted from 1), up or down by `sign`."""
    import plotly.graph_objects as go

    positions, heights = np.asarray(positions), sign * np.asarray(heights, float)
    nothing = np.full(positions.size, np.nan)
    across = np.stack([positions.astype(float), positions.astype(float), nothing], axis=1).ravel()
    along = np.stack([np.zeros(positions.size), heights, nothing], axis=1).ravel()
    line = {"color": colour, "width": 1.5}
    figure.add_trace(go.Scatter(x=across, y=along, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    figure.add_trace(
        go.Scatter(x=positions, y=heights, mode="markers", marker={"color": colour, "size": 6}, name=name,
                   text=list(texts), hovertemplate="%{text}<extra></extra>")
    )  # fmt: skip


def add_sites(figure: Figure, name: str, found: Iterable[Sites], chromosome: str, start: int, end: int) -> int:
    """The donors (up) or acceptors (down) within [start, end) of a chromosome, and how many there are."""
    positions, chances, texts = [], [], []
    for one in found:
        if one.chromosome != chromosome:
            continue
        inside = (one.positions >= start) & (one.positions < end)
        for at, chance in zip(one.positions[inside].tolist(), one.probabilities[inside].tolist(), strict=True):
            positions.append(at + 1)
            chances.append(chance)
            texts.append(f"{name} {at + 1:,} {'+' if one.strand > 0 else '-'}: {chance:.3f}")
    if positions:
        add_stems(figure, f"{name}s", positions, chances, texts, COLOURS[name], 1 if name == "donor" else -1)
    return len(positions)
