"""Signs of few couplings taken out of a graph: its minimum stays, and their best values are put back in the end."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.core.errors import require
from thalweg.methods.signs.graph import SignGraph, packed

_FINEST = 16  # binary places that `packed` goes down to
_ROOM = 2.0**29  # of a sum over a row, in the finest unit


class Eliminated(NamedTuple):
    """A smaller graph without fields whose minimum plus `constant` is the minimum of the whole graph.

    **Fields:** `kernel`, the smaller graph; `kept`, which signs it holds, the extra sign that stands for the fields
    (the last) among them; `order`, `partners` and `held`, the signs that were taken out, with up to three partners
    (or -1) and the couplings to them; `size`, how many signs the whole graph has.
    """

    kernel: SignGraph
    constant: float
    kept: Int[np.ndarray, " k"]
    order: Int[np.ndarray, " m"]
    partners: Int[np.ndarray, "m 3"]
    held: Float[np.ndarray, "m 3"]
    size: int


def eliminated(graph: SignGraph) -> Eliminated:
    """Take out every sign of at most three couplings, again and again, and turn the fields into couplings to one sign.

    The minimum over a sign of degree three is `-|a s + b t + c u|`, which is a sum of pair couplings of its partners.
    Whole numbers stay exact: a sign whose removal would leave the integers of the kernels is kept.

    **Source:** the star-triangle relation at zero temperature; for degrees one and two Liers and others, in New
    Optimization Algorithms in Physics (Wiley, 2004).
    """
    # Rooms are made here, because a kernel that makes its own takes seconds longer to compile.
    size, room = graph.size + bool(graph.field.any()), graph.size + graph.neighbours.size // 2
    links = [np.empty(2 * room, np.int32) for _ in range(3)] + [np.empty(room)]
    first, degree = np.full(size, -1, np.int32), np.zeros(size, np.int32)
    couplings, field = graph.couplings.astype(np.float64), graph.field.astype(np.float64)
    pairs = _kernels().linked(graph.starts, graph.neighbours, couplings, field, *links, first, degree)
    ends, after, before, pulls = *(halves[: 2 * pairs] for halves in links[:3]), links[3][:pairs]
    order, partners, held = np.empty(size, np.int32), np.full((size, 3), -1, np.int32), np.zeros((size, 3))
    spare = np.empty(4 * size, np.int32), np.empty(4 * size, np.int32), np.empty(3, np.int64), np.empty(3)
    gone, lowered = _kernels().eliminate(
        ends, after, before, pulls, first, degree, order, partners, held, *spare, _grain(graph)
    )
    order, partners, held = order[:gone], partners[:gone], held[:gone]
    kept, starts, neighbours, couplings = _rows(ends, pulls, degree)
    smaller = packed(starts, neighbours, couplings, np.zeros(kept.size))
    smaller = smaller._replace(unit=smaller.unit * graph.unit)
    return Eliminated(smaller, -graph.unit * float(lowered), kept, order, partners, held, graph.size)


def _rows(ends: np.ndarray, pulls: np.ndarray, degree: np.ndarray) -> tuple[np.ndarray, ...]:
    """Who stays, and their compressed rows."""
    kept = np.flatnonzero(degree >= 0)
    place = np.zeros(degree.size, np.int32)
    place[kept] = np.arange(kept.size)
    starts = np.concatenate([[0], np.cumsum(degree[kept], dtype=np.int64)])
    neighbours, couplings = np.empty(starts[-1], np.int32), np.empty(starts[-1])
    _kernels().rows(ends, pulls, place, starts.copy(), neighbours, couplings)
    return kept, starts, neighbours, couplings


def restored(
    signs: Int8[np.ndarray, " k"],
    kept: Int[np.ndarray, " k"],
    order: Int[np.ndarray, " m"],
    partners: Int[np.ndarray, "m 3"],
    held: Float[np.ndarray, "m 3"],
    size: int,
) -> Int8[np.ndarray, " n"]:
    """The lowest signs of the whole graph that agree with some signs of the kernel (up to all of them at once)."""
    whole = np.ones(kept.size + order.size, np.int8)
    whole[kept] = signs
    _kernels().put_back(whole, order, partners, held)
    return whole[:size] * whole[-1] if whole.size > size else whole


def _grain(graph: SignGraph) -> float:
    """The finest coupling that elimination may make, in units of the graph; zero for any."""
    if not graph.exact:
        return 0.0
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    sums = np.abs(graph.field.astype(np.float64))
    largest = sums.sum() if sums.any() else 1.0
    np.add.at(sums, rows, np.abs(graph.couplings.astype(np.float64)))
    places = int(np.floor(np.log2(_ROOM / max(largest, sums.max()))))
    return 2.0 ** -min(max(places, 0), _FINEST)


@cache
def _kernels() -> Any:
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import eliminate_kernels

    return eliminate_kernels
