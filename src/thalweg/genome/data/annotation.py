"""Transcripts from GFF3 and GTF, told apart by their content, without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import InputError, shown
from thalweg.genome.data.features import Features, Part, read_features
from thalweg.genome.data.text import Note, Source, located, silent

_SIGNS = {"+": 1, "-": -1}
_CODING = ("CDS", "start_codon", "stop_codon")


class Transcript(NamedTuple):
    """One transcript with its exons.

    **Fields:** `name`; the `gene` it belongs to and that gene's `symbol`; `chromosome`; `strand`, 1 or -1; `exons`,
    [start, end) from zero on the plus strand, rising and apart from each other; `coding`, whether it has a coding
    sequence; `place` for messages; `coding_bases`, the length of that sequence.
    """

    name: str
    gene: str
    symbol: str
    chromosome: str
    strand: int
    exons: Int[np.ndarray, "exons 2"]
    coding: bool
    place: str
    coding_bases: int = 0

    @property
    def start(self) -> int:
        """Its first base on the plus strand, from zero."""
        return int(self.exons[0, 0])

    @property
    def end(self) -> int:
        """The base after its last on the plus strand."""
        return int(self.exons[-1, 1])


def read_annotation(source: Source, *, note: Note = silent) -> list[Transcript]:
    """Every transcript with exons of a GFF3 or GTF file, plain or packed by gzip, in the order of the file.

    Exons of one transcript that overlap or touch are merged, for no intron lies between them. Where a transcript has
    no exons, its coding sequence, its codons of start and stop and its untranslated regions give them. Exons directly
    below a gene that has transcripts repeat theirs and are left out; below a gene without any they make its only one.
    A transcript that is said to be trans-spliced is left out.

    **Arguments:** `source`, a file or a sample, `cress` or `fly`; `note`, told what was merged, made or left out.

    **Raises:** `InputError` in one sentence with the file and line: for lines without nine columns or with coordinates
    that are no rising whole numbers, exons without a parent or a strand, and transcripts on two strands or chromosomes.
    """
    path = located(source, "annotation")
    features = read_features(path)
    if not features.parts:
        raise InputError(f"{path}: holds no exon and no coding sequence: name a GFF3 or GTF file with some.")
    counts: Counter[str] = Counter()
    transcripts = list(_transcripts(path, features, counts))
    for what, count in counts.items():
        note(f"{path}: {count} {what}.")
    if not transcripts:
        raise InputError(f"{path}: all its transcripts are trans-spliced: name an annotation with others.")
    return transcripts


def _transcripts(path: Path, features: Features, counts: Counter[str]) -> Iterable[Transcript]:
    above: set[str] = set()
    lineages = {key: _lineage(path, features, key) for key in features.parts}
    for lineage in lineages.values():
        above.update(lineage[1:])
    for key, parts in features.parts.items():
        if key in above:
            counts["exons directly below a gene with transcripts are left out"] += len(parts)
        elif not features.trans.isdisjoint(lineages[key]):
            counts["trans-spliced transcripts are left out"] += 1
        else:
            yield _transcript(path, features, key, lineages[key][-1], counts)


def _lineage(path: Path, features: Features, key: str) -> list[str]:
    """The keys from a part's parent up to its gene."""
    found = [key]
    while True:
        owner = features.owners.get(found[-1])
        if owner is None:
            line = features.parts[key][0].line
            raise InputError(
                f"{path}, line {line}: its parent {shown(found[-1])} is nowhere in the file: add that line."
            )
        if not owner.parent or owner.kind.endswith("gene"):
            return found
        if owner.parent in found:
            line = features.parts[key][0].line
            raise InputError(f"{path}, line {line}: its parent {shown(key)} descends from itself: correct Parent=.")
        found.append(owner.parent)


def _transcript(path: Path, features: Features, key: str, gene: str, counts: Counter[str]) -> Transcript:
    parts, owner = features.parts[key], features.owners[key]
    first = parts[0]
    for part in parts:
        if part.sign not in _SIGNS:
            raise InputError(f"{path}, line {part.line}: the strand of this {part.kind} is {shown(part.sign)}: write "
                             "+ or -, or take it out.")  # fmt: skip
        if (part.chromosome, part.sign) != (first.chromosome, first.sign):
            raise InputError(
                f"{path}, line {part.line}: the transcript {shown(owner.name)} is on {part.chromosome} {part.sign} "
                f"here and on {first.chromosome} {first.sign} in line {first.line}: give each place a name of its own."
            )
    exons = [part for part in parts if part.kind == "exon"]
    if not exons:
        counts["transcripts without exons get them from their coding sequence and untranslated regions"] += 1
    merged, touching = _merged(exons or parts)
    if exons and touching:
        counts["transcripts have exons that overlap or touch, which are merged"] += 1
    coding = _merged([part for part in parts if part.kind == "CDS"])[0]
    return Transcript(
        name=owner.name,
        gene=features.owners[gene].name,
        symbol=features.owners[gene].symbol,
        chromosome=first.chromosome,
        strand=_SIGNS[first.sign],
        exons=np.array(merged, np.int64),
        coding=any(part.kind in _CODING for part in parts),
        place=f"{path}, line {first.line}",
        coding_bases=sum(end - start for start, end in coding),
    )


def _merged(parts: list[Part]) -> tuple[list[list[int]], int]:
    """Stretches that are apart and rise, and how many were merged into another."""
    found: list[list[int]] = []
    for start, end in sorted((part.start, part.end) for part in parts):
        if found and start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found, len(parts) - len(found)
