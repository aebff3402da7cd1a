"""Where a configuration lives: how to move it, bring it back, and which forces can act on it."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.errors import InputError


def _spread(prefix: PyTree, x: PyTree) -> PyTree:
    """`prefix` with each of its leaves repeated over the part of `x` that it stands for."""
    return jax.tree.map(lambda value, part: jax.tree.map(lambda _: value, part), prefix, x)


class AbstractSpace(eqx.Module):
    """The set that a configuration may not leave, with its moves."""

    @abc.abstractmethod
    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        """The configuration after the displacement `step`, still in the space."""

    @abc.abstractmethod
    def wrap(self, x: PyTree) -> PyTree:
        """The member of the space that `x` stands for (the nearest one, or its image in the cell)."""

    @abc.abstractmethod
    def project(self, x: PyTree, force: PyTree) -> PyTree:
        """The part of `force` that can still move `x`; its norm is what rest is measured by."""

    @abc.abstractmethod
    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        """The shortest step from `a` to `b`."""


def innermost(space: AbstractSpace) -> AbstractSpace:
    """The space inside all that freeze a part of it."""
    while isinstance(space, Frozen):
        space = space.space
    return space


class Euclidean(AbstractSpace):
    """All of space: nothing to wrap, nothing to project."""

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, x, step)

    def wrap(self, x: PyTree) -> PyTree:
        return x

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return force

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(jnp.subtract, b, a)


class Box(AbstractSpace):
    """Every coordinate between `lower` and `upper` (numbers, arrays, or a prefix of the pytree)."""

    lower: PyTree[Float[Array, "..."]] = eqx.field(converter=lambda tree: jax.tree.map(jnp.asarray, tree))
    upper: PyTree[Float[Array, "..."]] = eqx.field(converter=lambda tree: jax.tree.map(jnp.asarray, tree))

    def __check_init__(self):
        if jax.tree.structure(self.lower) != jax.tree.structure(self.upper):
            return  # prefixes of different depth, which only x can bring together
        pairs = zip(jax.tree.leaves(self.lower), jax.tree.leaves(self.upper), strict=True)
        known = [pair for pair in pairs if not any(isinstance(bound, Tracer) for bound in pair)]
        # By NumPy: inside a transformation JAX would trace the question even about constants.
        if any(bool(np.any(np.asarray(low) > np.asarray(high))) for low, high in known):
            raise InputError("a Box has a lower bound above its upper one: exchange them.")

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return self.wrap(jax.tree.map(jnp.add, x, step))

    def wrap(self, x: PyTree) -> PyTree:
        return jax.tree.map(
            lambda here, low, high: jnp.clip(here, low.astype(here.dtype), high.astype(here.dtype)),
            x,
            _spread(self.lower, x),
            _spread(self.upper, x),
        )

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        def inward(here, push, low, high):
            held = ((here <= low.astype(here.dtype)) & (push < 0)) | ((here >= high.astype(here.dtype)) & (push > 0))
            # A wall stops a number, not a NaN: `where` keeps the planted fault visible.
            return jnp.where(held, jnp.zeros_like(push), push)

        return jax.tree.map(inward, x, force, _spread(self.lower, x), _spread(self.upper, x))

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(jnp.subtract, b, a)


class Periodic(AbstractSpace):
    """Coordinates modulo `lengths` (numbers, arrays, or a prefix of the pytree), wrapped into `[0, length)`."""

    lengths: PyTree[Float[Array, "..."]] = eqx.field(converter=lambda tree: jax.tree.map(jnp.asarray, tree))

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return self.wrap(jax.tree.map(jnp.add, x, step))

    def wrap(self, x: PyTree) -> PyTree:
        def into_cell(here, length):
            length = length.astype(here.dtype)
            inside = jnp.mod(here, length)  # exact, where a quotient would round
            # A tiny negative number still rounds up to the length itself, which is not in the cell.
            return jnp.where(inside >= length, jnp.zeros_like(inside), inside)

        return jax.tree.map(into_cell, x, _spread(self.lengths, x))

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return force

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        def nearest(start, end, length):
            step, length = end - start, length.astype(start.dtype)
            return step - length * jnp.round(step / length)

        return jax.tree.map(nearest, a, b, _spread(self.lengths, a))


class Signs(AbstractSpace):
    """Coordinates in {-1, +1}, held as floats because gradients refuse integers.

    A step moves a coordinate only if it carries it across zero; a force does not move it at all, so that
    descent on signs is at rest everywhere: signs are sampled or searched, not followed downhill.
    """

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return self.wrap(jax.tree.map(jnp.add, x, step))

    def wrap(self, x: PyTree) -> PyTree:
        return jax.tree.map(lambda here: jnp.where(here < 0, -jnp.ones_like(here), jnp.ones_like(here)), x)

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return jax.tree.map(jnp.zeros_like, force)

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(jnp.subtract, b, a)


class Frozen(AbstractSpace):
    """Another space in which some coordinates do not move.

    **Arguments:** `free`, true where a coordinate may move (booleans, arrays, or a prefix of the pytree).
    """

    free: PyTree[Bool[Array, "..."]] = eqx.field(converter=lambda tree: jax.tree.map(jnp.asarray, tree))
    space: AbstractSpace = Euclidean()

    def _moving(self, x: PyTree, moved: PyTree, held: PyTree) -> PyTree:
        return jax.tree.map(lambda free, new, old: jnp.where(free, new, old), _spread(self.free, x), moved, held)

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return self._moving(x, self.space.shift(x, step), x)

    def wrap(self, x: PyTree) -> PyTree:
        return self._moving(x, self.space.wrap(x), x)

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return self._moving(x, self.space.project(x, force), jax.tree.map(jnp.zeros_like, force))

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        step = self.space.displacement(a, b)
        return self._moving(a, step, jax.tree.map(jnp.zeros_like, step))
