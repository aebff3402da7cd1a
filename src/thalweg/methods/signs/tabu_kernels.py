"""The compiled loops of one-flip tabu; imported only where they run, because numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
The key of a sign is half of what its flip lowers the energy by; a barred sign's key stands lower by `bar`, so that
the largest key is the best move that is allowed. Blocks of keys remember their largest and whether it is out of date.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from thalweg.methods.signs.words import below, moved

_PLACES = 7
BLOCK = 2**_PLACES  # keys
_NONE, _ONE, _LAST = np.uint64(0), np.uint64(1), np.uint64(BLOCK - 1)


@njit(cache=True, nogil=True)
def keyed(starts, neighbours, couplings, signs, keys, tops, stale, bar):
    """Set the keys of some signs, none barred, and return their energy; the places beyond the last sign are barred."""
    total = 0.0
    for place in range(signs.size, keys.size):
        keys[place] = -bar
    for i in range(signs.size):
        pull = bar - bar  # a zero of their type
        for entry in range(starts[i], starts[i + 1]):
            pull += couplings[entry] * signs[neighbours[entry]]
        keys[i] = -pull * signs[i]
        total += keys[i]
    for block in range(stale.size):
        stale[block] = True
    return total / 2


@njit(cache=True, nogil=True)
def tabu(
    starts, neighbours, couplings, signs, best, keys, tops, stale, first, after, clock, heights, words, moves, rule, bar
):
    """Make the best allowed flip, again and again, and bar each flipped sign for a while.

    `clock` holds the time and the moves since the last gain; `heights`, the energy of now and the lowest. `first` and
    `after` are lists of the signs that are released at a time. `rule`: patience, tenure and its random part.
    """
    patience, tenure, loose = rule
    here, lowest, margin = heights[0], heights[1], heights[2]
    now, since, fresh, word = clock[0], clock[1], False, words[0]
    for _ in range(moves):
        now += 1
        slot = now % first.size
        sign = first[slot]
        while sign >= 0:
            keys[sign] += bar
            stale[sign >> _PLACES] = True
            sign = after[sign]
        first[slot] = -1
        word = moved(word)
        sign = _largest(keys, tops, stale, word)
        gain = keys[sign]
        since += 1
        if 2 * gain > -bar:
            if fresh and gain <= 0:
                _copy(signs, best)
                fresh = False
            flip(starts, neighbours, couplings, signs, keys, stale, sign)
            here -= 2.0 * gain
            keys[sign] -= bar
            word = moved(word)
            slot = (now + tenure + below(word, loose)) % first.size
            after[sign], first[slot] = first[slot], sign
            if here < lowest - margin:
                lowest, since, fresh = here, 0, True
        if since >= patience:
            break
    if fresh:
        _copy(signs, best)
    heights[0], heights[1] = here, lowest
    clock[0], clock[1] = now, since
    words[0] = word


@njit(cache=True, nogil=True)
def relink(starts, neighbours, couplings, signs, toward, best, keys, tops, stale, here, words, bar):
    """Walk from some signs toward others by the best flips; into `best` the lowest between 0.3 and 0.7 of the way."""
    apart, word = 0, words[0]
    for i in range(signs.size):
        if signs[i] == toward[i]:
            keys[i] -= bar
        else:
            apart += 1
    begin, end = (3 * apart) // 10, max((7 * apart) // 10, 1)
    lowest = np.inf
    for step in range(1, end + 1):
        word = moved(word)
        sign = _largest(keys, tops, stale, word)
        here -= 2.0 * keys[sign]
        flip(starts, neighbours, couplings, signs, keys, stale, sign)
        keys[sign] -= bar
        if step >= begin and here < lowest:
            lowest = here
            _copy(signs, best)
    words[0] = word


@njit(inline="always")
def flip(starts, neighbours, couplings, signs, keys, stale, sign):
    """Flip one sign and bring all keys up to date."""
    signs[sign] = -signs[sign]
    keys[sign] = -keys[sign]
    stale[sign >> _PLACES] = True
    turn = np.int32(-2 * signs[sign])
    for entry in range(starts[sign], starts[sign + 1]):
        # Unsigned places, because a signed one is looked at for counting from the end: a factor of 2.6 here.
        other = np.uint32(neighbours[np.uint64(entry)])
        keys[other] += couplings[np.uint64(entry)] * (turn * signs[other])
        stale[other >> np.uint32(_PLACES)] = True


@njit
def _copy(signs, best):  # a loop, because the check of an assignment to a slice takes seconds to compile
    for i in range(signs.size):
        best[i] = signs[i]


@njit
def _largest(keys, tops, stale, word):
    """A place of the largest key, the first one after a random place."""
    for block in range(tops.size):
        if stale[block]:
            tops[block] = _top(keys[block * BLOCK : (block + 1) * BLOCK])
            stale[block] = False
    top = _top(tops)
    block = np.uint64(below(word, tops.size))
    while tops[block] != top:
        block += _ONE
        if block == np.uint64(tops.size):
            block = _NONE
    base, within = block * np.uint64(BLOCK), word & _LAST
    while keys[base + within] != top:
        within = (within + _ONE) & _LAST
    return np.int64(base + within)


@njit(fastmath={"nnan", "nsz", "reassoc"})
def _top(keys):
    top = keys[0]
    for k in range(keys.size):  # this form, and not `max`, becomes vector instructions
        if keys[k] > top:
            top = keys[k]
    return top
