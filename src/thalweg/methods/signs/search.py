"""What every search for the lowest signs is made of: a start, and units of work that may only lower the best found."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8, UInt64

from thalweg.methods.signs.graph import SignGraph


class Found(NamedTuple):
    """The best so far: `signs [n]`, their energy `height`, and the `updates` of single signs that were tried for it.

    An update is one look at one sign that may flip it; `whole`, whether nothing is left to do.
    """

    signs: Int8[np.ndarray, " n"]
    height: float
    updates: int
    whole: bool = False


class AbstractSearch(abc.ABC):
    """A search for the lowest signs on the host, in compiled kernels.

    The state is a pytree of NumPy arrays (an `eqx.Module` or a named tuple) that holds everything, random words
    included, so that a checkpoint of it goes on with the same bits. One `advance` is a unit of work of some
    milliseconds up to about a third of a second: the walk is looked at, stopped and kept between units only.

    **Fields:** `seed` of all randomness; `target`, the energy at which to stop, or `None`.
    """

    seed: int
    target: float | None

    @abc.abstractmethod
    def init(self, graph: SignGraph, start: Int8[np.ndarray, " n"] | None, words: UInt64[np.ndarray, " 256"]) -> Any:
        """The state before the first unit; `words` are all the randomness there is, `start` a hint or nothing."""

    @abc.abstractmethod
    def advance(self, graph: SignGraph, state: Any) -> Any:
        """The state after one more unit of work; arrays may be changed in place."""

    @abc.abstractmethod
    def found(self, graph: SignGraph, state: Any) -> Found:
        """The best so far; cheap, since it is asked after every unit."""
