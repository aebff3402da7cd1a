"""Children of a population of signs: how one begins, is improved in pieces of work, and takes its place."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Shaped, UInt64

from thalweg.core.errors import require

_WORK = 6e5  # couplings that are read in one piece of work, some milliseconds
_RESTRICTED, _WHOLE = 400, 100  # sweeps over the signs in which the parents differ, and over all
_CLOSE = 0.01  # of all signs: members that differ in fewer are the same
_STALLED = 5  # times the population: so many children that are not taken in end it
BEGIN, _UNDER_WAY, BORN = 0, 1, 2
# Places in the numbers of a child.
STAGE, _MOTHER, _FATHER, _DONE, _DIFFERING, UPDATES, _NOW, _SINCE, _BEGUN = range(9)


class Recipe(NamedTuple):
    """How children are made and improved, and how many members there are; see `Memetic` for the rules."""

    improve: Literal["tabu", "annealing"]
    crossover: Literal["uniform", "relinking"]
    members: int
    patience: int
    tenure: int

    @property
    def loose(self) -> int:
        """How many values the random part of the tenure has."""
        return min(10, 1 + self.tenure // 2)


class Kernel(NamedTuple):
    """Couplings without fields; `bar` is more than twice what any local field can be."""

    starts: Int[np.ndarray, " n+1"]
    neighbours: Int[np.ndarray, " entries"]
    couplings: Shaped[np.ndarray, " entries"]
    bar: Shaped[np.ndarray, ""]

    @property
    def size(self) -> int:
        """How many signs there are."""
        return self.starts.size - 1

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The couplings alone."""
        return self.starts, self.neighbours, self.couplings


class Children(eqx.Module):
    """Children under way, one per row.

    **Fields:** `signs` of now and the `best`; `keys` of tabu with what its kernel keeps beside them (while annealing
    they are the local fields); which signs are `differing` between the parents; `numbers`, see the places above;
    `heights`, of now, the lowest, and the least gain that counts; the random `words`.
    """

    signs: Int8[np.ndarray, "children n"]
    best: Int8[np.ndarray, "children n"]
    keys: Shaped[np.ndarray, "children places"]
    tops: Shaped[np.ndarray, "children blocks"]
    stale: Bool[np.ndarray, "children blocks"]
    first: Int[np.ndarray, "children tenures"]
    after: Int[np.ndarray, "children n"]
    differing: Int[np.ndarray, "children n"]
    numbers: Int[np.ndarray, "children 9"]
    heights: Float[np.ndarray, "children 3"]
    words: UInt64[np.ndarray, "children 1"]


class Breeding(eqx.Module):
    """A population under way, on the `kernel` that is left of a graph: host arrays only.

    **Fields:** `taken_out`, see `Eliminated`; `betas` of restricted and whole annealing; `starts`, signs that the first
    children begin from, which the rows of children take in turn; `counts`, the members so far and the children since
    the last one that was taken in; the `best` signs of the whole graph, their energy `lowest`, and the lowest energy
    on the kernel.
    """

    kernel: Kernel
    taken_out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    betas: Float[np.ndarray, " sweeps"]
    starts: Int8[np.ndarray, "starts n"]
    children: Children
    members: Int8[np.ndarray, "members n"]
    heights: Float[np.ndarray, " members"]
    counts: Int[np.ndarray, " 2"]
    best: Int8[np.ndarray, " whole"]
    lowest: Float[np.ndarray, ""]
    kernel_lowest: Float[np.ndarray, ""]


def children(kernel: Kernel, number: int, recipe: Recipe, words: UInt64[np.ndarray, " words"]) -> Children:
    """Rows for some children that have not begun."""
    n, block = kernel.size, tabu_kernels().BLOCK
    blocks, kind = -(-n // block), kernel.couplings.dtype
    heights = np.zeros((number, 3))
    # Sums of floats round: a gain within their error is none.
    heights[:, 2] = 0.0 if kind == np.int32 else 1e-12 * float(np.abs(kernel.couplings).sum())
    return Children(
        signs=np.ones((number, n), np.int8),
        best=np.ones((number, n), np.int8),
        keys=np.zeros((number, blocks * block), kind),
        tops=np.zeros((number, blocks), kind),
        stale=np.ones((number, blocks), np.bool_),
        first=np.full((number, recipe.tenure + recipe.loose), -1, np.int32),
        after=np.full((number, n), -1, np.int32),
        differing=np.zeros((number, n), np.int32),
        numbers=np.zeros((number, 9), np.int64),
        heights=heights,
        words=words[:number, None] | np.uint64(1),  # never zero
    )


def annealing_betas(kernel: Kernel, hot: float = 0.7, warm: float = 2.2, cold: float = 6.0) -> np.ndarray:
    """Inverse temperatures of a restricted and a whole annealing, in units of the typical local field."""
    squares = np.asarray(kernel.couplings, np.float64) ** 2
    typical = np.sqrt(squares.sum() / max(kernel.size, 1)) or 1.0
    return np.concatenate([np.linspace(hot, cold, _RESTRICTED), np.linspace(warm, cold, _WHOLE)]) / typical


def work(recipe: Recipe, state: Breeding, row: int) -> None:
    """One piece of work on one child, from its own random word; nothing that another child reads is written."""
    child, numbers = state.children, state.children.numbers[row]
    if numbers[STAGE] == BORN:
        return
    if numbers[STAGE] == BEGIN:
        _begin(recipe, state, row)
        numbers[STAGE] = _UNDER_WAY
    finished = _tabu(recipe, state, row) if recipe.improve == "tabu" else _anneal(state, row)
    if finished:
        if recipe.improve == "tabu":
            child.signs[row] = child.best[row]
        field = np.zeros(state.kernel.size, state.kernel.couplings.dtype)
        arrays = field, child.signs[row], child.keys[row]
        child.heights[row, 0] = memetic_kernels().descend(*state.kernel.rows, *arrays)
        numbers[STAGE] = BORN


def settle(recipe: Recipe, state: Breeding, row: int) -> tuple[Int8[np.ndarray, " n"], float]:
    """Give a child that is born its place, or none, and make its row free; returns its signs and energy."""
    child, numbers = state.children, state.children.numbers[row]
    signs, here, margin = child.signs[row].copy(), float(child.heights[row, 0]), child.heights[row, 2]
    numbers[STAGE] = BEGIN
    count = int(state.counts[0])
    place = count if count < recipe.members else _place(state, signs, here, numbers, margin)
    if place >= 0:
        state.members[place], state.heights[place] = signs, here
        state.counts[:] = min(count + 1, recipe.members), 0
        return signs, here
    state.counts[1] += 1
    if state.counts[1] >= _STALLED * recipe.members:
        state.counts[:] = 0
        child.numbers[:, STAGE] = BEGIN
    return signs, here


def _place(state: Breeding, signs: np.ndarray, here: float, numbers: np.ndarray, margin: float) -> int:
    """The member to replace: the one that is nearly the same, or the nearer parent, if it is higher; or -1."""
    kernels = memetic_kernels()
    near, apart = kernels.nearest(state.members, signs)
    if apart >= _CLOSE * signs.size:
        if numbers[_MOTHER] < 0:
            near = int(state.heights.argmax())
        else:
            parents = numbers[[_MOTHER, _FATHER]]
            near = min(parents, key=lambda parent: abs(kernels.distance(state.members[parent], signs)))
    return int(near) if here < state.heights[near] - margin else -1


def _begin(recipe: Recipe, state: Breeding, row: int) -> None:
    """Signs to improve: at random while the population is not full, then from two members."""
    child, numbers, kernels = state.children, state.children.numbers[row], memetic_kernels()
    numbers[[_MOTHER, _FATHER, _DONE, _DIFFERING]] = -1, -1, 0, 0
    signs, words = child.signs[row], child.words[row]
    full = state.counts[0] == recipe.members
    if full:
        mother, father = kernels.two(recipe.members, words)
        one, other = state.members[mother], state.members[father]
        apart = kernels.distance(one, other)
        if abs(apart) > max(2, _CLOSE * signs.size):
            numbers[[_MOTHER, _FATHER]] = mother, father
            turn = 1 if apart > 0 else -1
            numbers[_DIFFERING] = kernels.mixed(one, other, turn, signs, child.differing[row], words)
            if recipe.crossover == "relinking":
                _relink(state, row, one, (turn * other).astype(np.int8))
    if numbers[_MOTHER] < 0:
        turn = row + len(child.numbers) * int(numbers[_BEGUN])
        if turn < len(state.starts):
            signs[:] = state.starts[turn]
            numbers[[_DONE, _BEGUN]] = _RESTRICTED, numbers[_BEGUN] + 1
        else:
            kernels.random_signs(signs, words)
        child.differing[row] = np.arange(signs.size)
        numbers[_DIFFERING] = signs.size
    if recipe.improve == "tabu":
        numbers[[_NOW, _SINCE]] = 0
        child.first[row] = -1
        child.best[row] = signs
        child.heights[row, :2] = _keyed(state, row)
    else:
        kernels.felt(*state.kernel.rows, signs, child.keys[row])


def _keyed(state: Breeding, row: int) -> float:
    child = state.children
    arrays = child.signs[row], child.keys[row], child.tops[row], child.stale[row]
    return tabu_kernels().keyed(*state.kernel.rows, *arrays, state.kernel.bar[()])


def _relink(state: Breeding, row: int, one: np.ndarray, other: np.ndarray) -> None:
    child = state.children
    child.signs[row] = one
    here = _keyed(state, row)
    arrays = child.signs[row], other, child.best[row], child.keys[row], child.tops[row], child.stale[row]
    tabu_kernels().relink(*state.kernel.rows, *arrays, here, child.words[row], state.kernel.bar[()])
    child.signs[row] = child.best[row]


def _tabu(recipe: Recipe, state: Breeding, row: int) -> bool:
    child, numbers, kernel = state.children, state.children.numbers[row], state.kernel
    # A move looks at all keys, many at once, and at the couplings of one sign.
    moves = int(_WORK / (10 + kernel.size / 32 + kernel.neighbours.size / kernel.size)) + 1
    arrays = child.signs[row], child.best[row], child.keys[row], child.tops[row], child.stale[row]
    lists = child.first[row], child.after[row], numbers[_NOW:], child.heights[row]
    rule, before = (recipe.patience, recipe.tenure, recipe.loose), numbers[_NOW]
    tabu_kernels().tabu(*kernel.rows, *arrays, *lists, child.words[row], moves, rule, kernel.bar[()])
    numbers[UPDATES] += numbers[_NOW] - before
    return bool(numbers[_SINCE] >= recipe.patience)


def _anneal(state: Breeding, row: int) -> bool:
    child, numbers, kernel = state.children, state.children.numbers[row], state.kernel
    done, everything = int(numbers[_DONE]), np.arange(kernel.size, dtype=np.int32)
    which = child.differing[row, : numbers[_DIFFERING]] if done < _RESTRICTED else everything
    end = _RESTRICTED if done < _RESTRICTED else _RESTRICTED + _WHOLE
    upto = min(end, done + 1 + int(_WORK / max(which.size, 1)))
    arrays = child.signs[row], child.keys[row], which, state.betas[done:upto], _draws()
    memetic_kernels().anneal(*kernel.rows, *arrays, child.words[row])
    numbers[_DONE] = upto
    numbers[UPDATES] += which.size * (upto - done)
    return upto == _RESTRICTED + _WHOLE


@cache
def _draws() -> np.ndarray:
    levels = 4096
    return -np.log1p(-(np.arange(levels) + 0.5) / levels)


@cache
def memetic_kernels() -> Any:
    """The compiled loops beside tabu."""
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import memetic_kernels as kernels

    return kernels


@cache
def tabu_kernels() -> Any:
    """The compiled loops of tabu."""
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import tabu_kernels as kernels

    return kernels
