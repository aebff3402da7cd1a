"""Pictures of predicted splice sites: precision over recall, reliability, and a gene with its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.model.window import IGNORED
from thalweg.genome.tasks.evaluate import SITES, Predicted
from thalweg.genome.tasks.metrics import ranked
from thalweg.report import PaperFigure, as_svg, paper_figure, paper_style

_POINTS = 400
_COLOURS = {"donor": "C0", "acceptor": "C1"}


def precision_figure(found: Predicted) -> PaperFigure:
    """Precision over recall for both kinds of sites."""
    material = found.material
    seen, genes = material.targets != IGNORED, int(material.gene.max()) + 1
    with paper_style():
        figure, axes = paper_figure("single")
        for name, kind in SITES.items():
            hits = material.targets[seen] == kind
            one = ranked(found.chances[seen, kind], hits, material.gene[seen], genes)
            true = np.cumsum(one.hits)
            some = np.unique(np.linspace(0, one.hits.size - 1, _POINTS * 10).astype(int))
            axes.plot(true[some] / max(hits.sum(), 1), true[some] / (some + 1), label=f"{name}s", color=_COLOURS[name])
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.01)
        axes.legend()
        caption = "Precision over recall at every base of the genes, by falling probability."
        return PaperFigure(as_svg(figure), caption, "precision.svg")


def reliability_figure(bins: Mapping[str, Mapping[str, Any]]) -> PaperFigure:
    """How often sites are there, over how often they were predicted to be."""
    with paper_style():
        figure, axes = paper_figure("single")
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        for name, one in bins.items():
            axes.plot(one["predicted"], one["observed"], "o-", markersize=3, label=f"{name}s", color=_COLOURS[name])
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share of true sites")
        axes.legend()
        caption = "Reliability: on the line, what is predicted with a probability of 0.7 is there seven times in ten."
        return PaperFigure(as_svg(figure), caption, "reliability.svg")


def gene_figure(genes: Sequence[LabelledGene], found: Predicted) -> PaperFigure | None:
    """A gene of middling length with several introns: its exons, and the probabilities along it."""
    number = example(genes)
    if number is None:
        return None
    gene, own = genes[number], found.material.gene == number
    chances = found.chances[own][gene.scored]
    with paper_style():
        figure, axes = paper_figure("double", 0.3)
        axes.axhline(0, color="0.3", linewidth=0.8)
        for start, stop in _exons(gene):
            axes.fill_between([start, stop], -0.07, 0.07, color="0.3", linewidth=0)
        for name, way in (("donor", 1), ("acceptor", -1)):
            chance = chances[:, SITES[name]]
            at = np.flatnonzero(chance > 0.02)
            axes.vlines(at, way * 0.09, way * (0.09 + 0.9 * chance[at]), color=_COLOURS[name], linewidth=1, label=name)
            true = np.flatnonzero(gene.labels[gene.scored] == SITES[name])
            axes.plot(true, np.full(true.size, way * 1.06), "v" if way > 0 else "^", color=_COLOURS[name], markersize=3)
        axes.set_ylim(-1.2, 1.2)
        axes.set_yticks([-0.99, 0, 0.99], ["1", "0", "1"])
        axes.set_ylabel("probability")
        axes.set_xlabel(f"base of {gene.gene.symbol or gene.gene.name}, in its sense")
        axes.legend(loc="upper right", ncols=2)
        caption = ("A gene that was not learnt from: exons as boxes, annotated sites as marks, predicted donors above "
                   "and acceptors below.")  # fmt: skip
        return PaperFigure(as_svg(figure), caption, "gene.svg")


def example(genes: Sequence[LabelledGene]) -> int | None:
    """The gene whose length is nearest to the median of those with four introns or more, or else of those with one."""
    introns = np.array([np.count_nonzero(gene.labels == SITES["donor"]) for gene in genes])
    some = np.flatnonzero(introns >= min(4, introns.max()))
    if not introns.max():
        return None
    lengths = np.array([genes[int(number)].codes.size for number in some])
    return int(some[np.argmin(np.abs(lengths - np.median(lengths)))])


def _exons(gene: LabelledGene) -> list[tuple[int, int]]:
    """[start, stop) of exons in the sense of the gene, from its first base."""
    labels = gene.labels[gene.scored]
    first = np.concatenate([[0], np.flatnonzero(labels == SITES["acceptor"])])
    last = np.concatenate([np.flatnonzero(labels == SITES["donor"]), [labels.size - 1]])
    return [(int(start), int(stop) + 1) for start, stop in zip(first, last, strict=False)]
