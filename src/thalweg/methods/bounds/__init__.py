"""Sound bounds of a JAX function over a ball of inputs."""

from __future__ import annotations

from thalweg.methods.bounds.ball import Ball, Norm
from thalweg.methods.bounds.graph import Graph, read_graph
from thalweg.methods.bounds.linear import LinearBounds
from thalweg.methods.bounds.radius import largest_radius

__all__ = ["Ball", "Graph", "LinearBounds", "Norm", "largest_radius", "read_graph"]
