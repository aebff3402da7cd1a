"""From labelled genes to the arrays that a training and an evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, Key

from thalweg.core.errors import InputError
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.model.window import IGNORED, Window
from thalweg.methods.data import AbstractData, Batches, Drawn

_UNKNOWN = 4
_KINDS = 5  # of bases, unknown ones included


class Packed(NamedTuple):
    """Genes one after the other, with unknown bases in between.

    **Fields:** `codes`; `targets`, 0 to 2, and -1 where nothing is scored; `elsewhere`, sites of other transcripts;
    `first` and `last`, the ends of what is read of every gene; `gene`, the number of the gene of every base, -1 in
    between.
    """

    codes: Int8[np.ndarray, " bases"]
    targets: Int8[np.ndarray, " bases"]
    elsewhere: Int8[np.ndarray, " bases"]
    first: Bool[np.ndarray, " bases"]
    last: Bool[np.ndarray, " bases"]
    gene: Int[np.ndarray, " bases"]

    @property
    def scored(self) -> int:
        """How many bases have a target."""
        return int(np.count_nonzero(self.targets != IGNORED))


def packed(genes: Sequence[LabelledGene], margin: int) -> Packed:
    """Genes in one row, `margin` unknown bases before each and after the last.

    **Raises:** `InputError` for no genes.
    """
    if not genes:
        raise InputError("genome: no gene is left to learn from or to look at: choose another region or annotation.")
    room = margin + sum(gene.codes.size + margin for gene in genes)
    found = Packed(
        np.full(room, _UNKNOWN, np.int8), np.full(room, IGNORED, np.int8), np.zeros(room, np.int8),
        np.zeros(room, bool), np.zeros(room, bool), np.full(room, -1, np.int32),
    )  # fmt: skip
    at = margin
    for number, gene in enumerate(genes):
        whole, inner = slice(at, at + gene.codes.size), gene.scored
        scored = slice(at + inner.start, at + inner.stop)
        found.codes[whole] = gene.codes
        found.gene[whole] = number
        found.targets[scored] = gene.labels[inner]
        found.elsewhere[scored] = gene.elsewhere[inner]
        found.first[at] = found.last[at + gene.codes.size - 1] = True
        at += gene.codes.size + margin
    return found


def prior(material: Packed) -> Float[np.ndarray, "2 25"]:
    """Log P(donor | the next two bases) and log P(acceptor | the two bases before), counted with half a site more.

    An unknown base counts as any. A pair that never was at a site keeps a chance of half a site in all its occurrences.
    """
    pair = material.codes[:-1].astype(np.int64) * _KINDS + material.codes[1:]
    table = np.zeros((2, _KINDS * _KINDS))
    for row, shift in ((0, 1), (1, -2)):
        at = np.flatnonzero(material.targets != IGNORED)
        at = at[(at + shift >= 0) & (at + shift < pair.size)]
        sites = np.bincount(pair[at + shift], weights=material.targets[at] == row + 1, minlength=_KINDS**2)
        every = np.bincount(pair[at + shift], minlength=_KINDS**2)
        unknown = (np.arange(_KINDS**2) % _KINDS == _UNKNOWN) | (np.arange(_KINDS**2) // _KINDS == _UNKNOWN)
        chance = (sites + 0.5) / (every + 1.0)
        chance[unknown] = (sites.sum() + 0.5) / (every.sum() + 1.0)
        table[row] = np.log(np.minimum(chance, 0.5))
    return table


class Genome(eqx.Module):
    """Packed genes on the device, with room at the ends."""

    codes: Int8[Array, " around"]
    targets: Int8[Array, " bases"]
    first: Bool[Array, " bases"]
    last: Bool[Array, " bases"]
    margin: int = eqx.field(static=True)

    def cut(self, starts: Int[Array, " batch"], length: int) -> Window:
        """Windows of `length` bases at some places."""

        def one(leaf: Array, more: int) -> Array:
            return jax.vmap(lambda at: jax.lax.dynamic_slice_in_dim(leaf, at, length + more))(starts)

        return Window(one(self.codes, 2 * self.margin), one(self.targets, 0), one(self.first, 0), one(self.last, 0))


def on_device(material: Packed, margin: int, length: int) -> Genome:
    """Packed genes for windows of `length` bases, filled up so that a whole number of them fits, and one more."""
    room = -(-material.codes.size // length) * length + length - material.codes.size

    def filled(array: np.ndarray, value: Any, before: int = 0) -> Array:
        return jnp.asarray(np.pad(array, (before, room + before), constant_values=value))

    return Genome(
        filled(material.codes, _UNKNOWN, margin), filled(material.targets, IGNORED), filled(material.first, False),
        filled(material.last, False), margin,
    )  # fmt: skip


class Crops(AbstractData):
    """Crops of `length` bases in random order; where they are cut moves from pass to pass."""

    genome: Genome
    order: Batches
    length: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Drawn:
        return self.order.init(key)

    def next(self, cursor: Drawn) -> tuple[Window, Drawn]:
        numbers, after = self.order.next(cursor)
        a_pass = self.order.arrays.shape[0] // self.order.size
        key = jax.random.fold_in(jax.random.fold_in(cursor.key, 1), cursor.taken // a_pass)
        shift = jax.random.randint(key, (), 0, self.length, jnp.int32)
        return self.genome.cut(numbers * self.length + shift, self.length), after


def crops(material: Packed, margin: int, length: int, batch: int) -> Crops:
    """Batches of crops of packed genes."""
    genome = on_device(material, margin, length)
    count = genome.targets.shape[0] // length - 1
    return Crops(genome, Batches(jnp.arange(count, dtype=jnp.int32), min(batch, count)), length)


class Streams(AbstractData):
    """Consecutive windows of several streams, whose states may be carried from one step to the next."""

    genome: Genome
    streams: int = eqx.field(static=True)
    length: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jnp.asarray(0, jnp.int32)

    def next(self, cursor: Int[Array, ""]) -> tuple[Window, Int[Array, ""]]:
        each = self.genome.targets.shape[0] // self.streams // self.length * self.length
        window = self.genome.cut(jnp.arange(self.streams, dtype=jnp.int32) * each + cursor, self.length)
        first = window.first.at[:, 0].set(window.first[:, 0] | (cursor == 0))
        after = cursor + self.length
        return eqx.tree_at(lambda w: w.first, window, first), jnp.where(after >= each, 0, after)


def streams(material: Packed, margin: int, length: int, count: int) -> Streams:
    """Streams over packed genes; at least one window each."""
    genome = on_device(material, margin, length)
    return Streams(genome, max(1, min(count, genome.targets.shape[0] // length)), length)
