"""Shares that sum to one, and spaces side by side."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.space import AbstractSpace


class Simplex(AbstractSpace):
    """Every leaf is a vector of shares: none negative, together one.

    **Source:** Held, Wolfe & Crowder, Math. Program. 6, 62 (1974): the nearest member by sorting.
    """

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return self.wrap(jax.tree.map(jnp.add, x, step))

    def wrap(self, x: PyTree) -> PyTree:
        return jax.tree.map(_nearest, x)

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return jax.tree.map(_inward, x, force)

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(jnp.subtract, b, a)


class Together(AbstractSpace):
    """Spaces side by side: `x` is a tuple with one part in each of them."""

    spaces: tuple[AbstractSpace, ...] = eqx.field(converter=tuple)

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return tuple(space.shift(*part) for space, *part in zip(self.spaces, x, step, strict=True))

    def wrap(self, x: PyTree) -> PyTree:
        return tuple(space.wrap(part) for space, part in zip(self.spaces, x, strict=True))

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return tuple(space.project(*part) for space, *part in zip(self.spaces, x, force, strict=True))

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return tuple(space.displacement(*part) for space, *part in zip(self.spaces, a, b, strict=True))


def _nearest(x: Float[Array, " n"]) -> Float[Array, " n"]:
    ordered = jnp.sort(x)[::-1]
    excess = (jnp.cumsum(ordered) - 1) / jnp.arange(1, x.size + 1, dtype=x.dtype)
    last = jnp.sum(ordered > excess) - 1
    found = jnp.maximum(x - excess[last], 0)
    # Rounding would move a member a little at every turn: one that is within it stays as it is.
    inside = (jnp.min(x) >= 0) & (jnp.abs(jnp.sum(x) - 1) <= 4 * x.size * jnp.finfo(x.dtype).eps)
    return jnp.where(inside, x, found)


def _inward(x: Float[Array, " n"], push: Float[Array, " n"]) -> Float[Array, " n"]:
    """The nearest direction that keeps the sum, and takes nothing from shares that are zero."""
    held = x <= 0
    free = jnp.sum(~held).astype(x.dtype)
    within = jnp.sum(jnp.where(held, 0, push))
    # Shares at zero join in the order of their push, as long as it exceeds the mean of those that move.
    order = jnp.sort(jnp.where(held, push, -jnp.inf))[::-1]
    finite = jnp.isfinite(order)
    counts = free + jnp.arange(1, x.size + 1, dtype=x.dtype)
    means = (within + jnp.cumsum(jnp.where(finite, order, 0))) / counts
    joins = finite & (order > means)
    number = jnp.sum(joins)
    mean = jnp.where(number > 0, means[jnp.maximum(number - 1, 0)], within / jnp.maximum(free, 1))
    moved = push - mean
    return jnp.where(held, jnp.maximum(moved, 0), moved)
