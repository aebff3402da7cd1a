"""Which operations are affine in what depends on the input, and the matrices of a chain of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse import csr_matrix, hstack, vstack

from thalweg.core.errors import InputError
from thalweg.methods.bounds.maps import LinearMap
from thalweg.methods.bounds.program import Operation, Ref

# Affine in all of their operands together.
_JOINTLY = frozenset(
    """
    add add_any sub neg concatenate pad reshape squeeze expand_dims broadcast_in_dim transpose rev slice reduce_sum
    cumsum reduce_window_sum split real convert_element_type
""".split()
)
# Affine in the operands at these places, as long as the others are constants.
_AT: dict[str, tuple[int, ...]] = {
    "div": (0,), "gather": (0,), "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "select_n": (1, 2, 3, 4),
    "scatter": (0, 2), "scatter-add": (0, 2), "scatter_add": (0, 2),
}  # fmt: skip
_BILINEAR = frozenset({"mul", "dot_general", "conv_general_dilated"})
_ELEMENTWISE = frozenset("add add_any sub neg mul div select_n convert_element_type".split())
_CHUNK = 128
_LARGEST = 200_000_000  # entries: 2.4 GB


def is_affine(operation: Operation) -> bool:
    """Whether an operation is affine in those of its operands that depend on the input."""
    if any(np.dtype(ref.dtype).kind != "f" for ref in (*operation.refs, *operation.outputs)):
        return False
    places = [place for place, operand in enumerate(operation.operands) if isinstance(operand, Ref)]
    if operation.name in _BILINEAR:
        return len(places) == 1
    return operation.name in _JOINTLY or all(place in _AT.get(operation.name, ()) for place in places)


def is_elementwise(operation: Operation) -> bool:
    """Whether each item of the result follows from the same item of the operands, for an affine operation."""
    shape = operation.outputs[0].shape
    return operation.name in _ELEMENTWISE and all(ref.shape == shape for ref in operation.refs)


class Affine(eqx.Module):
    """`sum_s maps[s] x_s + bias`, over the flattened values of some earlier nodes.

    **Arguments:** `parents`, the numbers of these nodes; `matrices`, sparse.
    """

    parents: tuple[int, ...] = eqx.field(static=True)
    maps: tuple[LinearMap, ...]
    bias: Float[Array, " n"]

    def __init__(self, parents: Sequence[int], matrices: Sequence[csr_matrix], bias: Array):
        self.parents, self.bias = tuple(parents), jnp.ravel(bias)
        self.maps = tuple(map(LinearMap, matrices))

    def __call__(self, values: Sequence[Float[Array, " _"]]) -> Float[Array, " n"]:
        """The result at the flattened values of the parents."""
        return self.bias + sum(one(value) for one, value in zip(self.maps, values, strict=True))

    def range(self, low: Sequence[Array], high: Sequence[Array]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Exact bounds over a box of the parents."""
        middle = self([(a + b) / 2 for a, b in zip(low, high, strict=True)])
        spread = sum(one((b - a) / 2, absolute=True) for one, a, b in zip(self.maps, low, high, strict=True))
        return middle - spread, middle + spread


def matrices(
    operations: Sequence[Operation], sources: Sequence[Ref], result: Ref
) -> tuple[list[csr_matrix], Float[Array, "..."]]:
    """The matrices of an affine chain, one for each source, and its value where all sources are zero.

    **Arguments:** `operations`, in order, that make `result` from `sources` and constants.

    **Raises:** `InputError` if they do not fit into memory.
    """

    def function(*values: Any) -> Any:
        known = {source.number: value for source, value in zip(sources, values, strict=True)}
        for operation in operations:
            operands = [known[o.number] if isinstance(o, Ref) else o for o in operation.operands]
            known |= dict(zip((output.number for output in operation.outputs), operation(*operands), strict=True))
        return known[result.number]

    zeros = [jnp.zeros(source.shape, source.dtype) for source in sources]
    bias, forward = jax.linearize(jax.jit(function), *zeros)
    sizes = [source.size for source in sources]
    if result.size <= sum(sizes):
        backward = jax.linear_transpose(forward, *zeros)
        rows = _probed(
            lambda one: jnp.concatenate([g.ravel() for g in backward(one.reshape(result.shape))]),
            result.size,
            result.dtype,
        )
        stacked = csr_matrix(vstack(rows))
        splits = np.cumsum([0, *sizes])
        return [csr_matrix(stacked[:, a:b]) for a, b in itertools.pairwise(splits)], bias
    return [_columns(forward, zeros, place) for place in range(len(sources))], bias


def _columns(forward: Callable[..., Any], zeros: list[Array], place: int) -> csr_matrix:
    def push(one: Array) -> Array:
        moves = [one.reshape(z.shape) if number == place else z for number, z in enumerate(zeros)]
        return forward(*moves).ravel()

    return csr_matrix(hstack([part.T for part in _probed(push, zeros[place].size, zeros[place].dtype)]))


def _probed(function: Callable[[Array], Array], count: int, dtype: Any) -> list[csr_matrix]:
    """What a linear function makes of all unit vectors, one row each, in chunks that are sparse at once."""
    compiled = jax.jit(jax.vmap(lambda place: function(jnp.zeros(count, dtype).at[place].set(1.0))))
    found, entries = [], 0
    for start in range(0, count, _CHUNK):
        places = jnp.minimum(jnp.arange(start, start + min(_CHUNK, count)), count - 1)
        found.append(csr_matrix(np.asarray(compiled(places))[: count - start]))
        entries += found[-1].nnz
        if entries > _LARGEST:
            raise InputError(
                f"bounds need more than {_LARGEST} numbers for one layer of this function: bound a smaller one."
            )
    return found
