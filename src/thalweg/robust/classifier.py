"""A classifier as the tasks see it: batches of inputs to logits, and landscapes made of these."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.interop import HostField, TorchFunction
from thalweg.interop.torch import torch_composed
from thalweg.robust.energy import Head, Model, OverInputs


class AbstractClassifier(abc.ABC):
    """A classifier of somebody's making.

    **Fields:** its `name`, for messages; the `dtype` that its inputs must have.
    """

    name: str
    dtype: np.dtype

    @abc.abstractmethod
    def logits(self, x: Float[Array, "n ..."]) -> Float[Array, "n classes"]:
        """The logits of a batch."""

    @abc.abstractmethod
    def field(self, heads: Head, *, each: bool = True) -> HostField:
        """The heights and slopes of a batch of inputs, asked for from the host.

        **Arguments:** `heads`, whose arrays have a leading axis, one head for each input of every batch; or, with
        `each=False`, one head for all.
        """

    @abc.abstractmethod
    def landscape(self, head: Head) -> Landscape | AbstractHostField:
        """The landscape `head(logits(x))` over a single input, for the verbs."""

    @abc.abstractmethod
    def in_double(self) -> AbstractClassifier:
        """The same classifier in float64, for audits.

        **Raises:** `InputError` for one that computes in float32 only.
        """

    @property
    @abc.abstractmethod
    def graph(self) -> Model:
        """The classifier as a JAX function of one input, whose operations can be read.

        **Raises:** `InputError` for one whose inside cannot be seen.
        """


class JaxClassifier(AbstractClassifier):
    """A JAX callable or Equinox module of one input, without batch axis."""

    def __init__(self, model: Model, name: str, dtype: Any = np.float64):
        self.model, self.name, self.dtype = model, name, np.dtype(dtype)

    def logits(self, x: Float[Array, "n ..."]) -> Float[Array, "n classes"]:
        return _logits(self.model, jnp.asarray(x))

    def field(self, heads: Head, *, each: bool = True) -> HostField:
        found = HostField(
            eqx.Partial(_values_and_slopes, self.model, heads, each),
            eqx.Partial(_values, self.model, heads, each),
            arrays="jax",
        )
        found.name = self.name
        return found

    def landscape(self, head: Head) -> Landscape | AbstractHostField:
        return OverInputs(head, self.model)

    def in_double(self) -> AbstractClassifier:
        widened = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if eqx.is_inexact_array(a) else a, self.model)
        return JaxClassifier(widened, self.name)

    @property
    def graph(self) -> Model:
        return self.model


class TorchClassifier(AbstractClassifier):
    """A PyTorch module of a batch, at its own speed on its own device."""

    def __init__(self, function: TorchFunction, dtype: Any):
        self.function, self.name, self.dtype = function, function.name, np.dtype(dtype)

    def logits(self, x: Float[Array, "n ..."]) -> Float[Array, "n classes"]:
        return self.function(jnp.asarray(x))

    def field(self, heads: Head, *, each: bool = True) -> HostField:
        return torch_composed(
            self.function, eqx.Partial(_heights_and_slopes, heads, each), eqx.Partial(_heights, heads, each)
        )

    def landscape(self, head: Head) -> Landscape | AbstractHostField:
        return self.field(head, each=False)

    def in_double(self) -> AbstractClassifier:
        return TorchClassifier(self.function.in_double(), np.float64)

    @property
    def graph(self) -> Model:
        raise InputError(
            f"{self.name} is a PyTorch module, whose operations cannot be read from outside: export it with "
            "torch.onnx.export and name the .onnx file."
        )


@eqx.filter_jit
def _logits(model: Model, x: Array) -> Array:
    return jax.vmap(model)(x)


def _over(function: Any, heads: Head, each: bool, x: Array) -> Any:
    axes = (eqx.if_array(0) if each else None, 0)
    return eqx.filter_vmap(function, in_axes=axes)(heads, x)


@eqx.filter_jit
def _values(model: Model, heads: Head, each: bool, x: Array) -> Array:
    return _over(lambda head, item: head(model(item)), heads, each, x)


@eqx.filter_jit
def _values_and_slopes(model: Model, heads: Head, each: bool, x: Array) -> tuple[Array, Array]:
    return _over(lambda head, item: jax.value_and_grad(OverInputs(head, model))(item), heads, each, x)


@eqx.filter_jit
def _heights(heads: Head, each: bool, logits: Array) -> Array:
    return _over(lambda head, one: head(one), heads, each, logits)


@eqx.filter_jit
def _heights_and_slopes(heads: Head, each: bool, logits: Array) -> tuple[Array, Array]:
    return _over(lambda head, one: jax.value_and_grad(head)(one), heads, each, logits)
