"""What a network sees of atoms: species, neighbours, and who belongs together."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Neighbours(eqx.Module):
    """The neighbours of every atom, apart for each species of neighbour.

    Atoms come last and slots first, so that sums over neighbours run over long rows of atoms. An empty slot holds any
    vector longer than the cutoff.

    **Fields:** for each species in a tuple: `index [slots, atoms]` of the neighbour, and the `vectors
    [3, slots, atoms]` to it in A.
    """

    index: tuple[Int[Array, "slots atoms"], ...]
    vectors: tuple[Float[Array, "3 slots atoms"], ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """How many slots there are for each species."""
        return tuple(each.shape[0] for each in self.index)


class Atoms(eqx.Module):
    """One or several frames of equally many atoms, one after the other.

    **Fields:** `species`, places in the network's list of elements; `positions` in A; `neighbours`; `frames`, how many
    frames there are.
    """

    species: Int[Array, " atoms"]
    positions: Float[Array, "3 atoms"]
    neighbours: Neighbours
    frames: int = eqx.field(default=1, static=True)


def joined(index: tuple[Int[Array, "frames slots atoms"], ...]) -> tuple[Int[Array, "slots both"], ...]:
    """Indices within each frame as indices into all frames, one after the other."""

    def flat(each: Array) -> Array:
        frames, slots, atoms = each.shape
        own = each + (jnp.arange(frames, dtype=each.dtype) * atoms)[:, None, None]
        return jnp.moveaxis(own, 0, 1).reshape(slots, frames * atoms)

    return tuple(map(flat, index))


class Framed(eqx.Module):
    """Frames of equally many atoms with their neighbours; smaller frames are filled with atoms that have none.

    **Fields:** `species`; `real`, which atoms are no filling; `positions` in A; for each species of neighbour `index`
    within the frame and `shift`, what is added to the difference of positions: the image's cell vectors, and far away
    in an empty slot.
    """

    species: Int[Array, "frames atoms"]
    real: Bool[Array, "frames atoms"]
    positions: Float[Array, "frames 3 atoms"]
    index: tuple[Int[Array, "frames slots atoms"], ...]
    shift: tuple[Float[Array, "frames 3 slots atoms"], ...]

    def atoms(self, positions: Float[Array, "frames 3 atoms"], strain: Float[Array, "frames 3 3"]) -> Atoms:
        """All frames one after the other, at some positions, with all vectors strained by `1 + strain`."""
        frames, _, count = self.positions.shape

        def vectors(index: Array, shift: Array) -> Array:
            each = jax.vmap(lambda at, place: at[:, place] - at[:, None])(positions, index) + shift
            each = each + jnp.einsum("fab,fbpn->fapn", strain, each)
            return jnp.moveaxis(each, 0, 2).reshape(3, each.shape[2], frames * count)

        found = tuple(vectors(index, shift) for index, shift in zip(self.index, self.shift, strict=True))
        flat = jnp.moveaxis(positions, 0, 1).reshape(3, frames * count)
        return Atoms(self.species.reshape(-1), flat, Neighbours(joined(self.index), found), frames)
