"""What every differentiable model of a company's emissions is: a map from its past to its years to come."""

from __future__ import annotations

import abc

import equinox as eqx
from jaxtyping import Array, Bool, Float


class AbstractForecaster(eqx.Module):
    """A recursion in log emissions that is fed its own outputs; one company, `vmap` outside."""

    @abc.abstractmethod
    def __call__(
        self,
        history: Float[Array, " years"],
        known: Bool[Array, " years"],
        drivers: Float[Array, "steps drivers"],
    ) -> Float[Array, " horizon"]:
        """The logarithm of the emissions of the years after the history.

        **Arguments:**

        - `history`: log emissions (of tonnes of CO2e), ending with the last known year; where `known` is false the
          value must not matter, but has to be finite. What is not known lies before what is known.
        - `drivers`: growth of the economic drivers over every year of the history and of the horizon after it, in that
          order (`steps = years + horizon`), so that the number of rows says how far to go; no columns without drivers.
        """
