"""What all checks are made of: a promise that holds or is named, and comparisons of pytrees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def promise(kept: Any, sentence: str) -> None:
    """Nothing where the promise is kept.

    **Raises:** `AssertionError` with the sentence.
    """
    if not bool(kept):
        raise AssertionError(sentence)


def check_like(found: PyTree, x: PyTree, what: str) -> None:
    """Promise that `found` has the structure, shapes and dtypes of `x`."""
    same = jax.tree.structure(found) == jax.tree.structure(x)
    promise(same, f"{what} has the structure {jax.tree.structure(found)}, x has {jax.tree.structure(x)}.")
    for (path, leaf), like in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(x), strict=True):
        name = f"{what}{jax.tree_util.keystr(path)}"
        promise(leaf.shape == like.shape, f"{name} has shape {leaf.shape}, but x has {like.shape}.")
        promise(leaf.dtype == like.dtype, f"{name} is {leaf.dtype}, but x is {like.dtype}.")


def equal(a: PyTree, b: PyTree) -> bool:
    """Whether two pytrees hold the same numbers; random keys are compared by their words."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(_words(left), _words(right)) for left, right in pairs)


def _words(leaf: Any) -> Any:
    key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if key else leaf


def size(x: PyTree) -> float:
    """The largest absolute value in `x`."""
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(x))


def eps(x: PyTree) -> float:
    """The coarsest machine epsilon among the leaves of `x`."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(x))
