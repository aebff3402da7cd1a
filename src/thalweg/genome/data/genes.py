"""Genes with the transcripts that their labels come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from thalweg.core.errors import InputError
from thalweg.genome.data.annotation import Transcript
from thalweg.genome.data.sequence import Sequence
from thalweg.genome.data.text import Note, silent


class Gene(NamedTuple):
    """One gene.

    **Fields:** `name` and `symbol`; `chromosome`; [`start`, `end`) from zero, which spans all its transcripts;
    `strand`, 1 or -1; `transcripts`, all of them; `chosen`, those whose sites are its labels.
    """

    name: str
    symbol: str
    chromosome: str
    start: int
    end: int
    strand: int
    transcripts: tuple[Transcript, ...]
    chosen: tuple[Transcript, ...]


def genes(
    transcripts: Iterable[Transcript],
    kind: Literal["longest", "all"] = "longest",
    *,
    coding: bool = True,
    note: Note = silent,
) -> list[Gene]:
    """Group transcripts into genes, ordered by chromosome (as in the annotation) and start.

    **Arguments:**

    - `transcripts`, from `read_annotation`.
    - `kind`: `"longest"` labels a gene by its transcript with most bases in exons, the first in the file among equals
      (OpenSpliceAI's `canonical` counts introns too, which prefers isoforms with a far first exon); `"all"` labels it
      by every transcript.
    - `coding`: only genes that have a coding sequence; of these, noncoding transcripts stay too.
    - `note`, told which genes lie on two strands or chromosomes and are left out.

    **Raises:** `InputError` if no gene is left.
    """
    if kind not in ("longest", "all"):
        raise InputError(f"the kind of labels is {kind!r}: choose 'longest' or 'all'.")
    grouped: dict[str, list[Transcript]] = {}
    for transcript in transcripts:
        grouped.setdefault(transcript.gene, []).append(transcript)
    order: dict[str, int] = {}
    found, torn = [], []
    for name, members in grouped.items():
        if coding and not any(transcript.coding for transcript in members):
            continue
        if len({(transcript.chromosome, transcript.strand) for transcript in members}) > 1:
            torn.append(name)
            continue
        order.setdefault(members[0].chromosome, len(order))
        found.append(_gene(members, kind))
    if torn:
        note(f"{len(torn)} genes have transcripts on two strands or chromosomes and are left out ({_some(torn)}).")
    if not found:
        what = "with a coding sequence on one strand" if coding else "on one strand"
        raise InputError(f"the annotation has no gene {what}: name another annotation.")
    return sorted(found, key=lambda gene: (order[gene.chromosome], gene.start, gene.end))


def _gene(members: list[Transcript], kind: str) -> Gene:
    first = members[0]
    longest = max(members, key=exonic_bases)
    return Gene(
        name=first.gene,
        symbol=first.symbol,
        chromosome=first.chromosome,
        start=min(transcript.start for transcript in members),
        end=max(transcript.end for transcript in members),
        strand=first.strand,
        transcripts=tuple(members),
        chosen=tuple(members) if kind == "all" else (longest,),
    )


def exonic_bases(transcript: Transcript) -> int:
    """The length of a transcript once it is spliced."""
    return int((transcript.exons[:, 1] - transcript.exons[:, 0]).sum())


def placed(sequences: Mapping[str, Sequence], found: Iterable[Gene], *, note: Note = silent) -> list[Gene]:
    """The genes that lie on the sequences at hand.

    **Arguments:** `sequences`; genes `found` in an annotation; `note`, told how many lie on sequences that are not
    there and are left out.

    **Raises:** `InputError` if none lies on any (the first names of both are shown), or if one reaches past the end.
    """
    found = list(found)
    kept = [gene for gene in found if gene.chromosome in sequences]
    absent = list(dict.fromkeys(gene.chromosome for gene in found if gene.chromosome not in sequences))
    if found and not kept:
        raise InputError(
            f"no gene lies on a sequence: the annotation ({_file(found[0].transcripts[0].place)}) names {_some(absent)}"
            f" and the sequences ({_file(next(iter(sequences.values())).place)}) are named {_some(list(sequences))}: "
            "rename one of them."
        )
    if absent:
        note(f"{len(found) - len(kept)} genes on sequences that are not in the FASTA ({_some(absent)}) are left out.")
    for gene in kept:
        bases = sequences[gene.chromosome].codes.size
        if gene.end > bases:
            late = max(gene.transcripts, key=lambda transcript: transcript.end)
            raise InputError(
                f"{late.place}: the transcript {late.name!r} ends at base {late.end}, past the {bases} bases of "
                f"{gene.chromosome}: name the sequence that this annotation was made for."
            )
    return kept


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (" and others" if len(names) > 3 else "")


def _file(place: str) -> str:
    return place.rpartition(", line ")[0] or place


def sites(transcript: Transcript) -> tuple[Int[np.ndarray, " introns"], Int[np.ndarray, " introns"]]:
    """Donors (last base of an exon) and acceptors (first base of the next) of a transcript, on the plus strand.

    Both rise along the plus strand; entry i of both belongs to the same intron.
    """
    left, right = transcript.exons[:-1, 1] - 1, transcript.exons[1:, 0]
    return (left, right) if transcript.strand > 0 else (right, left)
