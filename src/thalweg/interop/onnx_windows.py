"""Convolution and pooling as ONNX defines them, in forms that stay fast inside compiled loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """How a window moves over the spatial axes: sizes, strides, dilations, and the pads before and after each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads


def windows(attributes: dict[str, Any], kernel: Sequence[int], spatial: Sequence[int]) -> Windows:
    """The windows that a node's attributes ask for over axes of the sizes `spatial`.

    **Raises:** `ValueError` for attributes that do not fit.
    """
    axes = len(spatial)
    strides = tuple(attributes.get("strides", [1] * axes))
    dilations = tuple(attributes.get("dilations", [1] * axes))
    auto = attributes.get("auto_pad", "NOTSET")
    flat = list(attributes.get("pads", [0] * 2 * axes)) if auto == "NOTSET" else [0] * 2 * axes
    if {len(kernel), len(strides), len(dilations), len(flat) / 2} != {axes} or min(strides + dilations) < 1:
        raise ValueError(f"kernel, strides, dilations and pads do not fit {axes} spatial axes")
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    pads = tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        missing = [
            max((-(-size // stride) - 1) * stride + long - size, 0)
            for size, stride, long in zip(spatial, strides, reach, strict=True)
        ]
        pads = tuple((each // 2, each - each // 2) for each in missing)
        pads = pads if auto == "SAME_UPPER" else tuple((after, before) for before, after in pads)
    if attributes.get("ceil_mode", 0):
        pads = tuple(
            _ceiled(pad, size, stride, long)
            for pad, size, stride, long in zip(pads, spatial, strides, reach, strict=True)
        )
    return Windows(tuple(kernel), strides, dilations, pads)


def _ceiled(pad: tuple[int, int], size: int, stride: int, reach: int) -> tuple[int, int]:
    """The pads of an axis with room for a last window that begins inside but ends beyond it."""
    count = -(-(size + sum(pad) - reach) // stride) + 1
    if (count - 1) * stride >= size + pad[0]:
        count -= 1
    return pad[0], max(pad[1], (count - 1) * stride + reach - size - pad[0])


def convolved(
    x: Float[Array, "n channels *spatial"], weight: Float[Array, "out in *kernel"], at: Windows, groups: int
) -> Float[Array, "n out *places"]:
    """The convolution of a batch.

    On the CPU, XLA's own convolution takes up to ten times as long inside a compiled loop as outside; a product of
    matrices does not, and is also faster outside wherever strides are larger than one.
    """
    if groups == 1 and set(at.dilations) == {1} and jax.default_backend() == "cpu":
        return _by_products(x, weight, at)
    return lax.conv_general_dilated(
        x, weight, at.strides, at.pads, rhs_dilation=at.dilations, feature_group_count=groups,
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


def _by_products(x: Array, weight: Array, at: Windows) -> Array:
    """Every stride-sized block of the input becomes one row; windows are then neighbouring rows, side by side."""
    out, axes = weight.shape[0], range(len(at.kernel))
    places = _places(x.shape[2:], at)
    blocks = [-(-size // stride) for size, stride in zip(at.kernel, at.strides, strict=True)]
    rows = [place - 1 + block for place, block in zip(places, blocks, strict=True)]
    ends = [rows[i] * at.strides[i] - at.pads[i][0] - x.shape[2 + i] for i in axes]
    # A negative pad crops what no window reaches.
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * 2 + [(at.pads[i][0], ends[i], 0) for i in axes])
    x = _blocks_last(x, rows, at.strides)
    more = [(0, blocks[i] * at.strides[i] - at.kernel[i], 0) for i in axes]
    weight = lax.pad(weight, jnp.zeros((), weight.dtype), [(0, 0, 0)] * 2 + more)
    weight = _blocks_last(weight, blocks, at.strides)
    beside = [lax.slice_in_dim(x, b, b + places[-1], axis=len(axes)) for b in range(blocks[-1])]
    x = jnp.concatenate(beside, -1)  # along the last axis only: all of a window at once fills the cache
    total = None
    for corner in itertools.product(*map(range, blocks[:-1])):
        part = weight[(slice(None), *corner)].reshape(out, -1)
        ends = [first + place for first, place in zip(corner, places, strict=False)]
        rows_of = lax.slice(x, (0, *corner, 0, 0), (x.shape[0], *ends, *x.shape[-2:]))
        product = jnp.matmul(rows_of, part.T, precision=lax.Precision.HIGHEST)
        total = product if total is None else total + product
    assert total is not None
    return jnp.moveaxis(total, -1, 1)


def _blocks_last(x: Array, rows: Sequence[int], strides: Sequence[int]) -> Array:
    """`[n, channels, *(rows * strides)]` as `[n, *rows, channels * strides]`."""
    axes = len(rows)
    x = x.reshape(*x.shape[:2], *itertools.chain(*zip(rows, strides, strict=True)))
    x = x.transpose(0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2))
    return x.reshape(x.shape[0], *rows, -1)


def _places(spatial: Sequence[int], at: Windows) -> list[int]:
    found = [
        (size + sum(pad) - (kernel - 1) * dilation - 1) // stride + 1
        for size, pad, kernel, dilation, stride in zip(
            spatial, at.pads, at.kernel, at.dilations, at.strides, strict=True
        )
    ]
    if min(found) < 1:
        raise ValueError(f"the window {list(at.kernel)} is larger than the padded input {list(spatial)}")
    return found


def _views(x: Any, at: Windows, filling: float) -> list[Any]:
    """For each place in the window, what all windows see there."""
    places = _places(x.shape[2:], at)
    pads = [(0, 0, 0), (0, 0, 0), *((before, max(after, 0), 0) for before, after in at.pads)]
    x = lax.pad(x, jnp.asarray(filling, x.dtype), pads)
    found = []
    for corner in itertools.product(*map(range, at.kernel)):
        first = [place * dilation for place, dilation in zip(corner, at.dilations, strict=True)]
        last = [
            begin + (count - 1) * stride + 1 for begin, count, stride in zip(first, places, at.strides, strict=True)
        ]
        found.append(lax.slice(x, (0, 0, *first), (*x.shape[:2], *last), (1, 1, *at.strides)))
    return found


def largest(x: Float[Array, "n channels *spatial"], at: Windows) -> Float[Array, "n channels *places"]:
    """The maximum over each window."""
    views = _views(x, at, -math.inf)
    found = views[0]
    for view in views[1:]:
        found = jnp.maximum(found, view)
    return found


def averaged(
    x: Float[Array, "n channels *spatial"], at: Windows, declared: Pads | None
) -> Float[Array, "n channels *places"]:
    """The mean over each window, of what lies inside it.

    **Arguments:** `declared`, pads that count as zeros; by default none do.
    """
    views = _views(x, at, 0.0)
    total = views[0]
    for view in views[1:]:
        total = total + view
    return total * jnp.asarray(1 / _counts(x.shape[2:], at, declared), x.dtype)


def _counts(spatial: Sequence[int], at: Windows, declared: Pads | None) -> np.ndarray:
    """How many numbers each window holds."""
    counts = np.ones(())
    for axis, (size, places) in enumerate(zip(spatial, _places(spatial, at), strict=True)):
        before, after = declared[axis] if declared is not None else (0, 0)
        starts = np.arange(places) * at.strides[axis] - at.pads[axis][0]
        seen = starts[:, None] + np.arange(at.kernel[axis]) * at.dilations[axis]
        counts = counts[..., None] * ((seen >= -before) & (seen < size + after)).sum(1)
    return counts
