"""What every descent is made of: it proposes a point, is told its energy and force, and proposes the next."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.energy import AbstractHostField, Landscape, value_and_force
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, innermost


class AbstractDescentState(eqx.Module):
    """Where a descent stands (`x`, `value`, projected `force`) and where it wants to look next (`trial`)."""

    x: eqx.AbstractVar[PyTree]
    value: eqx.AbstractVar[Float[Array, ""]]
    force: eqx.AbstractVar[PyTree]
    trial: eqx.AbstractVar[PyTree]


class AbstractDescent(eqx.Module):
    """A descent that needs one energy and force per step, at the point it names.

    Because it never calls the energy itself, the same method serves a compiled landscape and somebody else's program.
    """

    bibtex: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> Any:
        """The state at the start, with its first trial point; `force` is projected into `space`."""

    @abc.abstractmethod
    def tell(self, space: AbstractSpace, state: Any, value: Float[Array, ""], force: PyTree) -> Any:
        """The state after the energy and the projected force at `state.trial` became known."""


class AbstractFlow(eqx.Module):
    """A descent that evaluates a compiled landscape as often as it likes within a step."""

    bibtex: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def init(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Any:
        """The state at the start."""

    @abc.abstractmethod
    def step(self, energy: Landscape, space: AbstractSpace, state: Any) -> Any:
        """The state after one step."""


def look(energy: Landscape | AbstractHostField, space: AbstractSpace, x: PyTree) -> tuple[Float[Array, ""], PyTree]:
    """The energy at `x` and the part of the force that the space lets act."""
    value, push = value_and_force(energy, x)
    return value, space.project(x, push)


def tree_dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """The inner product of two pytrees of the same structure."""
    products = jax.tree.map(lambda left, right: jnp.sum(left * right), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def tree_norm(a: PyTree) -> Float[Array, ""]:
    """The Euclidean norm over all leaves."""
    return jnp.sqrt(tree_dot(a, a))


def tree_equal(a: PyTree, b: PyTree) -> Bool[Array, ""]:
    """Whether two pytrees hold the same numbers."""
    equal = jax.tree.map(lambda left, right: jnp.all(left == right), a, b)
    return jnp.all(jnp.stack(jax.tree.leaves(equal)))


def refuse_walls(space: AbstractSpace, method: str, walls: tuple[type, ...]) -> None:
    """Refuse a space whose moves are not plain additions, for methods that rely on them.

    **Raises:** `InputError` naming the method for that space.
    """
    inner = innermost(space)
    if isinstance(inner, walls):
        raise InputError(f"{method} does not know the walls of {type(inner).__name__}: use method='projected' there.")
