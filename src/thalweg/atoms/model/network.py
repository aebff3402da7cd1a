"""What every network of the room offers."""

from __future__ import annotations

import abc

import equinox as eqx
from jaxtyping import Array, Float

from thalweg.atoms.model.structure import Atoms


class AbstractNetwork(eqx.Module):
    """Energies of atoms from where they and their neighbours are.

    **Fields:** `elements`, the atomic numbers that it knows, in the order in which it counts species.
    """

    elements: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abc.abstractmethod
    def cutoff(self) -> float:
        """How far an atom sees, in A."""

    @abc.abstractmethod
    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        """The energy of each atom in eV, relative to the atom alone; those of a frame sum to its energy."""
