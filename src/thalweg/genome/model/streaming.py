"""Scores of sequences of any length, as if each had been read in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int8, PyTree

from thalweg.genome.model.network import Block, SpliceNetwork

CHUNK = 4096  # bases; what is computed of so many fits into the caches of a core
HELD = 2**19  # bases whose inner channels are kept in memory at once: 300 MB

Each = Callable[[int, Float[np.ndarray, "bases 3"]], object]


def probabilities(
    net: SpliceNetwork,
    codes: Int8[np.ndarray, " bases"],
    first: Bool[np.ndarray, " bases"] | None = None,
    last: Bool[np.ndarray, " bases"] | None = None,
    *,
    held: int = HELD,
) -> Float[np.ndarray, "bases 3"]:
    """The probabilities of none, donor and acceptor at every base, as those of `each_piece`."""
    found = np.empty((codes.size, 3), np.float32)
    for start, piece in each_piece(net, codes, first, last, held=held):
        found[start : start + len(piece)] = piece
    return found


def each_piece(
    net: SpliceNetwork,
    codes: Int8[np.ndarray, " bases"],
    first: Bool[np.ndarray, " bases"] | None = None,
    last: Bool[np.ndarray, " bases"] | None = None,
    *,
    held: int = HELD,
) -> Iterator[tuple[int, Float[np.ndarray, "bases 3"]]]:
    """Where each piece of a sequence starts, and the probabilities of none, donor and acceptor at its bases.

    A sequence of at most `held` bases is computed block by block. A longer one is read back and forth in chunks, once
    more than the network has blocks, and only the states at the borders of chunks are kept in between: a pass to the
    left carries the states of one recurrence to the left, its outputs are then known, and so are those of the next
    recurrence that is carried the same way. The memory grows with the length only by those states and the bases
    themselves, some 7 bytes per base. Neither way is an approximation.

    **Arguments:** `codes`, 0 to 3 and 4 for unknown; `first` and `last`, the ends of sequences that stand one after the
    other, by default those of one.

    **Returns:** pieces that cover the sequence, from its end to its start where the number of blocks is even and it is
    longer than `held`.
    """
    tape = _Tape(net, codes, first, last)
    return _at_once(tape) if codes.size <= held else _back_and_forth(tape)


class _Tape:
    """A sequence cut into chunks of one size, the last one filled up with unknown bases."""

    def __init__(self, net: SpliceNetwork, codes, first, last):
        count, margin = codes.size, net.margin
        self.net, self.count, self.chunks = net, count, -(-count // CHUNK)
        room = self.chunks * CHUNK
        self._codes = np.full(room + 2 * margin, 4, np.int8)
        self._codes[margin : margin + count] = codes
        self._first, self._last = np.zeros(room, bool), np.zeros(room, bool)
        self._first[:count] = False if first is None else first
        self._last[:count] = False if last is None else last
        self._first[0] = self._last[count - 1] = True

    def codes(self, chunk: int) -> Array:
        """The bases of a chunk with those around it."""
        start = chunk * CHUNK
        return jnp.asarray(self._codes[start : start + CHUNK + 2 * self.net.margin, None])

    def first(self, chunk: int) -> Array:
        """Where sequences begin."""
        return jnp.asarray(self._first[chunk * CHUNK : (chunk + 1) * CHUNK, None])

    def last(self, chunk: int) -> Array:
        """Where they end."""
        return jnp.asarray(self._last[chunk * CHUNK : (chunk + 1) * CHUNK, None])

    def piece(self, chunk: int, found: Array) -> tuple[int, Float[np.ndarray, "bases 3"]]:
        """The start of a chunk and its probabilities, without the filling."""
        return chunk * CHUNK, np.asarray(found)[: self.count - chunk * CHUNK, 0]


def _at_once(tape: _Tape) -> Iterator[tuple[int, Float[np.ndarray, "bases 3"]]]:
    net, places = tape.net, range(tape.chunks)
    rest = net.rest(1)
    held = [_stem(net, tape.codes(chunk)) for chunk in places]
    for block, ahead, back in zip(net.blocks, *rest, strict=True):
        backward: list[Array] = [None] * tape.chunks  # type: ignore[list-item]
        for chunk in reversed(places):
            backward[chunk], back = _backward(block, held[chunk], tape.last(chunk), back)
        for chunk in places:
            held[chunk], ahead = _joined(block, held[chunk], tape.first(chunk), ahead, backward[chunk])
    for chunk in places:
        yield tape.piece(chunk, _scores(net, held[chunk], tape.codes(chunk)))


def _back_and_forth(tape: _Tape) -> Iterator[tuple[int, Float[np.ndarray, "bases 3"]]]:
    """Pass after pass, to the left and to the right in turn; the last one gives the scores.

    In pass number p (from 0) the states of block p - 1 before it come to be known on one side and those of block p on
    the same side follow; all blocks before have both.
    """
    net, depth = tape.net, len(tape.net.blocks)
    rest = net.rest(1)
    ahead: list[list[PyTree]] = [[None] * tape.chunks for _ in net.blocks]  # states at the left of every chunk
    back: list[list[PyTree]] = [[None] * tape.chunks for _ in net.blocks]  # and at the right
    for turn in range(depth + 1):
        leftward = turn % 2 == 0
        order = reversed(range(tape.chunks)) if leftward else range(tape.chunks)
        # Of the block before this turn's the other side is known, so that it is whole now; this turn's begins.
        carried = {number: (rest.back if leftward else rest.ahead)[number] for number in (turn - 1, turn)
                   if 0 <= number < depth}  # fmt: skip
        for chunk in order:
            x = _stem(net, tape.codes(chunk))
            for number, state in carried.items():
                (back if leftward else ahead)[number][chunk] = state
            for number in range(turn):
                block = net.blocks[number]
                outputs, begin = _backward(block, x, tape.last(chunk), back[number][chunk])
                x, end = _joined(block, x, tape.first(chunk), ahead[number][chunk], outputs)
                if number in carried:
                    carried[number] = begin if leftward else end
            if turn < depth:
                block = net.blocks[turn]
                if leftward:
                    carried[turn] = _backward(block, x, tape.last(chunk), carried[turn])[1]
                else:
                    carried[turn] = _forward(block, x, tape.first(chunk), carried[turn])
            else:
                yield tape.piece(chunk, _scores(net, x, tape.codes(chunk)))


@eqx.filter_jit
def _stem(net: SpliceNetwork, codes: Array) -> Array:
    return net.stem(codes)


@eqx.filter_jit
def _backward(block: Block, x: Array, last: Array, state: PyTree) -> tuple[Array, PyTree]:
    return block.backward(block.read(x), state, last, reverse=True)


@eqx.filter_jit
def _forward(block: Block, x: Array, first: Array, state: PyTree) -> PyTree:
    return block.forward(block.read(x), state, first)[1]


@eqx.filter_jit
def _joined(block: Block, x: Array, first: Array, state: PyTree, back: Array) -> tuple[Array, PyTree]:
    outputs, end = block.forward(block.read(x), state, first)
    return block.joined(x, outputs, back), end


@eqx.filter_jit
def _scores(net: SpliceNetwork, x: Array, codes: Array) -> Array:
    return jax.nn.softmax(net.scores(x, codes), axis=-1)
