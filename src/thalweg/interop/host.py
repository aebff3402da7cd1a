"""A function of somebody else's making as a force field: NumPy arrays in, values and gradients out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.checks import traced
from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, PrecisionError
from thalweg.methods.curvature import numerical_hessian_vector_product as numerical_hessian_vector_product

ValueAndGradBatch = Callable[[Any], tuple[Any, Any]]


class HostField(AbstractHostField):
    """An energy whose values and gradients come from a function on the host.

    Non-finite values and gradients pass through as they are, so that the walk that met them names its step;
    what the function raises passes through too.

    **Arguments:**

    - `value_and_grad_batch`: from a batch, a pytree whose leaves all have the leading axis `n`, to the values
      `[n]` and the gradients `+dE/dx`, of the structure, shapes and dtypes of the batch; the values have the widest
      dtype of the batch. It may reuse its buffers: what it returns is copied before it is called again.
    - `value_batch`: the values alone, where they are cheaper; by default the gradients are computed and dropped.
    - `arrays`: what the functions are handed: `"numpy"`, read-only views (no copy on the CPU), or `"jax"`, for
      programs that take arrays where they lie (through DLPack).

    **Fields:** `calls` of the functions; `evaluations`, configurations whose value was asked for; `gradients`,
    configurations whose gradient was.
    """

    def __init__(
        self,
        value_and_grad_batch: ValueAndGradBatch,
        value_batch: Callable[[Any], Any] | None = None,
        *,
        arrays: Literal["numpy", "jax"] = "numpy",
    ):
        self.name = _name_of(value_and_grad_batch)
        self.calls = self.evaluations = self.gradients = 0
        self._value_and_grad, self._value = value_and_grad_batch, value_batch
        self._arrays = arrays

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """The energy of one configuration."""
        return jnp.asarray(self.value_batch(jax.tree.map(lambda leaf: np.asarray(leaf)[None], floats(x, self.name)))[0])

    def value_batch(self, x: PyTree) -> Float[Array, " n"]:
        """The energies `[n]` of `n` configurations, every leaf of `x` with leading axis `n`."""
        if self._value is None:
            return self.value_and_force_batch(x)[0]
        n = self._asked(x)
        values = self._value(jax.tree.map(self._convert, x))
        self._check_values(values, x, n)
        return jax.block_until_ready(_settled(values, ())[0])

    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        """The energies `[n]` and forces of `n` configurations, every leaf of `x` with leading axis `n`.

        **Raises:** `InputError` for a batch without one leading axis, for numbers that are not there yet (inside
        `jit`, `vmap` or `grad`), and for an answer of the wrong structure, shape or dtype.
        """
        n = self._asked(x)
        self.gradients += n
        answer = self._value_and_grad(jax.tree.map(self._convert, x))
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise InputError(f"{self.name} returned a {type(answer).__name__}: return the pair (values, gradients).")
        values, slopes = answer
        if jax.tree.structure(slopes) != jax.tree.structure(x):
            raise InputError(
                f"{self.name} returned gradients of the structure {jax.tree.structure(slopes)}, "
                f"but x has {jax.tree.structure(x)}: return one gradient per leaf of x."
            )
        self._check_values(values, x, n)
        jax.tree_util.tree_map_with_path(self._check_slope, x, slopes)
        # The function may overwrite what it returned as soon as it is called again: copied, and waited for.
        return jax.block_until_ready(_settled(values, slopes))

    def check_deterministic(self, x: PyTree) -> None:
        """Refuse a function that is random, or whose answer for one configuration depends on the others in its batch.

        **Arguments:** `x`, a batch of at least two different configurations.

        **Raises:** `InputError`.
        """
        check_repeatable(self.value_and_force_batch, x, self.name)

    def _asked(self, x: PyTree) -> int:
        floats(x, self.name)
        n = batch_size(x, self.name)
        self.calls += 1
        self.evaluations += n
        return n

    def _convert(self, leaf: Any) -> Any:
        if self._arrays == "numpy":
            return np.asarray(leaf)
        return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)

    def _check_values(self, values: Any, x: PyTree, n: int) -> None:
        _check_answer(values, (n,), jnp.result_type(*jax.tree.leaves(x)), f"{self.name} returned values")

    def _check_slope(self, path: Any, leaf: Any, slope: Any) -> None:
        label = f"{self.name} returned gradients{jax.tree_util.keystr(path)}"
        _check_answer(slope, leaf.shape, leaf.dtype, label)


@jax.jit
def _settled(values: Array, slopes: PyTree) -> tuple[Array, PyTree]:
    """Values and forces as new arrays; compiled, because that takes a third of the time of single operations."""
    return jnp.copy(values), jax.tree.map(jnp.negative, slopes)


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _check_answer(found: Any, shape: tuple[int, ...], dtype: Any, label: str) -> None:
    if not isinstance(found, np.ndarray | np.generic | jax.Array):
        raise InputError(f"{label} of type {type(found).__name__}: return a NumPy array of {dtype} {list(shape)}.")
    if found.shape != shape:
        raise InputError(f"{label} of shape {list(found.shape)}, not {list(shape)}: return one per configuration.")
    if found.dtype != dtype:
        raise InputError(
            f"{label} of dtype {found.dtype}, but x is {dtype}: compute in one dtype, or convert with .astype "
            "where the loss of digits is meant."
        )


def floats(x: PyTree, where: str, name: str = "x") -> PyTree:
    """`x` itself, if every leaf is an array of floats that this process can compute with.

    **Raises:** `InputError`; `PrecisionError` for float64 in a process that runs in float32.
    """
    if traced(x):
        raise InputError(
            f"{where} runs on the host and cannot be called inside jit, vmap or grad, where there are no numbers yet: "
            "call it outside, or wrap a PyTorch module with interop.as_jax."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        label = f"{where}: {name}{jax.tree_util.keystr(path)}"
        if not isinstance(leaf, np.ndarray | jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(f"{label} is {getattr(leaf, 'dtype', type(leaf).__name__)}: pass an array of floats.")
        if leaf.dtype == np.float64 and jax.dtypes.canonicalize_dtype(leaf.dtype) != np.float64:
            raise PrecisionError(
                f"{label} is float64 but this process computes in float32: call "
                "jax.config.update('jax_enable_x64', True) at its start, or pass float32."
            )
    return x


def batch_size(x: PyTree, where: str) -> int:
    """The length of the leading axis that all leaves of `x` share.

    **Raises:** `InputError` where they share none.
    """
    sizes = [leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(x)]
    if len(set(sizes)) != 1 or sizes[0] == 0:
        shapes = ", ".join(str(list(leaf.shape)) for leaf in jax.tree.leaves(x))
        raise InputError(f"{where}: x has leaves of shape {shapes or 'none'}: give all of them one leading batch axis.")
    return sizes[0]


def host_field(function: Callable[[Any], tuple[Any, Any]]) -> HostField:
    """A host field from a function of one configuration, called once for each of a batch.

    **Arguments:** `function`, from a pytree of NumPy arrays to its energy and gradient `+dE/dx`; an energy that is
    a Python float takes the dtype of the gradient.
    """

    def one_by_one(x: PyTree) -> tuple[Any, Any]:
        answers = [function(jax.tree.map(lambda leaf, i=i: leaf[i], x)) for i in range(batch_size(x, named))]
        values, slopes = zip(*answers, strict=True)
        stacked = jax.tree.map(lambda *parts: np.stack(parts), *slopes)
        plain = all(type(value) is float for value in values)
        return np.array(values, jnp.result_type(*jax.tree.leaves(stacked)) if plain else None), stacked

    named = one_by_one.__name__ = _name_of(function)
    return HostField(one_by_one)


def check_repeatable(evaluate: Callable[[PyTree], PyTree], x: PyTree, label: str) -> None:
    """Refuse a batched function that is random, or in which one item of a batch changes the answer for another.

    Answers may differ by rounding, since programs sum in another order for another batch size: by less than ten
    times the square root of the machine's epsilon, relative to the largest answer.

    **Arguments:** `evaluate`, from a batch to a pytree with the same leading axis; `x`, a batch of at least two
    different items.

    **Raises:** `InputError`.
    """
    if batch_size(x, label) < 2:
        raise InputError(f"{label}: one item cannot show whether a batch mixes its items: pass at least two.")
    first, again = evaluate(x), evaluate(x)
    if _apart(first, again):
        raise InputError(
            f"{label} gives two answers to one input: switch off what is random in it (dropout: module.eval(), and "
            "training=False in functional calls)."
        )
    alone = evaluate(jax.tree.map(lambda leaf: leaf[:1], x))
    if _apart(jax.tree.map(lambda leaf: leaf[:1], first), alone):
        raise InputError(
            f"{label} answers differently for an item alone and in a batch: switch off what mixes a batch (batch "
            "normalisation: module.eval()), or reduce over all axes but the first."
        )


def _apart(a: PyTree, b: PyTree) -> bool:
    def differ(left: Any, right: Any) -> bool:
        left, right = np.asarray(left), np.asarray(right)
        scale = np.max(np.abs(left), initial=0.0, where=np.isfinite(left))
        bound = 10 * float(jnp.finfo(left.dtype).eps) ** 0.5 * float(scale)
        return not np.allclose(left, right, rtol=0.0, atol=bound, equal_nan=True)

    return any(map(differ, jax.tree.leaves(a), jax.tree.leaves(b)))
