"""The compiled loops over blocks of sixteen replicas; imported only where they run, because numba is optional.

In all of them `signs` and `fields` are `[n, 16]`, one column per replica; `words [2, 8]` are the random words.
Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from thalweg.methods.signs.lanes import LANES
from thalweg.methods.signs.vectors import LARGEST, attempt_heat_bath, attempt_metropolis, push, weigh

_TWENTY_THREE, _EIGHTEEN, _FIVE = np.uint64(23), np.uint64(18), np.uint64(5)
_TOP, _ONE = np.uint64(48), np.uint64(1)
_MOST_PASSES = 10_000  # of a descent: rounding must not keep two signs turning each other back for ever


@njit(cache=True, nogil=True)
def refresh(signs, fields, starts, neighbours, couplings, field):
    """Compute all local fields anew, in the order in which `graph.local_fields` adds them."""
    for site in range(signs.shape[0]):
        for lane in range(LANES):
            fields[site, lane] = field[site]
        for entry in range(starts[site], starts[site + 1]):
            push(fields, site, couplings[entry], signs[neighbours[entry]])


@njit(cache=True, nogil=True)
def scatter(signs, words):
    """Random signs, sixteen from the high bits of each word of the block's first stream."""
    for site in range(signs.shape[0]):
        old, kept = words[0, 0], words[1, 0]
        bits = (old + kept) >> _TOP
        old ^= old << _TWENTY_THREE
        words[0, 0], words[1, 0] = kept, old ^ kept ^ (old >> _EIGHTEEN) ^ (kept >> _FIVE)
        for lane in range(LANES):
            signs[site, lane] = 1 if (bits >> np.uint64(lane)) & _ONE else -1


@njit(inline="always")
def _reach(heat):
    """The largest gain that any replica might accept; a loop, because `max` takes a second to compile."""
    hottest = heat[0]
    for one in heat:
        hottest = one if one > hottest else hottest
    return hottest * heat.dtype.type(LARGEST)


@njit(cache=True, nogil=True)
def sweep_metropolis(signs, fields, words, step, heat, starts, neighbours, couplings):
    """One Metropolis sweep in order for each row of `heat [sweeps, 16]`, halves of the replicas' temperatures."""
    for row in range(heat.shape[0]):
        now, reach = heat[row], _reach(heat[row])
        for site in range(signs.shape[0]):
            if attempt_metropolis(signs, fields, words, now, reach, site, step):
                for entry in range(starts[site], starts[site + 1]):
                    push(fields, neighbours[entry], couplings[entry], step)


@njit(cache=True, nogil=True)
def sweep_heat_bath(signs, fields, words, step, heat, starts, neighbours, couplings):
    """The same with heat-bath probabilities: each sign is drawn from its law given all others."""
    for row in range(heat.shape[0]):
        now, reach = heat[row], _reach(heat[row])
        for site in range(signs.shape[0]):
            if attempt_heat_bath(signs, fields, words, now, reach, site, step):
                for entry in range(starts[site], starts[site + 1]):
                    push(fields, neighbours[entry], couplings[entry], step)


@njit(cache=True, nogil=True)
def quench(signs, fields, step, starts, neighbours, couplings):
    """Flip what lowers the energy until nothing does."""
    for _ in range(_MOST_PASSES):
        resting = True
        for site in range(signs.shape[0]):
            moved = False
            for lane in range(LANES):
                uphill = signs[site, lane] * fields[site, lane] < 0
                step[lane] = -2 * signs[site, lane] if uphill else 0
                moved |= uphill
            if moved:
                resting = False
                for lane in range(LANES):
                    signs[site, lane] += step[lane]
                for entry in range(starts[site], starts[site + 1]):
                    push(fields, neighbours[entry], couplings[entry], step)
        if resting:
            return


@njit(cache=True, nogil=True)
def heights(signs, fields, field, totals):
    """Minus twice the energies, in units of the graph, into `totals [16]` of int64 or float64."""
    for lane in range(LANES):
        totals[lane] = 0
    for site in range(signs.shape[0]):
        weigh(totals, signs, fields, site)
    for site in range(signs.shape[0]):  # each pair is felt from both of its ends, a field from one
        if field[site] != 0:
            for lane in range(LANES):
                totals[lane] += field[site] * signs[site, lane]
