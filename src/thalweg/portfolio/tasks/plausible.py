"""Intensities so far from their peers' that a unit is probably wrong: told, never corrected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FACTOR = 300.0  # times the median of all companies that are held; sectors differ by less than that within a portfolio
_FEWEST = 5


class Outlier(NamedTuple):
    """A company whose emissions by revenue are far off: its place, and how many times the median they are."""

    company: int
    times: float


def outliers(
    emissions: Float[np.ndarray, " companies"], revenue: Float[np.ndarray, " companies"], sectors: tuple[str, ...]
) -> tuple[Outlier, ...]:
    """Companies that emit more than 300 times, or less than a 300th of, the median by revenue of their sector.

    The median is that of all companies where fewer than five of the sector are known; then only what lies above it is
    told, because sectors without chimneys lie far below.

    **Arguments:** `emissions` in tonnes, `revenue` in one currency, NaN where not known; `sectors`.
    """
    with np.errstate(invalid="ignore"):
        intensity = np.where((emissions > 0) & (revenue > 0), emissions / revenue, np.nan)
    known, kinds = np.isfinite(intensity), np.asarray(sectors, object)
    found = []
    for place in np.flatnonzero(known):
        among = known & (kinds == sectors[place])
        alone = among.sum() < _FEWEST
        if alone and known.sum() < _FEWEST:
            continue
        times = float(intensity[place] / np.median(intensity[known if alone else among]))
        if times > FACTOR or (times < 1 / FACTOR and not alone):
            found.append(Outlier(int(place), times))
    return tuple(found)
