"""A small net on handwritten digits, trained with a checkpoint: what the fault tests kill, resume and poison."""

from __future__ import annotations

import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.methods.data import Batches
from thalweg.runs.hooks import Checkpoint
from thalweg.verbs.train import GradientRule, from_loss, train

STEPS = 3000
IMAGES, LABELS = load_digits(return_X_y=True)  # NumPy: JAX must not start before the fork
IMAGES, LABELS = (IMAGES / 16).astype(np.float32), LABELS.astype(np.int32)


class Net(eqx.Module):
    """One hidden layer of 16."""

    inner: jax.Array
    outer: jax.Array

    def __call__(self, images, keep):
        return jnp.where(keep, jnp.tanh(images @ self.inner), 0) @ self.outer


def net() -> Net:
    words = np.random.default_rng(0)
    return Net(jnp.asarray(words.normal(size=(64, 16)) * 0.2, jnp.float32), jnp.zeros((16, 10)))


def loss(model, batch, key):
    """Cross-entropy with dropped hidden units, so that every step spends random numbers."""
    images, labels = batch
    keep = jax.random.bernoulli(key, 0.9, (len(labels), 16))
    return optax.softmax_cross_entropy_with_integer_labels(model(images, keep), labels).mean()


RULE = from_loss(loss)


class Nap:
    """Slows a walk down to a millisecond per step, so that a kill can meet it anywhere."""

    def __init__(self, seconds: float = 1e-3):
        self.seconds, self.before = seconds, 0

    def __call__(self, report):
        time.sleep(self.seconds * min(report.step - self.before, 300))
        self.before = report.step


def go(
    folder: Path, steps: int = STEPS, rule: GradientRule = RULE, hooks: tuple[Hook, ...] = (), **options
) -> Solution:
    """Train, or go on with the training in `folder`."""
    checkpoint = Checkpoint(folder / "state.safetensors", every_seconds=None, every_steps=1)
    data = Batches((jnp.asarray(IMAGES), jnp.asarray(LABELS)), 32)
    key = jax.random.key(1)
    return train(net(), rule, data, optax.adam(3e-3), key=key, steps=steps, on_chunk=(*hooks, checkpoint))


def go_slowly(folder: str, cache: str) -> None:
    """The entry point of the fork server; an empty `cache` means none."""
    if cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    go(Path(folder), hooks=(Nap(),))
