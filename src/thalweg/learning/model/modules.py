"""Equinox modules as functions of their arrays, and where the trainings of somebody's module start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.errors import InputError


class _Gap:
    """Where an array was taken out."""


GAP = _Gap()


class Called(eqx.Module):
    """An Equinox module as a function of its arrays and all inputs; the module takes one item at a time.

    **Fields:** `rest`, the module with a gap where each of its inexact arrays was.
    """

    rest: Any

    def __call__(self, params: PyTree, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        return jax.vmap(joined(params, self.rest))(x).reshape(len(x), -1)


class Redrawn(eqx.Module):
    """An instance's own numbers for `jax.random.key(0)`; for other keys normal ones, of the root mean square of each.

    An array of zeros, such as a bias that was begun so, stays zero.
    """

    values: PyTree

    def __call__(self, key: Key[Array, ""]) -> PyTree:
        first = jax.random.key(0, impl=jax.random.key_impl(key))
        own = jnp.all(jax.random.key_data(key) == jax.random.key_data(first))
        leaves, structure = jax.tree.flatten(self.values)

        def drawn(place: int, leaf: Array) -> Array:
            size = jnp.sqrt(jnp.mean(leaf**2))
            normal = jax.random.normal(jax.random.fold_in(key, place), leaf.shape, leaf.dtype)
            return jnp.where(own, leaf, size * normal)

        return jax.tree.unflatten(structure, [drawn(*each) for each in enumerate(map(jnp.asarray, leaves))])


class Made(eqx.Module):
    """The arrays of the module that a function of `key` makes, in the form and precision of `like`."""

    make: Callable[..., Any] = eqx.field(static=True)
    like: PyTree

    def __call__(self, key: Key[Array, ""]) -> PyTree:
        arrays = jax.tree.leaves(eqx.filter(self.make(key=key), eqx.is_inexact_array))
        wanted, structure = jax.tree.flatten(self.like)
        return jax.tree.unflatten(structure, [a.astype(b.dtype) for a, b in zip(arrays, wanted, strict=True)])


class Converted(eqx.Module):
    """A function of a random key whose arrays are taken to another precision."""

    start: Callable[..., PyTree]
    dtype: Any = eqx.field(static=True)

    def __call__(self, key: Key[Array, ""]) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(self.dtype), self.start(key))


def parted(module: Any, name: str, dtype: Any) -> tuple[PyTree, Any]:
    """The inexact arrays of a module in evaluation mode, converted to `dtype`, and the rest of it.

    **Raises:** `InputError` for a module without any.
    """
    module = eqx.nn.inference_mode(module)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), eqx.filter(module, eqx.is_inexact_array))
    if not jax.tree.leaves(params):
        raise InputError(f"{name} holds no arrays of floats: there is nothing to train.")
    return params, jax.tree.map(lambda leaf: GAP if eqx.is_inexact_array(leaf) else leaf, module)


def joined(params: PyTree, rest: Any) -> Any:
    """The module whose arrays are `params`."""
    # By leaves: a module that is made anew has new static parts, and so another structure.
    leaves = iter(jax.tree.leaves(params))
    return jax.tree.map(lambda part: next(leaves) if part is GAP else part, rest)
