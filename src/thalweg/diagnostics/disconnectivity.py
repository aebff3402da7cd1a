"""Disconnectivity: which minima hang together below which height, and the lowest ways between them."""

from __future__ import annotations

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from thalweg.core.errors import InputError


class Tree(eqx.Module):
    """The disconnectivity graph of a landscape: its minima are leaves, and every merging of basins is a node.

    Nodes `0` to `m - 1` are the minima, in the order given; each later one merges two earlier ones, at its height.

    **Fields:** the `energies` [m] of the minima; the `heights` [nodes] of all nodes; the `parents` [nodes], -1 at a
    root (one root for each set of connected minima); the `children` [merges, 2], the one with the lower minimum first;
    `lowest` [nodes], the lowest minimum below each; `saddles` [merges], which saddle makes each merging, and `links`
    [merges, 2], the two minima that it joins.

    **Source:** Becker & Karplus, J. Chem. Phys. 106, 1495 (1997); Wales, Miller & Walsh, Nature 394, 758 (1998).
    """

    energies: Float[np.ndarray, " m"]
    heights: Float[np.ndarray, " nodes"]
    parents: Int[np.ndarray, " nodes"]
    children: Int[np.ndarray, "merges 2"]
    lowest: Int[np.ndarray, " nodes"]
    saddles: Int[np.ndarray, " merges"]
    links: Int[np.ndarray, "merges 2"]

    @property
    def connected(self) -> bool:
        """Whether all minima hang together."""
        return int(np.sum(self.parents < 0)) <= 1

    def barrier(self, a: int, b: int) -> float:
        """The lowest height that every way from minimum `a` to minimum `b` has to reach; infinite where there is none.

        It is an energy, not a difference: subtract that of `a` for the barrier seen from there. For `a = b` it is the
        energy of the minimum.
        """
        above = set(self._line(a))
        meeting = next((node for node in self._line(b) if node in above), None)
        return float("inf") if meeting is None else float(self.heights[meeting])

    def route(self, a: int, b: int) -> list[int]:
        """The saddles, in order from `a` to `b`, on a way that reaches no higher than it must, and nowhere on it does.

        **Raises:** `InputError` where the two are not connected.
        """
        for end in (a, b):
            self._line(end)
        came = {int(a): (-1, -1)}
        neighbours: dict[int, list[tuple[int, int]]] = {}
        for saddle, (one, other) in zip(self.saddles.tolist(), self.links.tolist(), strict=True):
            neighbours.setdefault(one, []).append((other, saddle))
            neighbours.setdefault(other, []).append((one, saddle))
        waiting = [int(a)]
        for here in waiting:  # it grows while it is walked through
            for there, saddle in neighbours.get(here, []):
                if there not in came:
                    came[there] = (here, saddle)
                    waiting.append(there)
        if b not in came:
            raise InputError(f"Tree.route: no saddles lead from minimum {a} to {b}: search for more of them.")
        found, here = [], int(b)
        while here != a:
            here, saddle = came[here]
            found.append(saddle)
        return found[::-1]

    def at_levels(self, levels: ArrayLike) -> Int[np.ndarray, "levels m"]:
        """The basins that are separate at each height: every minimum's basin, named after its lowest minimum.

        A minimum above the level has the name -1; a saddle at the level itself is open.
        """
        names = []
        for level in np.atleast_1d(np.asarray(levels, float)):
            top = np.arange(len(self.heights))
            for node in range(len(self.heights) - 1, -1, -1):  # parents come after their children
                parent = self.parents[node]
                if parent >= 0 and self.heights[parent] <= level:
                    top[node] = top[parent]
            count = len(self.energies)
            names.append(np.where(self.energies <= level, self.lowest[top[:count]], -1))
        return np.stack(names)

    def layout(self) -> Float[np.ndarray, " nodes"]:
        """A place on the horizontal axis for every node: minima at whole numbers, no lines crossing, low ones centred.

        A merging stands above the lowest minimum below it; the basin that joins is put on the side that has fewer
        minima so far. Minima that are not connected stand side by side, the lowest ones first.
        """
        count = len(self.energies)
        orders: dict[int, tuple[list[int], list[int]]] = {leaf: ([], []) for leaf in range(count)}
        for place, (main, side) in enumerate(self.children.tolist()):
            left, right = orders.pop(main)
            whole = self._row(side, orders.pop(side))
            orders[count + place] = ([*whole, *left], right) if len(left) <= len(right) else (left, [*right, *whole])
        x = np.zeros(len(self.heights))
        roots = sorted(orders, key=lambda node: (self.energies[self.lowest[node]], node))
        row = [leaf for root in roots for leaf in self._row(root, orders[root])]
        x[row] = np.arange(count)
        return x[self.lowest]

    def _row(self, node: int, order: tuple[list[int], list[int]]) -> list[int]:
        return [*order[0], int(self.lowest[node]), *order[1]]

    def _line(self, leaf: int) -> list[int]:
        if not 0 <= leaf < len(self.energies):
            raise InputError(f"Tree: there is no minimum {leaf}: choose one of 0 to {len(self.energies) - 1}.")
        line, node = [], int(leaf)
        while node >= 0:
            line.append(node)
            node = int(self.parents[node])
        return line


def disconnectivity(energies: ArrayLike, saddle_energies: ArrayLike, joined: ArrayLike) -> Tree:
    """The disconnectivity graph of minima and the saddles between them, exactly: no grid of levels.

    Basins are merged over the saddles in ascending order (Kruskal's algorithm), so that the height at which two minima
    come together is the least over all ways of the highest saddle on the way.

    **Arguments:** the `energies` [m] of the minima; those of the saddles [s]; `joined` [s, 2], the places of the two
    minima below each saddle (a saddle between two copies of one minimum merges nothing).

    **Returns:** a `Tree`.

    **Raises:** `InputError` for saddles that join no such minima, or lie below one that they join.

    **Source:** Becker & Karplus, J. Chem. Phys. 106, 1495 (1997).
    """
    minima, tops = np.asarray(energies, np.float64), np.asarray(saddle_energies, np.float64)
    pairs = np.asarray(joined, np.int64).reshape(-1, 2)
    _check(minima, tops, pairs)
    count = len(minima)
    heights, parents, lowest = list(minima), [-1] * count, list(range(count))
    children, used, links = [], [], []
    owner = np.arange(count)  # the node that each minimum hangs on now
    for saddle in np.argsort(tops, kind="stable"):
        one, other = (int(owner[end]) for end in pairs[saddle])
        if one == other:
            continue
        main, side = sorted((one, other), key=lambda node: (minima[lowest[node]], lowest[node]))
        new = len(heights)
        parents[main] = parents[side] = new
        # Rounding may put a saddle a hair below a minimum that it joins.
        heights.append(max(float(tops[saddle]), heights[main], heights[side]))
        parents.append(-1)
        lowest.append(lowest[main])
        children.append((main, side))
        used.append(int(saddle))
        links.append(tuple(pairs[saddle].tolist()))
        owner[(owner == main) | (owner == side)] = new
    return Tree(
        minima,
        np.asarray(heights),
        np.asarray(parents, np.int64),
        np.asarray(children, np.int64).reshape(-1, 2),
        np.asarray(lowest, np.int64),
        np.asarray(used, np.int64),
        np.asarray(links, np.int64).reshape(-1, 2),
    )


def _check(minima: np.ndarray, tops: np.ndarray, pairs: np.ndarray) -> None:
    if minima.ndim != 1 or not len(minima) or len(tops) != len(pairs):
        raise InputError(
            f"disconnectivity: energies of shape {minima.shape}, {len(tops)} saddles, {len(pairs)} pairs do not fit: "
            "give one energy per minimum, and one energy and one pair per saddle."
        )
    if not (np.isfinite(minima).all() and np.isfinite(tops).all()):
        raise InputError("disconnectivity: an energy is not finite: leave that minimum or saddle out.")
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < len(minima):
        raise InputError(f"disconnectivity: a saddle joins a minimum that is not among the {len(minima)} given.")
    if not len(pairs):
        return
    slack = 1e-6 * max(1.0, float(np.abs(minima).max()))  # what single precision leaves of an energy
    under = np.flatnonzero(tops < minima[pairs].max(axis=1) - slack)
    if len(under):
        place = int(under[0])
        raise InputError(
            f"disconnectivity: saddle {place} at {tops[place]} lies below a minimum that it joins: it is none."
        )
