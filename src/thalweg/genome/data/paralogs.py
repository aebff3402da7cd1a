"""Genes that are too similar across a split: what is learnt from one would be known of the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from thalweg.genome.data.annotation import Transcript
from thalweg.genome.data.genes import Gene, exonic_bases
from thalweg.genome.data.region import Split
from thalweg.genome.data.sequence import UNKNOWN, Sequence, reverse_complement
from thalweg.genome.data.text import Note, silent

LETTERS = 12
IDENTITY, COVERAGE = 0.8, 0.5
_BLOCK = 512  # genes at a time, so that the table of pairs stays small
_FEWEST = 10  # shared words; short genes share a few by chance


def without_paralogs(
    sequences: Mapping[str, Sequence],
    parts: Split,
    *,
    identity: float = IDENTITY,
    coverage: float = COVERAGE,
    note: Note = silent,
) -> Split:
    """Drop what resembles the held-out genes from training and validation, and what resembles validation from training.

    Two genes are too similar if the spliced sequences of their longest transcripts share as many words of 12 bases as
    two sequences do of which the share `coverage` is alike at `identity` of its bases: coverage * identity^12 of the
    words of the one that has fewer (each word counted once, substitutions taken as independent).

    **Arguments:** `sequences`; `parts` from `split`; `identity` and `coverage`, by default those of OpenSpliceAI's
    filter, which aligns whole genes; `note`, told how many were dropped.

    **Source:** the words kept after substitutions: Fan et al., BMC Genomics 16, 522 (2015); the thresholds: Chao et
    al., OpenSpliceAI (2025), options --min-identity and --min-coverage.
    """
    threshold = coverage * identity**LETTERS
    held_out, validation, training = (
        [words(sequences[gene.chromosome], gene) for gene in part]
        for part in (parts.held_out, parts.validation, parts.training)
    )
    far = containment(validation, held_out) < threshold
    kept = [each for each, keep in zip(validation, far, strict=True) if keep]
    near = ~far, containment(training, [*held_out, *kept]) >= threshold
    dropped = _where(parts.training, near[1]), _where(parts.validation, near[0])
    if any(dropped):
        note(f"{len(dropped[0])} training and {len(dropped[1])} validation genes resemble others across the split and "
             "are left out.")  # fmt: skip
    return parts._replace(
        training=_where(parts.training, ~near[1]),
        validation=_where(parts.validation, ~near[0]),
        paralogs=[*parts.paralogs, *dropped[0], *dropped[1]],
    )


def _where(found: list[Gene], chosen: Bool[np.ndarray, " genes"]) -> list[Gene]:
    return [gene for gene, keep in zip(found, chosen, strict=True) if keep]


def words(sequence: Sequence, gene: Gene) -> Int[np.ndarray, " words"]:
    """The distinct words of 12 bases of a gene's longest transcript, spliced, in its sense, as rising numbers."""
    codes = spliced(sequence, max(gene.transcripts, key=exonic_bases)).astype(np.int32)
    count = codes.size - LETTERS + 1
    if count <= 0:
        return np.zeros(0, np.int32)
    number, unknown = np.zeros(count, np.int32), np.zeros(count, bool)
    for at in range(LETTERS):
        number = number * 4 + codes[at : at + count]
        unknown |= codes[at : at + count] == UNKNOWN
    return np.unique(number[~unknown])


def spliced(sequence: Sequence, transcript: Transcript) -> Int[np.ndarray, " bases"]:
    """The bases of a transcript's exons, joined, in its sense."""
    codes = np.concatenate([sequence.codes[start:end] for start, end in transcript.exons])
    return codes if transcript.strand > 0 else reverse_complement(codes)


def containment(
    queries: list[Int[np.ndarray, " words"]], references: list[Int[np.ndarray, " words"]]
) -> Float[np.ndarray, " queries"]:
    """The largest share of words that each query has in common with a reference, of those of the smaller of the two."""
    found = np.zeros(len(queries))
    sizes = np.array([each.size for each in references])
    if not queries or not references:
        return found
    by_word = _table(references).T.tocsr()
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        shared = (_table(block) @ by_word).tocoo()
        smaller = np.minimum(np.array([each.size for each in block])[shared.row], sizes[shared.col])
        share = np.where(shared.data >= _FEWEST, shared.data / np.maximum(smaller, 1), 0.0)
        np.maximum.at(found, start + shared.row, share)
    return found


def _table(sets: list[Int[np.ndarray, " words"]]) -> csr_array:
    """A row for each set, 1 at its words."""
    ends = np.cumsum([0, *(each.size for each in sets)])
    every = np.concatenate(sets)
    return csr_array((np.ones(every.size, np.int32), every, ends), shape=(len(sets), 4**LETTERS))
