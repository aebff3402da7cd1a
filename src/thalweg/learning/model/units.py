"""Exchangeable units: where a layer's neurons keep their numbers, and what exchanging them does."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.optimize import linear_sum_assignment

from thalweg.core.errors import InputError
from thalweg.methods.copies import AbstractCopies


class Slot(NamedTuple):
    """Where the numbers of a layer's units lie: along one axis of one leaf of the parameters.

    **Fields:** `leaf`, its place among `jax.tree.leaves(params)`; `axis`; `block`, how many neighbouring places on that
    axis belong to one unit (a channel that was flattened has several).
    """

    leaf: int
    axis: int
    block: int = 1


class Units(NamedTuple):
    """The units of one layer, whose exchange leaves the model's function as it is.

    **Fields:** `name`; `width`, how many there are; the `slots` of their numbers; `odd`, whether turning the signs of
    all numbers of a unit leaves the function as well.
    """

    name: str
    width: int
    slots: tuple[Slot, ...]
    odd: bool = False


def table(params: PyTree, units: Units) -> Any:
    """The numbers of each unit as a row `[width, numbers]`, slot by slot; NumPy in, NumPy out."""
    leaves = jax.tree.leaves(params)
    rows = [_moved(leaves[slot.leaf], slot.axis, 0).reshape(units.width, -1) for slot in units.slots]
    return _of(rows[0]).concatenate(rows, axis=1)


def with_table(params: PyTree, units: Units, rows: Float[Array, "width numbers"]) -> PyTree:
    """The params with other numbers in the units, as `table` gives them."""
    leaves, structure = jax.tree.flatten(params)
    start = 0
    for slot in units.slots:
        leaf = leaves[slot.leaf]
        size, shape = leaf.size // units.width, _moved(leaf, slot.axis, 0).shape
        leaves[slot.leaf] = _moved(rows[:, start : start + size].reshape(shape), 0, slot.axis).astype(leaf.dtype)
        start += size
    return jax.tree.unflatten(structure, leaves)


def permuted(params: PyTree, units: Units, order: Array, signs: Array | None = None) -> PyTree:
    """The copy in which place `i` holds unit `order[i]`, with all its numbers times `signs[i]`."""
    rows = table(params, units)[jnp.asarray(order)]
    return with_table(params, units, rows if signs is None else rows * jnp.asarray(signs, rows.dtype)[:, None])


def tied(params: PyTree, units: Units, group: tuple[int, ...] = (0, 1)) -> PyTree:
    """The params with bit-identical units: the numbers of the first of the group in all of them."""
    rows = table(params, units)
    return with_table(params, units, rows.at[jnp.asarray(group)].set(rows[group[0]]))


def pair_directions(params: PyTree, units: Units, pair: tuple[int, int], sign: int) -> PyTree:
    """Orthonormal directions that move two units alike (`sign=1`) or oppositely (`sign=-1`).

    Each leaf has a leading axis of one direction per number of a unit, in the order of `table`.
    """
    rows = table(params, units)
    zero = jax.tree.map(jnp.zeros_like, params)

    def direction(unit: Array) -> PyTree:
        moved = jnp.zeros_like(rows).at[pair[0]].set(unit).at[pair[1]].set(sign * unit)
        return with_table(zero, units, moved / jnp.sqrt(jnp.asarray(2.0, rows.dtype)))

    return jax.vmap(direction)(jnp.eye(rows.shape[1], dtype=rows.dtype))


def check_units(params: PyTree, units: tuple[Units, ...]) -> None:
    """Refuse slots that do not fit the params.

    **Raises:** `InputError`.
    """
    leaves = jax.tree.leaves(params)
    for layer in units:
        for slot in layer.slots:
            if not 0 <= slot.leaf < len(leaves) or not -leaves[slot.leaf].ndim <= slot.axis < leaves[slot.leaf].ndim:
                raise InputError(f"{layer.name}: there is no axis {slot.axis} of leaf {slot.leaf}: mend its slots.")
            length = leaves[slot.leaf].shape[slot.axis]
            if length != layer.width * slot.block:
                raise InputError(
                    f"{layer.name}: axis {slot.axis} of leaf {slot.leaf} has length {length}, but {layer.width} units "
                    f"of {slot.block} need {layer.width * slot.block}: mend its slots."
                )


class UnitCopies(AbstractCopies):
    """The copies of a network under exchanges of its units and, where they are odd, turns of their signs.

    For one layer the nearest copy is exact (Kuhn-Munkres on squared distances, the sign of each pair being the better
    one). Layers that share numbers are matched in turns until none improves, from `tries` random copies of `b` besides
    itself, which finds a near copy and not always the nearest. **Source:** Ainsworth, Hayase & Srinivasa, Git Re-Basin,
    arXiv 2209.04836 (2022).
    """

    units: tuple[Units, ...] = eqx.field(static=True)
    tries: int = eqx.field(default=20, static=True)

    def nearest(self, a: PyTree, b: PyTree) -> PyTree:
        a, b = (jax.tree.map(np.asarray, tree) for tree in (a, b))
        best = self._in_turns(a, b)
        random = np.random.default_rng(0)
        for _ in range(self.tries if len(self.units) > 1 else 0):
            other = self._in_turns(a, self._shuffled(b, random))
            best = other if _gap(a, other) < _gap(a, best) else best
        return best

    def _in_turns(self, a: PyTree, b: PyTree) -> PyTree:
        gaps = [_gap(a, b)]
        while len(gaps) < 2 or gaps[-1] < gaps[-2] * (1 - 1e-12):
            for layer in self.units:
                b = _matched(a, b, layer)
            gaps.append(_gap(a, b))
        return b

    def _shuffled(self, b: PyTree, random: np.random.Generator) -> PyTree:
        for layer in self.units:
            signs = random.choice([-1.0, 1.0], layer.width) if layer.odd else np.ones(layer.width)
            b = with_table(b, layer, table(b, layer)[random.permutation(layer.width)] * signs[:, None])
        return b


def _matched(a: PyTree, b: PyTree, units: Units) -> PyTree:
    """`b` with the units of one layer in the order and signs that bring it nearest to `a`."""
    wanted, given = (table(of, units) for of in (a, b))
    products = wanted @ given.T
    gain = np.abs(products) if units.odd else products
    rows, columns = linear_sum_assignment(-gain)
    signs = np.where(products[rows, columns] < 0, -1.0, 1.0) if units.odd else np.ones(len(rows))
    return with_table(b, units, given[columns] * signs[:, None])


def _gap(a: PyTree, b: PyTree) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(np.sum((one - other) ** 2) for one, other in pairs))


def _of(array):
    """The library that an array belongs to."""
    return np if isinstance(array, np.ndarray) else jnp


def _moved(array, source: int, destination: int):
    return _of(array).moveaxis(array, source, destination)
