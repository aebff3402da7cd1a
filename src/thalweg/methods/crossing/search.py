"""What every search for a nearest crossing is made of: it asks for heights and slopes, and keeps the nearest.

A landscape whose zero level is sought is asked for slopes at most once per step, so that the same search walks on a
compiled landscape and on somebody else's program, and its cost is known before it starts.
"""

from __future__ import annotations

import abc
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.space import AbstractSpace

Norm = Literal["l2", "linf"]


class Best(eqx.Module):
    """The nearest point below zero so far: `x`, its `distance` (infinite before one is found) and its `height`."""

    x: Float[Array, "..."]
    distance: Float[Array, ""]
    height: Float[Array, ""]

    def seen(self, x: Float[Array, "..."], distance: Float[Array, ""], height: Float[Array, ""]) -> Best:
        """The best after one more point; a height that is not finite never counts."""
        nearer = (height < 0) & (distance < self.distance)
        choose = lambda new, old: jnp.where(nearer, new, old)  # noqa: E731
        return Best(choose(x, self.x), choose(distance, self.distance), choose(height, self.height))


class AbstractCrossing(eqx.Module):
    """A search for the point nearest to `origin` where a landscape is below zero, for one configuration.

    Each step is told the height and slope at `state.trial`, and then `probes` times the height alone at a new one.
    """

    bibtex: eqx.AbstractClassVar[str]
    norm: eqx.AbstractVar[Norm]
    probes: eqx.AbstractVar[int]

    @abc.abstractmethod
    def init(self, space: AbstractSpace, origin: Float[Array, "..."], best: Best, start: Float[Array, "..."]) -> Any:
        """The state at the start, whose `trial` is looked at first; it has a `best`."""

    @abc.abstractmethod
    def tell(
        self, space: AbstractSpace, origin: Array, state: Any, share: Float[Array, ""], value: Array, slope: Array
    ):
        """The state once height and slope at `state.trial` are known; `share` of the walk is done, from 0 to 1."""

    @abc.abstractmethod
    def probe(self, space: AbstractSpace, origin: Array, state: Any, value: Array) -> Any:
        """The state once a height at `state.trial` is known."""


def length(norm: Norm, step: Float[Array, "..."]) -> Float[Array, ""]:
    """The Euclidean length of a step, or its largest component."""
    return jnp.sqrt(jnp.sum(step**2)) if norm == "l2" else jnp.max(jnp.abs(step))


def dual_length(norm: Norm, slope: Float[Array, "..."]) -> Float[Array, ""]:
    """By how much a linear landscape falls over a step of unit length; never zero."""
    fall = jnp.sqrt(jnp.sum(slope**2)) if norm == "l2" else jnp.sum(jnp.abs(slope))
    return jnp.maximum(fall, jnp.finfo(fall.dtype).tiny)
