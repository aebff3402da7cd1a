"""The compiled loop of the semidefinite bound; imported only where it runs, because numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=True)
def mix(starts, neighbours, couplings, vectors, lengths, sweeps, tolerance):
    """Turn each unit vector into the direction of what it feels, until a whole sweep gains less than `tolerance`.

    The last sweep leaves in `lengths` how strong it was felt, which are the dual variables. The gain of a sweep is
    counted against the sum of them.
    """
    size, rank = vectors.shape
    felt = np.empty(rank)
    for sweep in range(sweeps):
        gain, total = 0.0, 0.0
        for here in range(size):
            felt[:] = 0
            for entry in range(starts[here], starts[here + 1]):
                coupling, there = couplings[entry], neighbours[entry]
                for k in range(rank):
                    felt[k] += coupling * vectors[there, k]
            length, before = 0.0, 0.0
            for k in range(rank):
                length += felt[k] * felt[k]
                before += felt[k] * vectors[here, k]
            length = np.sqrt(length)
            lengths[here] = length
            total += length
            if length > 0:
                gain += length - before
                for k in range(rank):
                    vectors[here, k] = felt[k] / length
        if gain <= tolerance * total:
            return sweep + 1
    return sweeps
