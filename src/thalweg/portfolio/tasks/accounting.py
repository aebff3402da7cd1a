"""The footprint of a portfolio: financed emissions and the measures of intensity derived from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError


class Footprint(NamedTuple):
    """A portfolio's measures, over the companies whose emissions are known.

    **Fields:**

    - `financed_emissions`: tonnes of CO2e; `contributions` to it of each company, NaN where not known.
    - `waci`: tonnes per million of revenue; `footprint_per_million`: tonnes per million invested.
    - `total_carbon_emissions`: tonnes, owned by market value; `carbon_intensity`: those per million of owned revenue.
    - `data_quality`: score, 1 best to 5.
    - `value`: what is held of these companies; `waci_value` and `owned_value`: of those among them whose revenue, and
      whose market value, is known too.
    """

    financed_emissions: float
    contributions: Float[np.ndarray, " companies"]
    waci: float | None
    footprint_per_million: float
    total_carbon_emissions: float | None
    carbon_intensity: float | None
    data_quality: float
    value: float
    waci_value: float
    owned_value: float


def financed_emissions(
    factor: Float[np.ndarray, " companies"], emissions: Float[np.ndarray, " companies"]
) -> Float[np.ndarray, " companies"]:
    """Emissions that a portfolio finances of each company: `outstanding_c / EVIC_c E_c`; the sum is the portfolio's.

    Source: PCAF, Global GHG Standard, Part A, second edition, 2022, section 5.1.

    **Arguments:** `factor`, the share of each company; `emissions` in tonnes of CO2e, NaN where not known.
    """
    return np.asarray(factor, np.float64) * np.asarray(emissions, np.float64)


def carbon_footprint(financed: float, value: float) -> float:
    """Tonnes per million invested: `sum_c(outstanding_c / EVIC_c E_c) / (sum_c outstanding_c / 10^6)`.

    Source: TCFD, Implementing the Recommendations, 2021, supplemental guidance for asset owners, with PCAF's EVIC for
    market value.

    **Arguments:** `financed` emissions in tonnes; `value` of the holdings that they are of.
    """
    return financed / (value / 1e6)


def weighted_average_carbon_intensity(
    value: Float[np.ndarray, " companies"],
    emissions: Float[np.ndarray, " companies"],
    revenue: Float[np.ndarray, " companies"],
) -> float | None:
    """Weighted average carbon intensity: `sum_c (value_c / sum(value)) E_c / (revenue_c / 10^6)`.

    Weights are normalised over the companies whose emissions and revenue are known. Source: TCFD, Implementing the
    Recommendations, 2017 and 2021, table of metrics for asset owners and asset managers.

    **Arguments:** `value` held; `emissions` in tonnes; `revenue` in one currency; NaN where not known.

    **Returns:** tonnes per million of revenue, or None where no company has both.
    """
    known = np.isfinite(emissions) & (revenue > 0)
    if not known.any():
        return None
    intensity = emissions[known] / (revenue[known] / 1e6)
    return float(value[known] @ intensity / value[known].sum())


def total_carbon_emissions(
    value: Float[np.ndarray, " companies"],
    market_cap: Float[np.ndarray, " companies"],
    emissions: Float[np.ndarray, " companies"],
) -> float | None:
    """Emissions owned as a shareholder: `sum_c value_c / market_cap_c E_c`, in tonnes; None where no company counts.

    Source: TCFD, Implementing the Recommendations, 2017, table of metrics. Unlike financed emissions it shares nothing
    out to lenders.
    """
    known = np.isfinite(emissions) & (market_cap > 0)
    return float((value[known] / market_cap[known]) @ emissions[known]) if known.any() else None


def carbon_intensity(
    value: Float[np.ndarray, " companies"],
    market_cap: Float[np.ndarray, " companies"],
    emissions: Float[np.ndarray, " companies"],
    revenue: Float[np.ndarray, " companies"],
) -> float | None:
    """Owned emissions by owned revenue: `sum_c(value_c / market_cap_c E_c) / sum_c(value_c / market_cap_c revenue_c)`.

    Source: TCFD, Implementing the Recommendations, 2017, table of metrics.

    **Returns:** tonnes per million of revenue, or None where no company counts.
    """
    known = np.isfinite(emissions) & (market_cap > 0) & (revenue > 0)
    if not known.any():
        return None
    owned = value[known] / market_cap[known]
    return float(owned @ emissions[known] / (owned @ revenue[known] / 1e6))


def data_quality(value: Float[np.ndarray, " companies"], score: Float[np.ndarray, " companies"]) -> float:
    """Data-quality score of a portfolio: `sum_c(outstanding_c score_c) / sum_c outstanding_c`, 1 best to 5.

    Source: PCAF, Global GHG Standard, Part A, second edition, 2022, chapter 6.
    """
    known = np.isfinite(score)
    return float(value[known] @ score[known] / value[known].sum())


def footprint(
    factor: Float[np.ndarray, " companies"],
    value: Float[np.ndarray, " companies"],
    emissions: Float[np.ndarray, " companies"],
    score: Float[np.ndarray, " companies"],
    revenue: Float[np.ndarray, " companies"],
    market_cap: Float[np.ndarray, " companies"],
) -> Footprint:
    """All measures of a portfolio at once; companies whose emissions are not known enter none of them.

    **Arguments:** `factor`, `value`, `revenue` and `market_cap`, as `attributed` returns them; `emissions` in tonnes of
    CO2e, NaN where not known; `score`, the data quality of each.

    **Raises:** `InputError` if the emissions of no company are known.
    """
    known = np.isfinite(emissions)
    if not known.any():
        raise InputError("none of the portfolio's companies has emissions in that year and scope: check that both "
                         "tables name companies by the same identifiers.")  # fmt: skip
    contributions = financed_emissions(factor, emissions)
    total, covered = float(contributions[known].sum()), float(value[known].sum())
    return Footprint(
        total,
        contributions,
        weighted_average_carbon_intensity(value, emissions, revenue),
        carbon_footprint(total, covered),
        total_carbon_emissions(value, market_cap, emissions),
        carbon_intensity(value, market_cap, emissions, revenue),
        data_quality(value[known], score[known]),
        covered,
        float(value[known & (revenue > 0)].sum()),
        float(value[known & (market_cap > 0)].sum()),
    )
