"""Where the batches of a training come from, with a cursor that a checkpoint can hold."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from thalweg.core.checks import traced
from thalweg.core.errors import InputError


class AbstractData(eqx.Module):
    """Batches by pure functions: the cursor says all about where one is."""

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> PyTree:
        """The cursor before the first batch."""

    @abc.abstractmethod
    def next(self, cursor: PyTree) -> tuple[PyTree, PyTree]:
        """The next batch, and the cursor after it."""


class AbstractHostData(abc.ABC):
    """Batches that the host must fetch (from files, from another program)."""

    @abc.abstractmethod
    def fetch(self, step: int) -> PyTree:
        """The batch of a step, the same one whenever it is asked for: this is what makes a resume exact."""


class Whole(AbstractData):
    """All the data in every step."""

    arrays: PyTree

    def __check_init__(self):
        _finite(self.arrays)

    def init(self, key: Key[Array, ""]) -> None:
        return None

    def next(self, cursor: None) -> tuple[PyTree, None]:
        return self.arrays, None


class Epoch(eqx.Module):
    """The order of the current pass, how many batches of it are gone, and the key of the orders to come."""

    order: Int[Array, " items"]
    taken: Int[Array, ""]
    key: Key[Array, ""]


class Batches(AbstractData):
    """Batches of `size` items, reshuffled before every pass; the few that do not fill a batch wait for the next pass.

    **Arguments:** `arrays`, a pytree whose leaves share their leading axis; `shuffle=False` keeps the order,
    for sequences that are read window by window.
    """

    arrays: PyTree
    size: int
    shuffle: bool = True

    def __check_init__(self):
        _finite(self.arrays)
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(self.arrays)}
        if len(sizes) > 1 or sizes == {()}:
            raise InputError(f"the arrays of the data have leading axes {sorted(map(str, sizes))}: make them equal.")
        (items,) = sizes.pop()
        if not 1 <= self.size <= items:
            raise InputError(f"a batch of {self.size} does not fit data of {items} items: choose 1 to {items}.")

    def init(self, key: Key[Array, ""]) -> Epoch:
        return self._begun(key)

    def next(self, cursor: Epoch) -> tuple[PyTree, Epoch]:
        rows = jax.lax.dynamic_slice_in_dim(cursor.order, cursor.taken * self.size, self.size)
        batch = jax.tree.map(lambda leaf: leaf[rows], self.arrays)
        after = Epoch(cursor.order, cursor.taken + 1, cursor.key)
        spent = after.taken >= cursor.order.shape[0] // self.size
        return batch, jax.lax.cond(spent, lambda epoch: self._begun(epoch.key), lambda epoch: epoch, after)

    def _begun(self, key: Key[Array, ""]) -> Epoch:
        items = jax.tree.leaves(self.arrays)[0].shape[0]
        next_key, order_key = jax.random.split(key)
        order = jax.random.permutation(order_key, items) if self.shuffle else jnp.arange(items)
        return Epoch(order, jnp.array(0), next_key)


def _finite(arrays: PyTree) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if eqx.is_array_like(leaf)]
    if not leaves or any(jnp.size(leaf) == 0 for leaf in leaves):
        raise InputError("the data is empty: there is nothing to learn from.")
    for leaf in leaves:
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if floats and not traced(leaf) and not bool(jnp.isfinite(leaf).all()):
            raise InputError("the data holds NaN or infinity: mend or drop those items first.")


class Fetched(AbstractHostData):
    """Batches from a function of the step."""

    def __init__(self, function: Callable[[int], Any]):
        self._function = function

    def fetch(self, step: int) -> PyTree:
        return self._function(step)
