"""The forward pass of the splice network with its linear maps laid open, and where their weights lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8

from thalweg.genome.model.network import Direction, SpliceNetwork, Stem, normalised
from thalweg.genome.model.window import IGNORED, Window
from thalweg.methods.gradient_energy import Energies, gradient_energies, placed


def scores_with_taps(
    model: SpliceNetwork,
    codes: Int8[Array, "around batch"],
    taps: Any,
    first: Bool[Array, "time batch"] | None = None,
    last: Bool[Array, "time batch"] | None = None,
) -> Float[Array, "time batch 3"]:
    """The scores of the network, `model(codes, first, last)[0]`, with every linear map heard by `taps`.

    What a gated cell does with its own state (the matrices inside of GRU and LSTM) has no tap, and is not held.
    """
    start, x = model.rest(codes.shape[1]), _stem(model.stem, codes, taps)
    for place, block in enumerate(model.blocks):
        read = block.read(x)
        ahead = _direction(block.forward, read, start.ahead[place], first, f"{place}.forward", taps)
        back = _direction(block.backward, read, start.back[place], last, f"{place}.backward", taps, reverse=True)
        both = jnp.concatenate([ahead, back], axis=-1)
        x = x + taps(f"{place}.out", both, both @ block.out)
    scores = model.scores(x, codes)
    # The prior in the scores is not learnt: only what the head adds is heard, and it adds to the scores as they are.
    heard = taps("head", normalised(x, model.scale), jax.lax.stop_gradient(scores))
    return scores + (heard - jax.lax.stop_gradient(scores))


def _stem(stem: Stem, codes: Int8[Array, "around batch"], taps: Any) -> Array:
    letters = jax.nn.one_hot(codes, 4, dtype=stem.kernel.dtype)
    window, _, features = stem.kernel.shape
    time = codes.shape[0] - window + 1
    around = jnp.concatenate([letters[shift : shift + time] for shift in range(window)], axis=-1)
    found = taps("kernel", around, around @ stem.kernel.reshape(-1, features) + stem.bias)
    read = jax.nn.relu(found)
    return taps("mix", read, read @ stem.mix)


def _direction(
    way: Direction, x: Array, start: Any, fresh: Array | None, name: str, taps: Any, *, reverse: bool = False
) -> Array:
    return way.cell(taps(name, x, x @ way.matrix + way.bias), start, fresh, reverse=reverse)[0]


def weights(model: SpliceNetwork) -> dict[str, Callable[[Any], Any]]:
    """For each linear map, and each bias, the function that picks its weights out of a network."""
    found: dict[str, Callable[[Any], Any]] = {
        "kernel": lambda of: of.stem.kernel, "kernel.bias": lambda of: of.stem.bias, "mix": lambda of: of.stem.mix,
        "head": lambda of: of.head, "head.bias": lambda of: of.bias,
    }  # fmt: skip
    for place in range(len(model.blocks)):
        found[f"{place}.out"] = lambda of, place=place: of.blocks[place].out
        for way in ("forward", "backward"):
            found[f"{place}.{way}"] = lambda of, place=place, way=way: getattr(of.blocks[place], way).matrix
            found[f"{place}.{way}.bias"] = lambda of, place=place, way=way: getattr(of.blocks[place], way).bias
    return found


def network_energies(
    model: SpliceNetwork, window: Window, marks: Float[Array, "batch time"], half: Float[Array, "batch time"]
) -> tuple[Energies, Energies]:
    """Gradient energies of the network on two parts of some windows, pytrees like its trained arrays.

    **Arguments:** `window`, whose scored bases count in the loss and in the energies, and no others; `marks`, the
    methylation of each of them in [0, 1]; `half`, 1 where a base belongs to the first part, 0 for the second.
    """
    targets = window.targets.T
    scored = (targets != IGNORED).astype(model.head.dtype)

    def loss(taps: Any) -> Array:
        scores = scores_with_taps(model, window.codes.T, taps, window.first.T, window.last.T)
        chosen = jax.nn.one_hot(targets, scores.shape[-1], dtype=scores.dtype)
        each = jax.nn.logsumexp(scores, axis=-1) - jnp.sum(scores * chosen, axis=-1)
        return jnp.sum(each * scored) / jnp.maximum(jnp.sum(scored), 1)

    found = gradient_energies(loss, marks.T, scored * half.T, scored * (1 - half.T))
    one, other = (placed(part, model, weights(model), inputs_first=True) for part in found)
    return one, other
