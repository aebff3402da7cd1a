"""Per-base labels: donors at the last base of an exon, acceptors at the first base of the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int8

from thalweg.genome.data.annotation import Transcript
from thalweg.genome.data.genes import Gene, placed, sites
from thalweg.genome.data.sequence import UNKNOWN, Sequence, reverse_complement, to_text
from thalweg.genome.data.text import Note, silent

NONE, DONOR, ACCEPTOR = 0, 1, 2
FLANK = 150


class LabelledGene(NamedTuple):
    """One gene in its own sense, with bases around it that are read and not scored.

    **Fields:** `gene`; `codes`, the bases from `flank` before it to `flank` after it, unknown past the ends of the
    chromosome; `labels`, 0 none, 1 donor, 2 acceptor, of the gene's chosen transcripts; `elsewhere`, the same for sites
    of its other transcripts and of other genes on its strand; both are 0 in the flanks; `flank`, bases on each side.
    """

    gene: Gene
    codes: Int8[np.ndarray, " length"]
    labels: Int8[np.ndarray, " length"]
    elsewhere: Int8[np.ndarray, " length"]
    flank: int

    @property
    def scored(self) -> slice:
        """Where the gene itself lies in the arrays."""
        return slice(self.flank, self.codes.size - self.flank)


def labelled(
    sequences: Mapping[str, Sequence], found: Iterable[Gene], *, flank: int = FLANK, note: Note = silent
) -> list[LabelledGene]:
    """Codes and labels of genes, each in its sense.

    **Arguments:** `sequences` from `read_fasta`; `found` from `genes`; `flank`, bases read on both sides of a gene;
    `note`, told of sites with other dinucleotides, genes that overlap, and sites that are donor and acceptor at once.

    **Raises:** `InputError` as `placed` does.
    """
    kept = placed(sequences, found, note=note)
    every = _all_sites(kept)
    done = [_labelled(sequences[gene.chromosome], gene, every[gene.chromosome, gene.strand], flank) for gene in kept]
    _tell(done, note)
    return done


def _all_sites(found: list[Gene]) -> dict[tuple[str, int], tuple[Int[np.ndarray, " sites"], Int[np.ndarray, " sites"]]]:
    """All donors and acceptors by chromosome and strand, rising."""
    grouped: dict[tuple[str, int], list[Transcript]] = {}
    for gene in found:
        grouped.setdefault((gene.chromosome, gene.strand), []).extend(gene.transcripts)
    return {key: distinct_sites(transcripts) for key, transcripts in grouped.items()}


def distinct_sites(
    transcripts: Iterable[Transcript],
) -> tuple[Int[np.ndarray, " donors"], Int[np.ndarray, " acceptors"]]:
    """Donors and acceptors of transcripts on one strand, each once, rising on the plus strand."""
    both = [sites(transcript) for transcript in transcripts]
    return np.unique(np.concatenate([one[0] for one in both])), np.unique(np.concatenate([one[1] for one in both]))


def _labelled(sequence: Sequence, gene: Gene, every, flank: int) -> LabelledGene:
    first, last = gene.start - flank, gene.end + flank
    codes = np.full(last - first, UNKNOWN, np.int8)
    inside = sequence.codes[max(first, 0) : last]
    codes[max(-first, 0) : max(-first, 0) + inside.size] = inside
    labels, elsewhere = np.zeros_like(codes), np.zeros_like(codes)
    _mark(labels, distinct_sites(gene.chosen), first)
    _mark(elsewhere, tuple(each[slice(*np.searchsorted(each, (gene.start, gene.end)))] for each in every), first)
    elsewhere[labels > 0] = NONE
    if gene.strand < 0:
        codes, labels, elsewhere = reverse_complement(codes), labels[::-1].copy(), elsewhere[::-1].copy()
    return LabelledGene(gene, codes, labels, elsewhere, flank)


def dinucleotides(done: Iterable[LabelledGene]) -> dict[int, Counter[str]]:
    """How often introns begin (`DONOR`) and end (`ACCEPTOR`) with which two bases, in labels and not `elsewhere`."""
    found: dict[int, list[Int8[np.ndarray, "sites 2"]]] = {DONOR: [], ACCEPTOR: []}
    for gene in done:
        for kind, first, second in ((DONOR, 1, 2), (ACCEPTOR, -2, -1)):
            at = np.flatnonzero(gene.labels == kind)
            found[kind].append(np.stack([gene.codes[at + first], gene.codes[at + second]], axis=1))
    counted = {}
    for kind, pairs in found.items():
        pairs, counts = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
        counted[kind] = Counter({to_text(pair): int(count) for pair, count in zip(pairs, counts, strict=True)})
    return counted


def _tell(done: list[LabelledGene], note: Note) -> None:
    if note is silent or not done:
        return
    counted = dinucleotides(done)
    donors, acceptors = counted[DONOR], counted[ACCEPTOR]
    odd = (
        donors.total() - donors["GT"] - donors["GC"] - donors["AT"],
        acceptors.total() - acceptors["AG"] - acceptors["AC"],
    )
    if any(odd):
        note(f"{odd[0]} of {donors.total()} donors are not followed by GT, GC or AT and {odd[1]} of "
             f"{acceptors.total()} acceptors do not follow AG or AC; they are labelled like the others.")  # fmt: skip
    both = sum(len(np.intersect1d(*distinct_sites(gene.gene.chosen))) for gene in done)
    if both:
        note(f"{both} bases are acceptor and donor at once and are labelled donor.")
    overlapping = _overlapping([gene.gene for gene in done])
    if overlapping:
        note(f"{overlapping} genes overlap another on their strand; bases of both are scored in both.")


def _overlapping(found: list[Gene]) -> int:
    """How many genes share a base with another on their strand."""
    shared = set()
    reach: dict[tuple[str, int], Gene] = {}
    for gene in sorted(found, key=lambda gene: gene.start):
        key = gene.chromosome, gene.strand
        before = reach.get(key)
        if before and gene.start < before.end:
            shared |= {before.name, gene.name}
        if not before or gene.end > before.end:
            reach[key] = gene
    return len(shared)


def _mark(labels: Int8[np.ndarray, " length"], found, first: int) -> None:
    """Donors after acceptors: a base that is both (an exon of one base) counts as donor."""
    donors, acceptors = found
    labels[acceptors - first] = ACCEPTOR
    labels[donors - first] = DONOR


def strand_labels(sequence: Sequence, found: Iterable[Gene], strand: int) -> Int8[np.ndarray, " bases"]:
    """Labels of one strand of a whole sequence, in the direction of the plus strand.

    **Arguments:** `sequence`; `found` genes, also of other sequences; `strand`, 1 or -1.

    **Returns:** 0 none, 1 donor, 2 acceptor of the genes' chosen transcripts, at positions of the plus strand; turn
    it round to lie beside the reverse complement.
    """
    labels = np.zeros(sequence.codes.size, np.int8)
    chosen = [
        each for gene in found if (gene.chromosome, gene.strand) == (sequence.name, strand) for each in gene.chosen
    ]
    if chosen:
        _mark(labels, distinct_sites(chosen), 0)
    return labels
