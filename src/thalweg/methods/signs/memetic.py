"""A population of low signs that mate: crossover or path relinking, then one-flip tabu or restricted annealing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int8

from thalweg.core.errors import InputError
from thalweg.methods.signs.annealing import annealed
from thalweg.methods.signs.breeding import (
    BORN,
    STAGE,
    UPDATES,
    Breeding,
    Kernel,
    Recipe,
    annealing_betas,
    children,
    memetic_kernels,
    settle,
    work,
)
from thalweg.methods.signs.eliminate import eliminated, restored
from thalweg.methods.signs.graph import SignGraph, height
from thalweg.methods.signs.search import AbstractSearch, Found
from thalweg.methods.signs.threads import in_threads

_CHILDREN = 4  # under way at a time, whatever the number of cores
_ROUNDS = 4  # pieces of work for each between two looks
_SPARSE = 8  # couplings per sign, below which children are annealed
_SMALL = 1400  # signs, below which parents are mixed
_WORTH_ANNEALING = 400  # signs, below which tabu alone is done in a moment
_REPLICAS, _SWEEPS, _VISITS = 32, 1000, 100_000_000  # of the annealing before it, a tenth of a second or two
_ROOM = 2**29  # of a local field, so that three of them fit into 32 bits


@dataclass(frozen=True)
class Memetic(AbstractSearch):
    """Takes out signs of few couplings, and breeds low signs of what is left.

    Where the remaining graph is sparse (fewer than 8 couplings per sign), a child takes each sign from one of its
    parents, is annealed in the signs in which they differ, and then a little in all. On denser graphs a child is the
    lowest state on a greedy path between its parents (below 1400 signs a random mixture of them), improved by one-flip
    tabu; the first members of these begin from annealed signs. A child replaces the member that it resembles, if it is
    lower; a population that stalls begins anew.

    **Arguments:** `members` of the population, `patience` of tabu in moves without gain, its `tenure`, `improve` and
    `crossover`; `None` leaves each to the graph.

    **Source:** Wu and Hao, Lecture Notes in Computer Science 7492, 297 (2012) for tabu within a population; Wang and
    others, European Journal of Operational Research 223, 595 (2012) for path relinking.
    """

    bibtex: ClassVar[str] = """@inproceedings{wu2012memetic,
  author = {Wu, Qinghua and Hao, Jin-Kao}, title = {A memetic approach for the max-cut problem},
  booktitle = {Parallel Problem Solving from Nature}, series = {Lecture Notes in Computer Science},
  volume = {7492}, pages = {297--306}, year = {2012}, doi = {10.1007/978-3-642-32964-7_30}
}"""

    seed: int = 0
    target: float | None = None
    members: int | None = None
    patience: int | None = None
    tenure: int | None = None
    improve: Literal["tabu", "annealing"] | None = None
    crossover: Literal["uniform", "relinking"] | None = None

    def __post_init__(self):
        for name, least in (("members", 2), ("patience", 1), ("tenure", 1)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise InputError(f"memetic: {name} is {number}: give at least {least}, or None.")

    def init(self, graph: SignGraph, start: Int8[np.ndarray, " n"] | None, words: np.ndarray) -> Breeding:
        less = eliminated(graph)
        kernel = _kernel(less.kernel)
        recipe, taken_out = self._recipe(kernel), (less.kept, less.order, less.partners, less.held)
        begin = _starts(less.kernel, recipe, words)
        if start is not None:
            begin = np.concatenate([np.append(start, np.int8(1))[less.kept][None], begin])
        best = restored(np.ones(kernel.size, np.int8), *taken_out, graph.size)
        state = Breeding(
            kernel=kernel,
            taken_out=taken_out,
            betas=annealing_betas(kernel),
            starts=begin,
            children=children(kernel, _CHILDREN, recipe, words),
            members=np.ones((recipe.members, kernel.size), np.int8),
            heights=np.zeros(recipe.members),
            counts=np.zeros(2, np.int64),
            best=best,
            lowest=np.asarray(height(graph, best)),
            kernel_lowest=np.asarray(float(np.abs(kernel.couplings).sum())),
        )
        lowest = (restored(signs, *taken_out, graph.size) for signs in begin[:2])
        for signs in (best, *lowest):
            _keep(graph, state, signs)
        return state

    def advance(self, graph: SignGraph, state: Breeding) -> Breeding:
        if state.kernel.size == 0:
            return state
        recipe = self._recipe(state.kernel)
        for _ in range(_ROUNDS):
            in_threads(partial(work, recipe, state), range(_CHILDREN))
            for row in np.flatnonzero(state.children.numbers[:, STAGE] == BORN):
                if state.children.numbers[row, STAGE] != BORN:  # the population ended with the row before
                    continue
                signs, here = settle(recipe, state, int(row))
                if here < state.kernel_lowest:
                    state.kernel_lowest[...] = here
                    _keep(graph, state, restored(signs, *state.taken_out, graph.size))
        return state

    def found(self, graph: SignGraph, state: Breeding) -> Found:
        updates = int(state.children.numbers[:, UPDATES].sum())
        return Found(state.best, float(state.lowest), updates, state.kernel.size == 0)

    def _recipe(self, kernel: Kernel) -> Recipe:
        n, sparse = kernel.size, kernel.neighbours.size < _SPARSE * kernel.size
        return Recipe(
            improve=self.improve or ("annealing" if sparse else "tabu"),
            crossover=self.crossover or ("uniform" if sparse or n < _SMALL else "relinking"),
            members=self.members or ((12 if n < 2000 else 40) if sparse else (12 if n < _SMALL else 16)),
            patience=self.patience or max(20_000, 25 * n),
            tenure=self.tenure or max(min(n // 20, 40), n // 40, 1),
        )


def _starts(graph: SignGraph, recipe: Recipe, words: np.ndarray) -> Int8[np.ndarray, "starts n"]:
    """Annealed signs for the first children of tabu, where they are worth the time; the lowest first."""
    if recipe.improve != "tabu" or graph.size < _WORTH_ANNEALING:
        return np.zeros((0, graph.size), np.int8)
    sweeps = max(1, min(_SWEEPS, _VISITS // (graph.size * _REPLICAS)))
    return annealed(graph, _REPLICAS, sweeps, words[_CHILDREN:])


def _kernel(graph: SignGraph) -> Kernel:
    """The couplings with a bar that outweighs every local field, in floats where integers have no room for it."""
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    most = np.bincount(rows, np.abs(graph.couplings.astype(np.float64)), graph.size).max(initial=0.0)
    if graph.exact and most < _ROOM:
        return Kernel(*graph[:3], np.asarray(2 * most + 1, np.int32))
    return Kernel(graph.starts, graph.neighbours, graph.couplings.astype(np.float64), np.asarray(4 * most or 1.0))


def _keep(graph: SignGraph, state: Breeding, signs: Int8[np.ndarray, " n"]) -> None:
    """Make signs of the whole graph one-flip optimal, and keep them if they are the best."""
    signs = signs.copy()
    memetic_kernels().descend(*graph[:4], signs, np.empty(graph.size, graph.couplings.dtype))
    here = height(graph, signs)
    if here <= state.lowest:
        state.best[:], state.lowest[...] = signs, here
