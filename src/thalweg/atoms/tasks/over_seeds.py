"""Means, intervals and exponents over the seeds of repeated trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

_LEVEL = 0.95
_FEWEST_SIZES = 3


def over_seeds(values: Float[np.ndarray, " seeds"]) -> dict[str, Any]:
    """The mean over seeds, their standard deviation, and the interval of the mean.

    **Returns:** `mean`; `sd`, and `low` and `high` of a 95 % interval by Student's t, `None` for one seed; `values`.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64)
    found: dict[str, Any] = {"mean": float(values.mean()), "sd": None, "low": None, "high": None}
    if len(values) > 1:
        sd = float(values.std(ddof=1))
        half = float(stdtrit(len(values) - 1, (1 + _LEVEL) / 2)) * sd / np.sqrt(len(values))
        found |= {"sd": sd, "low": found["mean"] - half, "high": found["mean"] + half}
    return found | {"values": values.tolist()}


def exponent(errors: Mapping[int, Float[np.ndarray, " seeds"]]) -> dict[str, Any] | None:
    """The slope of the logarithm of an error over that of the number of frames, by least squares for each seed.

    **Returns:** as `over_seeds`; `None` for fewer than three sizes or an error of zero.
    """
    table = np.stack(list(errors.values())) if errors else np.zeros((0, 0))
    if len(errors) < _FEWEST_SIZES or not (table > 0).all():
        return None
    sizes = np.log(np.array(list(errors), np.float64))
    away = sizes - sizes.mean()
    return over_seeds(away @ np.log(table) / (away @ away))
