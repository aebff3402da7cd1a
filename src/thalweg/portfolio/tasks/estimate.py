"""Emissions of companies that report none, estimated from their sector: only when asked, and never without interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FEWEST = 4  # companies of a sector that report, below which its spread says nothing
LEVEL = 0.8


class Estimate(NamedTuple):
    """One company's estimate.

    **Fields:** `company`, its place; `tonnes`; `lower` and `upper`, its 80 % interval; `score`, its data quality; its
    `basis` (`revenue` or `assets`); the `sector`, and how many companies of it are `reporting`.
    """

    company: int
    tonnes: float
    lower: float
    upper: float
    score: float
    basis: str
    sector: str
    reporting: int


class Estimates(NamedTuple):
    """The estimates, and why the companies that have none could not be estimated, by place."""

    made: tuple[Estimate, ...]
    refused: dict[int, str]


def sector_intensity(
    missing: np.ndarray,
    sectors: tuple[str, ...],
    emissions: Float[np.ndarray, " companies"],
    revenue: Float[np.ndarray, " companies"],
    assets: Float[np.ndarray, " companies"],
) -> Estimates:
    """Emissions of some companies from the median intensity of those of their sector that report.

    `E_c = median over the sector (E / revenue) revenue_c`, data quality 4 (PCAF, Part A, second edition, 2022, section
    5.1, option 3a); without revenue the same with total assets, quality 5 (option 3b). The interval is that of a
    further member of a log-normal sector: with `s` the standard deviation of the logarithms of the `n` intensities,
    `E_c exp(+- t s sqrt(1 + 1/n))`, `t` the 90 % quantile of Student's distribution with `n - 1` degrees of freedom.

    **Arguments:**

    - `missing`: places of the companies to estimate.
    - `sectors`, `emissions` (tonnes, NaN where not reported), `revenue`, `assets` (one currency, NaN where missing) of
      all companies with figures, held or not.
    """
    made, refused = [], {}
    kinds = np.asarray(sectors, object)
    for place in map(int, missing):
        told = "has neither revenue nor assets"
        for basis, size, score in (("revenue", revenue, 4.0), ("assets", assets, 5.0)):
            if not size[place] > 0:
                continue
            among = (kinds == sectors[place]) & (emissions > 0) & (size > 0)
            count = int(among.sum())
            if count < FEWEST:
                told = f"has {count} reporting companies in its sector {sectors[place]!r}, fewer than {FEWEST}"
                continue
            logs = np.log(emissions[among] / size[among])
            tonnes = float(np.exp(np.median(logs)) * size[place])
            wide = _wide(logs)
            made.append(Estimate(place, tonnes, tonnes / wide, tonnes * wide, score, basis, sectors[place], count))
            break
        else:
            refused[place] = told
    return Estimates(tuple(made), refused)


def _wide(logs: Float[np.ndarray, " companies"]) -> float:
    """The factor on either side of a log-normal sector's median."""
    from scipy.stats import t

    quantile = float(t.ppf(0.5 + LEVEL / 2, logs.size - 1))
    return float(np.exp(quantile * logs.std(ddof=1) * np.sqrt(1 + 1 / logs.size)))
