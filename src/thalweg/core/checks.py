"""What the verbs ask of their inputs before the first step is taken."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from thalweg.core.errors import InputError, PrecisionError
from thalweg.core.space import AbstractSpace

X = TypeVar("X")


def traced(*trees: Any) -> bool:
    """Whether any leaf is inside a JAX transformation, where nothing can be raised for its value."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def leaf_name(path: tuple[Any, ...]) -> str:
    """A leaf's place in its pytree, as one would write it in Python (`.layers[0].weight`, `['a']`)."""
    return jax.tree_util.keystr(path) or "the array itself"


def floating(x: X, where: str, name: str = "x0") -> X:
    """`x` as JAX arrays of the width that it came in.

    **Raises:** `InputError` for an empty pytree, an integer or empty leaf, or a leaf that is not finite;
    `PrecisionError` for float64 in a process that runs in float32.
    """
    leaves = jax.tree_util.tree_leaves_with_path(x)
    if not leaves:
        raise InputError(f"{where}: {name} holds no arrays: pass at least one array of floats.")
    for path, leaf in leaves:
        _check_leaf(leaf, f"{where}: {name}{jax.tree_util.keystr(path)}")
    return jax.tree.map(jnp.asarray, x)


def refuse_narrowing(leaf: Any, label: str) -> None:
    """Refuse a float64 array in a process that computes in float32, instead of narrowing it.

    **Raises:** `PrecisionError`.
    """
    if isinstance(leaf, np.ndarray | np.floating) and leaf.dtype == np.float64 != jnp.result_type(leaf):
        raise PrecisionError(
            f"{label} is float64 but this process computes in float32: call "
            "jax.config.update('jax_enable_x64', True) at its start, or pass float32."
        )


def _check_leaf(leaf: Any, label: str) -> None:
    if not isinstance(leaf, float | jax.Array | np.ndarray | np.floating):
        raise InputError(f"{label} is a {type(leaf).__name__}, not an array of floats: convert it first.")
    dtype = jnp.result_type(leaf)
    refuse_narrowing(leaf, label)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{label} holds {dtype}, which has no gradient: convert it to floats.")
    if np.size(leaf) == 0:
        raise InputError(f"{label} is empty: there is nothing to move.")
    # By NumPy: inside a transformation JAX would trace the question even about a constant.
    if not traced(leaf) and not np.isfinite(np.asarray(leaf)).all():
        raise InputError(f"{label} is not finite: mend the input, a walk cannot start from NaN or infinity.")


def check_scalar(energy: Any, x: PyTree, where: str) -> None:
    """Refuse a landscape whose value at `x` is not one floating-point number.

    **Raises:** `InputError` with the shape that came out.
    """
    try:
        height = jax.eval_shape(energy, x)
    except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{where}: the energy cannot be evaluated on an x of this shape: {reason}") from error
    shapes = [getattr(leaf, "shape", None) for leaf in jax.tree.leaves(height)]
    if shapes != [()] or not jnp.issubdtype(jax.tree.leaves(height)[0].dtype, jnp.floating):
        raise InputError(f"{where}: the energy returned shape {shapes}, not one floating-point number: sum it first.")


def fits(space: AbstractSpace, x: PyTree, where: str) -> None:
    """Refuse a space whose bounds or lengths have not the shape of `x`.

    **Raises:** `InputError`.
    """
    try:
        inside = jax.eval_shape(space.wrap, x)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{where}: the space does not have the shape of x: {reason}") from error
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (x, inside)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{where}: x has the shape {shapes[0]}, but the space makes it {shapes[1]}: mend its bounds.")


def positive(value: Any, name: str, where: str) -> None:
    """Refuse a number that is not positive.

    **Raises:** `InputError`.
    """
    if not traced(value) and not float(value) > 0:
        raise InputError(f"{where}: {name} is {value}, but it must be positive.")


def bad_leaves(state: PyTree) -> list[str]:
    """The names of the leaves of `state` that hold a NaN or an infinity."""

    def broken(leaf: Any) -> bool:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return False
        return bool(jnp.issubdtype(leaf.dtype, jnp.inexact)) and not bool(np.isfinite(np.asarray(leaf)).all())

    return [leaf_name(path) for path, leaf in jax.tree_util.tree_leaves_with_path(state) if broken(leaf)]
