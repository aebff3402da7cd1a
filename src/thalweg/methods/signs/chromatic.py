"""Simulated annealing by colour classes: the update for accelerators, where thousands of signs flip at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8, UInt32, UInt64

from thalweg.core.errors import InputError
from thalweg.methods.colouring import greedy_colours
from thalweg.methods.signs.annealing import COLD, HOT
from thalweg.methods.signs.graph import SignGraph, height
from thalweg.methods.signs.ladder import beta_range, schedule
from thalweg.methods.signs.lanes import LANES, lowest_at_rest, narrow
from thalweg.methods.signs.search import AbstractSearch, Found

_UNIT_OF_WORK = 20_000_000  # neighbours looked at by all replicas


class Classes(NamedTuple):
    """Signs of one colour do not see each other; both tables are filled up with the sign `n`, which nothing sees.

    **Fields:** `sites` of each colour; `neighbours` and `couplings` of each sign, the latter in units of `scale`.
    """

    sites: Int[Array, "colours most"]
    neighbours: Int[Array, "n_plus_one degree"]
    couplings: Float[Array, "n_plus_one degree"]
    field: Float[Array, " n_plus_one"]


class ChromaticState(NamedTuple):
    """All replicas, each with the sign `n` at its end; `done` sweeps of this round, and the lowest signs of all."""

    x: Int8[Array, "replicas n_plus_one"]
    key: UInt32[Array, " 2"]
    classes: Classes
    betas: Float[Array, " sweeps"]
    done: np.ndarray
    rounds: np.ndarray
    updates: np.ndarray
    lowest: np.ndarray
    signs: Int8[np.ndarray, " n"]


@dataclass(frozen=True)
class Chromatic(AbstractSearch):
    """The same annealing as `Annealing`, a colour class at a time in JAX, all replicas in one batch.

    Meant for accelerators and for graphs of few colours and even degrees; on a processor `Annealing` is much quicker.

    **Arguments:** as of `Annealing`.

    **Source:** Welsh & Powell, Comput. J. 10, 85 (1967), for the colours; Isakov et al., Comput. Phys. Commun. 192, 265
    (2015).
    """

    bibtex: ClassVar[str] = """@article{welsh1967,
  author = {Welsh, D. J. A. and Powell, M. B.},
  title = {An upper bound for the chromatic number of a graph and its application to timetabling problems},
  journal = {The Computer Journal}, volume = {10}, pages = {85--86}, year = {1967}, doi = {10.1093/comjnl/10.1.85}
}"""

    replicas: int = 256
    sweeps: int = 1000
    seed: int = 0
    target: float | None = None
    restarts: int | None = None

    def __post_init__(self):
        if self.replicas < 1 or self.sweeps < 1:
            raise InputError(f"chromatic: {self.replicas} replicas, {self.sweeps} sweeps: give one of each, or more.")
        if self.restarts is not None and self.restarts < 1:
            raise InputError(f"chromatic: {self.restarts} rounds find nothing: give at least one, or None.")

    def init(self, graph: SignGraph, start: Int8[np.ndarray, " n"] | None, words: UInt64[np.ndarray, " 256"]) -> Any:
        """Random signs in all replicas; `start` counts as found, but nothing begins from it."""
        classes, scale = _classes(graph)
        hot, cold = beta_range(narrow(graph), words[:128], HOT, COLD)
        betas = jnp.asarray(schedule(hot, cold, self.sweeps) * scale, float)
        key = jnp.asarray(words[128:129].view(np.uint32))
        x = _scattered(key, self.replicas, graph.size + 1)
        first = np.array(x[0, :-1], np.int8) if start is None else start
        zero = np.zeros((), np.int64)
        return ChromaticState(x, key, classes, betas, zero, zero, zero, np.asarray(_height(graph, first)), first)

    def advance(self, graph: SignGraph, state: Any) -> Any:
        """A block of sweeps of all replicas, of the same length whatever the device."""
        done = 0 if state.done == self.sweeps else int(state.done)
        if done == 0 and state.rounds > 0:
            key = jnp.asarray(np.asarray(state.key) + np.uint32(state.rounds))
            state = state._replace(x=_scattered(key, *state.x.shape))
        block = self._block(state)
        until = min(self.sweeps, done + block)
        # The last block of a round is filled up with its coldest sweeps: one length, one compilation.
        betas = state.betas[jnp.minimum(done + jnp.arange(block), self.sweeps - 1)]
        key, x, ranks = _swept(state.classes, betas, state.key, state.x)
        over = until == self.sweeps
        updates = state.updates + block * self.replicas * graph.size
        done, rounds = np.asarray(until, np.int64), state.rounds + int(over)
        after = state._replace(x=x, key=key, done=done, rounds=rounds, updates=updates)
        return _looked(graph, after, np.asarray(ranks))

    def found(self, graph: SignGraph, state: Any) -> Found:
        """The lowest state that a round ended in or that was seen between two blocks."""
        over = self.restarts is not None and state.rounds >= self.restarts
        return Found(state.signs, graph.unit * float(state.lowest), int(state.updates), bool(over))

    def _block(self, state: ChromaticState) -> int:
        return max(1, min(self.sweeps, _UNIT_OF_WORK // (self.replicas * state.classes.neighbours.size)))


@jax.jit
def _swept(classes: Classes, betas: Float[Array, " block"], key: UInt32[Array, " 2"], x: Int8[Array, "replicas n"]):
    """Metropolis sweeps of all colours at each beta; also the energies, to rank the replicas by."""

    def one_class(carry, sites):
        key, x, beta = carry
        key, drawn = jax.random.split(key)
        chosen = x[:, sites]
        gain = chosen * _felt(classes, x, sites)
        uniform = jax.random.uniform(drawn, gain.shape, gain.dtype)
        x = x.at[:, sites].set(jnp.where(uniform < jnp.exp(-2 * beta * gain), -chosen, chosen))
        return (key, x, beta), None

    def one_sweep(carry, beta):
        (key, x, _), _ = jax.lax.scan(one_class, (*carry, beta), classes.sites)
        return (key, x), None

    carry = jax.random.wrap_key_data(key, impl="threefry2x32"), x
    (last, x), _ = jax.lax.scan(one_sweep, carry, betas)
    felt = _felt(classes, x, jnp.arange(x.shape[1])) + classes.field
    return jax.random.key_data(last), x, -(x * felt).sum(axis=1) / 2


def _felt(classes: Classes, x: Int8[Array, "replicas n"], sites: Int[Array, " some"]) -> Float[Array, "replicas some"]:
    terms = classes.couplings[sites] * x[:, classes.neighbours[sites]]
    return terms.sum(axis=-1) + classes.field[sites]


def _scattered(key: UInt32[Array, " 2"], replicas: int, size: int) -> Int8[Array, "replicas n"]:
    drawn = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), 1)
    return jax.random.rademacher(drawn, (replicas, size), jnp.int8)


def _looked(graph: SignGraph, state: ChromaticState, ranks: np.ndarray) -> ChromaticState:
    """The state with the lowest of its lowest replicas after a descent, if that is lower than what was found before."""
    small = narrow(graph)
    chosen = np.argsort(ranks, kind="stable")[:LANES]
    best, _ = lowest_at_rest(small, np.asarray(state.x)[np.resize(chosen, LANES), :-1].T)
    lowest = _height(graph, best)
    if not lowest < state.lowest:
        return state
    return state._replace(lowest=np.asarray(lowest), signs=best)


def _height(graph: SignGraph, signs: Int8[np.ndarray, " n"]) -> float:
    return height(graph._replace(unit=1.0), signs)


def _classes(graph: SignGraph) -> tuple[Classes, float]:
    """The tables of a graph, and the scale of their couplings, which keeps float32 within its range."""
    size, degrees = graph.size, np.diff(graph.starts)
    scale = float(max(np.abs(graph.couplings).max(initial=0), np.abs(graph.field).max(initial=0))) or 1.0
    neighbours = np.full((size + 1, max(1, int(degrees.max(initial=0)))), size, np.int32)
    couplings = np.zeros(neighbours.shape)
    rows = np.repeat(np.arange(size), degrees)
    places = np.arange(graph.neighbours.size) - graph.starts[rows]
    neighbours[rows, places], couplings[rows, places] = graph.neighbours, graph.couplings / scale
    colours = greedy_colours(np.split(graph.neighbours, graph.starts[1:-1]))
    counts = np.bincount(colours)
    sites = np.full((counts.size, int(counts.max())), size, np.int32)
    for colour in range(counts.size):
        sites[colour, : counts[colour]] = np.flatnonzero(colours == colour)
    field = np.append(graph.field / scale, 0.0)
    tables = (jnp.asarray(sites), jnp.asarray(neighbours), jnp.asarray(couplings, float), jnp.asarray(field, float))
    return Classes(*tables), scale
