"""The report of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.genome.data.genes import Gene
from thalweg.genome.figures.track import add_exons, add_sites, blank
from thalweg.genome.tasks.scan import KINDS, Scan
from thalweg.genome.tasks.scan_genes import InGenes
from thalweg.report import Page, PlotlyFigure, Prose, Section, Table

_WIDE = 20_000  # bases that are shown without an annotation
_STRANDS = {1: "+", -1: "-"}


def scan_page(found: Scan, genes: Sequence[Gene] = (), in_genes: InGenes | None = None) -> Page:
    """What was found on which sequence, a stretch of it, and beside an annotation how both agree.

    **Arguments:** `found`; `genes` of an annotation, if there is one; `in_genes`, what was found in those.
    """
    result = found.result
    track = _track(found, genes)
    blocks: list[Any] = [Prose("No site reaches the threshold.") if track is None else track, _per_sequence(found)]
    sections = [Section("Sites", blocks)]
    if in_genes is not None:
        sections.append(Section("Beside the annotation", [_agreement(in_genes), Prose(_STORY)]))
    summary = (
        f"{result['donors']:,} donors and {result['acceptors']:,} acceptors have a probability of at least "
        f"{found.threshold:g} on both strands of {result['bases']:,} bases."
    )
    if result["gap_bases"]:
        summary += f" {result['gap_bases']:,} bases in gaps were left out."
    return Page("Splice sites", summary, sections)


_STORY = (
    "In genes, each was read in its own direction between its annotated ends, as in the training. Genome-wide, both "
    "strands were read without knowing where genes are, and every site that the annotation of the longest transcripts "
    "lacks counts against the precision."
)


def _track(found: Scan, genes: Sequence[Gene]) -> PlotlyFigure | None:
    """The gene of middling length with several introns among those that were scanned, or else where most sites are."""
    read = [gene for gene in genes if _read(found, gene)]
    several = [gene for gene in read if len(gene.chosen[0].exons) > 4] or read
    if several:
        gene = sorted(several, key=lambda gene: gene.end - gene.start)[len(several) // 2]
        chromosome, start, end = gene.chromosome, gene.start - 200, gene.end + 200
        title = f"{gene.symbol or gene.name}, {chromosome} {_STRANDS[gene.strand]}"
    else:
        densest = _densest(found)
        if densest is None:
            return None
        chromosome, start, end = densest
        title = f"{chromosome}:{start + 1:,}-{end:,}"
    figure = blank(title, start, end, "acceptors | donors")
    shown = [gene for gene in read if gene.chromosome == chromosome and gene.start < end and gene.end > start]
    add_exons(figure, shown)
    count = sum(add_sites(figure, name, found.sites(name), chromosome, start, end) for name in KINDS)
    exons = "Boxes are annotated exons, filled on the plus strand and open on the minus strand. " if shown else ""
    return PlotlyFigure(figure, f"{exons}Predicted donors above and acceptors below, {count} in this stretch.")


def _read(found: Scan, gene: Gene) -> bool:
    return any(
        piece.sequence == gene.chromosome and piece.low <= gene.start and gene.end <= piece.high
        for piece in found.pieces
    )


def _densest(found: Scan) -> tuple[str, int, int] | None:
    best: tuple[int, str, int] | None = None
    for one in found.sites("donor"):
        if not one.positions.size:
            continue
        counts = np.bincount(one.positions // _WIDE)
        most = int(np.argmax(counts))
        if best is None or counts[most] > best[0]:
            best = int(counts[most]), one.chromosome, most * _WIDE
    return None if best is None else (best[1], best[2], best[2] + _WIDE)


def _per_sequence(found: Scan) -> Table:
    rows: dict[tuple[str, str], list[int]] = {}
    for place, name in enumerate(KINDS):
        for piece, one in zip(found.pieces, found.sites(name), strict=True):
            row = rows.setdefault((piece.sequence, _STRANDS[piece.strand]), [0, 0, 0])
            row[place] += one.positions.size
            row[2] += piece.high - piece.low if place == 0 else 0
    listed = [(*key, row[2], row[0], row[1], 1e3 * row[0] / row[2]) for key, row in rows.items()]
    shown = sorted(listed, key=lambda row: -row[2])[:100]
    left = "" if len(shown) == len(listed) else f" The longest {len(shown)} of {len(listed)}."
    columns = ("sequence", "strand", "bases", "donors", "acceptors", "donors per kbp")
    return Table(columns, shown, f"What was found on which strand.{left}")


def _agreement(found: InGenes) -> Table:
    rows = []
    for name in KINDS:
        for where in ("in_genes", "genome_wide"):
            one = found.result[f"{name}_{where}"]
            known = found.result[f"{name}s_annotated"]
            rows.append((name, where.replace("_", " "), known, one["found"], one["recall"], one["precision"]))
    columns = ("sites", "read", "annotated", "found", "recall", "precision")
    return Table(columns, rows, f"Sites of {found.result['genes']:,} genes at the threshold of the scan.")
