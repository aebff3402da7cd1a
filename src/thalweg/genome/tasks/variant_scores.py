"""Delta scores: how much a variant changes the chance of a splice site near it, and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.genome.data.genes import Gene
from thalweg.genome.data.labels import ACCEPTOR, DONOR, FLANK
from thalweg.genome.data.sequence import UNKNOWN, reverse_complement, to_codes
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.vcf import Variant

NAMES = ("AG", "AL", "DG", "DL")  # acceptor gain and loss, donor gain and loss


class Sense(NamedTuple):
    """A gene with bases around it, in its own direction.

    **Fields:** `codes`; `first`, the position on the plus strand of its first base there; `strand`; `inner`, where the
    gene itself lies.
    """

    codes: Int8[np.ndarray, " bases"]
    first: int
    strand: int
    inner: slice

    def turned(self, start: int, stop: int) -> tuple[int, int]:
        """[start, stop) of the plus strand in the direction of the gene."""
        if self.strand > 0:
            return start - self.first, stop - self.first
        end = self.first + self.codes.size
        return end - stop, end - start


class Change(NamedTuple):
    """One allele in one gene, in its direction.

    **Fields:** the bases [`start`, `stop`) are replaced by `codes`; the chances of the bases [`low`, `high`), which
    hold them, are compared.
    """

    start: int
    stop: int
    codes: Int8[np.ndarray, " bases"]
    low: int
    high: int

    @property
    def longer(self) -> int:
        """How many bases the sequence gains."""
        return self.codes.size - (self.stop - self.start)


class Delta(NamedTuple):
    """Scores of acceptor gain, acceptor loss, donor gain and donor loss, and their positions from that of the record.

    Positions count along the plus strand, whatever the strand of the gene.
    """

    scores: Float[np.ndarray, " 4"]
    positions: Int[np.ndarray, " 4"]


def sense(gene: Gene, sequence: Bases, distance: int) -> Sense:
    """A gene as it was read in the training, with as many bases around it as the longest reference may reach."""
    flank = max(FLANK, 2 * distance)
    first, last = gene.start - flank, gene.end + flank
    codes = np.full(last - first, UNKNOWN, np.int8)
    inside = sequence.codes[max(first, 0) : last]
    codes[max(-first, 0) : max(-first, 0) + inside.size] = inside
    codes = codes if gene.strand > 0 else reverse_complement(codes)
    return Sense(codes, first, gene.strand, slice(flank, codes.size - flank))


def change(record: Variant, allele: str, of: Sense, distance: int) -> Change:
    """What an alternative of a record changes in a gene."""
    reach = len(record.reference)
    start, stop = of.turned(record.position, record.position + reach)
    low, high = of.turned(record.position - distance, record.position + max(distance + 1, reach))
    codes = to_codes(allele)
    codes = codes if of.strand > 0 else reverse_complement(codes)
    return Change(start, stop, codes, max(low, 0), min(high, of.codes.size))


def changed(of: Sense, by: Change) -> Int8[np.ndarray, " bases"]:
    """The bases of a gene with an allele in it."""
    return np.concatenate([of.codes[: by.start], by.codes, of.codes[by.stop :]])


def delta(
    reference: Float[np.ndarray, "bases 3"],
    alternative: Float[np.ndarray, "changed 3"],
    of: Sense,
    by: Change,
    record: Variant,
    distance: int,
    boundary: int | None = None,
) -> Delta:
    """The delta scores of one allele in one gene, as SpliceAI defines them.

    Chances are compared base by base within `distance` of the record's position; a base outside of the gene counts as
    no site. Bases of the alternative stand for those of the reference one by one from the left; where it is shorter,
    the rest of the reference has lost its chances, where it is longer, the last of them takes the highest of the rest.
    SpliceAI scores the same way alleles of which one has a single base, and no others. A score is the largest
    difference, its position the first one that has it, and never below zero.

    **Arguments:** chances of none, donor and acceptor at the bases [`low`, `high`) of `by` without and with the allele,
    in the direction of the gene; `boundary`, to mask: the position of the nearest end of an exon from the record's,
    where a gain counts nothing, and a loss only there.

    **Source:** Jaganathan et al., Cell 176, 535 (2019), and its program SpliceAI 1.3.1.
    """
    before, after = (each if of.strand > 0 else each[::-1] for each in (reference, alternative))
    left = by.start - by.low if of.strand > 0 else by.high - by.stop
    after = _aligned(after, left, by.stop - by.start, by.codes.size)
    first = record.position - left  # on the plus strand
    places = np.arange(first, first + len(before))
    counted = np.abs(places - record.position) <= distance
    start, stop = of.first + of.inner.start, of.first + of.inner.stop  # flanks are of one length
    inside = ((places >= start) & (places < stop))[counted, None]
    before, after, places = before[counted] * inside, after[counted] * inside, places[counted] - record.position
    scores, positions = np.zeros(4, np.float32), np.zeros(4, np.int32)
    for number, (kind, sign) in enumerate([(ACCEPTOR, 1), (ACCEPTOR, -1), (DONOR, 1), (DONOR, -1)]):
        difference = sign * (after[:, kind] - before[:, kind])
        at = int(np.argmax(difference))
        known = boundary is not None and places[at] == boundary
        masked = boundary is not None and known == (sign > 0)
        scores[number] = 0.0 if masked else max(float(difference[at]), 0.0)
        positions[number] = places[at]
    return Delta(scores, positions)


def _aligned(
    chances: Float[np.ndarray, "changed 3"], left: int, reference: int, alternative: int
) -> Float[np.ndarray, "bases 3"]:
    allele = chances[left : left + alternative]
    same = min(reference, alternative)
    middle = np.zeros((reference, chances.shape[1]), chances.dtype)
    middle[:same] = allele[:same]
    if alternative > reference:
        middle[same - 1] = allele[same - 1 :].max(axis=0)
    return np.concatenate([chances[:left], middle, chances[left + alternative :]])


def nearest_boundary(gene: Gene, position: int) -> int:
    """How far the nearest first or last base of an exon of the gene's chosen transcripts is from a position."""
    exons = np.concatenate([transcript.exons for transcript in gene.chosen])
    away = np.union1d(exons[:, 0], exons[:, 1] - 1) - position
    return int(away[np.argmin(np.abs(away))])


def written(allele: str, gene: Gene, found: Delta) -> str:
    """One entry of the INFO field: `ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL`."""
    symbol = (gene.symbol or gene.name).replace("|", "_").replace(",", "_")
    scores = [f"{score:.2f}" for score in found.scores]
    return "|".join([allele, symbol, *scores, *map(str, found.positions.tolist())])
