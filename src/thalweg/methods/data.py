"""Where the batches of a training come from, with a cursor that a checkpoint can hold."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from thalweg.core.checks import refuse_narrowing, traced
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


class Drawn(eqx.Module):
    """How many batches have been drawn, and the key of their order."""

    taken: Int[Array, ""]
    key: Key[Array, ""]


class Batches(AbstractData):
    """Batches of `size` items, in a new random order in every pass; the few that fill no batch wait for the next pass.

    The order is a keyed bijection of the item's number (four Feistel rounds with cycle walking), so that the cursor is
    two numbers, however many items there are, and a vmapped training shuffles nothing.

    **Arguments:** `arrays`, a pytree whose leaves share their leading axis; `shuffle=False` keeps the order.

    **Source:** Black & Rogaway, CT-RSA 2002, for ciphers with arbitrary finite domains.
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
        if not self.shuffle and items % self.size:
            raise InputError(
                f"batches of {self.size} in fixed order would never show the last {items % self.size} of {items} "
                "items: choose a divisor."
            )

    def init(self, key: Key[Array, ""]) -> Drawn:
        return Drawn(jnp.asarray(0, jnp.int32), key)

    def next(self, cursor: Drawn) -> tuple[PyTree, Drawn]:
        items = jax.tree.leaves(self.arrays)[0].shape[0]
        a_pass = items // self.size
        rows = (cursor.taken % a_pass) * self.size + jnp.arange(self.size, dtype=jnp.int32)
        if self.shuffle:
            rows = _shuffled(rows, items, jax.random.fold_in(cursor.key, cursor.taken // a_pass))
        return jax.tree.map(lambda leaf: leaf[rows], self.arrays), Drawn(cursor.taken + 1, cursor.key)


class Windows(AbstractData):
    """Consecutive windows of a long sequence, read by several streams at once: for truncated back-propagation.

    A batch is `(window, fresh)`: every leaf of the window has axes `[streams, length, ...]`, and `fresh` marks where a
    sequence begins, so that the hidden state carried from the last batch must be forgotten: at `starts`, and where a
    stream begins or begins again.

    **Arguments:** `arrays`, leaves with a leading axis of time; `starts [time]`, true where a sequence begins;
    `streams`, how many parts are read in parallel; `length` of a window. What does not fill a window is left out.
    """

    arrays: PyTree
    starts: Bool[Array, " time"] = eqx.field(converter=jnp.asarray)
    streams: int
    length: int

    def __check_init__(self):
        _finite(self.arrays)
        lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(self.arrays)}
        if lengths != {self.starts.shape}:
            found = sorted(map(str, lengths))
            raise InputError(
                f"the sequence has leading axes {found} and its starts {self.starts.shape}: make them equal."
            )
        if min(self.streams, self.length) < 1 or self.starts.shape[0] < self.streams * self.length:
            raise InputError(
                f"{self.streams} streams of windows of {self.length} do not fit a sequence of {self.starts.shape[0]}."
            )

    def init(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jnp.asarray(0, jnp.int32)

    def next(self, cursor: Int[Array, ""]) -> tuple[PyTree, Int[Array, ""]]:
        each = self.starts.shape[0] // self.streams // self.length * self.length
        begins = jnp.arange(self.streams, dtype=jnp.int32) * each + cursor

        def cut(leaf: Array) -> Array:
            return jax.vmap(lambda at: jax.lax.dynamic_slice_in_dim(leaf, at, self.length))(begins)

        fresh = cut(self.starts)
        fresh = fresh.at[:, 0].set(fresh[:, 0] | (cursor == 0))
        after = cursor + self.length
        return (jax.tree.map(cut, self.arrays), fresh), jnp.where(after >= each, 0, after)


def _shuffled(numbers: Int[Array, " n"], items: int, key: Key[Array, ""]) -> Int[Array, " n"]:
    """Where each number below `items` goes in the permutation that belongs to `key`."""
    half = max(1, ((items - 1).bit_length() + 1) // 2)
    mask, rounds = jnp.uint32(2**half - 1), jax.random.bits(key, (4,), jnp.uint32)

    def mixed(number: Array) -> Array:
        left, right = number >> half, number & mask
        for secret in rounds:
            word = right * jnp.uint32(0x9E3779B1) + secret
            word = (word ^ (word >> 15)) * jnp.uint32(0x85EBCA6B)
            left, right = right, left ^ ((word ^ (word >> 13)) & mask)
        return (left << half) | right

    # The cipher permutes a power of four; walking on along its cycle until the number is an item again keeps it
    # a bijection of the items.
    outside = lambda number: number >= items  # noqa: E731
    walk = lambda number: jnp.where(outside(number), mixed(number), number)  # noqa: E731
    end = jax.lax.while_loop(lambda number: jnp.any(outside(number)), walk, mixed(numbers.astype(jnp.uint32)))
    return end.astype(jnp.int32)


def _finite(arrays: PyTree) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if eqx.is_array_like(leaf)]
    if not leaves or any(jnp.size(leaf) == 0 for leaf in leaves):
        raise InputError("the data is empty: there is nothing to learn from.")
    for leaf in leaves:
        refuse_narrowing(leaf, "the data")
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if floats and not traced(leaf) and not np.isfinite(np.asarray(leaf)).all():
            raise InputError("the data holds NaN or infinity: mend or drop those items first.")


class Fetched(AbstractHostData):
    """Batches from a function of the step."""

    def __init__(self, function: Callable[[int], Any]):
        self._function = function

    def fetch(self, step: int) -> PyTree:
        return self._function(step)
