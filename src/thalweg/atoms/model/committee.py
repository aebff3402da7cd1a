"""Several networks of one shape, trained from different starts: their mean, and how far they disagree."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Atoms


class Committee(AbstractNetwork):
    """The mean of several networks; their spread says where none of them was taught.

    **Fields:** `members`, one network whose arrays have a leading axis of members; `calibration`, by which the spread
    of the members is multiplied to be the expected error of a force, as measured on held-out frames.

    **Source:** Behler, Int. J. Quantum Chem. 115, 1032 (2015); Imbalzano et al., J. Chem. Phys. 154, 074102 (2021),
    for the calibration.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    members: AbstractNetwork
    calibration: Float[Array, ""]
    size: int = eqx.field(static=True)

    @staticmethod
    def of(networks: Sequence[AbstractNetwork], calibration: float = 1.0) -> Committee:
        """A committee of networks of one shape."""
        floats = [eqx.filter(each, eqx.is_array) for each in networks]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *floats)
        members = eqx.combine(stacked, eqx.filter(networks[0], eqx.is_array, inverse=True))
        kind = jax.tree.leaves(eqx.filter(networks[0], eqx.is_inexact_array))[0].dtype
        return Committee(networks[0].elements, members, jnp.asarray(calibration, kind), len(networks))

    @property
    def cutoff(self) -> float:
        """How far an atom sees, in A."""
        return self.members.cutoff

    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        return jnp.mean(self.each(atoms), axis=0)

    def each(self, atoms: Atoms) -> Float[Array, "members atoms"]:
        """The energies of atoms by every member, in eV."""
        return eqx.filter_vmap(lambda net: net(atoms), in_axes=eqx.if_array(0))(self.members)

    def networks(self) -> list[AbstractNetwork]:
        """The members, one by one."""
        return [
            jax.tree.map(lambda leaf, place=place: leaf[place] if eqx.is_array(leaf) else leaf, self.members)
            for place in range(self.size)
        ]
