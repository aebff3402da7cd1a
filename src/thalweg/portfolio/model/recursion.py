"""The recursive network: one for all companies, of growth over volatility, zero-initialised around the random walk."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from thalweg.core.errors import InputError
from thalweg.methods.unrolled import AbstractRecursion, unrolled
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.model.past import PAST_INPUTS, Past, inputs, pasts
from thalweg.portfolio.model.smoothing import Trend
from thalweg.portfolio.model.trend import DampedTrend


class Response(eqx.Module):
    """What drivers add to the growth of the next year, whatever came before: one hidden layer and a straight way past.

    It is a layer of its own: how the answer to drivers might depend on the past would take more years to tell than
    panels have, for one year is one example of it, however many companies there are.

    **Fields:** `first [hidden, drivers]`, `bias [hidden]`, `last [hidden]`, `straight [drivers]`.
    """

    first: Float[Array, "hidden drivers"]
    bias: Float[Array, " hidden"]
    last: Float[Array, " hidden"]
    straight: Float[Array, " drivers"]

    def __call__(self, now: Float[Array, " drivers"]) -> Float[Array, ""]:
        return self.last @ jnp.tanh(self.first @ now + self.bias) + self.straight @ now

    def size(self) -> Float[Array, ""]:
        """The sum of its squared weights but those that only bend it."""
        return jnp.sum(self.last**2) + jnp.sum(self.straight**2)


class Network(AbstractRecursion):
    """The growth of the next year over what was expected, in volatilities: one hidden layer and a straight way past it.

    Both end in zeros at first, so that an untrained network forecasts no growth: the random walk.

    **Fields:** `first [hidden, inputs]`, `bias [hidden]`, `last [hidden]`, `straight [inputs]`, `drift`; `response` to
    drivers, `None` where none are read.
    """

    first: Float[Array, "hidden inputs"]
    bias: Float[Array, " hidden"]
    last: Float[Array, " hidden"]
    straight: Float[Array, " inputs"]
    drift: Float[Array, ""]
    response: Response | None

    def forecast(self, state: Past, now: Float[Array, " drivers"]) -> Float[Array, ""]:
        read = inputs(state)
        told = self.last @ jnp.tanh(self.first @ read + self.bias) + self.straight @ read + self.drift
        if self.response is not None:
            told = told + self.response(now)
        return state.expected() + state.volatility * told

    def fed(self, state: Past, value: Float[Array, ""], now: Any) -> Past:
        return state.grown(value)


def network(hidden: int, drivers: int, key: Key[Array, ""], dtype: Any) -> Network:
    """A network that has learnt nothing: it forecasts that nothing will change."""
    first, response = jax.random.split(key)
    return Network(
        first=jax.random.normal(first, (hidden, PAST_INPUTS), dtype) / PAST_INPUTS**0.5,
        bias=jnp.zeros(hidden, dtype),
        last=jnp.zeros(hidden, dtype),
        straight=jnp.zeros(PAST_INPUTS, dtype),
        drift=jnp.zeros((), dtype),
        response=_response(hidden, drivers, response, dtype) if drivers else None,
    )


def _response(hidden: int, drivers: int, key: Key[Array, ""], dtype: Any) -> Response:
    first, bias = jax.random.split(key)
    return Response(
        first=jax.random.normal(first, (hidden, drivers), dtype) / drivers**0.5,
        bias=jax.random.normal(bias, (hidden,), dtype),
        last=jnp.zeros(hidden, dtype),
        straight=jnp.zeros(drivers, dtype),
    )


class Prior(eqx.Module):
    """What is known of the panel before a company is looked at.

    **Fields:** `usual`, the mean size of a yearly growth of log emissions; `years`, how much it weighs against a
    company's own; `centre` and `spread` of the growth of each driver, which is read in units of the spread.
    """

    usual: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    years: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    centre: Float[Array, " drivers"] = eqx.field(converter=jnp.asarray)
    spread: Float[Array, " drivers"] = eqx.field(converter=jnp.asarray)


class Ensemble(AbstractForecaster):
    """Networks of several seeds; the forecast is the mean of their log emissions.

    The mean rather than the median: it is as smooth as its members, and its slopes average the errors of all of them.

    **Fields:** `members`, one `Network` whose leaves have a leading axis of seeds; `prior`, of the panel.

    A network that was trained without drivers reads none, however many columns it is given.
    """

    members: Network
    prior: Prior

    def __call__(
        self,
        history: Float[Array, " years"],
        known: Bool[Array, " years"],
        drivers: Float[Array, "steps drivers"],
    ) -> Float[Array, " horizon"]:
        return jnp.mean(self.paths(history, known, drivers), axis=0)

    def paths(
        self,
        history: Float[Array, " years"],
        known: Bool[Array, " years"],
        drivers: Float[Array, "steps drivers"],
    ) -> Float[Array, "seeds horizon"]:
        """Log emissions of every seed."""
        now = jax.tree.map(lambda leaf: leaf[-1], pasts(history, known, self.prior.usual, self.prior.years))
        return self.ahead(now, drivers[history.size :])

    def ahead(self, now: Past, drivers: Float[Array, "horizon drivers"]) -> Float[Array, "seeds horizon"]:
        """Log emissions of every seed from a past on; `drivers`, of the years to come."""
        read = self.prior.centre.size
        if read and drivers.shape[-1] != read:
            raise InputError(
                f"the network reads {read} drivers, but {drivers.shape[-1]} were given: give those it was trained with."
            )
        steps = (drivers[:, :read] - self.prior.centre) / self.prior.spread
        growth = jax.vmap(lambda member: unrolled(member, now, steps)[0])(self.members)
        return now.level + jnp.cumsum(growth, axis=1)


class Corrected(AbstractForecaster):
    """A company's own damped trend with the networks' forecast of what it misses on top.

    Untrained networks leave the trend as it is.

    **Fields:** `trend`, of emissions, not of their logarithm; `networks`.

    **Source:** Smyl, Int. J. Forecast. 36, 75 (2020), for the hybrid of exponential smoothing and a recursion.
    """

    trend: DampedTrend
    networks: Ensemble

    def __call__(
        self,
        history: Float[Array, " years"],
        known: Bool[Array, " years"],
        drivers: Float[Array, "steps drivers"],
    ) -> Float[Array, " horizon"]:
        now = jax.tree.map(lambda leaf: leaf[-1], self.pasts(history, known))
        return jnp.mean(self.networks.ahead(now, drivers[history.size :]), axis=0)

    def pasts(self, history: Float[Array, " years"], known: Bool[Array, " years"]) -> Past:
        """The past at the end of every year, with the trend: leaves `[years, ...]`."""
        given = self.networks.prior
        return with_trend(pasts(history, known, given.usual, given.years), self.trend, history, known)


def with_trend(past: Past, trend: DampedTrend, history: Float[Array, " years"], known: Bool[Array, " years"]) -> Past:
    """Pasts of every year with where the trend of the same history stood: leaves `[years, ...]`."""
    states, years = trend.states(history, known), history.size
    smoothing = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (years,)), trend.smoothing())
    return past._replace(trend=Trend(smoothing, states, jnp.broadcast_to(history[-1], (years,))))
