"""Walks that only look: running averages of energies and of squared gradients of a model that stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.hooks import Hook
from thalweg.methods.data import AbstractData, AbstractHostData
from thalweg.methods.plasticity import averaged
from thalweg.verbs.train import train

Data = AbstractData | AbstractHostData


class Watching(eqx.Module):
    """A gradient rule without gradients: its carry is what is averaged.

    **Arguments:** `look(model, batch)`, a pytree of arrays; `decay` of the exponential moving average, `None` for the
    sum over all batches.
    """

    look: Callable[[Any, Any], PyTree]
    decay: float | None = None

    def __call__(self, model, batch, carry, step: Int[Array, ""], key: Key[Array, ""], /):
        seen = self.look(model, batch)
        if self.decay is None:
            carry = jax.tree.map(lambda old, new: old + new.astype(old.dtype), carry, seen)
        else:
            carry = averaged(carry, seen, self.decay)
        still = jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array))
        return still, carry, {"loss": jnp.zeros(())}


_STILL = optax.set_to_zero()


def watched(
    look: Callable[[Any, Any], PyTree],
    model: PyTree,
    data: Data,
    *,
    steps: int,
    key: Key[Array, ""],
    decay: float | None = None,
    hooks: tuple[Hook, ...] = (),
) -> PyTree:
    """What `look` sees of a model over some batches: the sum, or an exponential moving average from zero.

    **Arguments:** `look`, as of `Watching`: a function at module level, or a module, compiles once.
    """
    if isinstance(data, AbstractHostData):
        first = data.fetch(0)
    else:
        first = eqx.filter_eval_shape(lambda: data.next(data.init(key))[0])
    shapes = eqx.filter_eval_shape(look, model, first)
    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    rule = Watching(look, decay)
    return train(model, rule, data, _STILL, carry=nothing, key=key, steps=steps, on_chunk=hooks).stats["carry"]


class SquaredSlopes(eqx.Module):
    """The squared gradients of the loss of each item of a batch, summed: the empirical Fisher information's diagonal.

    **Arguments:** `loss(model, item)`, the negative logarithm of the probability of the labels of one item.
    """

    loss: Callable[[Any, Any], Float[Array, ""]]

    def __call__(self, model: PyTree, batch: PyTree) -> PyTree:
        arrays, rest = eqx.partition(model, eqx.is_inexact_array)

        def one(item: PyTree) -> PyTree:
            slope = jax.grad(lambda trained: self.loss(eqx.combine(trained, rest), item))(arrays)
            return jax.tree.map(jnp.square, slope)

        return jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(one)(batch))


def of_mean_one(weights: PyTree) -> PyTree:
    """The same weights with the mean 1 over all entries, so that strengths of different penalties compare."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(weights)]
    mean = sum(leaf.sum() for leaf in leaves) / max(1, sum(leaf.size for leaf in leaves))
    return jax.tree.map(lambda leaf: leaf / (mean if mean > 0 else 1.0), weights)
