"""What paths of the drivers are plausible: a first-order autoregression whose innovations have a shrunk covariance."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.errors import InputError

_MOST_PERSISTENT = 0.95
_FEWEST = 6


class Law(eqx.Module):
    """Growth z of the drivers with z_t - mean = persistence (z_{t-1} - mean) + factor shock_t, shocks N(0, 1).

    **Fields:** `mean`, `persistence` of each driver; `factor`, the Cholesky factor of the innovations' covariance;
    `last`, the growth in the last known year.
    """

    mean: Float[Array, " drivers"] = eqx.field(converter=jnp.asarray)
    persistence: Float[Array, " drivers"] = eqx.field(converter=jnp.asarray)
    factor: Float[Array, "drivers drivers"] = eqx.field(converter=jnp.asarray)
    last: Float[Array, " drivers"] = eqx.field(converter=jnp.asarray)

    def path(self, shocks: Float[Array, "horizon drivers"]) -> Float[Array, "horizon drivers"]:
        """The path that some shocks make; without any, the expected one."""
        steps = jnp.arange(shocks.shape[0])
        lag = steps[:, None] - steps[None, :]
        # The double `where` keeps a negative power of a zero persistence out of values and slopes.
        held = jnp.where(lag[..., None] >= 0, self.persistence ** jnp.maximum(lag, 0)[..., None], 0.0)
        fading = self.persistence ** (steps[:, None] + 1) * (self.last - self.mean)
        return self.mean + fading + jnp.einsum("tsd,sd->td", held, shocks @ self.factor.T)

    def shocks(self, path: Float[Array, "horizon drivers"]) -> Float[Array, "horizon drivers"]:
        """The shocks that make a path, in standard deviations, each independent of the others."""
        before = jnp.concatenate([self.last[None], path[:-1]])
        innovations = path - self.mean - self.persistence * (before - self.mean)
        return jnp.linalg.solve(self.factor, innovations.T).T

    def distance(self, path: Float[Array, "horizon drivers"]) -> Float[Array, ""]:
        """The Mahalanobis distance of a path from the expected one, in standard deviations.

        Its square follows the chi-square law with horizon x drivers degrees of freedom.
        """
        return jnp.sqrt(jnp.sum(self.shocks(path) ** 2))


def law(growth: Float[np.ndarray, "years drivers"]) -> Law:
    """The law of the drivers' history, each driver with its own persistence.

    Persistence by least squares, at most 0.95 in size; the covariance of what is left shrunk towards a multiple of the
    identity, since a few dozen years do not determine it.

    **Raises:** `InputError` for fewer than six years.
    **Source:** Ledoit & Wolf, J. Multivar. Anal. 88, 365 (2004).
    """
    from sklearn.covariance import ledoit_wolf

    growth = np.asarray(growth, np.float64)
    if growth.shape[0] < _FEWEST:
        raise InputError(
            f"the drivers have {growth.shape[0]} years of growth, too few to say what is plausible: give at least "
            f"{_FEWEST}."
        )
    mean = growth.mean(axis=0)
    before, after = growth[:-1] - mean, growth[1:] - mean
    fitted = np.sum(before * after, axis=0) / np.maximum(np.sum(before**2, axis=0), np.finfo(float).tiny)
    persistence = np.clip(fitted, -_MOST_PERSISTENT, _MOST_PERSISTENT)
    covariance, _ = ledoit_wolf(after - persistence * before, assume_centered=True)
    return Law(mean, persistence, np.linalg.cholesky(covariance), growth[-1])
