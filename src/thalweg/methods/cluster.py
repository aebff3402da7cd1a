"""Cluster updates of signs with pair couplings: no critical slowing down where the couplings agree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int, UInt64

from thalweg.core.errors import InputError, require
from thalweg.methods.sampler import AbstractHostSampler, Seen
from thalweg.methods.signs.threads import in_threads, usable_cores

_WORTH_THREADS = 2**14  # signs of all chains: about a millisecond of work


class Couplings(NamedTuple):
    """Pair couplings and fields of signs, as host arrays in compressed rows; each pair stands in both of its rows.

    **Fields:** the row of `i` is `starts[i]:starts[i + 1]` of `neighbours` and `couplings`; `field`, one per sign. The
    energy is `-sum_pairs J s s - sum h s`.
    """

    starts: Int[np.ndarray, " n+1"]
    neighbours: Int[np.ndarray, " entries"]
    couplings: Float[np.ndarray, " entries"]
    field: Float[np.ndarray, " n"]


@runtime_checkable
class HasCouplings(Protocol):
    """An energy over signs that is a sum over pairs and single signs, and says so."""

    def to_csr(self) -> Any:
        """The four arrays of `Couplings`."""
        ...


class ClusterState(eqx.Module):
    """Chains under way: host arrays only, so that kernels work in place and a checkpoint holds everything."""

    x: Float[np.ndarray, "chains n"]
    value: Float[np.ndarray, " chains"]
    words: UInt64[np.ndarray, "chains 4"]
    graph: Couplings


@dataclass(frozen=True)
class SwendsenWang(AbstractHostSampler):
    """Joins satisfied pairs with probability 1 - exp(-2 |J| / T) and turns each cluster with probability 1/2.

    Couplings of any sign and fields are allowed (a field holds its clusters as a vertex that never turns), but only
    couplings that can all be satisfied together make clusters of the right size: on frustrated ones the clusters
    fill the system long before it orders, and a local update or tempering is quicker.
    """

    bibtex: ClassVar[str] = """@article{swendsen1987,
  author = {Swendsen, Robert H. and Wang, Jian-Sheng},
  title = {Nonuniversal critical dynamics in {Monte Carlo} simulations},
  journal = {Physical Review Letters}, volume = {58}, pages = {86--88}, year = {1987},
  doi = {10.1103/PhysRevLett.58.86}
}"""

    def init(self, energy: Any, x: Any, temperature: float, words: np.ndarray) -> ClusterState:
        """The state at the signs `x` `[chains, n]`; the energy must offer its couplings (`HasCouplings`)."""
        return _begun("swendsen_wang", energy, x, temperature, words)

    def advance(self, state: ClusterState, temperature: float) -> ClusterState:
        """One update of every sign of every chain, in place."""
        _refuse_cold("swendsen_wang", temperature)
        _turned(_kernels().swendsen_wang, state, float(temperature))
        return state

    def observe(self, state: ClusterState) -> Seen:
        """The signs and energies of all chains, not copied."""
        return Seen(state.x, state.value)


@dataclass(frozen=True)
class Wolff(AbstractHostSampler):
    """Grows `clusters` clusters per step, each from a random sign, and turns them.

    The number of clusters is fixed: steps that stop after so many turned signs would favour some configurations.
    What `SwendsenWang` says of couplings and fields holds here; a cluster that the field holds is not turned.
    """

    bibtex: ClassVar[str] = """@article{wolff1989,
  author = {Wolff, Ulli},
  title = {Collective {Monte Carlo} updating for spin systems},
  journal = {Physical Review Letters}, volume = {62}, pages = {361--364}, year = {1989},
  doi = {10.1103/PhysRevLett.62.361}
}"""

    clusters: int = 1

    def __post_init__(self):
        if self.clusters < 1:
            raise InputError(f"wolff: {self.clusters} clusters per step turn nothing: grow at least one.")

    def init(self, energy: Any, x: Any, temperature: float, words: np.ndarray) -> ClusterState:
        """The state at the signs `x` `[chains, n]`; the energy must offer its couplings (`HasCouplings`)."""
        return _begun("wolff", energy, x, temperature, words)

    def advance(self, state: ClusterState, temperature: float) -> ClusterState:
        """So many clusters in every chain, in place."""
        _refuse_cold("wolff", temperature)
        _turned(_kernels().wolff, state, float(temperature), self.clusters)
        return state

    def observe(self, state: ClusterState) -> Seen:
        """The signs and energies of all chains, not copied."""
        return Seen(state.x, state.value)


def _turned(kernel: Any, state: ClusterState, *settings: Any) -> None:
    """Run a kernel on all chains in place, on several cores where that is worth their start."""
    many = len(state.x) if state.x.size >= _WORTH_THREADS else 1
    parts = np.array_split(np.arange(len(state.x)), min(many, usable_cores()))
    rows = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
    in_threads(lambda row: kernel(state.x[row], state.value[row], state.words[row], *state.graph, *settings), rows)


@cache  # asked in every step
def _kernels() -> Any:
    require("numba", extra="kernels", package="numba")
    from thalweg.methods import cluster_kernels

    return cluster_kernels


def _refuse_cold(where: str, temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"{where}: the temperature is {temperature}, but clusters need a positive one: raise it.")


def _begun(where: str, energy: Any, x: Any, temperature: float, words: np.ndarray) -> ClusterState:
    _refuse_cold(where, temperature)
    graph = _graph(where, energy)
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != graph.field.size:
        raise InputError(f"{where}: x has the shape {np.shape(x)}, but it must be one array [{graph.field.size}].")
    if not (np.abs(x) == 1).all():
        raise InputError(f"{where}: x holds other numbers than -1 and +1: start from signs.")
    kernels, signs = _kernels(), np.array(x, order="C")
    heights = np.array([kernels.height(row, *graph) for row in signs])
    return ClusterState(signs, heights, np.array(words, np.uint64), graph)


def _graph(where: str, energy: Any) -> Couplings:
    if not isinstance(energy, HasCouplings):
        raise InputError(
            f"{where}: the energy does not offer its couplings (a method `to_csr`), without which there are no "
            "clusters: use landscapes.PairwiseSigns, or another method."
        )
    starts, neighbours, couplings, field = (np.asarray(part) for part in energy.to_csr())
    graph = Couplings(
        starts.astype(np.int64), neighbours.astype(np.int64), couplings.astype(np.float64), field.astype(np.float64)
    )
    if not (np.isfinite(graph.couplings).all() and np.isfinite(graph.field).all()):
        raise InputError(f"{where}: a coupling or field is not finite: mend the energy.")
    return graph
