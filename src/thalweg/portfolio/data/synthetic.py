"""A panel whose answer to its drivers is known, with the true Jacobian: where a forecaster can be held to the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.portfolio.data.drivers import Drivers
from thalweg.portfolio.data.panel import Panel, panel

_PERSISTENCE = 0.7


class Response(NamedTuple):
    """The growth of log emissions that drivers z, in standard deviations, cause in a year, the same in all companies.

    g(z) = saturating tanh(steepness z_0) + bent (z_1^2 - 1) + straight z_1.
    """

    saturating: float = 0.06
    steepness: float = 1.2
    bent: float = 0.012
    straight: float = 0.02

    def growth(self, z: Float[np.ndarray, "... drivers"]) -> Float[np.ndarray, "..."]:
        """g(z)."""
        return (
            self.saturating * np.tanh(self.steepness * z[..., 0])
            + self.bent * (z[..., 1] ** 2 - 1)
            + self.straight * z[..., 1]
        )

    def slope(self, z: Float[np.ndarray, "... drivers"]) -> Float[np.ndarray, "... drivers"]:
        """dg/dz."""
        first = self.saturating * self.steepness / np.cosh(self.steepness * z[..., 0]) ** 2
        return np.stack([first, 2 * self.bent * z[..., 1] + self.straight], axis=-1)


class Synthetic(NamedTuple):
    """A panel with its drivers and the law that made it.

    **Fields:** `panel`; `drivers`, standardised growth over the panel's years; `trend`, each company's own growth;
    `response` to the drivers; `noise`, the standard deviation of what is left.
    """

    panel: Panel
    drivers: Float[np.ndarray, "years drivers"]
    trend: Float[np.ndarray, " companies"]
    response: Response
    noise: float

    def expected(
        self, last: Float[np.ndarray, " companies"], path: Float[np.ndarray, "horizon drivers"]
    ) -> Float[np.ndarray, "companies horizon"]:
        """Emissions on a path of the drivers after `last` year's, without noise, in t CO2e."""
        steps = np.arange(1, len(path) + 1)
        logs = self.trend[:, None] * steps + np.cumsum(self.response.growth(path))
        return last[:, None] * np.exp(logs)

    def jacobian(
        self, last: Float[np.ndarray, " companies"], path: Float[np.ndarray, "horizon drivers"], factor: np.ndarray
    ) -> Float[np.ndarray, "horizon horizon drivers"]:
        """The slope of F_h = sum_i factor_i E_{i,h} by the growth z_k: F_h dg/dz(z_k) for k <= h, else 0."""
        footprint = factor @ self.expected(last, path)
        reached = np.tril(np.ones((len(path), len(path))))
        return (footprint[:, None] * reached)[..., None] * self.response.slope(path)

    def levels(self, names: tuple[str, ...] = ("activity", "price"), spread: float = 0.1) -> Drivers:
        """Levels of drivers that grow like these, as a table would hold them."""
        first = int(self.panel.years[0]) - 1
        logs = np.vstack([np.zeros(self.drivers.shape[1]), np.cumsum(0.02 + spread * self.drivers, axis=0)])
        return Drivers(names, np.arange(first, first + len(logs)), 100 * np.exp(logs))


def synthetic(
    companies: int = 60,
    years: int = 70,
    *,
    seed: int = 0,
    noise: float = 0.02,
    response: Response | None = None,
    last: int = 2020,
) -> Synthetic:
    """A panel that answers two persistent drivers by a known law.

    log E_{i,t} = log E_{i,t-1} + trend_i + g(z_t) + noise; z is a first-order autoregression with variance one.

    **Arguments:** `noise`, standard deviation of a yearly growth; `last`, the panel's last year.
    """
    random = np.random.default_rng(seed)
    response = Response() if response is None else response
    shocks = random.normal(size=(years, 2)) * np.sqrt(1 - _PERSISTENCE**2)
    shocks[0] = random.normal(size=2)
    lag = np.subtract.outer(np.arange(years), np.arange(years))
    drivers = np.where(lag >= 0, _PERSISTENCE ** np.maximum(lag, 0), 0.0) @ shocks
    trend = random.normal(0, 0.01, companies)
    growth = trend[:, None] + response.growth(drivers) + random.normal(0, noise, (companies, years))
    start = random.normal(13, 1.5, companies)
    names = tuple(f"company {number}" for number in range(1, companies + 1))
    table = panel(names, np.arange(last - years + 1, last + 1), np.exp(start[:, None] + np.cumsum(growth, axis=1)))
    return Synthetic(table, drivers, trend, response, noise)
