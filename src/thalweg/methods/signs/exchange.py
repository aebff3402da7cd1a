"""Parallel tempering with cluster moves between replicas of one temperature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8, Num, UInt64

from thalweg.core.errors import InputError
from thalweg.methods.signs.graph import SignGraph, height
from thalweg.methods.signs.ladder import beta_range, schedule
from thalweg.methods.signs.lanes import (
    LANES,
    Lanes,
    aligned,
    expanded,
    lowest_at_rest,
    narrow,
    refreshed,
    scattered,
    whole,
)
from thalweg.methods.signs.search import AbstractSearch, Found
from thalweg.methods.signs.threads import in_threads

_HOT, _COLD = 1.0, 8.0  # exchanges and clusters need less heat than annealing, and stand more cold
_UNIT_OF_WORK = 3_000_000  # visits of replicas, a neighbour counted as an eighth: some 5 ms for one pair of sets


class ExchangeState(NamedTuple):
    """Pairs of sets of replicas: block `2 p + half` of the lanes is half a pair.

    **Fields:** `lane_at`, the column at each rung; `words`, of exchanges and clusters; `grown`, how many clusters were
    tried and exchanged at each rung; `rounds` so far; `lowest`, minus twice the lowest energy of each pair in units of
    the graph, and its `signs`.
    """

    lanes: Lanes
    betas: Float[np.ndarray, " 16"]
    lane_at: Int[np.ndarray, "pairs 2 16"]
    words: UInt64[np.ndarray, "pairs 1"]
    grown: Int[np.ndarray, "pairs 2 16"]
    rounds: np.ndarray
    lowest: Num[np.ndarray, "pairs 1"]
    signs: Int8[np.ndarray, "pairs n"]


@dataclass(frozen=True)
class Exchange(AbstractSearch):
    """Replicas at sixteen temperatures that exchange places, and exchange clusters between two sets of them.

    A cluster is a connected set of signs in which two replicas of one temperature differ; to exchange it keeps the sum
    of their energies. Where couplings reach few neighbours, clusters are of all sizes and cross barriers that no single
    flip does; elsewhere they span the graph and are given up.

    **Arguments:** `pairs` of sets, independent of each other, one per thread; `clusters` tried in each pair after each
    sweep, at random rungs; `seed`; `target`, the energy at which to stop; `betas`, inverse temperatures at the hot and
    the cold end, by default from the distribution of local fields.

    **Source:** Hukushima & Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996); Houdayer, Eur. Phys. J. B 22, 479 (2001); Zhu,
    Ochoa & Katzgraber, Phys. Rev. Lett. 115, 077201 (2015).
    """

    bibtex: ClassVar[str] = """@article{zhu2015,
  author = {Zhu, Zheng and Ochoa, Andrew J. and Katzgraber, Helmut G.},
  title = {Efficient cluster algorithm for spin glasses in any space dimension},
  journal = {Physical Review Letters}, volume = {115}, pages = {077201}, year = {2015},
  doi = {10.1103/PhysRevLett.115.077201}
}"""

    pairs: int = 2
    clusters: int = 8
    seed: int = 0
    target: float | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self):
        if self.pairs < 1 or self.clusters < 0:
            raise InputError(f"exchange: {self.pairs} pairs and {self.clusters} clusters: give at least 1 and 0.")
        if self.betas is not None and not 0 < self.betas[0] <= self.betas[1] < np.inf:
            raise InputError(f"exchange: betas {self.betas} must be positive, and the hot end comes first.")

    def init(self, graph: SignGraph, start: Int8[np.ndarray, " n"] | None, words: UInt64[np.ndarray, " 256"]) -> Any:
        """Random signs in all replicas; the coldest ones begin from `start`."""
        small = narrow(graph)
        if self.betas is None:
            ends = beta_range(small, words[:64], _HOT, _COLD)
        else:
            ends = self.betas[0] * graph.unit, self.betas[1] * graph.unit
        lanes = scattered(small, 2 * self.pairs, words[64:128])
        if start is not None:
            lanes.signs[:, :, -1] = start
            refreshed(small, lanes)
        betas = schedule(*ends, LANES).astype(np.float32 if whole(small) else np.float64)
        lane_at = np.tile(np.arange(LANES), (self.pairs, 2, 1))
        signs = lanes.signs[::2, :, -1].astype(np.int8)
        lowest = [[-2 * height(graph._replace(unit=1.0), one)] for one in signs]
        lowest = np.asarray(lowest, np.int64 if whole(small) else np.float64)
        grown, zero = np.zeros_like(lane_at), np.zeros((), np.int64)
        return ExchangeState(lanes, betas, lane_at, expanded(words[128:], self.pairs, 1), grown, zero, lowest, signs)

    def advance(self, graph: SignGraph, state: Any) -> Any:
        """So many rounds of all pairs that it takes some 5 ms."""
        small = narrow(graph)
        if not whole(small):
            refreshed(small, state.lanes)
        rounds = max(1, _UNIT_OF_WORK // (2 * LANES * (graph.size + graph.neighbours.size // 8)))
        rows, kind, first = (small.starts, small.neighbours, small.couplings), small.field.dtype, int(state.rounds)
        free, wide = not small.field.any(), state.lowest.dtype

        def one(pair: int) -> None:
            both = slice(2 * pair, 2 * pair + 2)
            block = aligned(state.lanes.signs[both]), aligned(state.lanes.fields[both]), state.lanes.words[both]
            scratch = np.empty((1, LANES), state.betas.dtype), np.zeros(LANES, kind), np.zeros(LANES, wide)
            clustering = np.empty(small.size, np.int64), np.zeros(small.size, np.bool_), np.zeros(2, np.int64), free
            walk = state.lane_at[pair], state.betas, state.words[pair], first, first + rounds
            best = state.lowest[pair], state.signs[pair]
            rest = self.clusters, state.grown[pair], best, rows, small.field, scratch, clustering
            _kernels().temper(block, *walk, *rest)
            state.lanes.signs[both], state.lanes.fields[both] = block[:2]

        before = state.lowest.copy()
        in_threads(one, range(self.pairs))
        for pair in np.flatnonzero((state.lowest > before).any(axis=1)):
            found, lowest = lowest_at_rest(small, np.repeat(state.signs[pair][:, None], LANES, axis=1))
            state.signs[pair], state.lowest[pair] = found, -2 * lowest
        return state._replace(rounds=state.rounds + rounds)

    def found(self, graph: SignGraph, state: Any) -> Found:
        """The lowest state that any replica was seen in after a sweep, at rest after a descent."""
        pair = int(np.argmax(state.lowest))
        updates = int(state.rounds) * state.lanes.signs.size
        return Found(state.signs[pair], -graph.unit * float(state.lowest[pair, 0]) / 2, updates)


@cache  # asked in every unit of work
def _kernels() -> Any:
    from thalweg.methods.signs.lanes import kernels

    kernels()  # says what is missing without numba
    from thalweg.methods.signs import exchange_kernels

    return exchange_kernels
