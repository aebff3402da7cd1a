"""Stretches of genes without variants: their chances of sites, and the states that windows in them start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.genome.data.sequence import UNKNOWN
from thalweg.genome.model.network import Block, SpliceNetwork
from thalweg.genome.tasks.variant_scores import Change, Sense

Chances = Float[np.ndarray, "bases 3"]

REACH = 8192  # bases of the gene on either side of a variant that are read, where the gene is longer
BATCH = 8  # sequences that are read side by side
GRID = 64  # bases between the states that are kept
_CHUNK = 512  # bases that are read in one call


class Job(NamedTuple):
    """An allele in a gene."""

    gene: Sense
    change: Change


class Stretch(NamedTuple):
    """A part of a gene without variants: its chances, and the states of all recurrences at every border of the grid.

    **Fields:** `start`, in the gene; `chances [bases, 3]`; `ahead` and `back`, for each block leaves `[borders,
    width]`: states of all bases before a border, and of all bases from it on.
    """

    start: int
    chances: Chances
    ahead: tuple[PyTree, ...]
    back: tuple[PyTree, ...]


class _Piece(NamedTuple):
    """A part of a gene that holds some jobs, by their numbers, and bases around them."""

    gene: Sense
    start: int
    stop: int
    numbers: list[int]


def _pieces(jobs: Sequence[Job], reach: int) -> list[_Piece]:
    """Pieces of genes that hold all jobs, by their length."""
    ranks: dict[int, int] = {}
    for job in jobs:
        ranks.setdefault(id(job.gene), len(ranks))
    found: list[_Piece] = []
    for number in sorted(range(len(jobs)), key=lambda number: (ranks[id(jobs[number].gene)], jobs[number].change.low)):
        gene, by = jobs[number]
        start, stop = max(by.low - reach, 0), min(by.high + reach, gene.codes.size)
        if found and found[-1].gene is gene and start <= found[-1].stop:
            before = found.pop()
            found.append(_Piece(gene, before.start, max(before.stop, stop), [*before.numbers, number]))
        else:
            found.append(_Piece(gene, start, stop, [number]))
    return sorted(found, key=lambda piece: piece.stop - piece.start)


def stretches(net: SpliceNetwork, jobs: Sequence[Job], reach: int) -> Iterator[tuple[int, Stretch]]:
    """The number of each job with the stretch that it lies in; stretches of similar lengths are read side by side."""
    pieces = _pieces(jobs, reach)
    for at in range(0, len(pieces), BATCH):
        some = pieces[at : at + BATCH]
        # A few, as in one long gene, are read one by one: rows without a use would cost more.
        groups = [some] if len(some) > BATCH // 2 else [[piece] for piece in some]
        for group in groups:
            for piece, stretch in zip(group, _side_by_side(net, group), strict=False):
                yield from ((number, stretch) for number in piece.numbers)


def _side_by_side(net: SpliceNetwork, group: Sequence[_Piece]) -> list[Stretch]:
    rows, margin = 1 if len(group) == 1 else BATCH, net.margin
    sizes = [piece.stop - piece.start for piece in group]
    room = -(-max(sizes) // _CHUNK) * _CHUNK
    codes = np.full((room + 2 * margin, rows), UNKNOWN, np.int8)
    last = np.zeros((room, rows), bool)
    for row, (gene, start, stop, _) in enumerate(group):
        left, right = max(start - margin, 0), min(stop + margin, gene.codes.size)
        codes[left - start + margin : right - start + margin, row] = gene.codes[left:right]
        last[stop - start - 1, row] = True
    cuts = [slice(at, at + _CHUNK) for at in range(0, room, _CHUNK)]
    around = [jnp.asarray(codes[cut.start : cut.stop + 2 * margin]) for cut in cuts]
    held = [_stem(net, each) for each in around]
    ahead_at, back_at = [], []
    for block, ahead, back in zip(net.blocks, *net.rest(rows), strict=True):
        back_at.append([back])
        outputs: list[Any] = [None] * len(cuts)
        for number in reversed(range(len(cuts))):
            outputs[number], borders, back = _back(block, held[number], jnp.asarray(last[cuts[number]]), back)
            back_at[-1].insert(1, borders)
        ahead_at.append([])
        for number in range(len(cuts)):
            held[number], borders, ahead = _ahead(block, held[number], ahead, outputs[number])
            ahead_at[-1].append(borders)
    chances = np.concatenate([np.asarray(_scores(net, x, each)) for x, each in zip(held, around, strict=True)])
    ahead_all, back_all = [_joined(each) for each in ahead_at], [_joined(each) for each in back_at]
    return [
        Stretch(
            piece.start,
            chances[:size, row],
            tuple(jax.tree.map(lambda leaf, row=row: leaf[:, row], each) for each in ahead_all),
            tuple(_resting(each, row, -(-size // GRID)) for each in back_all),
        )
        for row, (piece, size) in enumerate(zip(group, sizes, strict=True))
    ]


def _joined(states: Sequence[PyTree]) -> PyTree:
    """States at all borders, from those of some borders each; the one before the first is not needed."""
    leaves = [[np.asarray(leaf).reshape(-1, *leaf.shape[-2:]) for leaf in jax.tree.leaves(state)] for state in states]
    return jax.tree.unflatten(
        jax.tree.structure(states[0]), [np.concatenate(each) for each in zip(*leaves, strict=True)]
    )


def _resting(states: PyTree, row: int, last: int) -> PyTree:
    """The states of a row; behind its last base nothing was read, whatever the filling left there."""

    def one(leaf: np.ndarray) -> np.ndarray:
        found = leaf[:, row].copy()
        found[last:] = 0
        return found

    return jax.tree.map(one, states)


@eqx.filter_jit
def _stem(net: SpliceNetwork, codes: Array) -> Array:
    return net.stem(codes)


@eqx.filter_jit
def _scores(net: SpliceNetwork, x: Array, codes: Array) -> Array:
    return jax.nn.softmax(net.scores(x, codes), axis=-1)


@eqx.filter_jit
def _back(block: Block, x: Array, last: Array, state: PyTree) -> tuple[Array, PyTree, PyTree]:
    """The outputs to the left, the states at the right of every piece of the grid, and the one at the left end."""
    outputs, borders = [], []
    for at in reversed(range(0, x.shape[0], GRID)):
        borders.append(state)
        each, state = block.backward(block.read(x[at : at + GRID]), state, last[at : at + GRID], reverse=True)
        outputs.append(each)
    return jnp.concatenate(outputs[::-1]), _stacked(borders[::-1]), state


@eqx.filter_jit
def _ahead(block: Block, x: Array, state: PyTree, back: Array) -> tuple[Array, PyTree, PyTree]:
    """The output of the block, the states at the left of every piece of the grid, and the one at the right end."""
    outputs, borders = [], []
    for at in range(0, x.shape[0], GRID):
        borders.append(state)
        each, state = block.forward(block.read(x[at : at + GRID]), state, None)
        outputs.append(each)
    return block.joined(x, jnp.concatenate(outputs), back), _stacked(borders), state


def _stacked(states: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
