"""Train the small classifier, measure it, and keep it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core.hooks import Hook
from thalweg.methods.data import Batches
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.data import Classified
from thalweg.robust.model import SmallNet, classification_loss
from thalweg.runs.checkpoint import damaged, load_built, read_tensors, save_state
from thalweg.verbs.train import from_loss, train

NET = "net.safetensors"  # what a run directory calls a net that was trained on the spot


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


def accuracy(model: SmallNet, data: Classified) -> float:
    """The share of `data` that the model classifies as labelled."""
    logits = JaxClassifier(model, "the net", np.float32).logits(jnp.asarray(data.x, jnp.float32))
    return float(jnp.mean(jnp.argmax(logits, axis=1) == jnp.asarray(data.y)))


def save_net(path: str | os.PathLike[str], net: SmallNet) -> Path:
    """Keep a small net in a safetensors file, bit for bit, written in one move.

    **Returns:** the path. **Raises:** `ThalwegError` if the file cannot be written.
    """
    sizes = [net.layers[0].in_features, net.layers[0].out_features, net.layers[-1].out_features]
    return save_state(path, net, 0, {"small_net": sizes})


def load_net(path: str | os.PathLike[str]) -> SmallNet:
    """The net that `save_net` kept.

    **Raises:** `InputError` for a file that is missing, damaged, or holds something else.
    """
    path = Path(path)
    sizes = json.loads(read_tensors(path)[1]["extra"]).get("small_net")
    if not isinstance(sizes, list) or len(sizes) != 3 or not all(type(size) is int for size in sizes):
        raise damaged(path, "it holds no small net")
    return load_built(path, lambda: SmallNet(*sizes, key=jax.random.key(0)), "a small net")
