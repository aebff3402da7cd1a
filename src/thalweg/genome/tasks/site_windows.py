"""Windows around single bases of genes, and intervals over genes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.data.sequence import UNKNOWN
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.tasks.identity import fingerprint
from thalweg.genome.tasks.metrics import LEVEL
from thalweg.methods.parts import part_name

REACH = 2000  # bases on either side of a site that are read
BATCH = 4  # windows that are computed together: of 4,000 bases each, so many fit into the caches of a core
RESAMPLES = 300


class Places(NamedTuple):
    """Some bases of genes, each as the number of its `gene` and its `place` in the codes of that gene."""

    gene: Int[np.ndarray, " places"]
    place: Int[np.ndarray, " places"]


class Around(NamedTuple):
    """Bases around some places, which lie in the middle.

    **Fields:** `codes`, with `margin` more on either side, unknown past the ends of what is read of a gene; `real`,
    which of them are the gene's; `first` and `last`, its ends.
    """

    codes: Int8[np.ndarray, "places around"]
    first: Bool[np.ndarray, "places time"]
    last: Bool[np.ndarray, "places time"]
    real: Bool[np.ndarray, "places around"]


def around(genes: Sequence[LabelledGene], at: Places, reach: int, margin: int) -> Around:
    """Windows of `reach` bases on either side of places, as a network reads packed genes."""
    steps = np.arange(-reach - margin, reach + margin + 1)
    codes = np.full((at.gene.size, steps.size), UNKNOWN, np.int8)
    inside, first, last = (np.zeros((at.gene.size, steps.size), bool) for _ in range(3))
    for row, (number, place) in enumerate(zip(at.gene, at.place, strict=True)):
        found, position = genes[number].codes, place + steps
        inside[row] = (position >= 0) & (position < found.size)
        codes[row, inside[row]] = found[position[inside[row]]]
        first[row], last[row] = position == 0, position == found.size - 1
    inner = slice(margin, steps.size - margin)
    return Around(codes, first[:, inner], last[:, inner], inside)


def batches(of: Around) -> Iterator[tuple[slice, Around]]:
    """Windows a few at a time, always as many, so that they are compiled for once; the last ones stand in again."""
    count = len(of.codes)
    for start in range(0, count, BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), count - 1)
        yield slice(start, min(start + BATCH, count)), Around(*(leaf[rows] for leaf in of))


def sites_of(genes: Sequence[LabelledGene], kind: int) -> Places:
    """All donors (1) or acceptors (2) of genes."""
    found = [np.flatnonzero(gene.labels == kind) for gene in genes]
    number = np.repeat(np.arange(len(genes)), [places.size for places in found])
    return Places(number, np.concatenate([np.zeros(0, np.int64), *found]))


def signature(net: SpliceNetwork, genes: Sequence[LabelledGene]) -> str:
    """A hash of a network and of genes, for the names of parts."""
    return part_name("network", network=fingerprint(net).hex(), genes=genes_signature(genes))


def genes_signature(genes: Sequence[LabelledGene]) -> str:
    """A hash of the bases and labels of genes."""
    lengths = np.array([[gene.codes.size, gene.flank] for gene in genes])
    codes, labels = (np.concatenate([getattr(gene, name) for gene in genes]) for name in ("codes", "labels"))
    return part_name("genes", lengths=lengths, codes=codes, labels=labels)


def drawn_again(genes: int, seed: int) -> Int[np.ndarray, "resamples genes"]:
    """How often each gene counts, when genes are drawn again with replacement."""
    generator = np.random.default_rng(seed)
    return np.stack([np.bincount(generator.integers(genes, size=genes), minlength=genes) for _ in range(RESAMPLES)])


def interval(values: Float[np.ndarray, "resamples *rest"]) -> Any:
    """The interval of 95 % of what came of the resamples, as `[low, high]` of each; `None` where nothing did."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if values.size else (np.nan,) * 2
    return np.stack([low, high], axis=-1).tolist()
