"""The compiled loop of the exhaustive search; imported only where it runs, because numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def count(starts, neighbours, couplings, fields, signs, best, here, lowest, looked, number):
    """Flip one sign per configuration, `number` times from the count `looked` on; the lowest energy met."""
    for step in range(looked + 1, looked + number + 1):
        place = 0
        while not (step >> place) & 1:
            place += 1
        here += 2.0 * signs[place] * fields[place]
        signs[place] = -signs[place]
        for entry in range(starts[place], starts[place + 1]):
            fields[neighbours[entry]] += 2 * couplings[entry] * signs[place]
        if here < lowest:
            lowest = here
            best[:] = signs
    return lowest
