"""Bring a classifier and its inputs: the built-in net, a JAX callable, an Equinox or PyTorch module."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.interop import from_torch, load_object
from thalweg.robust import data
from thalweg.robust.classifier import AbstractClassifier, JaxClassifier, TorchClassifier
from thalweg.robust.tasks.fit import fit


class Posed(NamedTuple):
    """A classifier with inputs that it reads as labelled.

    **Fields:** `x [n, ...]` in the dtype of the classifier, within `lower` and `upper`; `labels [n]`; `places [n]`,
    where each stands in the data; `passed_over`, inputs before the last of them that it reads wrongly.
    """

    classifier: AbstractClassifier
    x: Float[Array, "n ..."]
    labels: Int[Array, " n"]
    places: Int[np.ndarray, " n"]
    passed_over: int
    lower: float
    upper: float


def bring(name: str, *, seed: int = 0, hooks: tuple[Hook, ...] = ()) -> AbstractClassifier:
    """The classifier called `name`: `digits` (trained now), `package.module:attribute` or `file.py:attribute`.

    Models keep the precision of their weights; those without any compute in float64.

    **Raises:** `InputError` for a name that holds no callable.
    """
    if name == "digits":
        return JaxClassifier(fit(data.digits()[0], seed=seed, on_chunk=hooks), name, np.float32)
    found = load_object(name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(found, torch.nn.Module):
        width = next((str(p.dtype).removeprefix("torch.") for p in found.parameters()), "float32")
        return TorchClassifier(from_torch(found), width)
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}, which cannot be called: name a model of one input.")
    widths = [leaf.dtype for leaf in jax.tree.leaves(found) if eqx.is_inexact_array(leaf)]
    return JaxClassifier(found, name, jnp.result_type(*widths) if widths else np.float64)


def pose(
    model: str,
    source: str,
    *,
    n: int | None = None,
    start: int = 0,
    lower: float = 0.0,
    upper: float = 1.0,
    channels: str = "keep",
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Posed:
    """The classifier `model` with the first `n` inputs of `source`, from `start` on, that it reads as labelled.

    **Raises:** `InputError` for a model or data that cannot be used.
    """
    items = data.read(source, lower=lower, upper=upper)
    return correct_ones(bring(model, seed=seed, hooks=hooks), items, n, start=start)


def correct_ones(classifier: AbstractClassifier, items: Any, n: int | None = None, *, start: int = 0) -> Posed:
    """The first `n` inputs from `start` on that the classifier reads as labelled.

    **Raises:** `InputError` if it does not take the inputs, if its logits are not finite, or if none is right.
    """
    x = jnp.asarray(items.x[start:], classifier.dtype)
    logits = np.asarray(classifier.logits(x))
    right = np.flatnonzero(logits.argmax(axis=1) == items.y[start:])[:n]
    if len(right) == 0:
        raise InputError("the model classifies none of the inputs as labelled: check labels, bounds and channel order.")
    passed_over = int(right[-1]) + 1 - len(right)
    labels = jnp.asarray(items.y[start:][right])
    return Posed(classifier, x[right], labels, start + right, passed_over, items.lower, items.upper)
