"""The ONNX operators that make and change shapes: in NumPy for what is known before any input, in JAX for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax


class Node(NamedTuple):
    """One step of a graph: the operator `kind`, its `name`, what it reads and writes, and its attributes."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or what it is when left out."""
        return self.attributes.get(attribute, default)


class Unreadable(ValueError):
    """An operator is used in a way that is not read here; the reason is a clause."""


def is_known(*values: Any) -> bool:
    """Whether these are numbers that are there before any input is: shapes, axes, constants."""
    return all(isinstance(value, np.ndarray | np.generic) for value in values)


def known(value: Any, what: str) -> np.ndarray:
    """`value`, if it is there before any input is.

    **Raises:** `Unreadable` that says `what` it is.
    """
    if not is_known(value):
        raise Unreadable(f"{what} is computed from the input")
    return np.asarray(value)


def integers(node: Node, attribute: str, given: Any) -> list[int] | None:
    """What older files keep in an attribute and newer ones in an input."""
    if given is not None:
        return [int(one) for one in known(given, f"its {attribute}").ravel()]
    found = node.get(attribute)
    return None if found is None else [int(one) for one in found]


def _shape(node: Node, x: Any) -> np.ndarray:
    return np.asarray(np.shape(x)[slice(node.get("start", 0), node.get("end"))], np.int64)


def _reshape(node: Node, x: Any, shape: Any = None) -> Any:
    wanted = integers(node, "shape", shape) or []
    if not node.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Any) -> Any:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    wanted = integers(node, "axes", axes)
    return x.squeeze(None if wanted is None else tuple(wanted))


def _unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    wanted = integers(node, "axes", axes) or []
    return np.expand_dims(x, wanted) if is_known(x) else jnp.expand_dims(x, wanted)


def _concat(node: Node, *values: Any) -> Any:
    library = np if is_known(*values) else jnp
    return library.concatenate(values, axis=node.get("axis", 0))


def _gather(node: Node, x: Any, places: Any) -> Any:
    places, axis = known(places, "what it picks"), node.get("axis", 0)
    if is_known(x):
        return np.asarray(np.take(x, places, axis))
    if places.ndim == 0:
        return lax.index_in_dim(x, int(places), axis, keepdims=False)
    return jnp.take(x, places, axis)


def _slice(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first, last = integers(node, "starts", starts) or [], integers(node, "ends", ends) or []
    along = integers(node, "axes", axes) or list(range(len(first)))
    stride = integers(node, "steps", steps) or [1] * len(first)
    cuts = [slice(None)] * np.ndim(x)
    for axis, begin, end, step in zip(along, first, last, stride, strict=True):
        size = x.shape[axis]
        # "To the end" is written as a number beyond it, also for steps backwards.
        cuts[axis] = slice(begin, None if step < 0 and end < -size else end, step)
    return x[tuple(cuts)]


def _cast(node: Node, x: Any) -> Any:
    import onnx

    wanted = onnx.helper.tensor_dtype_to_np_dtype(node.get("to"))
    if is_known(x):
        return np.asarray(x).astype(wanted)
    if not np.issubdtype(wanted, np.floating):
        raise Unreadable(f"it turns what depends on the input into {wanted}, which has no gradient")
    return x  # between widths of floats: the model keeps the one of its weights


def _constant_of_shape(node: Node, shape: Any) -> np.ndarray:
    value = node.get("value")
    return np.full(integers(node, "shape", shape) or (), 0.0 if value is None else value.ravel()[0],
                   np.float32 if value is None else value.dtype)  # fmt: skip


def _expand(node: Node, x: Any, shape: Any) -> Any:
    wanted = np.broadcast_shapes(x.shape, tuple(integers(node, "shape", shape) or ()))
    return np.broadcast_to(x, wanted) if is_known(x) else jnp.broadcast_to(x, wanted)


def _pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    flat = integers(node, "pads", pads) or []
    along = integers(node, "axes", axes) or list(range(x.ndim))
    widths = [(0, 0)] * x.ndim
    for axis, before, after in zip(along, flat[: len(along)], flat[len(along) :], strict=True):
        widths[axis] = (before, after)
    mode = node.get("mode", "constant")
    if mode != "constant":
        if min(map(min, widths)) < 0 or mode not in ("reflect", "edge", "wrap"):
            raise Unreadable(f"it pads in the mode {mode} by {flat}")
        return jnp.pad(x, widths, mode=mode)
    filling = node.get("value", 0.0) if value is None else value
    return lax.pad(x, jnp.asarray(filling, x.dtype), [(*width, 0) for width in widths])


SHAPES: dict[str, Callable[..., Any]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": lambda node, x: x.transpose(node.get("perm") or tuple(reversed(range(x.ndim)))),
    "Unsqueeze": _unsqueeze,
}
