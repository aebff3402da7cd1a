"""A panel: yearly emissions of several companies, with what was not reported left open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError


class Panel(NamedTuple):
    """Emissions of companies over contiguous years.

    **Fields:**

    - `companies`: one identifier each, unique.
    - `years`: ascending, without a gap.
    - `emissions`: tonnes of CO2e, NaN where nothing was reported. Nothing is ever filled in.
    """

    companies: tuple[str, ...]
    years: Int[np.ndarray, " years"]
    emissions: Float[np.ndarray, "companies years"]

    def until(self, year: int) -> Panel:
        """What was known at the end of a year."""
        kept = self.years <= year
        return Panel(self.companies, self.years[kept], self.emissions[:, kept])

    def only(self, chosen: np.ndarray) -> Panel:
        """Some of the companies, by a mask or by places."""
        names = np.asarray(self.companies, object)[chosen]
        return Panel(tuple(names.tolist()), self.years, self.emissions[chosen])

    def recent(self) -> Int[np.ndarray, " companies"]:
        """How many contiguous years each company has reported up to the last year of the panel; 0 where it has not."""
        known = np.isfinite(self.emissions)[:, ::-1]
        return np.where(known.all(axis=1), known.shape[1], np.argmin(known, axis=1))


def panel(companies: tuple[str, ...], years: np.ndarray, emissions: np.ndarray) -> Panel:
    """A checked panel.

    **Raises:** `InputError` for repeated companies, years with gaps, shapes that disagree, and emissions that are
    negative, zero or infinite: a forecast of growth has no meaning for them.
    """
    years, emissions = np.asarray(years, np.int64), np.asarray(emissions, np.float64)
    if emissions.shape != (len(companies), years.size):
        raise InputError(
            f"the panel has {len(companies)} companies and {years.size} years, but {emissions.shape} values."
        )
    if len(set(companies)) < len(companies):
        twice = next(name for name in companies if companies.count(name) > 1)
        raise InputError(f"the panel has {twice} twice: keep one row of each company.")
    if years.size > 1 and (np.diff(years) != 1).any():
        last = years[:-1][np.diff(years) != 1][0]
        raise InputError(f"the panel's years are not contiguous after {last}: add the missing ones as NaN.")
    wrong = np.argwhere((emissions <= 0) | np.isinf(emissions))
    if wrong.size:
        company, year = wrong[0]
        raise InputError(
            f"{companies[company]} has emissions of {emissions[company, year]:g} in {years[year]}, but they must be "
            "positive and finite: correct the value, or leave it out."
        )
    return Panel(tuple(companies), years, emissions)
