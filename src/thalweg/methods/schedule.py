"""Temperatures that change along a walk."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.checks import positive, traced
from thalweg.core.errors import InputError


class AbstractSchedule(eqx.Module):
    """A temperature for every step after the warmup."""

    @abc.abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The temperature of a step, which is 0 for the first one and for the whole warmup."""


class Constant(AbstractSchedule):
    """One temperature."""

    temperature: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        _warm(self.temperature)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.temperature


class Linear(AbstractSchedule):
    """From `start` to `stop` in equal differences over `steps` steps, and `stop` ever after."""

    start: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    stop: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    steps: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        _warm(self.start, self.stop)
        _long(self.steps)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start + (self.stop - self.start) * _share(step, self.steps, self.start)


class Geometric(AbstractSchedule):
    """From `start` to `stop` in equal ratios over `steps` steps, and `stop` ever after.

    **Source:** Kirkpatrick, Gelatt & Vecchi, Science 220, 671 (1983).
    """

    start: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    stop: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    steps: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        _warm(self.start, self.stop)
        _long(self.steps)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start * (self.stop / self.start) ** _share(step, self.steps, self.start)


def _share(step: Int[Array, ""], steps: Int[Array, ""], like: Float[Array, ""]) -> Float[Array, ""]:
    """How much of the way is done: 0 at the first step, 1 at the last of `steps`."""
    last = jnp.maximum(steps - 1, 1)
    return jnp.minimum(step, last).astype(like.dtype) / last.astype(like.dtype)


def _warm(*temperatures: Float[Array, ""]) -> None:
    for temperature in temperatures:
        positive(temperature, "a temperature", "sample")
        if not traced(temperature) and not np.isfinite(np.asarray(temperature)):
            raise InputError(f"sample: a temperature is {temperature}, but it must be finite.")


def _long(steps: Int[Array, ""]) -> None:
    if not traced(steps) and int(steps) < 1:
        raise InputError(f"sample: a schedule over {int(steps)} steps is none: give a positive number of steps.")
