"""The line through an energy that ought to be conserved, with an error that knows of its swings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_STRETCHES = (32, 16, 8, 5)


class Line(NamedTuple):
    """A straight line through energies over time.

    **Fields:** `slope` and its standard `error`, in units of the energy over those of time; `start`, the height of the
    line at the first time; `fluctuation`, the root mean square of what is left.
    """

    slope: float
    error: float
    start: float
    fluctuation: float


def line_through(times: Float[np.ndarray, " n"], energies: Float[np.ndarray, " n"]) -> Line:
    """The least-squares line, and its error from how the means of long stretches scatter about it.

    Vibrations make neighbouring records alike, so that the residuals of all records would promise too much. They are
    forgotten between stretches if these are long enough: of errors from 32 down to 5 stretches the largest is told,
    infinite below three records.
    """
    times, energies = np.asarray(times, np.float64), np.asarray(energies, np.float64)
    if len(times) < 2 or not np.ptp(times) > 0:
        return Line(0.0, np.inf, float(energies[0]), 0.0)
    slope, error, left = _fitted(times, energies)
    for many in [many for many in _STRETCHES if len(times) >= 2 * many]:
        parts = np.array_split(np.arange(len(times)), many)
        coarse = (np.array([each[part].mean() for part in parts]) for each in (times, energies))
        error = max(error, _fitted(*coarse)[1])
    start = float(energies.mean() + slope * (times[0] - times.mean()))
    return Line(slope, error, start, float(np.sqrt(np.mean(left**2))))


def _fitted(times: np.ndarray, energies: np.ndarray) -> tuple[float, float, np.ndarray]:
    clock, height = times - times.mean(), energies - energies.mean()
    spread = clock @ clock
    slope = float(clock @ height / spread)
    left = height - slope * clock
    error = float(np.sqrt(left @ left / (len(times) - 2) / spread)) if len(times) > 2 else np.inf
    return slope, error, left
