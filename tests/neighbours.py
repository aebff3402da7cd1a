"""A landscape with a list of neighbours, for the tests of all that refreshes."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.refresh import AbstractRefreshing, farthest, padded
from thalweg.core.space import Periodic


class Fluid(AbstractRefreshing):
    """Lennard-Jones points in a periodic cell, cut off at `reach` where energy and force go to zero."""

    length: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    skin: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    built_at: Float[Array, "n 3"]
    near: Int[Array, "n capacity"]  # rows of neighbours, n where there is none

    def __call__(self, x):
        def add(total, near):
            squared = jnp.sum(Periodic(self.length).displacement(x, x[near]) ** 2, -1)
            on = (near < x.shape[0]) & (squared < self.reach**2)
            inverse, last = 1 / jnp.where(on, squared, 1.0) ** 3, self.reach**-6
            # Shifted in r^2, so that energy and force vanish at the cutoff.
            pair = inverse**2 - inverse - (last**2 - last) + (6 * last**2 - 3 * last) * (squared / self.reach**2 - 1)
            return total + 2 * jnp.sum(jnp.where(on, pair, 0.0)), None

        # Column by column: a sum along the rows may round otherwise where the padding is longer.
        return jax.lax.scan(add, jnp.zeros((), x.dtype), self.near.T)[0]

    def stale(self, x) -> Bool[Array, ""]:
        return ~(farthest(Periodic(self.length), self.built_at, x) <= self.skin / 2)

    def rebuilt(self, x):
        n, capacity = self.near.shape
        step = Periodic(self.length).displacement(jnp.broadcast_to(x[:, None], (n, n, 3)), x[None])
        close = (jnp.sum(step**2, -1) < (self.reach + self.skin) ** 2) & ~jnp.eye(n, dtype=bool)
        rows = jax.vmap(lambda row: jnp.nonzero(row, size=capacity, fill_value=n)[0])(close)
        new = eqx.tree_at(lambda fluid: (fluid.built_at, fluid.near), self, (x, rows.astype(self.near.dtype)))
        return new, jnp.max(jnp.sum(close, 1)) <= capacity

    def grown(self):
        return eqx.tree_at(lambda fluid: fluid.near, self, padded(self.near, 1, self.near.shape[0]))


def fluid(side: int = 4, capacity: int = 63, *, density: float = 0.35, reach: float = 1.5, skin: float = 0.3):
    """A simple cubic crystal of `side`^3 points that will melt, its landscape with an empty list, and its space."""
    n = side**3
    length = (n / density) ** (1 / 3)
    x = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) * length / side
    nowhere = jnp.full((n, 3), jnp.nan)
    energy = Fluid(length, reach, skin, nowhere, jnp.full((n, capacity), n, jnp.int32))
    return energy, jnp.asarray(x), Periodic(length)
