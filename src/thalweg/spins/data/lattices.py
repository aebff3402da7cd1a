"""Regular lattices of any size with one coupling, and what any set of couplings is to a critical study."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.landscapes import PairwiseSigns
from thalweg.spins.data.problem import Problem, problem

# From a site to half of its neighbours; the other half see it from theirs.
_SHIFTS = {
    "square": ((1, 0), (0, 1)),
    "triangular": ((1, 0), (0, 1), (1, 1)),
    "cubic": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
LATTICES = tuple(_SHIFTS)
# 1/nu + omega of the Ising universality classes: exactly 1 + 7/4 in two dimensions (Blote & Nightingale,
# Phys. Rev. Lett. 60, 1562 (1988)), 1.5874 + 0.8297 in three (Kos et al., J. High Energy Phys. 08, 036 (2016)).
CORRECTION = {2: 2.75, 3: 2.417}


def dimension(name: str) -> int:
    """The dimension of a lattice.

    **Raises:** `InputError` for an unknown name.
    """
    if name not in _SHIFTS:
        raise InputError(f"critical: there is no lattice {name!r}: choose one of {', '.join(LATTICES)}, or give files.")
    return len(_SHIFTS[name][0])


def lattice(name: str, length: int, coupling: int = 1) -> Problem:
    """A periodic lattice of `length` sites along each axis, every nearest pair coupled alike.

    **Raises:** `InputError` for an unknown name, or a length below 3, where a pair would be its own periodic image.
    """
    axes = dimension(name)
    if length < 3:
        raise InputError(f"critical: a lattice of length {length} has no separate neighbours: take at least 3.")
    sites = np.arange(length**axes).reshape((length,) * axes)
    ends = [
        (sites.ravel(), np.roll(sites, [-along for along in shift], range(axes)).ravel()) for shift in _SHIFTS[name]
    ]
    first, second = (np.concatenate(end) for end in zip(*ends, strict=True))
    field = np.zeros(sites.size, np.int64)
    return problem(first, second, np.full(first.size, coupling), field, source=f"the {name} lattice")


class Aligned(NamedTuple):
    """Couplings that can all be satisfied at once: the same with every coupling positive, and the signs that do so."""

    landscape: PairwiseSigns
    gauge: np.ndarray


def aligned(of: Problem) -> Aligned:
    """Turn spins over until every coupling is positive, which changes no law but that of the order parameter.

    **Raises:** `InputError` for frustrated couplings, fields, or spins that fall apart into several systems.

    **Source:** Mattis, Phys. Lett. A 56, 421 (1976).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    if of.field.any():
        raise InputError(f"{of.source}: a field rounds the transition off: leave the fields out.")
    starts, neighbours, couplings, _ = of.to_csr()
    matrix = csr_array((np.abs(couplings), neighbours, starts), shape=(of.size, of.size))
    order, above = breadth_first_order(matrix, 0, directed=False)
    if order.size < of.size:
        raise InputError(f"{of.source}: only {order.size} of {of.size} spins hang together: take one connected system.")
    lookup = {}
    for here in order[1:]:
        row = slice(starts[here], starts[here + 1])
        lookup[here] = np.sign(couplings[row][neighbours[row] == above[here]][0])
    gauge = np.ones(of.size, np.int8)
    for here in order[1:]:
        gauge[here] = gauge[above[here]] * lookup[here]
    if (of.coupling * gauge[of.first] * gauge[of.second] < 0).any():
        raise InputError(
            f"{of.source}: the couplings are frustrated, so that clusters do not see their transition: sample at "
            "several temperatures with `thalweg spins sample --method exchange` instead."
        )
    strong = np.abs(of.coupling / of.denominator).astype(float)
    landscape = PairwiseSigns(of.first.astype(np.int32), of.second.astype(np.int32), strong, np.zeros(of.size))
    return Aligned(landscape, gauge)


def length_of(of: Problem, axes: int) -> int:
    """The linear size of a system of `axes` dimensions.

    **Raises:** `InputError` where the number of spins is no such power.
    """
    length = round(of.size ** (1 / axes))
    if length**axes != of.size:
        raise InputError(f"{of.source}: {of.size} spins are no system of length^{axes}: state its --dimension.")
    return length
