"""The built-in families of networks, each as a training problem on given data."""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from thalweg.core.errors import InputError
from thalweg.learning.data import Regression
from thalweg.learning.energy import DataLoss
from thalweg.learning.model.dense import Dense, Form, Layers
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import Slot, Units

Family = Literal["linear", "relu", "tanh", "mlp"]
FAMILIES: tuple[Family, ...] = ("linear", "relu", "tanh", "mlp")
_ODD = {"tanh", "sin", "linear"}


class Drawn(eqx.Module):
    """Random layers of given widths: the start of a dense network."""

    network: Dense
    widths: tuple[int, ...] = eqx.field(static=True)
    bias: tuple[bool, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    scale: float = eqx.field(default=1.0, static=True)

    def __call__(self, key: Key[Array, ""]) -> Layers:
        return self.network.drawn(self.widths, key, bias=self.bias, scale=self.scale, dtype=self.dtype)


class OnInputs(eqx.Module):
    """A function of params and inputs, on inputs that are kept."""

    function: Any
    x: Float[Array, "n ..."]

    def __call__(self, params: Any) -> Any:
        return self.function(params, self.x)


def family(
    name: Family,
    data: Regression,
    *,
    depth: int | None = None,
    width: int | None = None,
    activation: str | None = None,
    output_bias: bool | None = None,
    form: Form = "elementwise",
    scale: float = 1.0,
    dtype: Any = None,
) -> Problem:
    """A built-in family on `data`, half the mean squared residual being its loss.

    - `linear`: `depth` weight layers (2) without biases; hidden layers as wide as the data need (`width` overrides).
    - `relu`, `tanh`: one hidden layer of `width` (4) with penalised biases; `relu` also has a free bias of the output,
      which is not penalised, as the formula for its transition wants it.
    - `mlp`: `depth` weight layers (3) of `width` (8), the `activation` (tanh), all biases penalised but the last one.

    **Arguments:** `depth`, the number of weight layers; `activation`, for `relu`, `tanh` and `mlp` instead of their
    own; `output_bias`, whether the last layer has one; `form`, how sums are written; `scale` of the random start.

    **Raises:** `InputError` for options that the family cannot have.
    """
    if name not in FAMILIES:
        raise InputError(f"there is no family {name!r}: choose one of {', '.join(FAMILIES)}.")
    x, y = data
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    depth = {"linear": 2, "mlp": 3}.get(name, 2) if depth is None else depth
    if depth < 1 or (name in ("relu", "tanh") and depth != 2):
        raise InputError(f"the family {name} cannot have depth {depth}: {_depths(name)}.")
    if name == "linear" and activation not in (None, "linear"):
        raise InputError("the family linear has no activation: choose relu, tanh or mlp for one.")
    default = {"linear": max(x.shape[1], y.shape[1]), "mlp": 8}.get(name, 4)
    width = default if width is None else width
    if width < 1:
        raise InputError(f"the width is {width}, but a layer needs at least one unit.")
    kind = activation or {"linear": "linear", "relu": "relu"}.get(name, "tanh")
    last = name in ("relu", "mlp") if output_bias is None else output_bias
    widths = (x.shape[1], *([width] * (depth - 1)), y.shape[1])
    bias = tuple([name != "linear"] * (depth - 1) + [last])
    return dense_problem(f"{name}, {'-'.join(map(str, widths))}", data, Dense(kind, form), widths, bias, scale, dtype)


def dense_problem(
    name: str,
    data: Regression,
    network: Dense,
    widths: tuple[int, ...],
    bias: tuple[bool, ...],
    scale: float,
    dtype: Any,
) -> Problem:
    """A fully connected network on `data`; a bias of the last layer is free of the penalty."""
    x, y = (jnp.asarray(array, dtype) for array in data)
    start = Drawn(network, widths, bias, dtype, scale)
    shapes = jax.eval_shape(start, jax.random.key(0))
    free = len(jax.tree.leaves(shapes)) - 1 if bias[-1] else None
    penalised = tuple(place != free for place in range(len(jax.tree.leaves(shapes))))
    return Problem(
        name,
        DataLoss(network, x, y),
        start,
        dense_units(widths, bias, odd=network.activation in _ODD),
        penalised,
        OnInputs(network, x),
        OnInputs(network.hidden, x),
    )


def dense_units(widths: tuple[int, ...], bias: tuple[bool, ...], *, odd: bool) -> tuple[Units, ...]:
    """The exchangeable units of each hidden layer: a row of weights, a bias, a column of the next weights."""
    first = np.concatenate([[0], np.cumsum([1 + int(one) for one in bias])])
    units = []
    for place, width in enumerate(widths[1:-1]):
        own = [Slot(int(first[place]), 0)] + ([Slot(int(first[place]) + 1, 0)] if bias[place] else [])
        units.append(Units(f"hidden layer {place + 1}", width, (*own, Slot(int(first[place + 1]), 1)), odd))
    return tuple(units)


def _depths(name: str) -> str:
    return "it has two weight layers, and mlp has more" if name in ("relu", "tanh") else "at least one layer is needed"
