"""The compiled loops of the memetic search beside tabu; imported only where they run: numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
No kernel here sees a field: signs and their opposites are the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from thalweg.methods.signs.words import below, moved, uniform

_HIGH = np.uint64(40)


@njit(cache=True, nogil=True)
def random_signs(signs, words):
    """Every sign at random."""
    word = words[0]
    for i in range(signs.size):
        word = moved(word)
        signs[i] = 1 if uniform(word) < 0.5 else -1
    words[0] = word


@njit(cache=True, nogil=True)
def two(count, words):
    """Two different members."""
    word = moved(words[0])
    one = below(word, count)
    word = moved(word)
    other = below(word, count - 1)
    words[0] = word
    return one, other + (other >= one)


@njit(cache=True, nogil=True)
def distance(one, other):
    """How many signs differ, at most half of them since opposites are the same; negative if turned over."""
    apart = 0
    for i in range(one.size):
        apart += one[i] != other[i]
    return apart if 2 * apart <= one.size else apart - one.size


@njit(cache=True, nogil=True)
def nearest(members, signs):
    """The member with the fewest signs that differ, and how many."""
    place, least = 0, signs.size + 1
    for k in range(members.shape[0]):
        apart = abs(distance(members[k], signs))
        if apart < least:
            place, least = k, apart
    return place, least


@njit(cache=True, nogil=True)
def mixed(one, other, turn, signs, differing, words):
    """Each sign from one parent or the other (times `turn`); returns how many differ, and notes which."""
    count, word = 0, words[0]
    for i in range(signs.size):
        signs[i] = one[i]
        if one[i] != turn * other[i]:
            differing[count] = i
            count += 1
            word = moved(word)
            if uniform(word) < 0.5:
                signs[i] = -one[i]
    words[0] = word
    return count


@njit(cache=True, nogil=True)
def felt(starts, neighbours, couplings, signs, fields):
    """The local fields of some signs."""
    for i in range(signs.size):
        fields[i] = 0
        for entry in range(starts[i], starts[i + 1]):
            fields[i] += couplings[entry] * signs[neighbours[entry]]


@njit(cache=True, nogil=True)
def anneal(starts, neighbours, couplings, signs, fields, which, betas, draws, words):
    """One Metropolis sweep over some of the signs at each inverse temperature.

    `draws` are quantiles of the exponential law, a power of two of them: an uphill flip is accepted if it costs less
    than one of them, taken at random. That is coarser than a logarithm, and four times as quick.
    """
    word, last = words[0], np.uint64(draws.size - 1)
    for beta in betas:
        reach = draws[last] / (2.0 * beta)
        for k in range(which.size):
            sign = np.uint32(which[k])
            cost = fields[sign] * signs[sign]
            if cost > 0:
                if cost > reach:
                    continue
                word = moved(word)
                if 2.0 * beta * cost > draws[(word >> _HIGH) & last]:
                    continue
            _turn(starts, neighbours, couplings, signs, fields, sign)
    words[0] = word


@njit(cache=True, nogil=True)
def descend(starts, neighbours, couplings, field, signs, fields):
    """Flip signs against their local fields until there are none, with the fields found anew.

    Returns the energy of signs without fields. The rounds end also where rounding would go in circles.
    """
    total = 0.0
    for _ in range(signs.size + 1):
        total, flips = 0.0, 0
        for i in range(signs.size):
            pull = field[i]
            for entry in range(starts[i], starts[i + 1]):
                pull += couplings[entry] * signs[neighbours[entry]]
            fields[i] = pull
            total += pull * signs[i]
        for i in range(signs.size):
            if fields[i] * signs[i] < 0:
                _turn(starts, neighbours, couplings, signs, fields, np.uint32(i))
                flips += 1
        if flips == 0:
            break
    return -total / 2


@njit(inline="always")
def _turn(starts, neighbours, couplings, signs, fields, sign):
    signs[sign] = -signs[sign]
    turn = np.int32(2 * signs[sign])
    for entry in range(starts[sign], starts[np.int64(sign) + 1]):
        fields[np.uint32(neighbours[np.uint64(entry)])] += couplings[np.uint64(entry)] * turn
