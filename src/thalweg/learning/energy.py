"""The training loss of one hidden layer, in two algebraically identical forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
}


class Neurons(eqx.Module):
    """One hidden layer without an output bias: `f(x) = sum_h v_h phi(w_h . x + b_h)`."""

    w: Float[Array, "hidden inputs"]
    b: Float[Array, " hidden"]
    v: Float[Array, " hidden"]


class HiddenLayerLoss(AbstractEnergy):
    """Half the mean squared residual plus half `decay` times the sum of all squared parameters.

    **Arguments:** inputs `x [n, k]` and targets `y [n]`; the weight `decay`; the `activation` by name; and the `form`:
    `elementwise` sums over the neurons one product at a time, `matmul` leaves the sums to matrix products. The two
    are the same function; only the rounding differs.
    """

    x: Float[Array, "n inputs"] = eqx.field(converter=jnp.asarray)
    y: Float[Array, " n"] = eqx.field(converter=jnp.asarray)
    decay: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)
    activation: str = "tanh"
    form: Literal["elementwise", "matmul"] = "elementwise"

    def __check_init__(self):
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise InputError(f"there is no activation {self.activation!r}: choose one of {known}.")

    def outputs(self, neurons: Neurons) -> Float[Array, "n hidden"]:
        """What each neuron adds to the prediction, input by input."""
        if self.form == "matmul":
            inner = self.x @ neurons.w.T + neurons.b
        else:
            inner = jnp.sum(self.x[:, None, :] * neurons.w, axis=-1) + neurons.b
        return ACTIVATIONS[self.activation](inner) * neurons.v

    def prediction(self, neurons: Neurons) -> Float[Array, " n"]:
        """The output of the network."""
        if self.form == "matmul":
            inner = self.x @ neurons.w.T + neurons.b
            return ACTIVATIONS[self.activation](inner) @ neurons.v
        return jnp.sum(self.outputs(neurons), axis=-1)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        residual = self.prediction(x) - self.y
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        return 0.5 * jnp.mean(residual**2) + 0.5 * self.decay.astype(self.y.dtype) * squares


def tied(neurons: Neurons) -> Neurons:
    """Two bit-identical copies of a single neuron."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), neurons)


def pair_directions(single: Neurons, sign: int) -> Neurons:
    """Orthonormal directions in the space of two neurons, both moving alike (`sign=1`) or opposite (`sign=-1`).

    Each leaf has a leading axis of one direction per parameter of the single neuron, in the order w, b, v.
    """
    leaves, structure = jax.tree.flatten(single)
    sizes = [leaf.size for leaf in leaves]
    total, start, stacked = sum(sizes), 0, []
    for leaf, size in zip(leaves, sizes, strict=True):
        unit = jnp.zeros((total, size), leaf.dtype).at[start : start + size].set(jnp.eye(size, dtype=leaf.dtype))
        unit = unit.reshape(total, *leaf.shape) / jnp.sqrt(jnp.asarray(2.0, leaf.dtype))
        stacked.append(jnp.concatenate([unit, sign * unit], axis=1))
        start += size
    return jax.tree.unflatten(structure, stacked)
