"""The reports of a training and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.figures.sites import gene_figure, precision_figure, reliability_figure
from thalweg.genome.tasks.evaluate import Predicted
from thalweg.genome.tasks.trained import Trained
from thalweg.report import Block, Citations, Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style

SPLICEAI = """@article{jaganathan2019predicting,
  title={Predicting Splicing from Primary Sequence with Deep Learning},
  author={Jaganathan, Kishore and Kyriazopoulou Panagiotopoulou, Sofia and McRae, Jeremy F and others},
  journal={Cell}, volume={176}, number={3}, pages={535--548}, year={2019}}"""
_STORY = (
    "A donor is the last base of an exon, an acceptor the first base of the next. Top-k is the share of true sites "
    "among as many of the highest probabilities as there are true sites. Many bases that count as wrong are sites of "
    "other transcripts of the gene: the masked figures leave those out."
)


def learning_figure(metrics: Sequence[Mapping[str, Any]]) -> PaperFigure | None:
    """Top-k of the genes for validation along the training."""
    rows = [row for row in metrics if np.isfinite(row.get("donor_topk") or np.nan)]
    if len(rows) < 2:
        return None
    with paper_style():
        figure, axes = paper_figure("single")
        for name in ("donor", "acceptor"):
            axes.plot([row["step"] for row in rows], [row[f"{name}_topk"] for row in rows], label=f"{name}s")
        axes.set_xlabel("step")
        axes.set_ylabel("top-k of validation genes")
        axes.legend()
        return PaperFigure(
            as_svg(figure), "What the moving average of the network finds while it learns.", "learning.svg"
        )


def train_page(
    trained: Trained,
    genes: Sequence[LabelledGene],
    found: Predicted,
    result: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> Page:
    """The report of one training: `genes` for validation, what was `found` on them, and the `metrics` on the way."""
    card = trained.card
    curve = learning_figure(metrics)
    plain = [(name.replace("_", " "), value if isinstance(value, str | int | float | None) else str(value))
             for name, value in card.items() if not isinstance(value, dict)]  # fmt: skip
    sections = [
        Section("Sites found", [Prose(_STORY), _table(result), *_pictures(genes, found, result)]),
        Section("Training", [*([] if curve is None else [curve]), Table(("", ""), plain, "The network.")]),
        Section("Sources", [Citations(cited(trained))]),
    ]
    return Page("A splice-site finder", _summary(result, "for validation"), sections)


def evaluate_page(
    name: str,
    genes: Sequence[LabelledGene],
    found: Predicted,
    result: Mapping[str, Any],
    strands: Mapping[str, Any] | None,
) -> Page:
    """The report of one evaluation, with the figures of both `strands` of the region where they were measured."""
    blocks: list[Block] = [Prose(_STORY), _table(result)]
    if strands is not None:
        blocks.append(_table(strands, "Every base of both strands of the region, genes or not."))
    sections = [Section("Sites found", [*blocks, *_pictures(genes, found, result)]),
                Section("Sources", [Citations([SPLICEAI])])]  # fmt: skip
    return Page(f"Splice sites found by {name}", _summary(result, "of the region"), sections)


def _summary(result: Mapping[str, Any], which: str) -> str:
    return (
        f"In {result['genes']:,} genes {which}, {result['donor_topk']:.1%} of {result['donors']:,} donors and "
        f"{result['acceptor_topk']:.1%} of {result['acceptors']:,} acceptors are found at top-k."
    )


def _pictures(genes: Sequence[LabelledGene], found: Predicted, result: Mapping[str, Any]) -> list[Block]:
    gene = gene_figure(genes, found)
    return [*([] if gene is None else [gene]), precision_figure(found), reliability_figure(result["reliability"])]


def _table(result: Mapping[str, Any], caption: str = "The genes, each on its strand.") -> Table:
    rows = []
    for name in ("donor", "acceptor"):
        for suffix, words in (("", ""), ("_masked", ", other transcripts' sites left out")):
            if f"{name}_topk{suffix}" not in result:
                continue
            cells = [f"{name}s{words}"]
            for what in ("topk", "ap"):
                interval = result[f"{name}_{what}{suffix}_interval"]
                among = "one gene: no interval" if interval is None else "{:.4f} to {:.4f}".format(*interval)
                cells.append(f"{result[f'{name}_{what}{suffix}']:.4f} ({among})")
            rows.append(cells)
    return Table(("sites", "top-k (95 %)", "average precision (95 %)"), rows, caption)


def cited(trained: Trained) -> list[str]:
    """What a network is made of."""
    return [SPLICEAI, type(trained.net.blocks[0].forward.cell).bibtex]
