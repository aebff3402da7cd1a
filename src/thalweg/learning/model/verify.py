"""Whether an exchange of units, or a turn of their signs, leaves a loss as it is."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError
from thalweg.learning.model.units import Units, permuted

# Sums of a million terms round to a thousand eps; a symmetry that does not hold is off by parts in ten or a hundred.
_ROUNDINGS = 1000


def verified(loss: Any, params: PyTree, units: tuple[Units, ...]) -> tuple[tuple[Units, ...], tuple[str, ...]]:
    """The proposed units whose symmetry the loss has, and a note for each layer that lost some of it.

    The loss is compared at generic points, under a swap and a cycle of the units and, for odd units, random signs.
    """
    kept, notes = [], []
    for layer in units:
        if _broken(loss, params, layer, signs=False):
            notes.append(f"{layer.name}: exchanging its units changes the loss, so that none are exchanged")
        else:
            odd = layer.odd and not _broken(loss, params, layer, signs=True)
            kept.append(layer._replace(odd=odd))
    return tuple(kept), tuple(notes)


def require_symmetry(loss: Any, params: PyTree, units: tuple[Units, ...], name: str) -> None:
    """Refuse declared units whose symmetry the loss does not have.

    **Raises:** `InputError`.
    """
    for layer in units:
        if _broken(loss, params, layer, signs=False):
            raise InputError(f"{name}: exchanging units of {layer.name} changes the loss: mend its slots.")
        if layer.odd and _broken(loss, params, layer, signs=True):
            raise InputError(f"{name}: turning signs in {layer.name} changes the loss: declare it with odd=False.")


def _broken(loss: Any, params: PyTree, units: Units, *, signs: bool) -> bool:
    random = np.random.default_rng(0)
    points = [_generic(params, random) for _ in range(2)]
    places = jnp.arange(units.width)
    if signs:
        turns = jnp.asarray(np.where(random.permutation(units.width) < (units.width + 1) // 2, -1.0, 1.0))
        copies = [permuted(point, units, places, one) for point, one in zip(points, (turns, -turns), strict=True)]
    else:
        # A swap and a cycle: together they make all permutations.
        orders = (jnp.concatenate([places[:2][::-1], places[2:]]), jnp.roll(places, 1))
        copies = [permuted(point, units, order) for point, order in zip(points, orders, strict=True)]
    heights = _heights(loss, [*points, *copies])
    before, after = heights.reshape(2, 2)
    if not np.isfinite(heights).all():
        return True
    return bool((np.abs(after - before) > _ROUNDINGS * np.finfo(heights.dtype).eps * np.abs(before)).any())


def _generic(params: PyTree, random: np.random.Generator) -> PyTree:
    """The params with normal noise of their own size, or of a tenth: no weight stays at a special value such as one."""

    def moved(leaf: Array) -> Array:
        size = max(float(jnp.sqrt(jnp.mean(leaf**2))), 0.1)
        return leaf + size * jnp.asarray(random.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(moved, params)


def _heights(loss: Any, points: list[PyTree]) -> Float[np.ndarray, " n"]:
    if isinstance(loss, AbstractHostField):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
        return np.asarray(loss.value_and_force_batch(stacked)[0])
    return np.asarray([height_of(loss, point) for point in points])


@eqx.filter_jit
def height_of(loss: Any, point: PyTree) -> Float[Array, ""]:
    """The loss of some params, compiled."""
    return loss(point)
