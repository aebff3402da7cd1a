"""A configuration that has a cell: points, and three lattice vectors that may change with them."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class Celled(eqx.Module):
    """Points and the cell that repeats them.

    A landscape over it says what both do: its force on `cell` is the change of energy with the lattice vectors at
    fixed Cartesian points. Velocities, forces and masses have the same structure.

    **Arguments:** `points` `[n, 3]`, in Cartesian coordinates, of any image; `cell` `[3, 3]`, a lattice vector in each
    row.
    """

    points: PyTree
    cell: PyTree

    @property
    def volume(self) -> Float[Array, ""]:
        """The volume of the cell."""
        first, second, third = self.cell
        return jnp.abs(jnp.dot(first, jnp.cross(second, third)))


def pressure(x: Celled, force: Celled, kinetic: Float[Array, ""]) -> Float[Array, ""]:
    """The instantaneous pressure: what the energy loses per volume when points and cell are stretched alike.

    **Arguments:** `x`; `force` at it, on points and cell; the `kinetic` energy of the points. A conserved total
    momentum is counted as moving.

    **Returns:** `(2 kinetic + sum of x * force) / (3 volume)`, in units of energy over those of volume.
    """
    work = jax.tree.map(lambda here, push: jnp.sum(here * push), x, force)
    return (2 * kinetic + work.points + work.cell) / (3 * x.volume)
