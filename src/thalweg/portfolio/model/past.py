"""What the network knows of a company's past: its growth, over its own volatility."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.portfolio.model.smoothing import Trend

WINDOW = 10  # years of growth that are remembered one by one
_LAGS = 3  # of which so many are inputs of their own
_SHRUNK = 2.0  # years of no growth that are added to every mean
_HIGHEST = 3.0  # volatilities: what is beyond says no more
PAST_INPUTS = _LAGS + 5


class Past(NamedTuple):
    """A company's past at one moment.

    **Fields:** `level`, log emissions; `recent` growths of log emissions, the newest first, 0 where not known; their
    `total` and `count` since the history began; `volatility`, the mean size of a yearly growth, which stays as it was
    when a forecast began; `usual`, the volatility of the panel; `trend`, what the network's forecast is added to,
    `None` for the random walk.
    """

    level: Float[Array, ""]
    recent: Float[Array, " window"]
    total: Float[Array, ""]
    count: Float[Array, ""]
    volatility: Float[Array, ""]
    usual: Float[Array, ""]
    trend: Trend | None = None

    def expected(self) -> Float[Array, ""] | float:
        """The growth of the next year before the network has a say."""
        return 0.0 if self.trend is None else self.trend.growth(self.level)

    def grown(self, growth: Float[Array, ""]) -> Past:
        """A year later."""
        trend = None if self.trend is None else self.trend.fed(self.level + growth)
        recent = jnp.concatenate([growth[None], self.recent[:-1]])
        return self._replace(
            level=self.level + growth, recent=recent, total=self.total + growth, count=self.count + 1, trend=trend
        )


def growths(
    history: Float[Array, " years"], known: Bool[Array, " years"]
) -> tuple[Float[Array, " years"], Float[Array, " years"]]:
    """The growth of log emissions into every year, 0 where it is not known, and 1 where it is known."""
    both = jnp.concatenate([jnp.zeros(1, bool), known[1:] & known[:-1]])
    # The inner `where` keeps what is not known out of the gradient as well.
    level = jnp.where(known, history, 0.0)
    change = jnp.concatenate([jnp.zeros(1, level.dtype), level[1:] - level[:-1]])
    return jnp.where(both, change, 0.0), both.astype(level.dtype)


def size(growth: Float[Array, "*shape"], usual: Float[Array, ""]) -> Float[Array, "*shape"]:
    """The size of a growth, smooth at 0, which one jump cannot make larger than four usual ones."""
    most = 4 * usual
    smooth = jnp.sqrt(growth**2 + (0.01 * usual) ** 2)
    return most * jnp.tanh(smooth / most)


def pasts(
    history: Float[Array, " years"],
    known: Bool[Array, " years"],
    usual: Float[Array, ""],
    prior: Float[Array, ""],
) -> Past:
    """The past at the end of every year: leaves `[years, ...]`.

    **Arguments:** `history`, log emissions, what is known of it contiguous; `usual`, the mean size of a yearly growth
    in the panel, towards which a company's own is shrunk as if it had been seen for `prior` years.
    """
    change, seen = growths(history, known)
    count = jnp.cumsum(seen)
    volatility = (jnp.cumsum(size(change, usual) * seen) + prior * usual) / (count + prior)
    padded = jnp.concatenate([jnp.zeros(WINDOW - 1, change.dtype), change])
    recent = jnp.stack([padded[WINDOW - 1 - lag : padded.size - lag] for lag in range(WINDOW)], axis=1)
    level = jnp.where(known, history, 0.0)
    return Past(level, recent, jnp.cumsum(change), count, volatility, jnp.broadcast_to(usual, count.shape))


def inputs(past: Past) -> Float[Array, " inputs"]:
    """What the network reads of a past: bounded numbers around 0 without a unit."""
    steps = past.recent / past.volatility
    means = [
        jnp.sum(steps[:years]) / (jnp.minimum(past.count, years) + _SHRUNK) * jnp.sqrt(float(years))
        for years in (5, WINDOW)
    ]
    whole = past.total / past.volatility / (past.count + _SHRUNK) * 4
    numbers = jnp.concatenate([steps[:_LAGS], jnp.stack([*means, whole])])
    age = jnp.log1p(past.count) - 3.0
    restless = jnp.log(past.volatility / past.usual)
    return jnp.concatenate([_HIGHEST * jnp.tanh(numbers / _HIGHEST), jnp.stack([age, restless])])
