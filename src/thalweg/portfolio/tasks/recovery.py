"""Whether a forecaster finds a response to drivers that is known: its Jacobian, and its forecasts beside others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.data.synthetic import Synthetic
from thalweg.portfolio.model.footprint import Footprint, footprint
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.tasks.fit import Recipe
from thalweg.portfolio.tasks.sensitivity import driver_jacobian

Fit = Callable[[Panel, Float[np.ndarray, "years drivers"]], AbstractForecaster]
Baseline = Callable[[Panel, int], Float[np.ndarray, "companies horizon"]]


class Recovery(NamedTuple):
    """What a forecaster learnt of a known law.

    **Fields:**

    - `jacobian_error`: the norm of the difference between its Jacobian and the true one over that of the true one,
      over all origins, years and drivers.
    - `wape`: sum of absolute errors over sum of emissions in per cent, after the training, by model: `network`, each
      baseline, and `truth`, the law itself, below which noise lets nobody come.
    - `slopes`, `true_slopes`: both Jacobians at the last origin, t CO2e per standard deviation.
    - `origins`: last years of the histories that were forecast from.
    """

    jacobian_error: float
    wape: dict[str, float]
    slopes: Float[np.ndarray, "horizon horizon drivers"]
    true_slopes: Float[np.ndarray, "horizon horizon drivers"]
    origins: tuple[int, ...]


def recovery(
    world: Synthetic, fit: Fit, baselines: Mapping[str, Baseline], *, horizon: int = 5, origins: int = 3
) -> Recovery:
    """Fit on a part of a known world, and compare with the truth in the rest of it.

    **Arguments:** `fit`: from a panel and the growth of the drivers over its years to a forecaster; `baselines`: by
    name, from a panel and a horizon to emissions, without drivers; `origins`: how many, a horizon apart, the first of
    them the last year of the training.

    The forecaster is given the true growth of the drivers in the years to come.
    """
    lasts = [int(world.panel.years[-1]) - horizon * (origins - place) for place in range(origins)]
    trained = world.panel.until(lasts[0])
    forecaster = fit(trained, world.drivers[: trained.years.size])
    factor = np.full(len(world.panel.companies), 1 / len(world.panel.companies))
    errors: dict[str, list[np.ndarray]] = {name: [] for name in ("network", *baselines, "truth")}
    pairs, real = [], []
    for last in lasts:
        panel = world.panel.until(last)
        size, here = panel.years.size, panel.emissions[:, -1]
        path = world.drivers[size : size + horizon]
        came = world.panel.emissions[:, size : size + horizon]
        portfolio = footprint(forecaster, panel, factor, world.drivers[:size])
        pairs.append((np.asarray(driver_jacobian(portfolio, jnp.asarray(path))[1]), world.jacobian(here, path, factor)))
        errors["network"].append(np.asarray(_companies(portfolio, jnp.asarray(path))) - came)
        errors["truth"].append(world.expected(here, path) - came)
        for name, baseline in baselines.items():
            errors[name].append(baseline(panel, horizon) - came)
        real.append(came)
    ours, true = (np.stack(one) for one in zip(*pairs, strict=True))
    total = np.abs(np.stack(real)).sum()
    wape = {name: float(100 * np.abs(np.stack(found)).sum() / total) for name, found in errors.items()}
    error = float(np.linalg.norm(ours - true) / np.linalg.norm(true))
    return Recovery(error, wape, ours[-1], true[-1], tuple(lasts))


def law_recipe(seeds: int = 8, steps: int = 6000) -> Recipe:
    """A recipe for slopes rather than for forecasts of noisy panels.

    Drivers are read without shrinkage or anchor, large errors count in full, and the network is taught year by year:
    fed with what came, nothing that it forecast wrongly can be blamed on the drivers. Chosen on synthetic panels of
    the seeds 200, 204, 205 and 206.
    """
    return Recipe(hidden=8, seeds=seeds, horizon=1, unrolled=0.0, steps=steps, batch=1024, rate=1e-2, decay=1e-3,
                  clip=100.0, prior_years=1000.0, anchor=0.0, shrink=0.0, drivers="always")  # fmt: skip


@eqx.filter_jit
def _companies(portfolio: Footprint, path: Float[Array, "horizon drivers"]) -> Float[Array, "companies horizon"]:
    return portfolio.companies(path)
