"""The footprint of a portfolio in the years to come, as a differentiable map of its drivers and of its history."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.model.forecaster import AbstractForecaster


class Footprint(eqx.Module):
    """Financed emissions F_h = sum_i factor_i E_{i,h} of the years after the history, in t CO2e.

    **Fields:**

    - `forecaster`: of the log emissions of one company.
    - `history`, `known`: log emissions of every company, ending with the last known year.
    - `factor`: the share of each company's emissions that the portfolio finances.
    - `past`: growth of the drivers over the years of the history, as the forecaster was trained with.
    """

    forecaster: AbstractForecaster
    history: Float[Array, "companies years"]
    known: Bool[Array, "companies years"]
    factor: Float[Array, " companies"]
    past: Float[Array, "years drivers"]

    def companies(
        self, drivers: Float[Array, "horizon drivers"], history: Float[Array, "companies years"] | None = None
    ) -> Float[Array, "companies horizon"]:
        """Emissions of every company, in t CO2e.

        **Arguments:** `drivers`: growth over the years to come, one row for each; `history`, log emissions in place
        of the known ones.
        """
        steps = jnp.concatenate([self.past, drivers])
        past = self.history if history is None else history
        return jnp.exp(jax.vmap(self.forecaster, (0, 0, None))(past, self.known, steps))

    def __call__(self, drivers: Float[Array, "horizon drivers"]) -> Float[Array, " horizon"]:
        """Financed emissions, in t CO2e."""
        return self.factor @ self.companies(drivers)

    def logarithm(self, drivers: Float[Array, "horizon drivers"], year: int = -1) -> Float[Array, ""]:
        """The logarithm of the footprint in one year, by default the last one."""
        return jnp.log(self(drivers)[year])


def footprint(
    forecaster: AbstractForecaster, panel: Panel, factor: np.ndarray, past: np.ndarray | None = None
) -> Footprint:
    """The footprint of a portfolio after the last year of a panel.

    **Arguments:** `factor [companies]`, the financed share; `past [years, drivers]`, growth of the drivers over the
    panel's years, any finite number where it is not known; without it there are no drivers.

    **Raises:** `InputError` for shapes that disagree, a factor that is negative or no number, or a company without a
    value in the last year.
    """
    years, factor = panel.years.size, np.asarray(factor, np.float64)
    past = np.zeros((years, 0)) if past is None else np.asarray(past, np.float64)
    if factor.shape != (len(panel.companies),) or past.shape[0] != years:
        raise InputError(
            f"the panel has {len(panel.companies)} companies and {years} years, but there are {factor.size} factors "
            f"and drivers over {past.shape[0]} years."
        )
    if not (np.isfinite(factor).all() and (factor >= 0).all()):
        name = panel.companies[int(np.argmin(np.isfinite(factor) & (factor >= 0)))]
        raise InputError(f"the financed share of {name} is negative or no number: correct its value or its holding.")
    silent = ~np.isfinite(panel.emissions[:, -1])
    if silent.any():
        name = panel.companies[int(np.argmax(silent))]
        raise InputError(f"{name} has no emissions in {panel.years[-1]}: leave it out, or end the panel earlier.")
    # What lies before a gap is no history of the recursion.
    known = np.arange(years) >= years - panel.recent()[:, None]
    logs = np.log(np.where(known, panel.emissions, 1.0))
    return Footprint(forecaster, jnp.asarray(logs), jnp.asarray(known), jnp.asarray(factor), jnp.asarray(past))
