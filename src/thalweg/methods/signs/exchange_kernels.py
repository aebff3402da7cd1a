"""The compiled loops of exchanges and cluster moves between replicas; imported only where they run.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from thalweg.methods.signs.anneal_kernels import heights, sweep_metropolis
from thalweg.methods.signs.words import below, moved, uniform

_ENOUGH, _SELDOM = 16, 16  # after so many tries, rungs where fewer than one in sixteen goes are seldom tried
_njit: Any = njit  # its annotations do not know the option below, which halves the time to compile
_inner = _njit(no_cpython_wrapper=True)
_TRIES = 8  # random signs that are asked for one in which two replicas differ


@_inner
def _turn(signs, fields, lane, cluster, size, starts, neighbours, couplings):
    """Flip the signs of a cluster in one replica."""
    for place in range(size):
        site = cluster[place]
        change = -2 * signs[site, lane]
        signs[site, lane] += change
        for entry in range(starts[site], starts[site + 1]):
            fields[neighbours[entry], lane] += couplings[entry] * change


@_inner
def _grow(first, here, second, there, cluster, inside, root, starts, neighbours, most):
    """Fill `cluster` with the signs connected to `root` whose overlap is the root's; its size, or 0 beyond `most`."""
    overlap = first[root, here] * second[root, there]
    cluster[0], inside[root] = root, True
    done, size = 0, 1
    while done < size <= most:
        site = cluster[done]
        done += 1
        for entry in range(starts[site], starts[site + 1]):
            near = neighbours[entry]
            if not inside[near] and first[near, here] * second[near, there] == overlap:
                inside[near] = True
                cluster[size] = near
                size += 1
    for place in range(size):
        inside[cluster[place]] = False
    return size if size <= most else 0


@njit(cache=True, nogil=True)
def _cluster_move(signs, fields, lanes, word, cluster, inside, free, starts, neighbours, couplings):
    """Exchange a cluster between two replicas of one temperature, which keeps the sum of their energies.

    Where there is no field, a cluster of equal signs is as good: it differs once one replica is turned as a whole.
    """
    size = signs.shape[1]
    for _ in range(_TRIES):
        word = moved(word)
        root = below(word, size)
        if free or signs[0, root, lanes[0]] * signs[1, root, lanes[1]] < 0:
            first, second = signs[0], signs[1]
            found = _grow(
                first, lanes[0], second, lanes[1], cluster, inside, root, starts, neighbours, max(1, size // 2)
            )
            for half in range(2):
                _turn(signs[half], fields[half], lanes[half], cluster, found, starts, neighbours, couplings)
            return word, found
    return word, 0


@_inner
def _exchange(lane_at, betas, totals, parity, word):
    """Neighbouring rungs of one set exchange their replicas; `totals` are minus twice the energies by lane."""
    for rung in range(parity, betas.size - 1, 2):
        here, there = lane_at[rung], lane_at[rung + 1]
        word = moved(word)
        exponent = (betas[rung + 1] - betas[rung]) * (totals[here] - totals[there]) / 2
        if exponent >= 0 or uniform(word) < np.exp(exponent):
            lane_at[rung], lane_at[rung + 1] = there, here
    return word


@_inner
def _swept(block, half, lane_at, betas, best, rows, field, scratch):
    """One sweep of a set of replicas, each at the beta of its rung, and a look at their energies."""
    signs, fields, words = block
    lowest, found = best
    heat, step, totals = scratch
    for rung in range(betas.size):
        heat[0, lane_at[half, rung]] = 0.5 / betas[rung]
    sweep_metropolis(signs[half], fields[half], words[half], step, heat, *rows)
    heights(signs[half], fields[half], field, totals)
    for lane in range(totals.size):
        if totals[lane] > lowest[0]:
            lowest[0] = totals[lane]
            for site in range(found.size):
                found[site] = signs[half, site, lane]


@njit(cache=True, nogil=True)
def temper(block, lane_at, betas, word, first, last, clusters, grown, best, rows, field, scratch, clustering):
    """Rounds of a sweep, exchanges and cluster moves of two sets of replicas, in place.

    `block`: signs and fields `[2, n, 16]` and the words of the sweeps; `lane_at [2, rungs]`: which column is at which
    rung; `grown [2, rungs]` counts clusters tried and exchanged; `best`: minus twice the lowest energy so far, and its
    signs, renewed after every sweep; `clustering`: room for a cluster, marks, columns, and whether there is no field.
    """
    cluster, inside, pair, free = clustering
    state = word[0]
    for now in range(first, last):
        for half in range(2):
            _swept(block, half, lane_at, betas, best, rows, field, scratch)
            state = _exchange(lane_at[half], betas, scratch[2], now % 2, state)
        for _ in range(clusters):
            state = moved(state)
            rung = below(state, betas.size)
            if now % _SELDOM and grown[0, rung] >= _ENOUGH and grown[1, rung] * _SELDOM < grown[0, rung]:
                continue  # clusters span the graph at this rung
            pair[0], pair[1] = lane_at[0, rung], lane_at[1, rung]
            state, found = _cluster_move(block[0], block[1], pair, state, cluster, inside, free, *rows)
            grown[0, rung] += 1
            grown[1, rung] += found > 0
    word[0] = state
