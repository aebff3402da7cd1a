"""A landscape: a differentiable scalar over any pytree, and its force."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

X = TypeVar("X")
Landscape = Callable[[Any], Float[Array, ""]]


class AbstractEnergy(eqx.Module):
    """A differentiable scalar `E(x)`.

    Numeric fields are array leaves (`converter=jnp.asarray`), so that sweeping or training them
    never recompiles what was compiled for one value.
    """

    @abc.abstractmethod
    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """The energy of one configuration; batches are the business of `jax.vmap`."""


class AbstractHostField(abc.ABC):
    """An energy that JAX cannot see into: its value and force are computed by somebody else's program.

    The verbs walk on it from the host, one call of the program per step, at its native speed.
    """

    @abc.abstractmethod
    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        """The energies `[n]` and forces of `n` configurations, every leaf of `x` with leading axis `n`."""


class KeptCompiled(AbstractHostField):
    """A host field whose own JAX programs stay compiled where the loops around it run in Python (`jax.disable_jit`)."""

    def __init__(self, field: AbstractHostField):
        self.field = field

    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        with jax.disable_jit(False):
            return self.field.value_and_force_batch(x)


def height(energy: Landscape | AbstractHostField, x: PyTree) -> Float[Array, ""]:
    """The energy at `x`, from a landscape or a host field."""
    return value_and_force(energy, x)[0] if isinstance(energy, AbstractHostField) else energy(x)


# Compiled, because eager indexing costs more than many a host program.
@jax.jit
def _batch_of_one(x: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)


@jax.jit
def _first(batch: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], batch)


def force(energy: Landscape | AbstractHostField, x: X) -> X:
    """The force `-dE/dx`, with the structure of `x` and the units of energy over those of `x`."""
    return value_and_force(energy, x)[1]


def value_and_force(energy: Landscape | AbstractHostField, x: X) -> tuple[Float[Array, ""], X]:
    """The energy and the force `-dE/dx` from one backward pass."""
    if isinstance(energy, AbstractHostField):
        return _first(energy.value_and_force_batch(_batch_of_one(x)))
    value, slope = jax.value_and_grad(energy)(x)
    return value, jax.tree.map(jnp.negative, slope)


class Sum(AbstractEnergy):
    """The sum of several landscapes over the same `x`."""

    terms: tuple[Landscape, ...]

    def __init__(self, *terms: Landscape):
        self.terms = terms

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return jnp.sum(jnp.stack([term(x) for term in self.terms]))


class Scaled(AbstractEnergy):
    """A landscape times a factor, in the floating dtype of the landscape."""

    energy: Landscape
    factor: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        value = self.energy(x)
        return self.factor.astype(value.dtype) * value


class Restrict(AbstractEnergy):
    """A landscape seen from an affine subspace: `z -> E(base + sum_k z_k directions_k)`.

    **Arguments:** `base`, a configuration; `directions`, of the same structure, each leaf with a leading axis `k`.
    """

    energy: Landscape
    base: PyTree
    directions: PyTree

    def lift(self, z: Float[Array, " k"]) -> PyTree:
        """The configuration at the subspace coordinates `z`."""
        return jax.tree.map(
            lambda origin, along: origin.astype(z.dtype) + jnp.tensordot(z, along.astype(z.dtype), axes=1),
            self.base,
            self.directions,
        )

    def __call__(self, x: Float[Array, " k"]) -> Float[Array, ""]:
        return self.energy(self.lift(x))
