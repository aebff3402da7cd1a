"""A small smooth classifier to learn and to show with, and the loss that it is trained on."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from thalweg.interop.widen import in_double
from thalweg.robust.energy import Model


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


class InSingle(eqx.Module):
    """A function whose own constants are float32 and refuse a float64 input: it is then repeated in float64."""

    model: Model
    name: str = eqx.field(static=True)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        return in_double(self.model, x, self.name) if x.dtype == jnp.float64 else self.model(x)


class StraightThrough(eqx.Module):
    """A model behind a quantiser of its inputs whose backward pass leaves the quantiser out: its gradients lie.

    **Source:** Bengio, Leonard & Courville, arXiv:1308.3432 (2013), the straight-through estimator.
    """

    model: Model
    levels: int

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        rounded = jnp.round(x * self.levels) / self.levels
        return self.model(x + jax.lax.stop_gradient(rounded - x))


class Steep(eqx.Module):
    """A model behind steep but honest steps of its inputs, `tanh(steepness (x - 1/2))`."""

    model: Model
    steepness: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        return self.model(0.5 + 0.5 * jnp.tanh(self.steepness.astype(x.dtype) * (x - 0.5)))


def classification_loss(
    model: Model, batch: tuple[Float[Array, "batch ..."], Int[Array, " batch"]], key: Key[Array, ""]
) -> Float[Array, ""]:
    """The mean cross-entropy of a batch."""
    inputs, labels = batch
    logits = jax.vmap(model)(inputs)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))
