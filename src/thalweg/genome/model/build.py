"""Networks from their shape, with random weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from thalweg.core.errors import InputError
from thalweg.genome.model.network import CLASSES, Block, Direction, SpliceNetwork, Stem
from thalweg.methods.recurrence import AbstractCell, MinimalGRU
from thalweg.methods.recurrence_gated import gru, lstm

Cell = Literal["mingru", "gru", "lstm"]
CELLS = ("mingru", "gru", "lstm")
_SHORTEST, _LONGEST = 2.0, 400.0  # bases over which fresh memories fade


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a network looks like; the defaults were chosen on held-out parts of a training set.

    **Fields:** `cell`: `mingru`, whose recurrence is linear and fast; `gru` or `lstm`, whose gates depend on the state;
    `blocks`; `channels` between them; `width` of every recurrence; `window`, an odd number of bases that the stem
    reads, and its `features`.
    """

    cell: Cell = "mingru"
    blocks: int = 3
    channels: int = 64
    width: int = 64
    window: int = 21
    features: int = 128

    def __post_init__(self):
        if self.cell not in CELLS:
            raise InputError(f"network: the cell {self.cell!r} is unknown: choose among {', '.join(CELLS)}.")
        for name in ("blocks", "channels", "width", "features"):
            if getattr(self, name) < 1:
                raise InputError(f"network: {name} is {getattr(self, name)}, but at least 1 is needed.")
        if self.window < 5 or self.window % 2 == 0:
            raise InputError(f"network: a window of {self.window} bases has no middle: choose an odd number from 5 on.")


def network(shape: Shape, prior: Float[np.ndarray, "2 25"], key: Key[Array, ""]) -> SpliceNetwork:
    """A network with random weights, in float32.

    **Arguments:** `prior`, log P(site | two bases) as in `SpliceNetwork`.
    """
    stem_key, mix_key, head_key, *keys = jax.random.split(key, 3 + shape.blocks)
    kind = jnp.float32
    stem = Stem(
        _normal(stem_key, (shape.window, 4, shape.features), shape.window),
        jnp.zeros(shape.features, kind),
        _normal(mix_key, (shape.features, shape.channels), shape.features / 2),
    )
    return SpliceNetwork(
        stem,
        tuple(_block(shape, each) for each in keys),
        jnp.ones(shape.channels, kind),
        _normal(head_key, (shape.channels, CLASSES), 100 * shape.channels),
        jnp.zeros(CLASSES, kind),
        jnp.asarray(prior, kind),
    )


def _block(shape: Shape, key: Key[Array, ""]) -> Block:
    forward, backward, out = jax.random.split(key, 3)
    size = (2 * shape.width, shape.channels)
    return Block(
        jnp.ones(shape.channels, jnp.float32),
        _direction(shape, forward),
        _direction(shape, backward),
        _normal(out, size, size[0] * shape.blocks),
    )


def _direction(shape: Shape, key: Key[Array, ""]) -> Direction:
    own, matrix = jax.random.split(key)
    cell = _cell(shape, own)
    bias = _bias(shape).astype(np.float32)
    return Direction(_normal(matrix, (shape.channels, cell.inputs), shape.channels), jnp.asarray(bias), cell)


def _cell(shape: Shape, key: Key[Array, ""]) -> AbstractCell:
    if shape.cell == "mingru":
        return MinimalGRU(shape.width)
    make = gru if shape.cell == "gru" else lstm
    return make(shape.width, key, jnp.float32)


def _bias(shape: Shape) -> Float[np.ndarray, " inputs"]:
    """Biases of the gates that hold a state, so that at first it fades over 2 to 400 bases, evenly on a log scale."""
    times = np.exp(np.linspace(math.log(_SHORTEST), math.log(_LONGEST), shape.width))
    hold, zeros = np.log(times - 1 + 1e-3), np.zeros(shape.width)
    parts = {"mingru": [-hold, zeros], "gru": [zeros, hold, zeros], "lstm": [-hold, hold, zeros, zeros]}
    return np.concatenate(parts[shape.cell])


def _normal(key: Key[Array, ""], size: tuple[int, ...], inputs: float) -> Float[Array, "..."]:
    return jax.random.normal(key, size, jnp.float32) / np.float32(math.sqrt(inputs))
