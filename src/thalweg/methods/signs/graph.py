"""Pair couplings and fields of signs as the kernels read them: compressed rows, in exact integers where they can be."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.core.errors import InputError
from thalweg.methods.cluster import HasCouplings

_FINEST = 16  # binary places that are tried before couplings count as real numbers
_ROOM = 2**30  # of a local field in 32 bits, with a factor of two to spare


class SignGraph(NamedTuple):
    """The energy `-unit * (sum_pairs J s s + sum h s)` over signs; each pair stands in both of its rows.

    **Fields:** the row of sign `i` is `starts[i]:starts[i + 1]` of `neighbours` and `couplings`; `field`, one per
    sign; `unit`, the energy of one. `couplings` and `field` are `int32` where all of them are whole multiples of a
    power of two that fit, and `float64` otherwise: `exact` says which.
    """

    starts: Int[np.ndarray, " n+1"]
    neighbours: Int[np.ndarray, " entries"]
    couplings: Int[np.ndarray, " entries"] | Float[np.ndarray, " entries"]
    field: Int[np.ndarray, " n"] | Float[np.ndarray, " n"]
    unit: float

    @property
    def size(self) -> int:
        """How many signs there are."""
        return self.field.size

    @property
    def exact(self) -> bool:
        """Whether the kernels add integers."""
        return self.field.dtype == np.int32

    def to_csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The same as float64 in units of the energy (`HasCouplings`)."""
        return self.starts, self.neighbours, self.couplings * self.unit, self.field * self.unit


def sign_graph(energy: Any, where: str = "relax") -> SignGraph:
    """The couplings of an energy that offers them (`to_csr`, see `HasCouplings`).

    **Raises:** `InputError` for an energy without couplings, and for couplings or fields that are not finite.
    """
    if isinstance(energy, SignGraph):
        return energy
    if not isinstance(energy, HasCouplings):
        raise InputError(
            f"{where}: the energy does not offer its couplings (a method `to_csr`): use landscapes.PairwiseSigns, or "
            "sample signs with HeatBath."
        )
    starts, neighbours, couplings, field = (np.asarray(part) for part in energy.to_csr())
    couplings, field = couplings.astype(np.float64), field.astype(np.float64)
    if not (np.isfinite(couplings).all() and np.isfinite(field).all()):
        raise InputError(f"{where}: a coupling or field is not finite: mend the energy.")
    if field.size == 0:
        raise InputError(f"{where}: there are no signs: give at least one.")
    return packed(starts, neighbours, couplings, field)


def packed(starts: np.ndarray, neighbours: np.ndarray, couplings: np.ndarray, field: np.ndarray) -> SignGraph:
    """The graph of float couplings, brought to integers by a power of two where that is exact."""
    starts, neighbours = starts.astype(np.int64), neighbours.astype(np.int32)
    # A finite float64 is a multiple of a power of two; the coarsest one that all share makes the smallest integers.
    largest = float(max(np.abs(couplings).max(initial=0.0), np.abs(field).max(initial=0.0)))
    for places in range(_FINEST + 1):
        scale = 2.0**places
        whole = not ((couplings * scale) % 1).any() and not ((field * scale) % 1).any()
        if largest * scale >= _ROOM:
            break
        if whole:
            row = np.abs(field) * scale + _row_sums(starts, np.abs(couplings) * scale)
            if row.max(initial=0.0) >= _ROOM:
                break
            integers = (couplings * scale).astype(np.int32), (field * scale).astype(np.int32)
            return SignGraph(starts, neighbours, *integers, 1 / scale)
    return SignGraph(starts, neighbours, couplings, field, 1.0)


def _row_sums(starts: np.ndarray, entries: np.ndarray) -> np.ndarray:
    summed = np.concatenate([[0.0], np.cumsum(entries)])
    return summed[starts[1:]] - summed[starts[:-1]]


def local_fields(graph: SignGraph, signs: Int8[np.ndarray, " n"]) -> np.ndarray:
    """`h + J s` in units of the graph, whole numbers as `int64`; flipping sign `i` costs `2 s_i` times its own."""
    wide = np.int64 if graph.exact else np.float64
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    terms = graph.couplings.astype(wide) * signs[graph.neighbours]
    found = graph.field.astype(wide)
    np.add.at(found, rows, terms)
    return found


def height(graph: SignGraph, signs: Int8[np.ndarray, " n"]) -> float:
    """The energy of some signs, in integer arithmetic where the graph is exact."""
    felt = local_fields(graph, signs) + graph.field  # each pair is felt from both of its ends, a field from one
    return 0.0 - graph.unit * float((felt * signs).sum()) / 2  # not -0.0


def one_flip_optimal(graph: SignGraph, signs: Int8[np.ndarray, " n"]) -> bool:
    """Whether no single flip lowers the energy."""
    return bool((local_fields(graph, signs) * signs >= 0).all())
