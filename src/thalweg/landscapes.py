"""Classic landscapes with published stationary points, to learn, test and measure on."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.energy import AbstractEnergy


class DoubleWell(AbstractEnergy):
    """`E(x) = height * sum((x^2 - 1)^2)`: minima at +-1 in every coordinate, a ridge of `height` at 0."""

    height: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        return self.height.astype(x.dtype) * jnp.sum((x**2 - 1) ** 2)


class MullerBrown(AbstractEnergy):
    """Three minima and two saddles in the plane; `scale` multiplies the height.

    **Source:** Muller & Brown, Theor. Chim. Acta 53, 75 (1979).
    """

    scale: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x: Float[Array, "2"]) -> Float[Array, ""]:
        row = lambda *numbers: jnp.asarray(numbers, x.dtype)  # noqa: E731
        height = row(-200, -100, -170, 15)
        a, b, c = row(-1, -1, -6.5, 0.7), row(0, 0, 11, 0.6), row(-10, -10, -6.5, 0.7)
        first, second = x
        dx, dy = first - row(1, 0, -0.5, -1), second - row(0, 0.5, 1.5, 1)
        return self.scale.astype(x.dtype) * jnp.sum(height * jnp.exp(a * dx**2 + b * dx * dy + c * dy**2))


class LennardJones(AbstractEnergy):
    """A free cluster: `4 depth sum_{i<j} ((size/r)^12 - (size/r)^6)` over positions `[n, 3]`.

    **Source:** Jones, Proc. R. Soc. A 106, 463 (1924); minima in Wales & Doye, J. Phys. Chem. A 101, 5111 (1997).
    """

    depth: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    size: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, ""]:
        first, second = np.triu_indices(x.shape[0], k=1)  # by NumPy: constants, without float64 on the way
        squared = jnp.sum((x[first] - x[second]) ** 2, axis=-1)
        inverse = (self.size.astype(x.dtype) ** 2 / squared) ** 3
        return 4 * self.depth.astype(x.dtype) * jnp.sum(inverse**2 - inverse)
