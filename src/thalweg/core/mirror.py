"""Coordinates without walls for points between walls, and a landscape as it is seen from them."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Landscape
from thalweg.core.errors import InputError


class Mirrored(eqx.Module):
    """The change of coordinates `x = lower + (upper - lower) (1 - cos u) / 2` in every coordinate.

    All of `u` is allowed, and walls become mirrors: a stationary point of `E(x(u))` is one of `E` between its walls,
    and where a wall holds a coordinate against a force F, this counts as the positive curvature `F (upper - lower) /
    2`. A coordinate exactly on a wall has no slope in `u`, whatever the force: `within` starts it a hair inside.

    **Arguments:** `lower`, `upper`: numbers or arrays that broadcast against every leaf, in the units of `x`.

    **Raises:** `InputError` for a lower bound that is not below the upper one.
    """

    lower: Float[Array, "..."] = eqx.field(converter=jnp.asarray)
    upper: Float[Array, "..."] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise InputError("Mirrored: a lower bound is not below its upper one: exchange or widen them.")

    def __call__(self, u: PyTree) -> PyTree:
        """The point `x` at the coordinates `u`."""
        return jax.tree.map(lambda one: self._low(one) + self._half(one) * (1 - jnp.cos(one)), u)

    def slope(self, u: PyTree) -> PyTree:
        """The derivative `dx/du` of every coordinate."""
        return jax.tree.map(lambda one: self._half(one) * jnp.sin(one), u)

    def within(self, x: PyTree, hair: float = 0.0) -> PyTree:
        """The coordinates `u` in [0, pi] of `x`, those nearer to a wall than the angle `hair` put at that angle."""

        def angle(one: Array) -> Array:
            cosine = jnp.clip(1 - (one - self._low(one)) / self._half(one), -1, 1)
            return jnp.clip(jnp.arccos(cosine), hair, jnp.pi - hair).astype(one.dtype)

        return jax.tree.map(angle, x)

    def _low(self, like: Array) -> Array:
        return self.lower.astype(like.dtype)

    def _half(self, like: Array) -> Array:
        return 0.5 * (self.upper - self.lower).astype(like.dtype)


class Seen(AbstractEnergy):
    """A landscape over other coordinates: `u -> E(change(u))`."""

    energy: Landscape
    change: Any

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.energy(self.change(x))


class SeenOnHost(AbstractHostField):
    """A host field over other coordinates, every one of which follows from its own: `u -> E(change(u))`.

    **Arguments:** `field`, over `x`; `change`, with `change(u)` and `change.slope(u)`, the derivatives `dx/du`.
    """

    def __init__(self, field: AbstractHostField, change: Mirrored):
        self.field, self.change = field, change

    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        there, slopes = _there(self.change, x)
        values, forces = self.field.value_and_force_batch(there)
        return values, jax.tree.map(jnp.multiply, forces, slopes)


@eqx.filter_jit
def _there(change: Mirrored, u: PyTree) -> tuple[PyTree, PyTree]:
    return change(u), change.slope(u)


def seen(energy: Landscape | AbstractHostField, change: Mirrored) -> Seen | SeenOnHost:
    """A landscape or host field over other coordinates."""
    return SeenOnHost(energy, change) if isinstance(energy, AbstractHostField) else Seen(energy, change)
