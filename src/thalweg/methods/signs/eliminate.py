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
    kernels = _kernels()
    size = graph.size + bool(graph.field.any())
    links = kernels.linked(size, *graph[:4])
    order, partners, held, lowered = kernels.eliminate(*links, _grain(graph))
    ends, _, _, pulls, _, degree = links
    kept, starts, neighbours, couplings = kernels.rows(ends, pulls, degree)
    smaller = packed(starts, neighbours, couplings, np.zeros(kept.size))
    smaller = smaller._replace(unit=smaller.unit * graph.unit)
    return Eliminated(smaller, -graph.unit * float(lowered), kept, order, partners, held, graph.size)


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
