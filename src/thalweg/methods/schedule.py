"""Temperatures that change along a walk."""

from __future__ import annotations

import abc
from collections.abc import Callable

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
        if jnp.shape(temperature) != ():
            raise InputError(
                f"sample: a temperature has the shape {jnp.shape(temperature)}, but all chains have one: pass a number "
                "or a schedule, and vmap over several."
            )
        positive(temperature, "a temperature", "sample")
        if not traced(temperature) and not np.isfinite(np.asarray(temperature)):
            raise InputError(f"sample: a temperature is {temperature}, but it must be finite.")


def _long(steps: Int[Array, ""]) -> None:
    if not traced(steps) and int(steps) < 1:
        raise InputError(f"sample: a schedule over {int(steps)} steps is none: give a positive number of steps.")


def check_warm(schedule: Callable[[Int[Array, ""]], Float[Array, ""]], steps: int) -> None:
    """Refuse a schedule of somebody's own that is not positive at its start, middle or end.

    A negative temperature would otherwise sample `exp(+E/|T|)` without a word.

    **Raises:** `InputError` naming the step.
    """
    if isinstance(schedule, Constant | Linear | Geometric):
        return
    for step in sorted({0, steps // 2, max(steps - 1, 0)}):
        temperature = schedule(jnp.asarray(step, jnp.int32))
        if not traced(temperature) and not (np.shape(temperature) == () and 0 < float(temperature) < np.inf):
            raise InputError(
                f"sample: the schedule's temperature at step {step} is {temperature}, but it must be one positive, "
                "finite number: mend the schedule."
            )
