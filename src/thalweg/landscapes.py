"""Classic landscapes with published stationary points, to learn, test and measure on."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError


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


class PairwiseSigns(AbstractEnergy):
    """`E(s) = -sum_k coupling_k s_first_k s_second_k - sum_i field_i s_i` over signs `s` in {-1, +1}.

    It is multilinear: the force is the local field, and turning sign `i` costs `2 s_i force_i` exactly.

    **Arguments:** `first` and `second`, the two ends of each pair; `coupling`, one per pair (energy); `field`, one per
    sign (energy), which also says how many signs there are.
    """

    first: Int[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    second: Int[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    coupling: Float[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    field: Float[Array, " n"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        ends = (self.first, self.second)
        if any(isinstance(end, Tracer) for end in ends):
            return
        first, second = (np.asarray(end) for end in ends)
        if not first.shape == second.shape == self.coupling.shape:
            raise InputError("PairwiseSigns: first, second and coupling differ in length: give one of each per pair.")
        if first.size and not (0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) < self.field.size):
            raise InputError(f"PairwiseSigns: a pair leaves the {self.field.size} signs: give a field for each sign.")
        if (first == second).any():
            raise InputError("PairwiseSigns: a sign is coupled to itself, which is a constant: leave the pair out.")

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        pairs = jnp.sum(self.coupling.astype(x.dtype) * x[self.first] * x[self.second])
        return -pairs - jnp.sum(self.field.astype(x.dtype) * x)

    def exact_energy(self, signs: Int[np.ndarray, " n"]) -> int:
        """The energy in integer arithmetic on the host, for integer couplings and fields.

        **Raises:** `InputError` where they are not integers.
        """
        coupling, field = (np.asarray(part, np.float64) for part in (self.coupling, self.field))
        if (coupling % 1).any() or (field % 1).any():
            raise InputError("PairwiseSigns: the couplings are not integers: call the energy itself.")
        s = np.asarray(signs, np.int64)
        pairs = coupling.astype(np.int64) @ (s[np.asarray(self.first)] * s[np.asarray(self.second)])
        return -int(pairs) - int(field.astype(np.int64) @ s)

    def to_csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Host arrays `(starts, neighbours, couplings, field)`: each pair in both rows, repeated pairs summed."""
        from scipy.sparse import coo_array

        first, second, coupling = (np.asarray(part) for part in (self.first, self.second, self.coupling))
        rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
        values = np.concatenate([coupling, coupling]).astype(np.float64)
        matrix = coo_array((values, (rows, columns)), shape=(self.field.size, self.field.size)).tocsr()
        return matrix.indptr, matrix.indices, matrix.data, np.asarray(self.field, np.float64)


def square_lattice(length: int, coupling: float = 1.0) -> PairwiseSigns:
    """Signs on a periodic square lattice, `x[row * length + column]`, with every nearest pair coupled alike.

    For a positive coupling it orders below the temperature `2 / ln(1 + sqrt(2))` couplings.

    **Raises:** `InputError` for a length below 3, where a pair would be its own periodic image.

    **Source:** Onsager, Phys. Rev. 65, 117 (1944).
    """
    if length < 3:
        raise InputError(
            f"square_lattice: {length} x {length} has no separate neighbours: take a length of at least 3."
        )
    sites = np.arange(length * length, dtype=np.int32).reshape(length, length)
    first = np.concatenate([sites.ravel(), sites.ravel()])
    second = np.concatenate([np.roll(sites, -1, 1).ravel(), np.roll(sites, -1, 0).ravel()])
    return PairwiseSigns(first, second, jnp.full(first.size, coupling, dtype=float), jnp.zeros(sites.size, dtype=float))
