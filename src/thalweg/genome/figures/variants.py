"""The report of scored variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.genome.figures.track import COLOURS, add_exons, add_stems, blank
from thalweg.genome.tasks.variant_alleles import REASONS
from thalweg.genome.tasks.variant_scores import NAMES
from thalweg.genome.tasks.variants import Scored
from thalweg.report import Citations, Page, PlotlyFigure, Prose, Section, Table

_SHOWN = 50
_EFFECTS = dict(zip(NAMES, ("acceptor gained", "acceptor lost", "donor gained", "donor lost"), strict=True))
_SPLICEAI = """@article{jaganathan2019predicting,
  title={Predicting Splicing from Primary Sequence with Deep Learning},
  author={Jaganathan, Kishore and Kyriazopoulou Panagiotopoulou, Sofia and McRae, Jeremy F and others},
  journal={Cell}, volume={176}, number={3}, pages={535--548}, year={2019}}"""


def variants_page(found: Scored) -> Page:
    """The strongest variants, the gene of the strongest with its others, and what was skipped and why."""
    result = found.result
    order = np.argsort([-float(delta.scores.max()) for delta in found.deltas], kind="stable")
    blocks: list[Any] = [Prose("No record could be scored.")]
    if found.tasks:
        blocks = [_track(found, int(order[0])), _strongest(found, order)]
    sections = [Section("Variants", [*blocks, Citations([_SPLICEAI])]), Section("Skipped", _skipped(found))]
    summary = f"{result['scored']:,} of {result['records']:,} records are scored and {result['skipped']:,} skipped."
    if result["largest_error"] is not None:
        summary += (f" Scores of a few alleles that were read again with their whole genes differ by at most "
                    f"{result['largest_error']:.1e}.")  # fmt: skip
    return Page("Variants", summary, sections)


def _strongest(found: Scored, order: Sequence[int] | np.ndarray) -> Table:
    rows = []
    for number in order[:_SHOWN]:
        task, delta = found.tasks[number], found.deltas[number]
        record, gene = found.variants.records[task.record], found.genes[task.gene]
        most = int(np.argmax(delta.scores))
        rows.append((
            record.chromosome, record.position + 1, _short(record.reference),
            _short(record.alternatives[task.alternative]), gene.symbol or gene.name, "+" if gene.strand > 0 else "-",
            _EFFECTS[NAMES[most]], round(float(delta.scores[most]), 3),
            record.position + 1 + int(delta.positions[most]),
        ))  # fmt: skip
    columns = (
        "chromosome",
        "position",
        "reference",
        "alternative",
        "gene",
        "strand",
        "strongest effect",
        "score",
        "at",
    )
    return Table(columns, rows, f"The strongest of {len(found.tasks):,} scores, one for each allele and gene.")


def _short(allele: str) -> str:
    return allele if len(allele) <= 20 else f"{allele[:17]}... ({len(allele)})"


def _track(found: Scored, strongest: int) -> PlotlyFigure:
    gene = found.genes[found.tasks[strongest].gene]
    figure = blank(f"{gene.symbol or gene.name}, {gene.chromosome} {'+' if gene.strand > 0 else '-'}", gene.start,
                   gene.end, "acceptors | donors")  # fmt: skip
    add_exons(figure, [gene])
    here = [number for number, task in enumerate(found.tasks) if task.gene == found.tasks[strongest].gene]
    for name, columns, sign in (("donor", (2, 3), 1), ("acceptor", (0, 1), -1)):
        positions, heights, texts = [], [], []
        for number in here:
            task, scores = found.tasks[number], found.deltas[number].scores
            record = found.variants.records[task.record]
            most = max(columns, key=lambda column, scores=scores: scores[column])
            positions.append(record.position + 1)
            heights.append(float(scores[most]))
            change = f"{_short(record.reference)}>{_short(record.alternatives[task.alternative])}"
            texts.append(f"{record.position + 1:,} {change}: {_EFFECTS[NAMES[most]]} {scores[most]:.3f}")
        add_stems(figure, f"{name}s", positions, heights, texts, COLOURS[name], sign)
    return PlotlyFigure(figure, "The gene of the strongest variant and all variants in it: how much they change donors "
                        "(above) and acceptors (below) near them. Boxes are exons.")  # fmt: skip


def _skipped(found: Scored) -> list[Any]:
    if not found.skipped:
        return [Prose("Every alternative of every record is scored.")]
    first: dict[str, int] = {}
    for one in found.skipped:
        first.setdefault(one.reason, found.variants.records[one.record].line)
    rows = [(reason, REASONS[reason], count, first[reason]) for reason, count in found.result["reasons"].items()]
    columns = ("reason", "what it means", "alternatives", "first in line")
    return [Table(columns, rows, "Alternatives without a score; each record names them in its INFO column.")]
