"""All signs of a small graph, one flip apart from each other: the lowest are proven to be the lowest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.methods.signs.graph import SignGraph, height, local_fields
from thalweg.methods.signs.search import AbstractSearch, Found

MOST = 30  # signs; each more doubles the time, which is about 10 seconds here
_BLOCK = 2**21


class Counting(eqx.Module):
    """How many configurations were looked at, the one of now, and the lowest."""

    looked: np.ndarray
    signs: np.ndarray
    best: np.ndarray
    lowest: np.ndarray


@dataclass(frozen=True)
class Exhaustive(AbstractSearch):
    """Looks at every configuration, in the order of a reflected binary code.

    Without fields a configuration is as low as its opposite, and only half of them are looked at.

    **Source:** Gray, US patent 2632058 (1953); the place of the flip is the number of trailing zeros of the count.
    """

    bibtex: ClassVar[str] = """@misc{gray1953pulse,
  author = {Gray, Frank}, title = {Pulse code communication}, note = {US patent 2632058}, year = {1953}
}"""

    seed: int = 0
    target: float | None = None

    def init(self, graph: SignGraph, start: np.ndarray | None, words: np.ndarray) -> Counting:
        if graph.size > MOST:
            raise InputError(f"relax: {graph.size} signs are too many to look at all (at most {MOST}): search them.")
        signs = np.ones(graph.size, np.int8)
        return Counting(np.zeros((), np.int64), signs, signs.copy(), np.asarray(height(graph, signs)))

    def advance(self, graph: SignGraph, state: Counting) -> Counting:
        fields = local_fields(graph, state.signs)
        here = height(graph, state.signs) / graph.unit
        number = min(_BLOCK, _total(graph) - 1 - int(state.looked))
        lowest = _kernels().count(
            *graph[:3],
            fields,
            state.signs,
            state.best,
            here,
            float(state.lowest) / graph.unit,
            int(state.looked),
            number,
        )
        # From the couplings: floats gather rounding on the way.
        state.lowest[...] = height(graph, state.best) if lowest < float(state.lowest) / graph.unit else state.lowest
        state.looked[...] += number
        return state

    def found(self, graph: SignGraph, state: Counting) -> Found:
        looked = int(state.looked) + 1
        return Found(state.best, float(state.lowest), looked, looked == _total(graph))


def _total(graph: SignGraph) -> int:
    return 2 ** (graph.size if graph.field.any() else graph.size - 1)


@cache
def _kernels() -> Any:
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import exhaustive_kernels

    return exhaustive_kernels
