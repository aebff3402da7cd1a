"""Differences between two treatments of the same cases: their mean, its interval, and an exact test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError

LEVEL = 0.95
_MOST_SIGNS = 16  # cases of which all sign patterns are counted; of more, this many random words
_DRAWN = 1 << 16


class Paired(NamedTuple):
    """What differences say.

    **Fields:** their `mean`; `sd`; the interval from `low` to `high` of the mean at `level`, by Student's t; `p`, the
    share of all patterns of signs whose mean is at least as far from zero; the `values`.
    """

    mean: float
    sd: float
    low: float
    high: float
    p: float
    values: tuple[float, ...]

    @property
    def plain(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return self._asdict() | {"values": list(self.values)}


def paired(differences: Float[np.ndarray, " cases"], *, level: float = LEVEL) -> Paired:
    """The mean of paired differences, with its interval and an exact test.

    The test is of the hypothesis that each difference is as likely to be its negative, and needs no normal law. Of
    more than 16 cases 65,536 random patterns are looked at, always the same ones, and the smallest p is one in them.

    **Raises:** `InputError` for fewer than two cases, or differences that are not finite.

    **Source:** Student, Biometrika 6, 1 (1908); Fisher, The Design of Experiments (1935), section 21.
    """
    from scipy.special import stdtrit

    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"paired: differences of shape {values.shape} need two finite cases at least: add seeds.")
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * sd / len(values) ** 0.5
    return Paired(mean, sd, mean - half, mean + half, _sign_flips(values), tuple(values.tolist()))


def _sign_flips(values: Float[np.ndarray, " cases"]) -> float:
    many = len(values)
    if many <= _MOST_SIGNS:
        words = np.arange(1 << many)[:, None] >> np.arange(many) & 1
    else:
        words = np.random.default_rng(0).integers(0, 2, (_DRAWN, many))
        words[0] = 0  # as they are: a pattern that is always among the drawn ones
    means = np.abs((1 - 2 * words) @ values)
    # The pattern itself must count, whatever the order in which its sum was rounded.
    return float(np.mean(means >= np.abs(values.sum()) * (1 - 1e-12)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Probabilities adjusted for there being several, in the order given.

    **Source:** Holm, Scand. J. Stat. 6, 65 (1979).
    """
    order, adjusted, worst = sorted(p, key=lambda name: p[name]), {}, 0.0
    for place, name in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - place) * p[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p}
