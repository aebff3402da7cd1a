"""Train the small classifier, and measure it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from thalweg.core.hooks import Hook
from thalweg.methods.data import Batches
from thalweg.robust.data import Classified
from thalweg.robust.energy import Classifier
from thalweg.robust.model import SmallNet, classification_loss
from thalweg.verbs.train import from_loss, train


def fit(data: Classified, *, seed: int = 0, steps: int = 2_000, on_chunk: tuple[Hook, ...] = ()) -> SmallNet:
    """A float32 classifier trained on `data` by AdamW with a cosine schedule.

    **Raises:** `WalkError` where the training breaks.
    """
    start, walk = jax.random.split(jax.random.key(seed))
    arrays = (jnp.asarray(data.x, jnp.float32), jnp.asarray(data.y, jnp.int32))
    model = SmallNet(arrays[0][0].size, 64, int(data.y.max()) + 1, key=start)
    optimiser = optax.adamw(optax.cosine_decay_schedule(5e-3, steps), weight_decay=1e-3)
    batches = Batches(arrays, min(64, len(data.y)))
    return train(
        model, from_loss(classification_loss), batches, optimiser, key=walk, steps=steps, on_chunk=on_chunk
    ).value


def in_double(model: Any) -> Any:
    """The same model with float64 weights, for audits."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf, model)


def logits(model: Classifier, x: Float[Array, "n ..."]) -> Float[Array, "n classes"]:
    """The logits of a batch."""
    return jax.vmap(model)(x)


def accuracy(model: Classifier, data: Classified) -> float:
    """The share of `data` that the model classifies as labelled."""
    x = jnp.asarray(data.x, jnp.float32)
    return float(jnp.mean(jnp.argmax(logits(model, x), axis=1) == jnp.asarray(data.y)))
