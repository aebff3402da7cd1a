"""What the network is trained by: level errors of all past forecasts, in the scale of each company."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.methods.unrolled import forced, unrolled
from thalweg.portfolio.model.past import Past
from thalweg.portfolio.model.recursion import Network


class Sample(NamedTuple):
    """A forecast that could have been made in the past, and what came of it.

    **Fields:** `past`, at the origin; `growth` of log emissions in the years after; `known`, 1 where a year's growth
    is known and 0 where it is not; `drivers`, standardised; `weight` of the sample, 0 for one that only fills up a
    shape.
    """

    past: Past
    growth: Float[Array, " horizon"]
    known: Float[Array, " horizon"]
    drivers: Float[Array, "horizon drivers"]
    weight: Float[Array, ""]


class ForecastLoss(eqx.Module):
    """The clipped absolute error of the level over the horizon, over level and volatility of the company.

    A share `unrolled` of it is of forecasts fed with themselves, with back-propagation through the recursion; the rest
    is of forecasts one year ahead, fed with what came.

    **Fields:** `samples`, leaves with a leading axis; `unrolled`; `clip`, in volatilities, towards which an error
    saturates; `anchor`, the price of a squared growth, in volatilities, that is forecast: it holds the network at the
    random walk where few years were seen, which all companies share; `shrink` of the drivers' weights.
    """

    samples: Sample
    unrolled: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    clip: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    anchor: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    shrink: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, members: Network, places: Int[Array, " batch"], key: Any = None) -> Float[Array, ""]:
        """The sum over the seeds, so that none of their gradients depends on another seed, of some of the samples."""
        batch = jax.tree.map(lambda leaf: leaf[places], self.samples)
        return jnp.sum(jax.vmap(lambda member: self.one(member, batch))(members))

    def one(self, member: Network, batch: Sample) -> Float[Array, ""]:
        """The loss of one seed."""
        each, count = jax.vmap(lambda sample: self._sample(member, sample))(batch)
        mean = jnp.sum(each) / jnp.maximum(jnp.sum(count), 1.0)
        return mean if member.response is None else mean + self.shrink * member.response.size()

    def _sample(self, member: Network, sample: Sample) -> tuple[Float[Array, ""], Float[Array, ""]]:
        volatility = sample.past.volatility
        free, _ = unrolled(member, sample.past, sample.drivers)
        led, _ = forced(member, sample.past, sample.drivers, sample.growth)
        came = jnp.cumsum(sample.growth)
        error = self.unrolled * self._size(jnp.cumsum(free), came, volatility)
        error = error + (1 - self.unrolled) * self._size(came - sample.growth + led, came, volatility)
        own = free if sample.past.trend is None else free - _expected(member, sample)
        error = error + self.anchor * (own / volatility) ** 2
        counted = sample.weight * sample.known
        return jnp.sum(error * counted), jnp.sum(counted)

    def _size(self, log: Array, came: Array, scale: Array) -> Array:
        error = jnp.abs(jnp.exp(log) - jnp.exp(came)) / scale
        return self.clip * jnp.tanh(error / self.clip)


def _expected(member: Network, sample: Sample) -> Float[Array, " horizon"]:
    """What the trend alone forecasts: what the network does when all its weights are 0."""
    return unrolled(jax.tree.map(jnp.zeros_like, member), sample.past, sample.drivers)[0]
