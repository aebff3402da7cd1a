"""A small smooth classifier to learn and to show with, and the loss that it is trained on."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from thalweg.robust.energy import Classifier


class SmallNet(eqx.Module):
    """Two softplus layers over flattened inputs: smooth everywhere, so that its force has no kinks."""

    layers: tuple[eqx.nn.Linear, ...]

    def __init__(self, inputs: int, hidden: int, classes: int, *, key: Key[Array, ""], dtype: jnp.dtype = jnp.float32):
        # The dtype is spelled out: in a process with x64 on, Equinox would otherwise make float64 layers.
        keys = jax.random.split(key, 3)
        sizes = ((inputs, hidden), (hidden, hidden), (hidden, classes))
        self.layers = tuple(
            eqx.nn.Linear(*size, dtype=dtype, key=layer) for size, layer in zip(sizes, keys, strict=True)
        )

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        hidden = x.ravel()
        for layer in self.layers[:-1]:
            hidden = jax.nn.softplus(layer(hidden))
        return self.layers[-1](hidden)


def classification_loss(
    model: Classifier, batch: tuple[Float[Array, "batch ..."], Int[Array, " batch"]], key: Key[Array, ""]
) -> Float[Array, ""]:
    """The mean cross-entropy of a batch."""
    inputs, labels = batch
    logits = jax.vmap(model)(inputs)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))
