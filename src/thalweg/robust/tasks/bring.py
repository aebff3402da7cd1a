"""Bring a classifier: the built-in one, a JAX callable, an Equinox module or a PyTorch module."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.interop import as_jax, load_object
from thalweg.robust import data
from thalweg.robust.data import Classified
from thalweg.robust.energy import Classifier
from thalweg.robust.tasks.fit import fit, in_double


class Brought(NamedTuple):
    """A classifier of one input, and the floating width that it computes in."""

    model: Classifier
    dtype: Any


def bring(name: str, *, seed: int = 0, on_chunk: tuple[Hook, ...] = ()) -> Brought:
    """The classifier called `name`: `digits` (trained now), `package.module:attribute` or `file.py:attribute`.

    JAX models are taken to float64; PyTorch modules stay in the precision of their parameters, at their own speed.

    **Raises:** `InputError` for a name that holds no callable.
    """
    if name == "digits":
        return Brought(in_double(fit(data.digits()[0], seed=seed, on_chunk=on_chunk)), jnp.float64)
    found = load_object(name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(found, torch.nn.Module):
        width = next((str(p.dtype).removeprefix("torch.") for p in found.parameters()), "float32")
        return Brought(as_jax(found), jnp.dtype(width))
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}, which cannot be called: name a model of one input.")
    return Brought(in_double(found), jnp.float64)


def correct_ones(brought: Brought, items: Classified, n: int) -> tuple[jax.Array, jax.Array, int]:
    """The first `n` inputs that the model classifies as labelled, their labels, and how many were passed over.

    **Raises:** `InputError` if the model does not take the inputs, if its logits are not finite, or if none is right.
    """
    x, labels = jnp.asarray(items.x, brought.dtype), jnp.asarray(items.y)
    try:
        shape = jax.eval_shape(brought.model, x[0]).shape
    except Exception as error:  # the user's own code, which may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"the model does not take an input of shape {x.shape[1:]}: {reason}") from error
    if len(shape) != 1 or shape[0] <= int(items.y.max()):
        raise InputError(f"the model returns shape {shape} for one input, but the labels go up to {items.y.max()}.")
    logits = np.asarray(jax.jit(jax.vmap(brought.model))(x))
    if not np.isfinite(logits).all():
        item = int(np.argwhere(~np.isfinite(logits))[0][0])
        raise InputError(f"the model's logits are not finite for input {item}: mend the model or drop the input.")
    right = np.flatnonzero(logits.argmax(axis=1) == items.y)
    if len(right) == 0:
        raise InputError("the model classifies none of the inputs as labelled: check labels, bounds and channel order.")
    chosen = right[:n]
    return x[chosen], labels[chosen], int(chosen[-1]) + 1 - len(chosen)
