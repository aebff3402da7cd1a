"""Landscapes made of a potential: several copies of the atoms, atoms in a cell that yields, and fixed lists."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.atoms.energy import Potential
from thalweg.core.cell import Celled
from thalweg.core.energy import AbstractEnergy
from thalweg.core.refresh import AbstractRefreshing


def _lists(potential: Potential) -> tuple:
    return potential.built, potential.within, potential.index, potential.image, potential.far


class Replicas(AbstractRefreshing):
    """The sum of one potential over copies of the atoms that do not see each other, over positions `[copies, n, 3]`.

    **Fields:** `each`, the potential, whose lists have a leading axis of copies.
    """

    each: Potential

    @staticmethod
    def of(potential: Potential, copies: int) -> Replicas:
        """Copies that all have the potential's lists."""
        wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (copies, *leaf.shape)), _lists(potential))
        return Replicas(eqx.tree_at(_lists, potential, wide))

    def __call__(self, x: Float[Array, "copies atoms 3"]) -> Float[Array, ""]:
        return jnp.sum(self._over(lambda one, at: one(at), x))

    def stale(self, x: Float[Array, "copies atoms 3"]) -> Bool[Array, ""]:
        return jnp.any(self._over(lambda one, at: one.stale(at), x))

    def rebuilt(self, x: Float[Array, "copies atoms 3"]) -> tuple[Replicas, Bool[Array, ""]]:
        def again(one: Potential, at: Array) -> tuple[tuple, Array]:
            new, room = one.rebuilt(at)
            return _lists(new), room

        lists, room = self._over(again, x)
        return eqx.tree_at(lambda self: _lists(self.each), self, lists), jnp.all(room)

    def grown(self) -> Replicas:
        wider = self._over(lambda one, _: _lists(one.grown()), self.each.built)
        # What does not grow stays the very same array.
        lists = (self.each.built, self.each.within, *wider[2:])
        return eqx.tree_at(lambda self: _lists(self.each), self, lists)

    def _over(self, act: Any, x: Any) -> Any:
        axes = jax.tree.map(lambda _: None, self.each)
        axes = eqx.tree_at(
            _lists, axes, jax.tree.map(lambda _: 0, _lists(self.each)), is_leaf=lambda leaf: leaf is None
        )
        return jax.vmap(act, in_axes=(axes, 0))(self.each, x)


class Yielding(AbstractRefreshing):
    """A potential over atoms and the strain of their cell: both are moved from where they were by one deformation.

    The configuration is a `Celled` whose `cell` is not the cell but its strain times `scale`, of which only the
    symmetric part counts: a rotation of the whole changes nothing. Atoms at rest then follow a cell that yields.

    **Fields:** the `potential`; the `cell` without strain; `scale`, so that strains are as soft as positions.
    """

    potential: Potential
    cell: Float[Array, "3 3"]
    scale: Float[Array, ""]

    def lift(self, x: Celled) -> Celled:
        """Atoms and cell as they are."""
        strain = (x.cell + x.cell.T) / (2 * self.scale)
        deformed = jnp.eye(3, dtype=strain.dtype) + strain
        return Celled(x.points @ deformed, self.cell @ deformed)

    def __call__(self, x: Celled) -> Float[Array, ""]:
        return self.potential(self.lift(x))

    def stale(self, x: Celled) -> Bool[Array, ""]:
        return self.potential.stale(self.lift(x))

    def rebuilt(self, x: Celled) -> tuple[Yielding, Bool[Array, ""]]:
        new, room = self.potential.rebuilt(self.lift(x))
        return eqx.tree_at(lambda self: self.potential, self, new), room

    def grown(self) -> Yielding:
        return eqx.tree_at(lambda self: self.potential, self, self.potential.grown())


class FixedLists(AbstractEnergy):
    """A potential whose lists stay as they are, for walks that look at several configurations at once.

    Whoever makes one sees to it that the lists hold everywhere: all pairs of a molecule do, and others within their
    skin (`holds`).
    """

    leaves: list[Any]
    tree: Any = eqx.field(static=True)

    @staticmethod
    def of(potential: Potential | Replicas) -> FixedLists:
        """The same potential, as a landscape that never refreshes."""
        return FixedLists(*jax.tree.flatten(potential))

    def __call__(self, x: Float[Array, "*copies atoms 3"]) -> Float[Array, ""]:
        return jax.tree.unflatten(self.tree, self.leaves)(x)

    def holds(self, x: Float[Array, "many atoms 3"]) -> bool:
        """Whether the lists hold at all of some positions."""
        potential: Any = jax.tree.unflatten(self.tree, self.leaves)
        return not bool(jnp.any(jax.vmap(potential.stale)(x)))
