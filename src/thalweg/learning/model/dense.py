"""Fully connected networks: their layers, and the function that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from thalweg.core.errors import InputError

Form = Literal["elementwise", "matmul", "columns"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "linear": lambda inner: inner,
}


class Layer(eqx.Module):
    """An affine map: `weight [out, in]`, and a `bias [out]` unless the layer has none."""

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"] | None = None


Layers = tuple[Layer, ...]


class Dense(eqx.Module):
    """A fully connected network as a function of its layers: the activation after each layer but the last.

    **Arguments:** the `activation` by name, and the `form`: `elementwise` sums over products one by one, `matmul`
    leaves the sums to matrix products, `columns` does so with every item as a column. They are the same function; only
    the rounding differs, and the speed of many networks at once: `vmap` then needs no transposed copy of the hidden
    layers in `columns`, which is up to twice as quick as `matmul` and many times as quick as `elementwise`.
    """

    activation: str = eqx.field(default="tanh", static=True)
    form: Form = eqx.field(default="elementwise", static=True)

    def __check_init__(self):
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise InputError(f"there is no activation {self.activation!r}: choose one of {known}.")

    def _affine(self, layer: Layer, x: Float[Array, "n inputs"]) -> Float[Array, "n out"]:
        if self.form == "columns":
            # Transposes of transposes cancel in the compiled program: from layer to layer the items stay columns.
            column = layer.weight @ x.T
            return (column if layer.bias is None else column + layer.bias[:, None]).T
        product = x @ layer.weight.T if self.form == "matmul" else jnp.sum(x[:, None, :] * layer.weight, axis=-1)
        return product if layer.bias is None else product + layer.bias

    def hidden(self, layers: Layers, x: Float[Array, "n inputs"]) -> list[Float[Array, "n width"]]:
        """The activations of every hidden layer, first to last."""
        found = []
        for layer in layers[:-1]:
            x = ACTIVATIONS[self.activation](self._affine(layer, x))
            found.append(x)
        return found

    def __call__(self, layers: Layers, x: Float[Array, "n inputs"]) -> Float[Array, "n m"]:
        return self._affine(layers[-1], self.hidden(layers, x)[-1] if len(layers) > 1 else x)

    def drawn(
        self,
        widths: tuple[int, ...],
        key: Key[Array, ""],
        *,
        bias: tuple[bool, ...] | bool = True,
        scale: float = 1.0,
        dtype: Any = None,
    ) -> Layers:
        """Random layers: weights and biases are normal, with `scale` over the square root of the inputs."""
        biases = (bias,) * (len(widths) - 1) if isinstance(bias, bool) else bias
        drawn = []
        for place, (inputs, outputs, biased) in enumerate(zip(widths[:-1], widths[1:], biases, strict=True)):
            weight_key, bias_key = jax.random.split(jax.random.fold_in(key, place))
            size = scale / inputs**0.5
            weight = size * jax.random.normal(weight_key, (outputs, inputs), dtype)
            drawn.append(Layer(weight, size * jax.random.normal(bias_key, (outputs,), dtype) if biased else None))
        return tuple(drawn)
