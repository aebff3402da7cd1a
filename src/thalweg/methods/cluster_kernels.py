"""The compiled loops of the cluster updates; imported only where they run, because numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Numba turns a product of an unsigned and a signed integer into a float: every constant here is unsigned.
_FIVE, _SEVEN, _NINE = np.uint64(5), np.uint64(7), np.uint64(9)
_ELEVEN, _SEVENTEEN, _FORTY_FIVE, _SIXTY_FOUR = np.uint64(11), np.uint64(17), np.uint64(45), np.uint64(64)
_UNIT = 2.0**-53


@njit(cache=True, nogil=True)
def _turned(word, places):
    return (word << places) | (word >> (_SIXTY_FOUR - places))


@njit(cache=True, nogil=True)
def uniform(words):
    """The next number in [0, 1) of xoshiro256** (Blackman & Vigna 2021), whose four words move on in place."""
    out = _turned(words[1] * _FIVE, _SEVEN) * _NINE
    shifted = words[1] << _SEVENTEEN
    words[2] ^= words[0]
    words[3] ^= words[1]
    words[1] ^= words[2]
    words[0] ^= words[3]
    words[2] ^= shifted
    words[3] = _turned(words[3], _FORTY_FIVE)
    return (out >> _ELEVEN) * _UNIT


@njit(cache=True, nogil=True)
def height(signs, starts, neighbours, couplings, field):
    """`-sum_pairs J s s - sum h s` of one configuration."""
    total = 0.0
    for here in range(signs.size):
        total -= field[here] * signs[here]
        for entry in range(starts[here], starts[here + 1]):
            if neighbours[entry] > here:
                total -= couplings[entry] * signs[here] * signs[neighbours[entry]]
    return total


@njit(cache=True, nogil=True)
def _root(parent, here):
    while parent[here] != here:
        parent[here] = parent[parent[here]]
        here = parent[here]
    return here


@njit(cache=True, nogil=True)
def _join(parent, first, second):
    first, second = _root(parent, first), _root(parent, second)
    if first < second:
        parent[second] = first
    else:
        parent[first] = second


@njit(cache=True, nogil=True)
def _grow_all(parent, signs, words, starts, neighbours, couplings, field, temperature):
    """Join the two ends of each satisfied pair with probability 1 - exp(-2 |J| / T); the field's end is vertex n."""
    known, chance = 0.0, 0.0
    for here in range(signs.size):
        for entry in range(starts[here], starts[here + 1]):
            there = neighbours[entry]
            gain = couplings[entry] * signs[here] * signs[there]
            if there > here and gain > 0:
                if gain != known:  # most systems have few different couplings, and exp is the dearest part
                    known, chance = gain, -np.expm1(-2 * gain / temperature)
                if uniform(words) < chance:
                    _join(parent, here, there)
        gain = field[here] * signs[here]
        if gain > 0 and uniform(words) < -np.expm1(-2 * gain / temperature):
            _join(parent, here, signs.size)


@njit(cache=True, nogil=True)
def swendsen_wang(signs, energy, words, starts, neighbours, couplings, field, temperature):
    """One Swendsen-Wang update of every chain, in place."""
    chains, size = signs.shape
    parent, turn = np.empty(size + 1, np.int64), np.empty(size + 1, np.int8)
    for chain in range(chains):
        mine = signs[chain]
        for here in range(size + 1):
            parent[here] = here
        _grow_all(parent, mine, words[chain], starts, neighbours, couplings, field, temperature)
        held = _root(parent, size)
        for here in range(size):
            root = _root(parent, here)
            if root == here:  # a root has the lowest index of its cluster, so that its turn is known before it is asked
                turn[here] = 1 if here == held or uniform(words[chain]) < 0.5 else -1
            mine[here] *= turn[root]
        energy[chain] = height(mine, starts, neighbours, couplings, field)


@njit(cache=True, nogil=True)
def _grow_one(cluster, inside, signs, words, starts, neighbours, couplings, field, temperature):
    """Fill `cluster` from a random vertex; its size, and whether the field holds it."""
    cluster[0] = int(uniform(words) * signs.size)
    inside[cluster[0]] = 1
    done, size, known, chance = 0, 1, 0.0, 0.0
    while done < size:
        here = cluster[done]
        done += 1
        gain = field[here] * signs[here]
        if gain > 0 and uniform(words) < -np.expm1(-2 * gain / temperature):
            return size, True
        for entry in range(starts[here], starts[here + 1]):
            there = neighbours[entry]
            gain = couplings[entry] * signs[here] * signs[there]
            if gain > 0 and inside[there] == 0:
                if gain != known:
                    known, chance = gain, -np.expm1(-2 * gain / temperature)
                if uniform(words) < chance:
                    inside[there] = 1
                    cluster[size] = there
                    size += 1
    return size, False


@njit(cache=True, nogil=True)
def wolff(signs, energy, words, starts, neighbours, couplings, field, temperature, clusters):
    """So many Wolff clusters in every chain, in place."""
    chains, size = signs.shape
    cluster, inside = np.empty(size, np.int64), np.zeros(size, np.uint8)
    for chain in range(chains):
        mine = signs[chain]
        for _ in range(clusters):
            grown, held = _grow_one(
                cluster, inside, mine, words[chain], starts, neighbours, couplings, field, temperature
            )
            for entry in range(grown):
                inside[cluster[entry]] = 0
                if not held:
                    mine[cluster[entry]] *= -1
        energy[chain] = height(mine, starts, neighbours, couplings, field)
