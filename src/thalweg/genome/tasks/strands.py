"""How well a network finds sites where nobody says which strand has genes, or where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Several
from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.genome.data.genes import Gene
from thalweg.genome.data.labels import strand_labels
from thalweg.genome.data.region import Region
from thalweg.genome.data.sequence import Sequence, reverse_complement
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.tasks.evaluate import SITES
from thalweg.genome.tasks.metrics import ranked, with_intervals

_BLOCK = 50_000  # bases that are drawn together for an interval: longer than nearly all genes


def both_strands(
    net: SpliceNetwork, sequences: Mapping[str, Sequence], found: Several[Gene], where: Region, *, seed: int = 0
) -> dict[str, Any]:
    """Top-k and average precision over every base of a region, on both strands.

    **Arguments:** `found`, the annotated genes, whose chosen transcripts are the labels.

    **Returns:** `donor_topk`, `donor_ap` and their intervals over blocks of 50,000 bases, the same for acceptors, and
    `donors`, `acceptors` and `bases` of both strands.
    """
    sequence = sequences[where.chromosome]
    here = slice(where.start, sequence.codes.size if where.end is None else where.end)
    chances, labels = [], []
    for strand in (1, -1):
        chances.append(strand_chances(net, sequence, here, strand))
        labels.append(strand_labels(sequence, found, strand)[here])
    scores, target = np.concatenate(chances), np.concatenate(labels)
    length = here.stop - here.start
    block = np.tile(np.arange(length) // _BLOCK, 2)
    result: dict[str, Any] = {}
    for name, kind in SITES.items():
        one = ranked(scores[:, kind], target == kind, block, int(block.max()) + 1)
        result |= {f"{name}_{key}": value for key, value in with_intervals(one, seed).items()}
        result[f"{name}s"] = int(np.count_nonzero(target == kind))
    return result | {"bases": 2 * length}


def strand_chances(net: SpliceNetwork, sequence: Sequence, here: slice, strand: int) -> Float[np.ndarray, "bases 3"]:
    """The probabilities of one strand of a stretch, at positions of the plus strand."""
    codes = sequence.codes[here]
    if strand > 0:
        return probabilities(net, codes)
    return probabilities(net, reverse_complement(codes))[::-1]
