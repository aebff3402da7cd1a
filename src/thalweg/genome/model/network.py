"""The recurrent network that finds splice sites: a stem over neighbouring bases, then recurrences both ways."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8, PyTree

from thalweg.methods.recurrence import AbstractCell

CLASSES = 3  # none, donor, acceptor
_UNKNOWN = 4  # the code of every letter but A, C, G and T


class Direction(eqx.Module):
    """One way along the sequence: what a cell reads of every base, and the cell.

    **Fields:** `matrix [channels, inputs]`, `bias [inputs]`, `cell`.
    """

    matrix: Float[Array, "channels inputs"]
    bias: Float[Array, " inputs"]
    cell: AbstractCell

    def __call__(
        self,
        x: Float[Array, "time batch channels"],
        start: PyTree,
        fresh: Bool[Array, "time batch"] | None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "time batch width"], PyTree]:
        """The cell's outputs and its last state."""
        return self.cell(x @ self.matrix + self.bias, start, fresh, reverse=reverse)


class Block(eqx.Module):
    """A residual block that runs over the sequence both ways.

    **Fields:** `scale [channels]` of the normalisation before it; `forward` and `backward`; `out [2 width, channels]`.
    """

    scale: Float[Array, " channels"]
    forward: Direction
    backward: Direction
    out: Float[Array, "both channels"]

    def read(self, x: Float[Array, "time batch channels"]) -> Float[Array, "time batch channels"]:
        """What its recurrences read."""
        return normalised(x, self.scale)

    def joined(
        self,
        x: Float[Array, "time batch channels"],
        ahead: Float[Array, "time batch width"],
        back: Float[Array, "time batch width"],
    ) -> Float[Array, "time batch channels"]:
        """The output of the block from its input and what its recurrences say."""
        # Two products: nothing is copied into one array, and kept twice for the way back.
        return x + ahead @ self.out[: ahead.shape[-1]] + back @ self.out[ahead.shape[-1] :]


class Stem(eqx.Module):
    """What is read of the bases around each base, without memory.

    **Fields:** `kernel [window, 4, features]`, `bias`, `mix [features, channels]`; an unknown base is zero.
    """

    kernel: Float[Array, "window 4 features"]
    bias: Float[Array, " features"]
    mix: Float[Array, "features channels"]

    def __call__(self, codes: Int8[Array, "around batch"]) -> Float[Array, "time batch channels"]:
        window, _, features = self.kernel.shape
        time = codes.shape[0] - window + 1
        letters = jax.nn.one_hot(codes, 4, dtype=self.kernel.dtype)
        # No convolution: XLA compiles it fifteen times slower inside of a loop, as trainings are.
        around = jnp.concatenate([letters[at : at + time] for at in range(window)], axis=-1)
        return jax.nn.relu(around @ self.kernel.reshape(-1, features) + self.bias) @ self.mix


class Ends(NamedTuple):
    """The states of every block's two recurrences: leaves `[batch, width]`."""

    ahead: tuple[PyTree, ...]
    back: tuple[PyTree, ...]


class SpliceNetwork(eqx.Module):
    """Scores of none, donor and acceptor for every base, from all the bases of a sequence.

    A donor is the last base of an exon, an acceptor the first base of the next; sequences are in the sense of the
    gene.

    **Fields:** `stem`; `blocks`; `scale` of the last normalisation; `head [channels, 3]` and `bias [3]`; `prior
    [2, 25]`, log P(donor | the next two bases) and log P(acceptor | the two bases before), which are measured and not
    learnt.
    """

    stem: Stem
    blocks: tuple[Block, ...]
    scale: Float[Array, " channels"]
    head: Float[Array, "channels 3"]
    bias: Float[Array, " 3"]
    prior: Float[Array, "2 25"]

    @property
    def margin(self) -> int:
        """How many bases on either side of a base the stem reads."""
        return self.stem.kernel.shape[0] // 2

    def rest(self, batch: int) -> Ends:
        """The states before anything was read."""
        kind = self.head.dtype
        return Ends(
            tuple(block.forward.cell.rest(batch, kind) for block in self.blocks),
            tuple(block.backward.cell.rest(batch, kind) for block in self.blocks),
        )

    def __call__(
        self,
        codes: Int8[Array, "around batch"],
        first: Bool[Array, "time batch"] | None = None,
        last: Bool[Array, "time batch"] | None = None,
        start: Ends | None = None,
    ) -> tuple[Float[Array, "time batch 3"], Ends]:
        """The scores (log-probabilities up to a constant) of every base, and the states at the ends.

        **Arguments:** `codes`, bases 0 to 3 and 4 for unknown, with `margin` more on either side than are scored;
        `first` and `last`, where several sequences stand one after the other: the first and last base of each; `start`,
        the states before the first base (`ahead`) and after the last (`back`), by default those at rest.
        """
        start = self.rest(codes.shape[1]) if start is None else start
        x, ahead, back = self.stem(codes), [], []
        for block, left, right in zip(self.blocks, *start, strict=True):
            read = block.read(x)
            forth, end = block.forward(read, left, first)
            return_, begin = block.backward(read, right, last, reverse=True)
            x = block.joined(x, forth, return_)
            ahead.append(end)
            back.append(begin)
        return self.scores(x, codes), Ends(tuple(ahead), tuple(back))

    def scores(
        self, x: Float[Array, "time batch channels"], codes: Int8[Array, "around batch"]
    ) -> Float[Array, "time batch 3"]:
        """The scores from the output of the last block."""
        learnt = normalised(x, self.scale) @ self.head + self.bias
        return learnt + jax.lax.stop_gradient(self._expected(codes, x.shape[0]))

    def _expected(self, codes: Int8[Array, "around batch"], time: int) -> Float[Array, "time batch 3"]:
        at = (codes.shape[0] - time) // 2
        pair = (codes[:-1] * 5 + codes[1:]).astype(jnp.int32)
        donor = self.prior[0][pair[at + 1 : at + 1 + time]]
        acceptor = self.prior[1][pair[at - 2 : at - 2 + time]]
        return jnp.stack([jnp.zeros_like(donor), donor, acceptor], axis=-1)


def normalised(x: Float[Array, "time batch channels"], scale: Float[Array, " channels"]) -> Array:
    """Every base's channels with a root mean square of one, times `scale`."""
    return x * (jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale)


def padded(codes: Int8[Array, "time batch"], margin: int) -> Int8[Array, "around batch"]:
    """Codes with unknown bases on either side."""
    return jnp.pad(codes, ((margin, margin), (0, 0)), constant_values=_UNKNOWN)
