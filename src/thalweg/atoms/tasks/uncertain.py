"""What a potential says of one configuration, and how far the members of a committee disagree about it."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.energy import Potential
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.evaluate import spread_of
from thalweg.core.cell import Celled
from thalweg.core.errors import ThalwegError
from thalweg.core.refresh import fitted


class Said(NamedTuple):
    """What is said of one configuration.

    **Fields:** `energies` of the atoms in eV, relative to isolated ones; `forces` in eV/A; `virial`, the strain
    derivative in eV of a crystal, zeros elsewhere; `spread`, of a committee the expected error of each atom's force in
    eV/A.
    """

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    spread: Float[np.ndarray, " atoms"] | None


def said(potential: Potential, positions: Any, cell: Any = None) -> tuple[Said, Potential]:
    """What a potential says at some positions in A, and the potential with lists that hold there.

    **Raises:** `ThalwegError` for lists that cannot hold: a cell that has shrunk too much.
    """
    dtype = potential.built.dtype
    x = Celled(jnp.asarray(positions, dtype), potential.cell if cell is None else jnp.asarray(cell, dtype))
    potential, room = fitted(potential, x)
    if not bool(room):
        raise ThalwegError("the lists of neighbours cannot hold what the cell has become: begin anew from this frame.")
    each, forces, virial, spread = _said(potential, x)
    wide = lambda array: np.asarray(array, np.float64)  # noqa: E731
    is_committee = isinstance(potential.net, Committee)
    return Said(wide(each), wide(forces), wide(virial), wide(spread) if is_committee else None), potential


@eqx.filter_jit
def _said(potential: Potential, x: Celled) -> tuple[Array, Array, Array, Array]:
    def total(points: Array, strain: Array, net: Any) -> tuple[Array, Array]:
        deformed = jnp.eye(3, dtype=points.dtype) + strain
        of = eqx.tree_at(lambda self: self.net, potential, net)
        each = of.atomic(points @ deformed, x.cell @ deformed).astype(points.dtype)
        return jnp.sum(each), each

    zero = jnp.zeros((3, 3), x.points.dtype)
    crystal = any(potential.periodic)

    def slopes(net: Any) -> tuple[Array, Array, Array]:
        if not crystal:
            slope, each = jax.grad(total, has_aux=True)(x.points, zero, net)
            return each, -slope, zero
        (slope, virial), each = jax.grad(total, argnums=(0, 1), has_aux=True)(x.points, zero, net)
        return each, -slope, (virial + virial.T) / 2

    if not isinstance(potential.net, Committee):
        each, forces, virial = slopes(potential.net)
        return each, forces, virial, jnp.zeros_like(each)
    all_of_them = eqx.filter_vmap(slopes, in_axes=eqx.if_array(0))(potential.net.members)
    spread = spread_of(jnp.swapaxes(all_of_them[1], 1, 2), potential.net.calibration)
    each, forces, virial = (jnp.mean(one, axis=0) for one in all_of_them)
    return each, forces, virial, spread
