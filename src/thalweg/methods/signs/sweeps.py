"""Equilibrium chains of signs by heat-bath sweeps on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.methods.sampler import AbstractHostSampler, Seen
from thalweg.methods.signs.graph import SignGraph, sign_graph
from thalweg.methods.signs.lanes import (
    LANES,
    Lanes,
    blocks_of,
    heat_rows,
    heights,
    narrow,
    refreshed,
    swept,
)


class SweepsState(eqx.Module):
    """Chains under way: host arrays only, so that a checkpoint holds everything; the last block is filled up."""

    x: Float[np.ndarray, "chains n"]
    value: Float[np.ndarray, " chains"]
    lanes: Lanes
    graph: SignGraph


@dataclass(frozen=True)
class Sweeps(AbstractHostSampler):
    """Draws each sign in order from its law given all others, `sweeps` times per step, in a compiled kernel.

    The local fields are kept from flip to flip, in integers where the couplings allow it, and sixteen chains advance
    together. Probabilities are right to about 1e-6, and a flip less likely than 2e-10 never happens.

    **Arguments:** `sweeps` per step.

    **Source:** Geman & Geman, IEEE Trans. Pattern Anal. Mach. Intell. 6, 721 (1984).
    """

    bibtex: ClassVar[str] = """@article{geman1984,
  author = {Geman, Stuart and Geman, Donald},
  title = {Stochastic Relaxation, {Gibbs} Distributions, and the {Bayesian} Restoration of Images},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {PAMI-6}, pages = {721--741}, year = {1984}, doi = {10.1109/TPAMI.1984.4767596}
}"""

    sweeps: int = 1

    def __post_init__(self):
        if self.sweeps < 1:
            raise InputError(f"sweeps: {self.sweeps} sweeps per step draw nothing: take at least one.")

    def init(self, energy: Any, x: Any, temperature: float, words: np.ndarray) -> SweepsState:
        """The state at the signs `x` `[chains, n]`; the energy must offer its couplings (`HasCouplings`)."""
        _refuse_cold(temperature)
        graph = narrow(sign_graph(energy, "sample"))
        if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != graph.size:
            raise InputError(f"sweeps: x has the shape {np.shape(x)}, but it must be one array [{graph.size}].")
        if not (np.abs(x) == 1).all():
            raise InputError("sweeps: x holds other numbers than -1 and +1: start from signs.")
        blocks = blocks_of(len(x))
        columns = np.resize(x, (blocks * LANES, graph.size)).reshape(blocks, LANES, graph.size)
        signs = np.ascontiguousarray(columns.transpose(0, 2, 1), graph.field.dtype)
        own = np.maximum(np.resize(words, (blocks, LANES * 4))[:, : 2 * 8], np.uint64(1)).reshape(blocks, 2, 8)
        lanes = refreshed(graph, Lanes(signs, np.empty_like(signs), own))
        state = SweepsState(x.copy(), np.zeros(len(x)), lanes, graph)
        return _looked(state)

    def advance(self, state: SweepsState, temperature: float) -> SweepsState:
        """The sweeps of one step in every chain, in place."""
        _refuse_cold(temperature)
        rows = np.full((self.sweeps, LANES), temperature / state.graph.unit)
        swept(state.graph, state.lanes, heat_rows(state.graph, rows), heat_bath=True)
        return _looked(state)

    def observe(self, state: SweepsState) -> Seen:
        """The signs and energies of all chains, not copied."""
        return Seen(state.x, state.value)


def _looked(state: SweepsState) -> SweepsState:
    chains, size = state.x.shape
    state.x[...] = state.lanes.signs.transpose(0, 2, 1).reshape(-1, size)[:chains]
    state.value[...] = state.graph.unit * heights(state.graph, state.lanes).ravel()[:chains]
    return state


def _refuse_cold(temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"sweeps: the temperature is {temperature}, but a law needs a positive one: raise it.")
