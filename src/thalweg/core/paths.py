"""Curves through configuration space, from t = 0 to t = 1."""

from __future__ import annotations

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class AbstractPath(eqx.Module):
    """A curve `t -> x(t)`, smooth between its `breaks`."""

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""]) -> PyTree:
        """The configuration at `t` in [0, 1]."""

    @property
    @abc.abstractmethod
    def breaks(self) -> tuple[float, ...]:
        """The inner `t` at which the curve has a corner, in increasing order."""


def tangent(path: AbstractPath, t: Float[Array, ""]) -> tuple[PyTree, PyTree]:
    """The point and the velocity `dx/dt` of a path at `t`."""
    return jax.jvp(path, (t,), (jnp.ones_like(t),))


class Straight(AbstractPath):
    """The straight line from `a` to `b`."""

    a: PyTree
    b: PyTree

    def __call__(self, t: Float[Array, ""]) -> PyTree:
        return jax.tree.map(lambda start, end: start + t.astype(start.dtype) * (end - start), self.a, self.b)

    @property
    def breaks(self) -> tuple[float, ...]:
        return ()


class Bent(AbstractPath):
    """The parabola from `a` to `b` that passes the middle of the line at the distance `bulge` from it."""

    a: PyTree
    b: PyTree
    bulge: PyTree

    def __call__(self, t: Float[Array, ""]) -> PyTree:
        def along(start, end, out):
            s = t.astype(start.dtype)
            return start + s * (end - start) + 4 * s * (1 - s) * out

        return jax.tree.map(along, self.a, self.b, self.bulge)

    @property
    def breaks(self) -> tuple[float, ...]:
        return ()


class Polygon(AbstractPath):
    """Straight pieces through `points`, a pytree whose leaves have a leading axis of corners (at least two).

    Every piece takes the same share of `t`.
    """

    points: PyTree

    @property
    def pieces(self) -> int:
        """The number of straight pieces."""
        return jax.tree.leaves(self.points)[0].shape[0] - 1

    def __call__(self, t: Float[Array, ""]) -> PyTree:
        piece = jnp.clip(jnp.floor(t * self.pieces).astype(int), 0, self.pieces - 1)
        within = t * self.pieces - piece

        def along(corners):
            start, end = corners[piece], corners[piece + 1]
            return start + within.astype(corners.dtype) * (end - start)

        return jax.tree.map(along, self.points)

    @property
    def breaks(self) -> tuple[float, ...]:
        return tuple(corner / self.pieces for corner in range(1, self.pieces))


class Curve(AbstractPath):
    """Any differentiable function of `t` in [0, 1] as a path, with the `t` of its corners if it has some."""

    function: Callable[[Float[Array, ""]], PyTree]
    corners: tuple[float, ...] = ()

    def __call__(self, t: Float[Array, ""]) -> PyTree:
        return self.function(t)

    @property
    def breaks(self) -> tuple[float, ...]:
        return self.corners
