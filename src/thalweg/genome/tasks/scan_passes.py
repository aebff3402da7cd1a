"""Long sequences read back and forth, in parts that can each be gone on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, PyTree

from thalweg.genome.data.sequence import UNKNOWN
from thalweg.genome.model.network import Ends, SpliceNetwork
from thalweg.genome.model.streaming import CHUNK, HELD

Arrays = Mapping[str, np.ndarray]


class Passes:
    """A sequence that is read in several passes, to the left and to the right in turn, tile after tile.

    As in `model.streaming`, only states at the borders of chunks are kept between passes, and nothing is approximated:
    pass number p brings the states of one side of the blocks p - 1 and p, after which the former has both. What a tile
    of a pass leaves is enough to go on from it.

    **Arguments:** `net`; `codes`; `chunk`, bases that are computed in one call; `tile`, chunks of a part.
    """

    def __init__(
        self, net: SpliceNetwork, codes: Int8[np.ndarray, " bases"], chunk: int = CHUNK, tile: int = HELD // CHUNK
    ):
        self._net, self._codes, self._chunk, self._tile = net, codes, chunk, tile
        self._chunks = -(-codes.size // chunk)
        self._depth = len(net.blocks)
        self.tiles = -(-self._chunks // tile)

    @staticmethod
    def turns(net: SpliceNetwork, size: int, chunk: int = CHUNK, tile: int = HELD // CHUNK) -> list[tuple[int, int]]:
        """The pass and the tile of every part of a sequence of some size, in the order in which they are computed."""
        tiles = range(-(-size // (chunk * tile)))
        return [
            (turn, each)
            for turn in range(len(net.blocks) + 1)
            for each in (reversed(tiles) if Passes.leftward(turn) else tiles)
        ]

    @staticmethod
    def leftward(turn: int) -> bool:
        """Which way a pass goes."""
        return turn % 2 == 0

    def states(self, turn: int, tile: int, before: Callable[[int, int], Arrays]) -> dict[str, np.ndarray]:
        """The states that a pass but the last brings at the borders of a tile's chunks.

        **Arguments:** `before`, what this said of an earlier pass and tile.
        """
        walk = _Walk(self, turn, tile, before)
        for chunk in walk.chunks:
            start, last = walk.start(chunk), self._last(chunk)
            walk.carry(_states(self._begun(turn), self._around(chunk), last, start, self.leftward(turn)))
        return walk.arrays()

    def chances(
        self, tile: int, before: Callable[[int, int], Arrays]
    ) -> tuple[int, Float[np.ndarray, "bases 3"], dict[str, np.ndarray]]:
        """The first base of a tile, the chances at its bases from the last pass, and the states that it leaves."""
        turn = self._depth
        walk, found = _Walk(self, turn, tile, before), {}
        for chunk in walk.chunks:
            chances, ends = _chances(self._net, self._around(chunk), self._last(chunk), walk.start(chunk))
            found[chunk] = np.asarray(chances)[: self._codes.size - chunk * self._chunk, 0]
            walk.carry((ends.back if self.leftward(turn) else ends.ahead)[-1:])
        whole = np.concatenate([found[chunk] for chunk in sorted(found)])
        return min(found) * self._chunk, whole, walk.arrays()

    def _begun(self, turn: int) -> SpliceNetwork:
        """The network up to the block that a pass begins."""
        return eqx.tree_at(lambda net: net.blocks, self._net, self._net.blocks[: turn + 1])

    def _around(self, chunk: int) -> Array:
        margin, size = self._net.margin, self._codes.size
        start, stop = chunk * self._chunk - margin, (chunk + 1) * self._chunk + margin
        found = np.full((stop - start, 1), UNKNOWN, np.int8)
        left, right = max(start, 0), min(stop, size)
        found[left - start : right - start, 0] = self._codes[left:right]
        return jnp.asarray(found)

    def _last(self, chunk: int) -> Array:
        """Where the sequence ends, in the chunk that is filled up behind it."""
        return jnp.asarray((np.arange(self._chunk) + chunk * self._chunk == self._codes.size - 1)[:, None])

    def of_tile(self, tile: int) -> range:
        """The chunks of a tile."""
        return range(tile * self._tile, min((tile + 1) * self._tile, self._chunks))


class _Walk:
    """A pass over one tile: the states that come from earlier passes, and those that it carries."""

    def __init__(self, passes: Passes, turn: int, tile: int, before: Callable[[int, int], Arrays]):
        net, depth = passes._net, len(passes._net.blocks)
        self._left, self._turn = passes.leftward(turn), turn
        self._numbers = [number for number in (turn - 1, turn) if 0 <= number < depth]
        order = passes.of_tile(tile)
        self.chunks = list(reversed(order)) if self._left else list(order)
        self._rest, self._first = net.rest(1), order.start
        next_tile = tile + 1 if self._left else tile - 1  # that the pass comes from
        inside = 0 <= next_tile < passes.tiles
        carried = _unpacked(before(turn, next_tile), self._rest.back, self._numbers, -1) if inside else {}
        rest = self._rest.back if self._left else self._rest.ahead
        self._carried = [{number: carried.get(number, rest[number]) for number in self._numbers}]
        # Of each block before, the side of this pass and the other come from the passes that brought them.
        self._known = {
            (number, left): before(number if passes.leftward(number) == left else number + 1, tile)
            for number in range(min(turn, depth))
            for left in (True, False)
            if not (number in self._numbers and left == self._left)
        }

    def start(self, chunk: int) -> Ends:
        """The states at both ends of a chunk, at rest for blocks that this pass does not need them of."""
        sides = []
        for left in (False, True):
            states = list((self._rest.back if left else self._rest.ahead)[: self._turn + 1])
            for number in range(len(states)):
                if number in self._carried[-1] and left == self._left:
                    states[number] = self._carried[-1][number]
                elif (number, left) in self._known:
                    at = len(self.chunks) - 1 - (chunk - self._first) if left else chunk - self._first
                    states[number] = _unpacked(self._known[number, left], self._rest.back, [number], at)[number]
            sides.append(tuple(states))
        return Ends(*sides)

    def carry(self, states: tuple[PyTree, ...]) -> None:
        """Go on with the states that a chunk left."""
        self._carried.append(dict(zip(self._numbers, states[-len(self._numbers) :], strict=True)))

    def arrays(self) -> dict[str, np.ndarray]:
        """The states before each chunk, in the order of the pass, and after the last."""
        found = {}
        for number in self._numbers:
            leaves = zip(*(jax.tree.leaves(each[number]) for each in self._carried), strict=True)
            found |= {
                f"state_{number}_{place}": np.stack(list(map(np.asarray, some))) for place, some in enumerate(leaves)
            }
        return found


def _unpacked(arrays: Arrays, like: tuple[PyTree, ...], numbers: list[int], at: int) -> dict[int, PyTree]:
    found = {}
    for number in numbers:
        structure = jax.tree.structure(like[number])
        leaves = [jnp.asarray(arrays[f"state_{number}_{place}"][at]) for place in range(structure.num_leaves)]
        found[number] = jax.tree.unflatten(structure, leaves)
    return found


@eqx.filter_jit
def _states(net: SpliceNetwork, codes: Array, last: Array, start: Ends, leftward: bool) -> tuple[PyTree, ...]:
    ends = net(codes, None, last, start)[1]
    return ends.back if leftward else ends.ahead


@eqx.filter_jit
def _chances(net: SpliceNetwork, codes: Array, last: Array, start: Ends) -> tuple[Array, Ends]:
    scores, ends = net(codes, None, last, start)
    return jax.nn.softmax(scores, axis=-1), ends
