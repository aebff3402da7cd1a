"""What every space promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PyTree

from thalweg.core.space import AbstractSpace
from thalweg.testing.promises import check_like, eps, equal, promise, size


def check_space(space: AbstractSpace, x: PyTree, *, key: Key[Array, ""] | None = None) -> None:
    """Hold a space to its promises, at the member that `x` stands for.

    Wrapping twice is wrapping once; a shift of any length stays in the space; projecting twice is projecting once;
    no way leads from a point to itself but none; and a short free step is what `displacement` says it was. Structure,
    shapes and dtypes are kept throughout.

    **Arguments:** `x`, a configuration in the dtype that matters; `key`, of the random steps.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    key = jax.random.key(0) if key is None else key
    here = space.wrap(x)
    check_like(here, x, "wrap(x)")
    promise(equal(space.wrap(here), here), "wrap is not idempotent: wrap(wrap(x)) differs from wrap(x).")
    push = _random_like(key, here)
    for length in (1e-3, 1.0, 30.0):
        there = space.shift(here, jax.tree.map(lambda leaf, by=length: by * leaf, push))
        check_like(there, x, "shift(x, step)")
        promise(equal(space.wrap(there), there), f"a shift of length {length} leaves the space: wrap moves its end.")
    free = space.project(here, push)
    check_like(free, x, "project(x, force)")
    # Projections may be sums over coordinates, whose rounding grows as the square root of their number at worst.
    bound = 16 * eps(x) * size(push) * ravel_pytree(push)[0].size ** 0.5
    again = size(jax.tree.map(jnp.subtract, space.project(here, free), free))
    promise(again <= bound, f"project is not idempotent: projecting twice changes the force by {again:.1e}.")
    promise(size(space.displacement(here, here)) == 0, "displacement(x, x) is not zero: a point is away from itself.")
    _check_short_step(space, here, free)


def _check_short_step(space: AbstractSpace, here: PyTree, free: PyTree) -> None:
    length = eps(here) ** 0.5
    step = jax.tree.map(lambda leaf: (length * leaf).astype(leaf.dtype), free)
    there = space.shift(here, step)
    moved = space.displacement(here, there)
    check_like(moved, here, "displacement(a, b)")
    error = size(jax.tree.map(jnp.subtract, moved, step))
    # Adding the step rounds to the spacing of the numbers at both ends.
    bound = 8 * eps(here) * max(size(here), size(there), length)
    promise(
        error <= bound,
        f"displacement(x, shift(x, step)) misses a free step of length {length:.1e} by {error:.1e}: the two disagree.",
    )


def _random_like(key: Key[Array, ""], x: PyTree) -> PyTree:
    flat, unravel = ravel_pytree(x)
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))
