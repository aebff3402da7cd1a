"""Simulated annealing of many replicas at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int8, Num, UInt64

from thalweg.core.errors import InputError
from thalweg.methods.signs.graph import SignGraph, height
from thalweg.methods.signs.ladder import beta_range, schedule
from thalweg.methods.signs.lanes import (
    LANES,
    Lanes,
    blocks_of,
    heat_rows,
    heights,
    lowest_at_rest,
    narrow,
    quenched,
    refreshed,
    rescattered,
    scattered,
    swept,
    whole,
)
from thalweg.methods.signs.search import AbstractSearch, Found

HOT, COLD = 0.8, 6.0  # half of the flips are accepted, and next to none: see `beta_range`
_UNIT_OF_WORK = 20_000_000  # visits of replicas, a neighbour counted as an eighth: some 30 ms on one core


class AnnealingState(NamedTuple):
    """All replicas, the sweeps `done` of this round, the `rounds` before it, and the lowest signs of all."""

    lanes: Lanes
    betas: Float[np.ndarray, " sweeps"]
    done: np.ndarray
    rounds: np.ndarray
    updates: np.ndarray
    lowest: Num[np.ndarray, ""]
    signs: Int8[np.ndarray, " n"]


@dataclass(frozen=True)
class Annealing(AbstractSearch):
    """Cools independent replicas by Metropolis sweeps, and ends with a descent that leaves no flip to gain.

    **Arguments:** `replicas` at once, rounded up to a multiple of 16; `sweeps` from hot to cold; `seed`; `target`, the
    energy at which to stop; `restarts`, the number of rounds, or `None` for new ones without end; `betas`, inverse
    temperatures at the hot and the cold end, by default from the distribution of local fields.

    **Source:** Kirkpatrick, Gelatt & Vecchi, Science 220, 671 (1983); kept local fields: Isakov et al., Comput. Phys.
    Commun. 192, 265 (2015).
    """

    bibtex: ClassVar[str] = """@article{isakov2015,
  author = {Isakov, S. V. and Zintchenko, I. N. and R{\\o}nnow, T. F. and Troyer, M.},
  title = {Optimised simulated annealing for {Ising} spin glasses},
  journal = {Computer Physics Communications}, volume = {192}, pages = {265--271}, year = {2015},
  doi = {10.1016/j.cpc.2015.02.015}
}"""

    replicas: int = 32
    sweeps: int = 1000
    seed: int = 0
    target: float | None = None
    restarts: int | None = None
    betas: tuple[float, float] | None = None

    def __post_init__(self):
        if self.replicas < 1 or self.sweeps < 1:
            raise InputError(
                f"annealing: {self.replicas} replicas and {self.sweeps} sweeps: give one of each, or more."
            )
        if self.restarts is not None and self.restarts < 1:
            raise InputError(f"annealing: {self.restarts} rounds find nothing: give at least one, or None.")
        if self.betas is not None and not 0 < self.betas[0] <= self.betas[1] < np.inf:
            raise InputError(f"annealing: betas {self.betas} must be positive, and the hot end comes first.")

    def init(self, graph: SignGraph, start: Int8[np.ndarray, " n"] | None, words: UInt64[np.ndarray, " 256"]) -> Any:
        """Random signs in all replicas; `start` counts as found, but nothing begins from it."""
        small = narrow(graph)
        if self.betas is None:
            ends = beta_range(small, words[:128], HOT, COLD)
        else:
            ends = self.betas[0] * graph.unit, self.betas[1] * graph.unit
        lanes = scattered(small, blocks_of(self.replicas), words[128:])
        zero = np.zeros((), np.int64)
        first = lanes.signs[0, :, 0].astype(np.int8) if start is None else start
        lowest = np.asarray(height(graph._replace(unit=1.0), first), np.int64 if whole(small) else np.float64)
        state = AnnealingState(lanes, schedule(*ends, self.sweeps), zero, zero, zero, lowest, first)
        return _looked(small, state)

    def advance(self, graph: SignGraph, state: Any) -> Any:
        """So many sweeps of all replicas that they take some 30 ms on one core; the last of a round end in descents."""
        small, lanes = narrow(graph), state.lanes
        if state.done == self.sweeps:
            lanes, state = rescattered(small, lanes), state._replace(done=np.zeros((), np.int64))
        per_sweep = lanes.signs.size + graph.neighbours.size * len(lanes.signs) * LANES // 8
        until = min(self.sweeps, int(state.done) + max(1, _UNIT_OF_WORK // per_sweep))
        temperatures = 1 / state.betas[int(state.done) : until]
        swept(small, lanes, heat_rows(small, np.repeat(temperatures[:, None], LANES, axis=1)))
        updates = state.updates + lanes.signs.size * (until - int(state.done))
        rounds = state.rounds
        if until == self.sweeps:
            lanes, rounds = quenched(small, lanes), rounds + 1
        done = np.asarray(until, np.int64)
        return _looked(small, state._replace(lanes=lanes, done=done, rounds=rounds, updates=updates))

    def found(self, graph: SignGraph, state: Any) -> Found:
        """The lowest state that a round ended in or that was seen between two units of work."""
        over = self.restarts is not None and state.rounds >= self.restarts
        return Found(state.signs, graph.unit * float(state.lowest), int(state.updates), bool(over))


def annealed(
    graph: SignGraph, replicas: int, sweeps: int, words: UInt64[np.ndarray, " words"]
) -> Int8[np.ndarray, "replicas n"]:
    """Some annealed replicas at rest, the lowest first: one round of `Annealing` at once.

    **Arguments:** `replicas`, rounded up to a multiple of 16; `words`, at least two.
    """
    small, half = narrow(graph), len(words) // 2
    ends = beta_range(small, words[:half], HOT, COLD)
    lanes = scattered(small, blocks_of(replicas), words[half:])
    temperatures = 1 / schedule(*ends, sweeps)
    quenched(small, swept(small, lanes, heat_rows(small, np.repeat(temperatures[:, None], LANES, axis=1))))
    found = lanes.signs.transpose(0, 2, 1).reshape(-1, graph.size).astype(np.int8)
    return found[np.argsort(heights(small, lanes).ravel(), kind="stable")]


def _looked(graph: SignGraph, state: AnnealingState) -> AnnealingState:
    """The state with the lowest of its replicas, once it is at rest, if that is lower than what was found before."""
    if not whole(graph):
        refreshed(graph, state.lanes)
    seen = heights(graph, state.lanes)
    if not seen.min() < state.lowest:
        return state
    block = int(np.argmin(seen.min(axis=1)))
    signs, lowest = lowest_at_rest(graph, state.lanes.signs[block])
    return state._replace(lowest=np.asarray(lowest), signs=signs)
