"""A growing network of minima and saddles: what is new in it, and which missing links are worth a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from thalweg.methods.copies import AbstractCopies, HasFingerprint

Row = Float[np.ndarray, " n"]
_TRIES = 2  # searches for one link: the second begins at another random path
_TIRED = 10.0  # how much longer a link counts after each search that did not join its ends


class Network:
    """Minima and the saddles that join them, as flat rows, each one once modulo copies.

    **Arguments:** `copies`, the symmetry; `unravel`, from a flat row to a configuration; `distance`, the length of the
    shortest step between two rows; `energy_tol` and `distance_tol`, within which two points are one.
    """

    def __init__(
        self,
        copies: AbstractCopies,
        unravel: Callable[[Row], PyTree],
        ravel: Callable[[PyTree], Row],
        distance: Callable[[Row, Row], float],
        energy_tol: float,
        distance_tol: float,
    ):
        self.copies, self.unravel, self.ravel, self.distance = copies, unravel, ravel, distance
        self.energy_tol, self.distance_tol = energy_tol, distance_tol
        self.minima: list[Row] = []
        self.energies: list[float] = []
        self.searched: list[int] = []
        self.saddles: list[Row] = []
        self.saddle_energies: list[float] = []
        self.eigenvalues: list[float] = []
        self.joined: list[tuple[int, int]] = []
        self.tried: dict[tuple[int, int], int] = {}
        self._prints: list[np.ndarray] = []
        self._gaps = np.zeros((0, 0))

    def nearest(self, a: Row, b: Row) -> Row:
        """The copy of `b` nearest to `a`."""
        return self.ravel(self.copies.nearest(self.unravel(a), self.unravel(b)))

    def _same(self, rows: Sequence[Row], energies: Sequence[float], row: Row, energy: float) -> int | None:
        for place in np.flatnonzero(np.abs(np.asarray(energies) - energy) <= self.energy_tol).tolist():
            if self.distance(rows[place], self.nearest(rows[place], row)) <= self.distance_tol:
                return place
        return None

    def known(self, row: Row, energy: float) -> int | None:
        """The place of this minimum, or `None`."""
        return self._same(self.minima, self.energies, row, energy)

    def add_minimum(self, row: Row, energy: float) -> int:
        """A new place for a minimum that is not `known`."""
        count = len(self.minima)
        self.minima.append(row)
        self.energies.append(energy)
        self.searched.append(0)
        self._gaps = np.pad(self._gaps, ((0, 1), (0, 1)))
        if isinstance(self.copies, HasFingerprint):
            self._prints.append(np.asarray(self.copies.fingerprint(self.unravel(row))))
            lengths = np.linalg.norm(np.asarray(self._prints) - self._prints[-1], axis=1)
        else:
            lengths = np.array([self.distance(row, self.nearest(row, other)) for other in self.minima])
        self._gaps[count], self._gaps[:, count] = lengths, lengths
        return count

    def add_saddle(self, row: Row, energy: float, eigenvalue: float, ends: tuple[int, int]) -> bool:
        """Whether this saddle was new; one between two copies of a minimum is kept too."""
        ends = (min(ends), max(ends))
        same = [place for place, pair in enumerate(self.joined) if pair == ends]
        energies = [self.saddle_energies[place] for place in same]
        if self._same([self.saddles[place] for place in same], energies, row, energy) is not None:
            return False
        self.saddles.append(row)
        self.saddle_energies.append(energy)
        self.eigenvalues.append(eigenvalue)
        self.joined.append(ends)
        return True

    def basins(self, level: float = np.inf) -> np.ndarray:
        """For every minimum the number of its basin: joined by saddles below `level`; -1 for minima above it."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.minima)
        pairs = [pair for pair, height in zip(self.joined, self.saddle_energies, strict=True) if height < level]
        ends = np.asarray(pairs, int).reshape(-1, 2).T
        graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(count, count))
        basins = connected_components(graph, directed=False)[1]
        return np.where(np.asarray(self.energies) < level, basins, -1)

    def missing_links(self, targets: Sequence[int], count: int, level: float = np.inf) -> list[tuple[int, int]]:
        """At most `count` pairs of minima in different basins: a search between them may bring the targets together.

        They lie on the shortest ways from the first target to the others, where walking within a basin costs nothing
        and a missing link the square of its length, then on the shortest without these links, and so on. Where the
        targets hang together, the nearest pairs of all basins follow.

        **Source:** Carr, Trygubenko & Wales, J. Chem. Phys. 122, 234903 (2005).
        """
        basins = self.basins(level)
        chosen: dict[tuple[int, int], None] = {}
        while len(chosen) < count:
            lengths, pairs = self._between(basins, chosen)
            ends = list(dict.fromkeys(int(basins[target]) for target in targets))
            found = _on_routes(lengths, ends) if len(ends) > 1 else _ascending(lengths)
            nearest = sorted(found, key=lambda two: (lengths[two], two))[: count - len(chosen)]
            if not nearest:
                break
            # Once more as if these had been tried, for other ways.
            chosen |= dict.fromkeys((min(pairs[two]), max(pairs[two])) for two in nearest)
        return list(chosen)

    def _between(self, basins: np.ndarray, chosen: dict) -> tuple[np.ndarray, dict[tuple[int, int], tuple[int, int]]]:
        """The shortest link between any two basins; infinite where all have been tried, or were just `chosen`."""
        lengths = self._gaps.copy()
        for pair, times in (self.tried | dict.fromkeys(chosen, _TRIES)).items():
            worth = lengths[pair] * _TIRED**times if times < _TRIES else np.inf
            lengths[pair] = lengths[pair[::-1]] = worth
        lengths[basins < 0] = lengths[:, basins < 0] = np.inf
        kinds = int(basins.max()) + 1
        members = [np.flatnonzero(basins == kind) for kind in range(kinds)]
        table, pairs = np.full((kinds, kinds), np.inf), {}
        for one in range(kinds):
            if not len(members[one]):
                continue
            rows = lengths[members[one]]
            nearest = np.argmin(rows, axis=0)
            reach = rows[nearest, np.arange(len(nearest))]
            for other in range(kinds):
                if other != one and len(members[other]):
                    place = members[other][np.argmin(reach[members[other]])]
                    table[one, other] = reach[place]
                    pairs[one, other] = (int(members[one][nearest[place]]), int(place))
        return table, pairs


def _on_routes(lengths: np.ndarray, ends: Sequence[int]) -> set[tuple[int, int]]:
    from scipy.sparse.csgraph import dijkstra

    # A length of zero would count as no link.
    squares = np.where(np.isfinite(lengths), np.maximum(lengths, 1e-12) ** 2, 0.0)
    far, before = dijkstra(squares, indices=ends[0], return_predecessors=True)
    found: set[tuple[int, int]] = set()
    for end in ends[1:]:
        here = end
        while np.isfinite(far[end]) and here != ends[0]:
            found.add((min(here, int(before[here])), max(here, int(before[here]))))
            here = int(before[here])
    return found


def _ascending(lengths: np.ndarray) -> Any:
    ones, others = np.nonzero(np.triu(np.isfinite(lengths), k=1))
    return zip(ones.tolist(), others.tolist(), strict=True)
