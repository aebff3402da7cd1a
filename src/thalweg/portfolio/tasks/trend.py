"""Fit the damped trend of every company of a panel at once, by gradient."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from thalweg.core.hooks import Hook
from thalweg.methods.data import Whole
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.trend import SETTINGS, DampedTrend
from thalweg.portfolio.tasks.forecasts import forecasts, padded
from thalweg.verbs.train import from_loss, train

_STARTS = ((-1.0, 0.5), (2.0, -2.0), (4.0, -4.0))  # of alpha and beta over alpha, before the sigmoid
_STEPS, _RATE = 300, 0.1
PULL = 0.5  # of the company's parameters towards those that the panel shares


class Trends(eqx.Module):
    """The parameters of all companies from every start, and what each start makes them share.

    **Fields:** `settings [starts, companies, 5]`, `shared [starts, 5]`.
    """

    settings: Float[Array, "starts companies settings"]
    shared: Float[Array, "starts settings"]


class Misfit(eqx.Module):
    """Minus the log posterior of all companies, summed over companies and starts.

    **Fields:** `pull`, the precision with which parameters scatter around those shared; `logarithmic`, of the trend.
    """

    pull: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    logarithmic: bool = eqx.field(static=True)

    def __call__(self, model: Trends, batch: tuple[Array, Array], key: Any = None) -> Float[Array, ""]:
        return jnp.sum(self.each(model, *batch))

    def each(
        self, model: Trends, history: Float[Array, "companies years"], known: Bool[Array, "companies years"]
    ) -> Float[Array, "starts companies"]:
        """The misfit of every company from every start."""

        def one(settings, shared, past, mask):
            away = 0.5 * self.pull * jnp.sum((settings - shared) ** 2)
            return DampedTrend(settings, self.logarithmic).misfit(past, mask) + away * jnp.any(mask)

        return jax.vmap(lambda own, shared: jax.vmap(one, (0, None, 0, 0))(own, shared, history, known))(
            model.settings, model.shared
        )


def fitted_trend(
    panel: Panel, *, logarithmic: bool = False, pull: float = PULL, hooks: tuple[Hook, ...] = ()
) -> DampedTrend:
    """The damped trends of a panel's companies, by maximum of the posterior from three starts.

    **Arguments:** `logarithmic`, whether the trend is one of log emissions; `pull`, the precision with which the
    parameters of companies scatter around those that all share, 0 for maximum likelihood; `hooks` of the fit.

    **Returns:** one forecaster whose `settings` have a leading axis of companies, in the panel's order.
    """
    history, known = padded(panel)
    starts = np.zeros((len(_STARTS), SETTINGS))
    starts[:, :2] = _STARTS
    shared = jnp.asarray(starts)
    model = Trends(jnp.repeat(shared[:, None], history.shape[0], axis=1), shared)
    misfit, data = Misfit(pull, logarithmic), (jnp.asarray(history), jnp.asarray(known))
    end = train(
        model, from_loss(misfit), Whole(data), _optimiser(), key=jax.random.key(0), steps=_STEPS, on_chunk=hooks
    )
    found = _best(misfit, end.value, *data)
    return DampedTrend(found[: len(panel.companies)], logarithmic)


# Adam steps every number by itself: no company hears of another but through what they share.
@functools.cache
def _optimiser() -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS, 0.01))


@eqx.filter_jit
def _best(misfit: Misfit, model: Trends, history: Array, known: Array) -> Float[Array, "companies settings"]:
    start = jnp.argmin(misfit.each(model, history, known), axis=0)
    return jnp.take_along_axis(model.settings, start[None, :, None], axis=0)[0]


def trend(panel: Panel, horizon: int) -> Float[np.ndarray, "companies horizon"]:
    """Emissions of the years after a panel by damped trends, in t CO2e; NaN for fewer than 3 recent years.

    **Raises:** `InputError` for a horizon below 1.
    """
    return forecasts(fitted_trend(panel), panel, horizon, own=0)
