"""How rows of linear forms travel back through a graph: densely, or in groups that see a part of each node."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_matrix, hstack

from thalweg.methods.bounds.affine import Affine
from thalweg.methods.bounds.graph import Graph
from thalweg.methods.bounds.maps import grouped, local, padded

_ROOM = 40_000_000  # numbers in the matrices of one target: 320 MB


class AbstractWay(eqx.Module):
    """The layout of forms `[..., k, m]`: over the last axis one form each, before it the items of a node."""

    @abc.abstractmethod
    def take(self, number: int, items: Float[Array, " n"]) -> Float[Array, "... k 1"]:
        """The items of node `number` that forms on it take, ready to be multiplied with them."""

    @abc.abstractmethod
    def push(self, number: int, slot: int, node: Affine, forms: Array) -> Array:
        """Forms on node `number` as forms on its parent `slot`."""

    @abc.abstractmethod
    def columns(self) -> Int[Array, "g k"] | None:
        """The items of the input that the forms take; `None` for all."""


class Dense(AbstractWay):
    """Every form over all items of a node."""

    def take(self, number: int, items: Float[Array, " n"]) -> Float[Array, "... k 1"]:
        return items[:, None]

    def push(self, number: int, slot: int, node: Affine, forms: Array) -> Array:
        return node.maps[slot].transposed(forms)

    def columns(self) -> Int[Array, "g k"] | None:
        return None


class Local(AbstractWay):
    """Groups of forms, each over the few items of a node that it follows from.

    **Fields:** `rows [g, m]`, the forms of each group, padded with a number beyond the last; `seen`, for each node the
    items that each group takes; `edges`, for each affine node and parent the matrices between these.
    """

    rows: Int[Array, "g m"]
    seen: dict[int, Int[Array, "g k"]]
    edges: dict[tuple[int, int], Float[Array, "g k r"]]

    def take(self, number: int, items: Float[Array, " n"]) -> Float[Array, "... k 1"]:
        return items.at[self.seen[number]].get(mode="fill", fill_value=0.0)[..., None]

    def push(self, number: int, slot: int, node: Affine, forms: Array) -> Array:
        return jnp.einsum("gkr,grm->gkm", self.edges[number, slot], forms)

    def columns(self) -> Int[Array, "g k"] | None:
        return self.seen[0]


def choose_way(graph: Graph, target: int) -> AbstractWay:
    """The cheaper layout for the bounds of all items of a node."""
    node = graph.nodes[target]
    if not isinstance(node, Affine):
        return Dense()
    matrices = {
        (number, slot): one.sparse()
        for number, below in enumerate(graph.nodes[: target + 1])
        if isinstance(below, Affine)
        for slot, one in enumerate(below.maps)
    }
    joint = csr_matrix(hstack([matrices[target, slot] for slot in range(len(node.parents))]))
    groups = [rows for rows, _ in grouped(joint)]
    rows = np.concatenate(groups) if groups else np.zeros(0, int)
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    shape = len(groups), graph.sizes[target]
    seen, dense = {target: csr_matrix((np.ones(len(rows), bool), (owner, rows)), shape=shape)}, 0
    for number in range(target, 0, -1):
        if number not in seen:
            continue
        below = graph.nodes[number]
        for slot, parent in enumerate(below.parents):
            through = seen[number]
            if isinstance(below, Affine):
                through = through @ (matrices[number, slot] != 0)
                dense += graph.sizes[target] * below.maps[slot].cost
            seen[parent] = through if parent not in seen else (seen[parent] + through)
        dense += 4 * graph.sizes[target] * graph.sizes[number]
    width = {number: int(np.diff(which.indptr).max(initial=0)) for number, which in seen.items()}
    edges = [key for key in matrices if key[0] in seen]
    sizes = [len(groups) * width[number] * width[graph.nodes[number].parents[slot]] for number, slot in edges]
    most = max((len(group) for group in groups), default=0)
    cost = most * (sum(sizes) + 4 * len(groups) * sum(width.values()))
    if not groups or 0 not in seen or sum(sizes) > _ROOM or cost > dense:
        return Dense()
    return _local(graph, groups, seen, {key: matrices[key] for key in edges})


def _local(graph: Graph, groups: list[Any], seen: dict[int, csr_matrix], matrices: dict[Any, csr_matrix]) -> Local:
    lists = {
        number: [which.indices[a:b] for a, b in zip(which.indptr[:-1], which.indptr[1:], strict=True)]
        for number, which in seen.items()
    }
    target = max(seen)
    lists[target] = groups
    edges = {
        (number, slot): jnp.asarray(local(matrix, lists[number], lists[graph.nodes[number].parents[slot]]))
        for (number, slot), matrix in matrices.items()
    }
    places = {number: jnp.asarray(padded(items, graph.sizes[number])) for number, items in lists.items()}
    return Local(places[target], places, edges)
