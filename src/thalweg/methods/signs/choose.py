"""Which search suits a graph, and why."""

from __future__ import annotations

import numpy as np

from thalweg.methods.signs.eliminate import Eliminated, eliminated
from thalweg.methods.signs.graph import SignGraph
from thalweg.methods.signs.search import AbstractSearch

_FEW = 20  # signs, whose configurations are counted in a moment
_MANY, _CROWDED = 20_000, 2_000_000  # signs and entries of which not even one population is improved within a minute
_CROWDED_ROW = 12.0  # couplings per sign; lattices have fewer
_LATTICE = 3.4  # largest dimension; random graphs look like 3.6 (a thousand signs, degree 4) and more
_ROOTS, _PART, _STEPS = 8, 8, 3


def chosen(graph: SignGraph, *, seed: int = 0, target: float | None = None) -> tuple[AbstractSearch, str]:
    """The search for a graph, and the sentence that says why.

    **Arguments:** `graph`, the couplings; `seed` and `target` of the search.

    **Returns:** an exhaustive search for at most 20 signs; replica exchange with cluster moves where what elimination
    leaves is a lattice; annealing where it is very large; the memetic search for everything else.
    """
    options = {"seed": seed, "target": target}
    if graph.size <= _FEW:
        from thalweg.methods.signs.exhaustive import Exhaustive

        return Exhaustive(**options), f"exhaustive: all configurations of {graph.size} signs can be looked at"
    less = eliminated(graph)
    signs, entries = _without_extra(less)
    row = entries / max(signs, 1)
    left = f"{signs} of {graph.size} signs are left after elimination, {row:.1f} couplings each"
    if signs > _MANY or entries > _CROWDED:
        from thalweg.methods.signs.annealing import Annealing

        return Annealing(**options), f"annealing: {left}, too many for a population"
    dimension = lattice_dimension(less)
    if row <= _CROWDED_ROW and dimension is not None and dimension < _LATTICE:
        from thalweg.methods.signs.exchange import Exchange

        return Exchange(**options), f"exchange: {left}, in what grows as a lattice of dimension {dimension:.1f}"
    from thalweg.methods.signs.memetic import Memetic

    if signs == 0:
        return Memetic(**options), f"memetic: elimination alone solves all {graph.size} signs"
    if dimension is None:
        return Memetic(**options), f"memetic: {left}, and everything is a few steps apart"
    return Memetic(**options), f"memetic: {left}, which grow as no lattice does (dimension {dimension:.1f})"


def _without_extra(less: Eliminated) -> tuple[int, int]:
    """How many signs and entries are left, apart from the extra sign of the fields."""
    rows, extra = np.diff(less.kernel.starts), less.kept == less.size
    return int((~extra).sum()), int(rows.sum() - 2 * rows[extra].sum())


def lattice_dimension(less: Eliminated) -> float | None:
    """The dimension by the growth of the shells around a sign, before a ball holds an eighth of all signs.

    In a lattice of dimension `d` the shell at radius `r` is about `(r / (r - 1))^(d - 1)` times the one before; in a
    random graph it grows by the same factor at any radius. The extra sign of the fields is nobody's neighbour here.

    **Returns:** the mean over some signs, or `None` where balls of three steps are already that large.
    """
    kernel = less.kernel
    passable = less.kept < less.size
    rows = np.diff(kernel.starts)
    roots = np.flatnonzero(passable & (rows > 0))
    if roots.size == 0:
        return None
    roots = roots[np.linspace(0, roots.size - 1, min(_ROOTS, roots.size)).astype(int)]
    dimensions = [_dimension(kernel, passable, int(root)) for root in roots]
    known = [one for one in dimensions if one is not None]
    return float(np.mean(known)) if 2 * len(known) > len(dimensions) else None


def _dimension(kernel: SignGraph, passable: np.ndarray, root: int) -> float | None:
    """By the last shell around one sign that is inside."""
    most, unseen = max(kernel.size // _PART, 1), passable.copy()
    shell, shells, ball = np.array([root]), [1], 1
    unseen[root] = False
    while shell.size and ball <= most:
        rows = [kernel.neighbours[kernel.starts[one] : kernel.starts[one + 1]] for one in shell]
        found = np.unique(np.concatenate(rows))
        shell = found[unseen[found]]
        unseen[shell] = False
        shells.append(shell.size)
        ball += shell.size
    inside = [size for size in shells[1:-1] if size]  # the last shell left the eighth, or there was none
    radius = len(inside)
    if radius < _STEPS:
        return None
    return 1 + float(np.log(inside[-1] / inside[-2]) / np.log(radius / (radius - 1)))
