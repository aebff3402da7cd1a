"""Functions that return an energy together with what they call its gradient."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError


class OwnGradient(NamedTuple):
    """A function `x -> (value, gradient)` or `(x, y) -> (value, gradient)` of one input.

    **Fields:** the `function`, its `name`, whether it takes the label, whether it works on whole batches inside
    `jax.vmap`, and the `dtype` in which it answers.
    """

    function: Any
    name: str
    takes_label: bool
    batched: bool
    dtype: np.dtype

    def field(self, labels: Int[np.ndarray, " n"]) -> OwnField:
        """The energies and forces of a batch whose inputs have these labels."""
        return OwnField(self, labels)

    def answers(self, x: Float[np.ndarray, "n ..."], labels: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """The values and gradients of inputs with their labels."""
        if self.batched:
            return _as_arrays(_vmapped(self.function, *self._given(x, labels)), self.dtype)
        answers = [_as_arrays(self.function(*self._given(*one)), self.dtype) for one in zip(x, labels, strict=True)]
        values, slopes = zip(*answers, strict=True)
        return np.stack(values), np.stack(slopes)

    def _given(self, x: Any, label: Any) -> tuple[Any, ...]:
        return (x, label) if self.takes_label else (x,)


class OwnField(AbstractHostField):
    """What a function with a gradient of its own says of a batch whose inputs have some labels.

    Nothing in it is compiled: host functions are asked for batches of any size.
    """

    def __init__(self, own: OwnGradient, labels: Int[np.ndarray, " n"]):
        self._own, self._labels = own, labels

    def value_and_force_batch(self, x: Float[np.ndarray, "n ..."]) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = self._own.answers(np.asarray(x), self._labels)
        return values, -slopes


@functools.partial(jax.jit, static_argnums=0)
def _vmapped(function: Any, *given: Any) -> Any:
    return jax.vmap(function)(*given)


def _as_arrays(answer: Any, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    value, slope = answer
    return np.asarray(value, dtype), np.asarray(slope, dtype)


def own_gradient(
    function: Any, name: str, x: Float[np.ndarray, "n ..."], labels: Int[np.ndarray, " n"]
) -> OwnGradient | None:
    """A function as one with a gradient of its own, if that is what it returns for the first input.

    **Raises:** `InputError` for a gradient that is not finite or a value that is no number.
    """
    for takes_label in (False, True):
        given = (x[0], labels[0]) if takes_label else (x[0],)
        for sample in (given, (jnp.asarray(x[0]), *given[1:])):
            try:
                value, slope = function(*sample)
                shape, width = np.shape(slope), np.asarray(slope).dtype
            except Exception:  # a trial: that it fails is the answer
                continue
            if shape != x[0].shape or not np.issubdtype(width, np.floating):
                continue
            if np.size(value) != 1 or np.ndim(value):
                raise InputError(f"{name} returns a value of shape {list(np.shape(value))} beside its gradient: return "
                                 "one number.")  # fmt: skip
            dtype = min(np.dtype(width), x.dtype, key=lambda one: one.itemsize)
            return OwnGradient(function, name, takes_label, _is_batched(function, takes_label, x, labels), dtype)
    return None


def _is_batched(function: Any, takes_label: bool, x: np.ndarray, labels: np.ndarray) -> bool:
    given = (x[:2], labels[:2]) if takes_label else (x[:2],)
    try:
        together = [np.asarray(part) for part in _vmapped(function, *given)]
        alone = function(*(part[0] for part in given))
    except Exception:  # a host function, or one with callbacks: it is called for one input at a time
        return False
    # Compiled, host code runs once: random numbers drawn there would stand still.
    near = 10 * np.finfo(together[1].dtype).eps ** 0.5
    return all(
        np.allclose(one[0], np.asarray(other), rtol=near, atol=near * np.abs(one[0]).max(initial=0.0), equal_nan=True)
        for one, other in zip(together, alone, strict=True)
    )
