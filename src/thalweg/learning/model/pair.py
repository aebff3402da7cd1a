"""Two units of one layer: moved alike, moved apart, or held identical."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.learning.model import units as exchange
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import Units, table, with_table


class Pair(NamedTuple):
    """Two units of a layer, by their places."""

    units: Units
    places: tuple[int, int] = (0, 1)

    def tied(self, params: PyTree) -> PyTree:
        """The params with the numbers of the first unit in both."""
        return exchange.tied(params, self.units, self.places)

    def apart(self, params: PyTree) -> Float[Array, " m"]:
        """Where the params stand along the orthonormal directions that move the two units oppositely."""
        rows = table(params, self.units)
        return (rows[self.places[0]] - rows[self.places[1]]) / jnp.sqrt(jnp.asarray(2.0, rows.dtype))

    def moved(self, params: PyTree, z: Float[Array, " m"]) -> PyTree:
        """The params after the two units have moved oppositely, by `z` along these directions."""
        rows = table(params, self.units)
        half = z.astype(rows.dtype) / jnp.sqrt(jnp.asarray(2.0, rows.dtype))
        return with_table(params, self.units, rows.at[self.places[0]].add(half).at[self.places[1]].add(-half))

    def differ(self, params: PyTree) -> Bool[Array, ""]:
        """Whether any bit of the two units differs, that of a negative zero included."""
        rows = table(params, self.units)
        words = jax.lax.bitcast_convert_type(rows, jnp.dtype(f"uint{8 * rows.dtype.itemsize}"))
        return jnp.any(words[self.places[0]] != words[self.places[1]])

    def distance(self, params: PyTree) -> Float[Array, ""]:
        """The Euclidean distance between the numbers of the two units."""
        rows = table(params, self.units)
        return jnp.linalg.norm(rows[self.places[0]] - rows[self.places[1]])


def choose_pair(problem: Problem, layer: int | None = None, places: tuple[int, int] | None = None) -> Pair:
    """The pair of units to look at: of `layer` (counted from 1), by default the first with two units or more.

    **Raises:** `InputError` where there is none.
    """
    notes = "".join(f" ({note})" for note in problem.notes)
    wide = [number for number, units in enumerate(problem.units, start=1) if units.width > 1]
    if not wide:
        raise InputError(f"{problem.name} has no layer of two or more exchangeable units{notes}: declare some.")
    number = wide[0] if layer is None else layer
    if not 1 <= number <= len(problem.units):
        raise InputError(f"there is no layer {number}: {problem.name} has {len(problem.units)} with units{notes}.")
    units = problem.units[number - 1]
    chosen = (0, 1) if places is None else places
    if len(set(chosen)) != 2 or not all(0 <= place < units.width for place in chosen):
        raise InputError(
            f"{units.name} has the units 0 to {units.width - 1}, of which {chosen[0]},{chosen[1]} is no pair: choose "
            "two different ones."
        )
    return Pair(units, chosen)


class Apart(AbstractEnergy):
    """A landscape as two units move oppositely from `base`; at a tied base its Hessian is `H11 - H12`."""

    energy: Landscape
    base: PyTree
    pair: Pair = eqx.field(static=True)

    def __call__(self, x: Float[Array, " m"]) -> Float[Array, ""]:
        return self.energy(self.pair.moved(self.base, x))


class ApartField(AbstractHostField):
    """`Apart` for somebody else's program."""

    def __init__(self, field: AbstractHostField, base: PyTree, pair: Pair):
        self.field, self.base, self.pair = field, base, pair

    def value_and_force_batch(self, x: Float[Array, "n m"]) -> tuple[Float[Array, " n"], Float[Array, "n m"]]:
        heights, forces = self.field.value_and_force_batch(_moved_all(self.pair, self.base, x))
        return heights, _apart_all(self.pair, forces)


class Tied(AbstractEnergy):
    """A landscape over params whose pair is tied: the numbers of its second unit are not looked at."""

    energy: Landscape
    pair: Pair = eqx.field(static=True)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.energy(self.pair.tied(x))


class TiedField(AbstractHostField):
    """`Tied` for somebody else's program."""

    def __init__(self, field: AbstractHostField, pair: Pair):
        self.field, self.pair = field, pair

    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        heights, forces = self.field.value_and_force_batch(_tied_all(self.pair, x))
        return heights, _gathered_all(self.pair, forces)


def apart(energy: Landscape | AbstractHostField, base: PyTree, pair: Pair) -> Apart | ApartField:
    """The landscape of the pair's opposite moves, compiled or on the host."""
    return ApartField(energy, base, pair) if isinstance(energy, AbstractHostField) else Apart(energy, base, pair)


def tied(energy: Landscape | AbstractHostField, pair: Pair) -> Tied | TiedField:
    """The landscape with the pair tied, compiled or on the host."""
    return TiedField(energy, pair) if isinstance(energy, AbstractHostField) else Tied(energy, pair)


@eqx.filter_jit
def _moved_all(pair: Pair, base: PyTree, z: Array) -> PyTree:
    return jax.vmap(lambda one: pair.moved(base, one))(z)


@eqx.filter_jit
def _apart_all(pair: Pair, forces: PyTree) -> Array:
    return jax.vmap(pair.apart)(forces)


@eqx.filter_jit
def _tied_all(pair: Pair, x: PyTree) -> PyTree:
    return jax.vmap(pair.tied)(x)


@eqx.filter_jit
def _gathered_all(pair: Pair, forces: PyTree) -> PyTree:
    """The force on both units as a force on the first: what the chain rule makes of tying them."""
    first, second = pair.places

    def gathered(push: PyTree) -> PyTree:
        rows = table(push, pair.units)
        rows = rows.at[first].add(rows[second]).at[second].set(0.0)
        return with_table(push, pair.units, rows)

    return jax.vmap(gathered)(forces)
