"""A potential that compiles in no time, for the tests of all that moves atoms."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.orbitals import smooth_cutoff
from thalweg.atoms.model.structure import Atoms
from thalweg.atoms.tasks.trained import Trained


class Morse(AbstractNetwork):
    """Half of a Morse potential between each two atoms, the same for all elements, smoothly cut off.

    **Fields:** `depth` in eV; `steepness` in 1/A; `length` in A.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    depth: Float[Array, ""]
    steepness: Float[Array, ""]
    length: Float[Array, ""]
    reach: float = eqx.field(static=True)

    @property
    def cutoff(self) -> float:
        return self.reach

    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        total = jnp.zeros(atoms.species.shape, self.depth.dtype)
        for vectors in atoms.neighbours.vectors:
            square = jnp.sum(vectors * vectors, axis=0)
            decay = jnp.exp(-self.steepness * (jnp.sqrt(square) - self.length))
            pair = self.depth * (decay * decay - 2 * decay) * smooth_cutoff(square, self.reach)
            total = total + 0.5 * jnp.sum(pair, axis=0)
        return total


def morse(depth: float = 0.4, *, dtype: Any = np.float64, reach: float = 4.0, length: float = 2.5) -> Trained:
    """A trained potential of argon and neon, which have energies of their own."""
    numbers = (10, 18)
    of = lambda value: jnp.asarray(value, dtype)  # noqa: E731
    return Trained(Morse(numbers, of(depth), of(1.4), of(length), reach), {10: -3.0, 18: -7.0}, {}, "the toy")


def cluster() -> Frame:
    """Four atoms of two elements near their best places, with nothing around them."""
    corners = 2.5 / np.sqrt(8) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    return Frame(np.array([10, 18, 18, 10]), corners, np.zeros((3, 3)), place="the cluster")


def crystal(repeats: int = 2, *, edge: float = 3.6, tilt: float = 0.0) -> Frame:
    """A face-centred crystal of two elements, whose cell is so small that atoms see several images of each other."""
    cell = edge * np.array([[1, 0, 0], [tilt, 1, 0], [0, tilt, 1.0]])
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corners = np.stack(np.meshgrid(*[np.arange(repeats)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = (corners[:, None] + basis).reshape(-1, 3) @ cell
    numbers = np.tile([10, 18, 18, 10], len(corners))
    return Frame(numbers, places, repeats * cell, (True, True, True), place="the crystal")
