"""The training loss of a model as a landscape over its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Landscape


def squared(prediction: Float[Array, "n m"], y: Float[Array, "n m"]) -> Float[Array, ""]:
    """Half the squared residual, summed over the outputs and averaged over the items."""
    return 0.5 * jnp.mean(jnp.sum((prediction - y) ** 2, axis=-1))


def cross_entropy(prediction: Float[Array, "n m"], y: Float[Array, "n m"]) -> Float[Array, ""]:
    """The mean negative logarithm of the softmax probability, `y` being one-hot rows."""
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(prediction, axis=-1), axis=-1))


class DataLoss(AbstractEnergy):
    """How badly a model fits: `measure(predict(params, x), y)`, a landscape over the params.

    **Arguments:** `predict`, from params and all inputs `x [n, ...]` to `[n, m]`; the targets `y [n, m]`; `measure`, by
    default half the mean squared residual.
    """

    predict: Callable[[Any, Array], Array]
    x: Float[Array, "n ..."] = eqx.field(converter=jnp.asarray)
    y: Float[Array, "n m"] = eqx.field(converter=jnp.asarray)
    measure: Callable[[Array, Array], Array] = squared

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.measure(self.predict(x, self.x), self.y)


class Regularised(AbstractEnergy):
    """A loss plus half `decay` times the sum of the squares of the penalised parameters.

    **Arguments:** `loss`; `decay`, the weight lambda; `penalised`, one boolean per array of the params in the order of
    its leaves, by default all true.
    """

    loss: Landscape
    decay: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)
    penalised: tuple[bool, ...] | None = eqx.field(default=None, static=True)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        height = self.loss(x)
        return height + 0.5 * self.decay.astype(height.dtype) * squares(x, self.penalised)


class RegularisedField(AbstractHostField):
    """`Regularised` for a loss that is computed by somebody else's program."""

    def __init__(self, loss: AbstractHostField, decay: float, penalised: tuple[bool, ...] | None = None):
        self.loss, self.decay, self.penalised = loss, float(decay), penalised

    def value_and_force_batch(self, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
        heights, forces = self.loss.value_and_force_batch(x)
        return _with_penalty(heights, forces, x, jnp.asarray(self.decay), self.penalised)


# Compiled, because single operations cost more than many a host program.
@eqx.filter_jit
def _with_penalty(
    heights: Float[Array, " n"], forces: PyTree, x: PyTree, decay: Float[Array, ""], penalised: tuple[bool, ...] | None
) -> tuple[Float[Array, " n"], PyTree]:
    leaves, structure = jax.tree.flatten(forces)
    chosen = penalised or (True,) * len(leaves)
    pulled = [
        push - decay.astype(push.dtype) * here if pulls else push
        for push, here, pulls in zip(leaves, jax.tree.leaves(x), chosen, strict=True)
    ]
    penalties = jax.vmap(lambda one: squares(one, penalised))(x)
    return heights + 0.5 * decay.astype(heights.dtype) * penalties, jax.tree.unflatten(structure, pulled)


def squares(params: PyTree, penalised: tuple[bool, ...] | None = None) -> Float[Array, ""]:
    """The sum of the squares of the penalised arrays."""
    leaves = jax.tree.leaves(params)
    chosen = penalised or (True,) * len(leaves)
    return sum(
        (jnp.sum(leaf**2) for leaf, one in zip(leaves, chosen, strict=True) if one), jnp.zeros((), leaves[0].dtype)
    )
