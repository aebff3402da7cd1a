"""Sequences shuffled so that every pair of neighbouring bases stays as frequent as it was."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int8

_KINDS = 5  # of bases, unknown ones included


def shuffled(codes: Int8[np.ndarray, " bases"], generator: np.random.Generator) -> Int8[np.ndarray, " bases"]:
    """A random sequence with the same first and last base and exactly the same counts of dinucleotides.

    All such sequences are equally likely: each is a path through the bases that uses every step of the sequence once;
    the last steps away from each base are drawn as a random tree towards the end, all others in random order.

    **Source:** Altschul & Erickson, Mol. Biol. Evol. 2, 526 (1985); trees by Wilson, STOC 1996.
    """
    if codes.size < 4:
        return codes.copy()
    after = [codes[1:][codes[:-1] == base] for base in range(_KINDS)]
    last = _tree(after, int(codes[-1]), generator)
    order = []
    for base, next_ones in enumerate(after):
        if base in last:
            rest = np.delete(next_ones, np.flatnonzero(next_ones == last[base])[0])
            order.append(iter([*generator.permutation(rest).tolist(), last[base]]))
        else:
            order.append(iter(generator.permutation(next_ones).tolist()))
    walked = [int(codes[0])]
    for _ in range(codes.size - 1):
        walked.append(next(order[walked[-1]]))
    return np.array(walked, np.int8)


def _tree(after: list[np.ndarray], end: int, generator: np.random.Generator) -> dict[int, int]:
    """For every base but the last one where the path goes when it leaves it for the last time."""
    found: dict[int, int] = {}
    for start, next_ones in enumerate(after):
        if not next_ones.size:
            continue
        at, tried = start, {}
        # A random walk until it meets the tree; what it went round in is overwritten.
        while at != end and at not in found:
            tried[at] = int(generator.choice(after[at]))
            at = tried[at]
        at = start
        while at != end and at not in found:
            found[at] = tried[at]
            at = tried[at]
    return found
