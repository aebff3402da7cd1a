"""Whether a classifier has kinks along a line, by measurement."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractHostField

_STARTS, _POINTS, _LEVELS = 4, 9, 11
# Where the steps shrink by 4, the second difference of a smooth force shrinks by 16, and that of a kink not at all:
# a thousandth lies between, also for what begins to be resolved on the way only.
_SHRUNK = 1e-3


def kinked(field: AbstractHostField, a: Float[Array, "..."], b: Float[Array, "..."]) -> bool:
    """Whether the force of `field` jumps somewhere between `a` and `b`.

    Each quarter of the line is narrowed down, level by level, to the two steps around the largest second difference of
    the force. On a smooth field that difference falls with the square of the step; at a kink it stays.
    """
    left = np.arange(_STARTS) / _STARTS
    width = 1.0 / _STARTS
    bends = []
    for _ in range(_LEVELS):
        places = left[:, None] + width * np.linspace(0, 1, _POINTS)
        forces, size = _forces(field, a, b, places)
        second = np.linalg.norm(forces[:, 2:] - 2 * forces[:, 1:-1] + forces[:, :-2], axis=2)
        bends.append(second.max(axis=1))
        left = left + width * second.argmax(axis=1) / (_POINTS - 1)
        width *= 2 / (_POINTS - 1)
    largest, last = np.max(bends, axis=0), bends[-1]
    rounding = 1e3 * float(jnp.finfo(a.dtype).eps) * size  # of a force that is a sum of as many terms
    return bool((last > np.maximum(_SHRUNK * largest, rounding)).any())


def _forces(field: AbstractHostField, a: Array, b: Array, places: np.ndarray) -> tuple[np.ndarray, float]:
    t = places.ravel().reshape(-1, *[1] * a.ndim)
    line = np.asarray(a) + t * np.asarray(b - a)
    _, forces = field.value_and_force_batch(jnp.asarray(line, a.dtype))
    flat = np.asarray(forces, np.float64).reshape(*places.shape, -1)
    return flat, float(np.linalg.norm(flat, axis=2).max())
