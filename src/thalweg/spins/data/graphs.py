"""Graphs of networkx, in memory and in `.graphml` and `.gml` files."""

from __future__ import annotations

import io
import numbers
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.spins.data.arrays import from_entries, plain_numbers
from thalweg.spins.data.problem import Kind, Problem
from thalweg.spins.data.text import one_line


def from_networkx(
    graph: Any, weight: str = "weight", *, field: str = "field", kind: Kind = "maxcut", source: str = "the graph"
) -> Problem:
    """A problem from an undirected graph of networkx; parallel edges are summed.

    **Arguments:** `weight`, the attribute of an edge that holds its w, J, W or Q (1 where it is missing); `field`, the
    attribute of a node that holds its h, b or diagonal of Q (0 where it is missing), which a max-cut does not have.

    **Raises:** `InputError` for a directed graph, no nodes, or an attribute that is no finite number.
    """
    if graph.is_directed():
        raise InputError(f"{source}: the graph is directed, but couplings are mutual: pass graph.to_undirected().")
    nodes = list(graph)
    if not nodes:
        raise InputError(f"{source}: the graph has no nodes: give at least one.")
    place = {node: index for index, node in enumerate(nodes)}
    first, second, weights = [], [], []
    for one, other, number in graph.edges(data=weight, default=1):
        first.append(place[one])
        second.append(place[other])
        weights.append(_number(number, f"{source}: the {weight} of the edge {one!r}-{other!r}"))
    given = graph.nodes(data=field, default=0) if kind != "maxcut" else [(node, 0) for node in nodes]
    fields = [_number(number, f"{source}: the {field} of the node {node!r}") for node, number in given]
    values, biases = plain_numbers(source, np.array(weights, np.float64), np.array(fields, np.float64))
    labels = None if nodes == list(range(len(nodes))) else tuple(nodes)
    ends = np.array(first, np.int64), np.array(second, np.int64)
    return from_entries(*ends, values, biases, kind=kind, labels=labels, source=source)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if isinstance(value, numbers.Real) else np.nan
    except OverflowError:  # an integer beyond all floats
        number = np.inf
    if not np.isfinite(number):
        shown = repr(value)[:40].encode("ascii", "backslashreplace").decode("ascii")
        raise InputError(f"{where} is {shown}: give finite numbers.")
    return number


def parse(path: Path, content: bytes, suffix: str, kind: Kind | None = None) -> Problem:
    """The problem of a graph in a file: `suffix` is `.graphml` or `.gml`.

    **Raises:** `InputError` with the file and what is wrong in it; `MissingExtra` without networkx.
    """
    networkx = require("networkx", extra="spins")
    try:
        if suffix == ".graphml":
            graph = networkx.read_graphml(io.BytesIO(content))
        else:  # no destringizer: nothing in the file is evaluated
            graph = networkx.parse_gml(content.decode("utf-8").splitlines(), label=None)
    except Exception as error:  # its parsers raise what the damaged part makes them raise
        raise InputError(f"{path}: cannot be read as {suffix} ({one_line(error)}).") from None
    return from_networkx(graph, kind=kind or "maxcut", source=str(path))
