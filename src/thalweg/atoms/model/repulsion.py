"""The repulsion of nuclei at short range, which no training data show."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.model.orbitals import smooth_cutoff, soft_length
from thalweg.atoms.model.structure import Atoms

_COULOMB = 14.399645  # e^2 / (4 pi eps0) in eV A
_BOHR = 0.529177211  # A
# Of the sum of two covalent radii: triple bonds have 0.77 of it, and what acts within the data is hard to learn.
_REACH = 0.75


def repulsion(atoms: Atoms, elements: Sequence[int]) -> Float[Array, " atoms"]:
    """Half the energy in eV of each atom's nuclear repulsion with its neighbours.

    The universal screened repulsion of two bare nuclei; it fades out smoothly up to 0.75 of the sum of the covalent
    radii, which no bond is as short as.

    **Source:** Ziegler, Biersack & Littmark, The Stopping and Range of Ions in Solids (Pergamon, 1985); radii of
    Cordero et al., Dalton Trans. 2832 (2008).
    """
    from ase.data import covalent_radii

    kind = atoms.neighbours.vectors[0].dtype
    charges, sizes = np.array(elements, float), covalent_radii[list(elements)]
    total = jnp.zeros(atoms.species.shape, kind)
    for species, vectors in enumerate(atoms.neighbours.vectors):
        square = jnp.sum(vectors * vectors, axis=0)
        reach = jnp.asarray(_REACH * (sizes + sizes[species]), kind)[atoms.species]
        screen = jnp.asarray((charges**0.23 + charges[species] ** 0.23) / (0.8854 * _BOHR), kind)[atoms.species]
        strength = jnp.asarray(0.5 * _COULOMB * charges * charges[species], kind)[atoms.species]
        length = soft_length(square)
        total = total + jnp.sum(
            strength / length * _screened(length * screen) * smooth_cutoff(square / reach**2, 1.0), axis=0
        )
    return total


def _screened(share: Array) -> Array:
    terms = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
    return sum(weight * jnp.exp(-rate * share) for weight, rate in terms)  # type: ignore[return-value]
