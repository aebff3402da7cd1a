"""The landscape."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractEnergy


class Pendulums(AbstractEnergy):
    """Energy of the angles `a`: `sum stiffness (a[i+1] - a[i])^2 / 2 + sum gravity (1 - cos a[i])`.

    The springs at both ends are held at the angles 0 and `2 pi turns`, so that so many kinks cannot leave the chain.

    **Source:** Frenkel & Kontorova, Zh. Eksp. Teor. Fiz. 8, 1340 (1938); Braun & Kivshar, Phys. Rep. 306, 1 (1998).
    """

    stiffness: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    gravity: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    turns: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x: Float[Array, " pendulums"]) -> Float[Array, ""]:
        last = 2 * jnp.pi * self.turns.astype(x.dtype)
        stretch = jnp.diff(x, prepend=jnp.zeros((), x.dtype), append=last)
        springs = 0.5 * self.stiffness.astype(x.dtype) * jnp.sum(stretch**2)
        return springs + self.gravity.astype(x.dtype) * jnp.sum(1 - jnp.cos(x))
