"""The part of a forecast that nobody reported: estimates of companies without emissions, carried into the future."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.portfolio.tasks.estimate import LEVEL, Estimate
from thalweg.portfolio.tasks.footprint import Account
from thalweg.portfolio.tasks.intervals import LEVELS

_DRAWS = 4000


class Estimated(NamedTuple):
    """What a portfolio finances of companies that report nothing, in tonnes of CO2e.

    **Fields:** `companies`; `made`, their estimates; `factor`, the financed share of each; `value`, what is held of
    each; `median` of the sum in each year to come; `lower` and `upper` for each of `LEVELS`.
    """

    companies: tuple[str, ...]
    made: tuple[Estimate, ...]
    factor: Float[np.ndarray, " companies"]
    value: Float[np.ndarray, " companies"]
    median: Float[np.ndarray, " horizon"]
    lower: Float[np.ndarray, "levels horizon"]
    upper: Float[np.ndarray, "levels horizon"]

    @property
    def tonnes(self) -> Float[np.ndarray, " companies"]:
        """The estimates themselves."""
        return np.array([one.tonnes for one in self.made], np.float64)


def estimated(account: Account, horizon: int, growth: float, *, seed: int = 0) -> Estimated | None:
    """The estimates of an account in the years to come, `None` where it holds none.

    A company without a history has no trend that could be known: its emissions stay where they are estimated. Their
    logarithm errs by the spread of its sector, for good, and by `growth sqrt(h)` more after `h` years; companies err
    independently. The median of each year is that of the sum, which is more than the sum of the medians.

    **Arguments:** `account`; `horizon` in years; `growth`, the usual size of a yearly growth of log emissions; `seed`.
    """
    from scipy.stats import norm

    if not account.estimates:
        return None
    places = sorted(account.estimates)
    held, made = account.attribution, tuple(account.estimates[place] for place in places)
    factor = held.factor[places]
    spread = np.array([np.log(one.upper / one.tonnes) for one in made]) / norm.ppf(0.5 + LEVEL / 2)
    random = np.random.default_rng((seed, 5))
    level = random.normal(size=(_DRAWS, len(made), 1)) * spread[:, None]
    walk = np.cumsum(random.normal(size=(_DRAWS, len(made), horizon)), axis=2) * growth
    middle = factor * np.array([one.tonnes for one in made])
    sums = np.sum(middle[:, None] * np.exp(level + walk), axis=1)
    ends = [np.quantile(sums, [(1 - share) / 2, (1 + share) / 2], axis=0) for share in LEVELS]
    return Estimated(
        tuple(held.companies[place] for place in places), made, factor, held.value[places], np.median(sums, axis=0),
        np.stack([low for low, _ in ends]), np.stack([high for _, high in ends]),
    )  # fmt: skip


def added(
    middle: Float[np.ndarray, " horizon"],
    lower: Float[np.ndarray, "levels horizon"],
    upper: Float[np.ndarray, "levels horizon"],
    part: Estimated,
) -> tuple[Float[np.ndarray, " horizon"], Float[np.ndarray, "levels horizon"], Float[np.ndarray, "levels horizon"]]:
    """A forecast and the estimated part together: medians add, half widths add in squares, as of independent errors."""
    total = middle + part.median
    below = np.hypot(middle - lower, part.median - part.lower)
    above = np.hypot(upper - middle, part.upper - part.median)
    return total, total - below, total + above
