"""Replicas of all signs in the layout of the vector kernels: blocks of sixteen, side by side."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8, Num, UInt64

from thalweg.core.errors import require
from thalweg.methods.signs.graph import SignGraph
from thalweg.methods.signs.threads import in_threads

LANES = 16  # 16-bit numbers in the 256 bits of a vector register
_ROOM = 2**14  # of a local field in 16 bits: a step is twice a coupling
_LINE = 64  # bytes of a cache line


class Lanes(NamedTuple):
    """Replicas under way: `signs` and their local `fields`, in one narrow type, and random `words`, by block."""

    signs: Num[np.ndarray, "blocks n 16"]
    fields: Num[np.ndarray, "blocks n 16"]
    words: UInt64[np.ndarray, "blocks 2 8"]


@cache  # asked in every unit of work
def kernels() -> Any:
    """The compiled loops.

    **Raises:** `MissingPackageError` without numba.
    """
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import anneal_kernels

    return anneal_kernels


def blocks_of(replicas: int) -> int:
    """How many blocks hold so many replicas."""
    return -(-replicas // LANES)


def whole(graph: SignGraph) -> bool:
    """Whether the kernels add integers on a `narrow` graph."""
    return graph.field.dtype.kind == "i"


def narrow(graph: SignGraph) -> SignGraph:
    """The graph in 16-bit integers where these hold every local field, and in floats otherwise.

    Floats are exact too for whole numbers: there are but two kinds of every kernel to compile.
    """
    if not graph.exact:
        return graph
    sums = np.concatenate([[0], np.cumsum(np.abs(graph.couplings.astype(np.int64)))])
    rows = sums[graph.starts[1:]] - sums[graph.starts[:-1]] + np.abs(graph.field.astype(np.int64))
    kind = np.int16 if rows.max(initial=0) < _ROOM else np.float64
    return graph._replace(couplings=graph.couplings.astype(kind), field=graph.field.astype(kind))


def expanded(words: UInt64[np.ndarray, " words"], *shape: int) -> UInt64[np.ndarray, "..."]:
    """As many random words as are wanted, none of them zero, from some."""
    many = np.random.SeedSequence([int(word) for word in words]).generate_state(int(np.prod(shape)), np.uint64)
    return np.maximum(many, np.uint64(1)).reshape(shape)


def scattered(graph: SignGraph, blocks: int, words: UInt64[np.ndarray, " words"]) -> Lanes:
    """Blocks of random signs on a `narrow` graph."""
    kind = graph.field.dtype
    signs = np.empty((blocks, graph.size, LANES), kind)
    return rescattered(graph, Lanes(signs, np.empty_like(signs), expanded(words, blocks, 2, 8)))


def rescattered(graph: SignGraph, lanes: Lanes) -> Lanes:
    """The same blocks with fresh random signs, in place."""

    def one(block: int) -> None:
        kernels().scatter(lanes.signs[block], lanes.words[block])

    in_threads(one, range(len(lanes.signs)))
    return refreshed(graph, lanes)


def refreshed(graph: SignGraph, lanes: Lanes) -> Lanes:
    """The same signs with local fields computed anew, in place: floats gather rounding while they are kept."""

    def one(block: int) -> None:
        rows = graph.starts, graph.neighbours, graph.couplings, graph.field
        kernels().refresh(lanes.signs[block], lanes.fields[block], *rows)

    in_threads(one, range(len(lanes.signs)))
    return lanes


def heat_rows(graph: SignGraph, temperatures: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
    """Halves of temperatures in units of the graph, in the type that the kernels compare with."""
    return np.ascontiguousarray(temperatures / 2, np.float32 if whole(graph) else np.float64)


def swept(graph: SignGraph, lanes: Lanes, heat: Num[np.ndarray, "sweeps 16"], heat_bath: bool = False) -> Lanes:
    """One sweep of all replicas for each row of `heat_rows`, by Metropolis or heat-bath probabilities; in place."""
    if not whole(graph):
        refreshed(graph, lanes)
    kernel = kernels().sweep_heat_bath if heat_bath else kernels().sweep_metropolis

    def one(block: int) -> None:
        signs, fields = aligned(lanes.signs[block]), aligned(lanes.fields[block])
        step = np.zeros(LANES, signs.dtype)
        kernel(signs, fields, lanes.words[block], step, heat, graph.starts, graph.neighbours, graph.couplings)
        lanes.signs[block], lanes.fields[block] = signs, fields

    in_threads(one, range(len(lanes.signs)))
    return lanes


def quenched(graph: SignGraph, lanes: Lanes) -> Lanes:
    """The same blocks at rest: no flip of one sign lowers any energy; in place."""

    def one(block: int) -> None:
        rows, parts = graph[:3], (lanes.signs[block], lanes.fields[block])
        kernels().refresh(*parts, *rows, graph.field)
        kernels().quench(*parts, np.zeros(LANES, graph.field.dtype), *rows)

    in_threads(one, range(len(lanes.signs)))
    return lanes


def heights(graph: SignGraph, lanes: Lanes) -> Num[np.ndarray, "blocks 16"]:
    """The energies of all replicas in units of the graph: whole numbers where it is exact."""
    totals = np.zeros((len(lanes.signs), LANES), np.int64 if whole(graph) else np.float64)

    def one(block: int) -> None:
        kernels().heights(lanes.signs[block], lanes.fields[block], graph.field, totals[block])

    in_threads(one, range(len(lanes.signs)))
    return -totals // 2 if whole(graph) else -totals / 2


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a cache line: rows of 32 bytes then never straddle two of them (a third of the speed)."""
    room = np.empty(array.nbytes + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    copied = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


def lowest_at_rest(
    graph: SignGraph, signs: Num[np.ndarray, "n 16"]
) -> tuple[Int8[np.ndarray, " n"], Num[np.ndarray, ""]]:
    """The lowest of one block of replicas after a descent of each, and its energy in units of the graph."""
    copied = np.array(signs[None], graph.field.dtype, order="C")
    lanes = quenched(graph, Lanes(copied, np.empty_like(copied), np.ones((1, 2, 8), np.uint64)))
    found = heights(graph, lanes)[0]
    lane = int(np.argmin(found))
    return lanes.signs[0, :, lane].astype(np.int8), found[lane]
