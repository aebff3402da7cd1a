"""The compiled loops of the elimination of signs; imported only where they run, because numba is an optional package.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
Pair `p` is the two half-pairs `2p` and `2p + 1`, each in the linked row of one end and pointing at the other end.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def linked(starts, neighbours, couplings, field, ends, after, before, pulls, first, degree):
    """Link the rows of a graph without zeros, a field as a coupling to one extra sign, the last; how many pairs."""
    used = 0
    for i in range(field.size):
        for entry in range(starts[i], starts[i + 1]):
            if neighbours[entry] > i and couplings[entry] != 0:
                pulls[used] = couplings[entry]
                _join(ends, after, before, first, degree, used, i, neighbours[entry])
                used += 1
        if field[i] != 0:
            pulls[used] = field[i]
            _join(ends, after, before, first, degree, used, i, field.size)
            used += 1
    return used


@njit(cache=True, nogil=True)
def eliminate(ends, after, before, pulls, first, degree, order, partners, held, few, three, halves, made, grain):
    """Take out every sign of at most three couplings, those of fewest first, and never make one finer than `grain`.

    Writes into `order`, `partners` and `held` (-1 and 0 before) who went, their partners and couplings; the other
    arrays are room to work. Returns how many went, and the sum of what they lower the energy by.
    """
    fews, threes, gone, lowered = 0, 0, 0, 0.0
    for i in range(degree.size - 1, -1, -1):
        fews, threes = _noted(few, three, fews, threes, degree[i], i)
    while fews or threes:
        if fews:
            fews -= 1
            i = few[fews]
        else:
            threes -= 1
            i = three[threes]
        if degree[i] < 0 or degree[i] > 3:
            continue
        count, half = 0, first[i]
        while half >= 0:
            halves[count] = half
            partners[gone, count], held[gone, count] = ends[half], pulls[half >> 1]
            count, half = count + 1, after[half]
        taken = _summed_out(held[gone, 0], held[gone, 1], held[gone, 2], count, made)
        if count == 3 and grain > 0 and (made[0] % grain + made[1] % grain + made[2] % grain) > 0:
            for k in range(3):
                partners[gone, k], held[gone, k] = -1, 0.0
            continue
        for k in range(count):
            _part(ends, after, before, first, degree, halves[k] >> 1)
        degree[i] = -1
        for k in range(count * (count - 1) // 2):  # as many pairs at most as were just freed
            one, other = partners[gone, k], partners[gone, (k + 1) % count]
            _add(ends, after, before, pulls, first, degree, halves[k] >> 1, one, other, made[k])
        for k in range(count):
            other = partners[gone, k]
            fews, threes = _noted(few, three, fews, threes, degree[other], other)
        order[gone] = i
        lowered += taken
        gone += 1
    return gone, lowered


@njit(cache=True, nogil=True)
def rows(ends, pulls, place, fill, neighbours, couplings):
    """The compressed rows of the signs that stay, `place` their new numbers and `fill` where their rows begin."""
    for half in range(ends.size):
        if ends[half] >= 0:
            here = place[ends[half ^ 1]]
            neighbours[fill[here]], couplings[fill[here]] = place[ends[half]], pulls[half >> 1]
            fill[here] += 1


@njit(cache=True, nogil=True)
def put_back(signs, order, partners, held):
    """Give the signs that were taken out their lowest values, the last one first."""
    for k in range(order.size - 1, -1, -1):
        pull = 0.0
        for slot in range(3):
            if partners[k, slot] >= 0:
                pull += held[k, slot] * signs[partners[k, slot]]
        signs[order[k]] = 1 if pull >= 0 else -1


@njit
def _summed_out(a, b, c, count, made):
    """The couplings between three partners that stand for |a s + b t + c u|, and the constant beside them."""
    made[0] = 0.0
    if count <= 1:
        return abs(a)
    if count == 2:
        made[0] = (abs(a + b) - abs(a - b)) / 2
        return (abs(a + b) + abs(a - b)) / 2
    none, first, second, third = abs(a + b + c), abs(-a + b + c), abs(a - b + c), abs(a + b - c)
    made[0] = (none + third - first - second) / 4
    made[1] = (none + first - second - third) / 4
    made[2] = (none + second - third - first) / 4
    return (none + first + second + third) / 4


@njit(inline="always")
def _noted(few, three, fews, threes, degree, sign):
    if degree == 3:
        three[threes] = sign
        threes += 1
    elif 0 <= degree < 3:
        few[fews] = sign
        fews += 1
    return fews, threes


@njit
def _join(ends, after, before, first, degree, pair, one, other):
    for half in (2 * pair, 2 * pair + 1):
        owner, end = (other, one) if half & 1 else (one, other)
        ends[half], after[half], before[half] = end, first[owner], -1
        if first[owner] >= 0:
            before[first[owner]] = half
        first[owner] = half
        degree[owner] += 1


@njit
def _part(ends, after, before, first, degree, pair):
    one, other = ends[2 * pair + 1], ends[2 * pair]
    for half, owner in ((2 * pair, one), (2 * pair + 1, other)):
        if before[half] >= 0:
            after[before[half]] = after[half]
        else:
            first[owner] = after[half]
        if after[half] >= 0:
            before[after[half]] = before[half]
        ends[half] = -1
        degree[owner] -= 1


@njit
def _add(ends, after, before, pulls, first, degree, free, one, other, pull):
    """Add to the coupling of two signs; `free` is the pair to use if they have none, and a sum of zero parts them."""
    if pull == 0:
        return
    if degree[one] > degree[other]:
        one, other = other, one
    half = first[one]
    while half >= 0 and ends[half] != other:
        half = after[half]
    if half < 0:
        pulls[free] = pull
        _join(ends, after, before, first, degree, free, one, other)
        return
    pulls[half >> 1] += pull
    if pulls[half >> 1] == 0:
        _part(ends, after, before, first, degree, half >> 1)
