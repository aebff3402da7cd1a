"""The landscape of one frame of atoms: its energy over positions, or over positions and cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import neighbour_lists
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Atoms, Neighbours
from thalweg.core.cell import Celled
from thalweg.core.refresh import AbstractRefreshing, padded

_LEAST = 0.6  # to which share of its height a cell may shrink
SKIN = 0.6  # A; at room temperature light atoms cross half of it in about twenty femtoseconds


class Potential(AbstractRefreshing):
    """The energy of a frame relative to its isolated atoms, in eV, over positions `[atoms, 3]` or a `Celled` in A.

    The lists hold all neighbours within cutoff and skin of where they were built, with the images as they were there;
    positions that were wrapped into the cell since count as their nearest image, so that wrapping moves nothing. The
    network computes in its own precision, positions and sums are in that of `x`.

    **Fields:** `net`; `species`, places in the network's elements; `cell`, its vectors in rows, zeros along directions
    that do not repeat; `skin` in A, infinite where every pair is in the lists; `built`, the positions, and `within`,
    the cell, of the lists; for each species of neighbour `index [slots, atoms]`, `image [slots, atoms, 3]` and `far
    [slots, atoms]`, whether a slot is empty; `periodic`.
    """

    net: AbstractNetwork
    species: Int[Array, " atoms"]
    cell: Float[Array, "3 3"]
    skin: Float[Array, ""]
    built: Float[Array, "atoms 3"]
    within: Float[Array, "3 3"]
    index: tuple[Int[Array, "slots atoms"], ...]
    image: tuple[Int[Array, "slots atoms 3"], ...]
    far: tuple[Bool[Array, "slots atoms"], ...]
    periodic: tuple[bool, bool, bool] = eqx.field(static=True)
    images: tuple[int, int, int] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "atoms 3"] | Celled) -> Float[Array, ""]:
        points, cell = _parts(x, self.cell)
        return jnp.sum(self.atomic(points, cell).astype(points.dtype))

    def atomic(self, points: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]) -> Float[Array, " atoms"]:
        """The energy of each atom in eV, in the precision of the network."""
        at = points - jax.lax.stop_gradient(self._crossed(points, cell)) @ cell
        kind = jnp.result_type(*jax.tree.leaves(eqx.filter(self.net, eqx.is_inexact_array)))
        away = jnp.array([2.0 * self.net.cutoff, 0.0, 0.0], points.dtype)

        def vectors(index: Array, image: Array, far: Array) -> Array:
            found = at[index] - at + image.astype(points.dtype) @ cell
            return jnp.moveaxis(jnp.where(far[..., None], away, found), 2, 0).astype(kind)

        lists = tuple(vectors(*one) for one in zip(self.index, self.image, self.far, strict=True))
        each = self.net(Atoms(self.species, at.T.astype(kind), Neighbours(self.index, lists)))
        # No longer lists would help where the images do not reach far enough: not a number, which every walk reports.
        return jnp.where(self.reaches(cell), each, jnp.nan) if any(self.periodic) else each

    def reaches(self, cell: Float[Array, "3 3"]) -> Bool[Array, ""]:
        """Whether the images that are looked at reach far enough: a cell may have shrunk too much."""
        if not any(self.periodic):
            return jnp.array(True)
        widths = jnp.array(self.images, cell.dtype) * heights(completed(cell, self.periodic))
        return jnp.all((widths >= self.net.cutoff + self.skin) | ~jnp.array(self.periodic))

    def stale(self, x: Float[Array, "atoms 3"] | Celled) -> Bool[Array, ""]:
        points, cell = _parts(x, self.cell)
        stretch = self._inverse(self.within) @ completed(cell, self.periodic)
        moved = points - self._crossed(points, cell) @ cell - self._carried(cell)
        farthest = jnp.sqrt(jnp.max(jnp.sum(moved**2, axis=1)))
        # A pair at the edge of the list comes nearer by both its atoms' ways, and by what the cell shrinks.
        strain = jnp.linalg.norm(stretch - jnp.eye(3, dtype=cell.dtype)) if any(self.periodic) else 0.0
        reach = jnp.where(jnp.isinf(self.skin), 0.0, self.net.cutoff + self.skin)
        return ~(2 * farthest + strain * reach <= self.skin)

    def rebuilt(self, x: Float[Array, "atoms 3"] | Celled) -> tuple[Potential, Bool[Array, ""]]:
        points, cell = _parts(x, self.cell)
        at = points - self._crossed(points, cell) @ cell
        # Neighbours are looked for from one cell to the next, whatever cells the atoms have drifted into.
        home = self._home(at, cell)
        wrapped, atoms = at - home @ cell, at.shape[0]
        grid = [np.arange(-many, many + 1) for many in self.images]
        images = jnp.asarray(np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3), jnp.int32)
        copies = (wrapped[None] + (images.astype(cell.dtype) @ cell)[:, None]).reshape(-1, 3)
        own = jnp.tile(jnp.arange(atoms), len(images))
        middle, kinds = jnp.repeat(jnp.all(images == 0, axis=1), atoms), jnp.tile(self.species, len(images))
        reach = self.net.cutoff + self.skin

        def found(atom: Array) -> list[tuple[Array, Array, Array, Array]]:
            near = (jnp.sum((copies - wrapped[atom]) ** 2, axis=1) < reach**2) & ~(middle & (own == atom))
            return [
                _gathered(near & (kinds == kind), old.shape[0], atom, own, images)
                for kind, old in enumerate(self.index)
            ]

        rows = jax.lax.map(found, jnp.arange(atoms), batch_size=16)
        index, image, far, room = [], [], [], jnp.array(True)
        for (at_slot, shift, empty, fits), old in zip(rows, self.index, strict=True):
            index.append(at_slot.T.astype(old.dtype))
            moved = shift + (home[:, None] - home[at_slot]).astype(jnp.int32)
            image.append(jnp.swapaxes(jnp.where(empty[..., None], 0, moved), 0, 1))
            far.append(empty.T)
            room = room & jnp.all(fits)
        fields = lambda self: (self.built, self.within, self.index, self.image, self.far)  # noqa: E731
        lists = (at.astype(self.built.dtype), cell.astype(self.within.dtype), tuple(index), tuple(image), tuple(far))
        return eqx.tree_at(fields, self, lists), room

    def grown(self) -> Potential:
        own = jnp.arange(self.species.shape[0])

        def wider(index: Array) -> Array:
            longer = padded(index, 0, 0)
            return jnp.where(jnp.arange(longer.shape[0])[:, None] < index.shape[0], longer, own).astype(index.dtype)

        lists = (
            tuple(wider(one) for one in self.index),
            tuple(padded(one, 0, 0) for one in self.image),
            tuple(padded(one, 0, True) for one in self.far),
        )
        return eqx.tree_at(lambda self: (self.index, self.image, self.far), self, lists)

    def _carried(self, cell: Array) -> Float[Array, "atoms 3"]:
        """Where the atoms would be had they only followed the cell since the lists were built."""
        if not any(self.periodic):
            return self.built
        return self.built @ (self._inverse(self.within) @ completed(cell, self.periodic))

    def _crossed(self, points: Array, cell: Array) -> Float[Array, "atoms 3"]:
        """How many cells each atom was wrapped by since the lists were built."""
        if not any(self.periodic):
            return jnp.zeros_like(points)
        steps = jnp.round((points - self._carried(cell)) @ self._inverse(cell))
        return jnp.where(jnp.isfinite(steps), steps, 0.0) * jnp.array(self.periodic, points.dtype)

    def _home(self, at: Array, cell: Array) -> Float[Array, "atoms 3"]:
        """The cell that each atom is in."""
        if not any(self.periodic):
            return jnp.zeros_like(at)
        cells = jnp.floor(at @ self._inverse(cell))
        return jnp.where(jnp.isfinite(cells), cells, 0.0) * jnp.array(self.periodic, at.dtype)

    def _inverse(self, cell: Array) -> Array:
        """The inverse of a cell, completed by unit vectors along directions that do not repeat."""
        if not any(self.periodic):
            return jnp.eye(3, dtype=cell.dtype)
        return jnp.linalg.inv(completed(cell, self.periodic))


def completed(cell: Float[Array, "3 3"], periodic: tuple[bool, bool, bool]) -> Float[Array, "3 3"]:
    """The cell with unit vectors across the others in place of those along which nothing repeats."""
    rows = [cell[axis] for axis in range(3)]
    open_axes = [axis for axis in range(3) if not periodic[axis]]
    if len(open_axes) == 3:
        return jnp.eye(3, dtype=cell.dtype)
    if len(open_axes) == 1:
        (axis,) = open_axes
        across = jnp.cross(rows[(axis + 1) % 3], rows[(axis + 2) % 3])
        rows[axis] = across / jnp.linalg.norm(across)
    if len(open_axes) == 2:
        along = next(axis for axis in range(3) if periodic[axis])
        left = jnp.linalg.svd(rows[along][None])[2]
        rows[open_axes[0]], rows[open_axes[1]] = left[1], left[2]
    return jnp.stack(rows)


def potential(net: AbstractNetwork, frame: Frame, *, skin: float | None = None, dtype: Any = np.float64) -> Potential:
    """The landscape of a network for the atoms of a frame, with lists that hold at its positions.

    **Arguments:** `frame`, for its elements, cell and positions; `skin` in A, by default every pair of a molecule of at
    most 64 atoms, and else 0.6 A; `dtype` of the positions.

    **Raises:** `InputError` for an element that the network does not know.
    """
    small = len(frame.numbers) <= 64 and not any(frame.periodic)
    skin = (np.inf if small else SKIN) if skin is None else skin
    # Without end: every pair, as far apart as they are now; vesin takes minutes for a cutoff of kilometres.
    reach = float(np.linalg.norm(np.ptp(frame.positions, axis=0))) + 1.0 if np.isinf(skin) else net.cutoff + skin
    lists = neighbour_lists([frame], net.elements, reach)
    cell = np.where(np.array(frame.periodic)[:, None], frame.cell, 0.0)
    found = Potential(
        net=net,
        species=jnp.asarray(lists.species[0]),
        cell=jnp.asarray(cell, dtype),
        skin=jnp.asarray(skin, dtype),
        built=jnp.asarray(frame.positions, dtype),
        within=jnp.asarray(cell, dtype),
        index=tuple(jnp.asarray(one[0].T) for one in lists.index),
        image=tuple(jnp.asarray(np.swapaxes(one[0], 0, 1), jnp.int32) for one in lists.offset),
        far=tuple(jnp.asarray(one[0].T) for one in lists.far),
        periodic=frame.periodic,
        images=_images(cell, frame.periodic, net.cutoff + (0.0 if np.isinf(skin) else skin)),
    )
    # Lists that were measured at one frame would overflow at the next.
    return found if np.isinf(skin) else found.grown()


def offset(frame: Frame, energies: Mapping[int, float]) -> float:
    """The energy of a frame's isolated atoms in eV: what a landscape leaves out of the total."""
    return float(sum(energies[int(number)] for number in frame.numbers))


def _parts(x: Any, cell: Array) -> tuple[Array, Array]:
    return (x.points, x.cell) if isinstance(x, Celled) else (x, cell.astype(x.dtype))


def _images(cell: np.ndarray, periodic: tuple[bool, bool, bool], reach: float) -> tuple[int, int, int]:
    """How many images to each side can hold a neighbour, for atoms anywhere within one cell of each other."""
    if not any(periodic):
        return (0, 0, 0)
    high = np.asarray(heights(completed(jnp.asarray(cell), periodic)), np.float64)
    # For a cell that shrinks to less than a quarter of its volume, too.
    first, second, third = (
        int(np.ceil(reach / (_LEAST * one))) * repeats for one, repeats in zip(high, periodic, strict=True)
    )
    return (first, second, third)


def heights(cell: Float[Array, "3 3"]) -> Float[Array, "3"]:
    """The distances between opposite faces of a cell."""
    return 1 / jnp.linalg.norm(jnp.linalg.inv(cell), axis=0)


def _gathered(wanted: Bool[Array, " copies"], slots: int, atom: Array, own: Array, images: Array):
    """The first wanted copies: their atoms and images, which slots stay empty, and whether there was room for all."""
    count = jnp.cumsum(wanted)
    places = jnp.arange(1, slots + 1)
    copies = jnp.minimum(jnp.searchsorted(count, places), wanted.shape[0] - 1)
    empty = places > count[-1]
    return (
        jnp.where(empty, atom, own[copies]),
        images[copies // (own.shape[0] // len(images))],
        empty,
        count[-1] <= slots,
    )
