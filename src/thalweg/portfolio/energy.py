"""The landscapes of the room: reverse stress of the drivers, and the tail of a portfolio's footprint."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractEnergy
from thalweg.portfolio.model.footprint import Footprint
from thalweg.portfolio.model.law import Law


class StressEnergy(AbstractEnergy):
    """How implausible a path of the drivers is, less what its footprint weighs: half d^2 - weight log F.

    `x` are the shocks of the path, `[horizon, drivers]` in standard deviations: the path in coordinates in which the
    Mahalanobis distance d is the plain one. `law.path(x)` is the path, `law.shocks(path)` the way back.

    **Fields:** `footprint` and `law`; `weight`, per unit of log footprint: the larger, the farther from the expected
    path the minimum lies.

    **Source:** Breuer, Jandacka, Rheinberger & Summer, Int. J. Cent. Bank. 5, 205 (2009), on plausible worst cases.
    """

    footprint: Footprint
    law: Law
    weight: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: Float[Array, "horizon drivers"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(x**2) - self.weight * self.footprint.logarithm(self.law.path(x))


class Implausibility(AbstractEnergy):
    """Half the squared Mahalanobis distance of the shocks `x`, `[horizon, drivers]`: minus a log density."""

    def __call__(self, x: Float[Array, "horizon drivers"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(x**2)


class Shortfall(AbstractEnergy):
    """log(limit / F) of the last year: what is missing to a breach of the limit, negative beyond it.

    **Fields:** `footprint`, `law`; `log_limit`, the logarithm of the limit in t CO2e.
    """

    footprint: Footprint
    law: Law
    log_limit: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: Float[Array, "horizon drivers"]) -> Float[Array, ""]:
        return self.log_limit - self.footprint.logarithm(self.law.path(x))


class Tail(AbstractEnergy):
    """The mean of the worst footprints over draws, smoothed, plus the distance from the benchmark's weights.

    `x` is `(weights [companies], threshold)`. With L_s = sum_i w_i intensity_{s,i} the conditional value at risk is the
    minimum over the threshold t of t + mean(max(L - t, 0)) / (1 - level); the corner of the maximum is rounded over
    `width`, which raises it by at most width log 2 / (1 - level).

    **Fields:** `intensity [draws, companies]`, footprint per unit of weight; `benchmark [companies]`; `tracking
    [companies, companies]`, a covariance; `strength`, what a unit of its variance costs; `level`, such as 0.95;
    `width`, in units of the footprint.

    **Source:** Rockafellar & Uryasev, J. Risk 2(3), 21 (2000), equation 17.
    """

    intensity: Float[Array, "draws companies"]
    benchmark: Float[Array, " companies"]
    tracking: Float[Array, "companies companies"]
    strength: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    level: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    width: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{rockafellar2000optimization,
  title={Optimization of conditional value-at-risk}, author={Rockafellar, R Tyrrell and Uryasev, Stanislav},
  journal={Journal of Risk}, volume={2}, number={3}, pages={21--41}, year={2000}}"""

    def __call__(self, x: tuple[Float[Array, " companies"], Float[Array, ""]]) -> Float[Array, ""]:
        weights, threshold = x
        losses = self.intensity @ weights
        beyond = self.width * jax.nn.softplus((losses - threshold) / self.width)
        active = weights - self.benchmark
        return threshold + jnp.mean(beyond) / (1 - self.level) + self.strength * active @ self.tracking @ active
