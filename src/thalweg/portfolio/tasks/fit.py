"""Fit the recursive network to a panel, and forecast with it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.methods.data import Batches
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.loss import ForecastLoss, Sample
from thalweg.portfolio.model.recursion import Ensemble, Network, network
from thalweg.portfolio.model.trend import DampedTrend
from thalweg.portfolio.tasks.forecasts import LEAST, forecasts, given_drivers
from thalweg.portfolio.tasks.gate import Gate, judged
from thalweg.portfolio.tasks.samples import prior, runs, samples
from thalweg.verbs.train import from_loss, train


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is fitted; the defaults need no tuning.

    **Fields:** `hidden` units; `seeds`, networks whose mean is the forecast; `horizon` of training, in years;
    `unrolled`, the share of the loss that is of forecasts fed with themselves; `steps` of `batch` past forecasts;
    `rate`, the highest learning rate; `decay` of the weights; `average`, the decay of the moving average that is kept;
    `clip`, in scales, beyond which an error counts no more; `prior_years`, how many years the panel's volatility
    weighs against a company's own; `least`, known growths before a past forecast is learnt from; `halflife` of past
    forecasts, in years; `anchor` at the random walk, over the number of years learnt from: what a year does to all
    companies at once is one example only; `shrink` of the weights of drivers; `drivers`, what is done with drivers:
    `gate`, they are read if that improved held-out forecasts; `always`; `never`.
    """

    hidden: int = 12
    seeds: int = 8
    horizon: int = 5
    unrolled: float = 0.75
    steps: int = 200
    batch: int = 512
    rate: float = 1e-2
    decay: float = 1e-2
    average: float = 0.98
    clip: float = 10.0
    prior_years: float = 10.0
    least: int = 2
    halflife: float = 1000.0
    anchor: float = 3.0
    shrink: float = 1e-2
    drivers: str = "gate"

    def __post_init__(self):
        for name in ("hidden", "seeds", "horizon", "steps", "batch", "least"):
            if getattr(self, name) < 1:
                raise InputError(f"fit: {name} is {getattr(self, name)}, but at least 1 is needed.")
        for name in ("clip", "prior_years", "halflife"):
            if not getattr(self, name) > 0:
                raise InputError(f"fit: {name} is {getattr(self, name)}, but it must be positive.")
        if not (0 < self.rate < 1 and 0 <= self.unrolled <= 1 and 0 < self.average < 1):
            raise InputError(
                f"fit: rate {self.rate}, unrolled {self.unrolled}, average {self.average}: rate and average lie "
                "between 0 and 1, unrolled from 0 to 1."
            )
        if self.decay < 0 or self.anchor < 0 or self.shrink < 0:
            raise InputError(
                f"fit: decay {self.decay}, anchor {self.anchor} and shrink {self.shrink} must not be negative."
            )
        if self.drivers not in ("gate", "always", "never"):
            raise InputError(f"fit: drivers is {self.drivers!r}: choose gate, always or never.")


class Fitted(NamedTuple):
    """A fitted network.

    **Fields:** `forecaster`, of one company; `recipe`; `gate`, how it was decided whether drivers are read, `None`
    where there were none or nothing was to be decided; `loss` of the last step, mean of the seeds; `seconds` of the
    training.
    """

    forecaster: Ensemble
    recipe: Recipe
    gate: Gate | None
    loss: float
    seconds: float

    def forecast(
        self, panel: Panel, horizon: int, drivers: Float[np.ndarray, "steps drivers"] | None = None
    ) -> Float[np.ndarray, "companies horizon"]:
        """Emissions of the years after the panel, in t CO2e; NaN for companies with fewer than 3 recent years.

        **Arguments:** `panel`, of these or other companies; `drivers`, growth in the years of the panel and of the
        horizon.

        **Raises:** `InputError` for a horizon below 1, and drivers of other years or numbers than the network reads.
        """
        return forecasts(self.forecaster, panel, horizon, drivers)

    def skipped(self, panel: Panel) -> tuple[str, ...]:
        """The companies that cannot be forecast: fewer than 3 contiguous years up to the last one."""
        return panel.only(panel.recent() < LEAST).companies


def fitted(
    panel: Panel,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    drivers: Float[np.ndarray, "years drivers"] | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Fitted:
    """Fit the recursive network to all past forecasts of a panel.

    **Arguments:** `panel`, of which every contiguous stretch of history is learnt from; `recipe`, by default
    `Recipe()`; `seed`, the same one gives the same bits; `drivers`, growth in every year of the panel, the same for all
    companies, NaN where it is not known; `hooks` of the training: a checkpoint among them makes it go on bit for bit.

    **Raises:** `InputError` for a panel with too little to learn from, or drivers of other years than the panel's;
    `WalkError` where the training breaks.
    """
    recipe = Recipe() if recipe is None else recipe
    given = given_drivers(panel, drivers)
    gate = None
    if given.shape[1] and recipe.drivers == "gate":
        gate = judged(panel, given, lambda part, read: trained(part, recipe, seed, read)[0], recipe.horizon)
    read = given.shape[1] and (recipe.drivers == "always" or (gate is not None and gate.open))
    forecaster, solution = trained(panel, recipe, seed, given if read else given[:, :0], hooks)
    return Fitted(forecaster, recipe, gate, float(solution.energy) / recipe.seeds, float(solution.stats["seconds"]))


def trained(
    panel: Panel,
    recipe: Recipe,
    seed: int,
    drivers: np.ndarray,
    hooks: tuple[Hook, ...] = (),
    trends: DampedTrend | None = None,
) -> tuple[Ensemble, Any]:
    """The networks of all seeds, without any question of a gate, and the `Solution` of their training.

    **Arguments:** `drivers`, growth in every year of the panel, all of which are read; `trends`, one for each company,
    to which the networks are added.
    """
    known = prior(runs(panel), recipe.prior_years, drivers)
    batch, origins = samples(
        panel, known, drivers, horizon=recipe.horizon, least=recipe.least, halflife=recipe.halflife
    )
    solution = learnt(started(recipe, drivers.shape[1], seed=seed), batch, origins, recipe, seed=seed, hooks=hooks)
    return Ensemble(solution.value, known), solution


def started(recipe: Recipe, drivers: int, *, seed: int) -> Network:
    """Networks of all seeds that have learnt nothing: every one forecasts the random walk."""
    return _started(jax.random.key(seed), recipe.seeds, recipe.hidden, drivers)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _started(key: Key[Array, ""], seeds: int, hidden: int, drivers: int) -> Network:
    keys = jax.random.split(key, seeds)
    return jax.vmap(lambda each: network(hidden, drivers, each, jnp.float64))(keys)


def learnt(
    members: Network, batch: Sample, origins: int, recipe: Recipe, *, seed: int, hooks: tuple[Hook, ...] = ()
) -> Any:
    """Train the networks of all seeds at once: the `Solution` of `train`, whose value is their moving average."""
    loss = ForecastLoss(batch, recipe.unrolled, recipe.clip, recipe.anchor / origins, recipe.shrink)
    items = batch.weight.size
    return train(
        members, from_loss(loss), Batches(jnp.arange(items), min(recipe.batch, items)), optimiser(recipe),
        key=jax.random.key(seed + 1), steps=recipe.steps, ema=recipe.average, on_chunk=hooks,
    )  # fmt: skip


# One for each recipe: a new one would compile the training anew.
@functools.cache
def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """What a recipe trains with: Adam with decay of the weights, on a warm-up and half a cosine.

    Every number by itself: a clip of the whole gradient would let seeds hear of each other.
    """
    warmup = min(recipe.steps // 20, recipe.steps - 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, warmup, recipe.steps, recipe.rate * 0.01)
    return optax.adamw(schedule, weight_decay=recipe.decay)
