"""Radial functions: the Gaussian-type orbitals that are the network's activations, and what they are compared with."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

NEAR = 0.7  # A: nothing comes nearer than two hydrogen atoms
_SOFT = 0.01  # A


def soft_length(square: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """`sqrt(r^2 + 0.01^2)` in A: a distance that is smooth at `r = 0` too."""
    return jnp.sqrt(square + _SOFT**2)


def smooth_cutoff(square: Float[Array, "*batch"], cutoff: float) -> Float[Array, "*batch"]:
    """`exp(1 - 1 / (1 - r^2 / rc^2))` inside the cutoff and 0 outside: all derivatives are continuous.

    **Arguments:** `square`, squared distances in A^2; `cutoff` in A.
    """
    share = square / cutoff**2
    # The function has fallen below 1e-34 there; the where inside keeps NaN out of the slopes beyond.
    inside = share < 1 - 1 / 80
    share = jnp.where(inside, share, 0.0)
    return jnp.where(inside, jnp.exp(1 - 1 / (1 - share)), 0.0)


class AbstractRadial(eqx.Module):
    """A set of functions of the distance for each species of neighbour."""

    @abc.abstractmethod
    def __call__(
        self, length: Float[Array, "slots atoms"], envelope: Float[Array, "slots atoms"], species: int
    ) -> Float[Array, "slots k atoms"]:
        """The functions at some distances in A to neighbours of a species, times the cutoff's `envelope`."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many functions there are."""


class Gaussians(AbstractRadial):
    """Gaussians `exp(-a (r - c)^2)` whose exponents `a` and centres `c` are learnt for each species of neighbour.

    **Fields:** `exponents`, before softplus, in 1 / A^2; `centres` in A.
    """

    exponents: Float[Array, "species k"]
    centres: Float[Array, "species k"]

    @staticmethod
    def make(species: int, k: int, cutoff: float, dtype: np.dtype) -> Gaussians:
        """Gaussians at equal distances up to nearly the cutoff, each as wide as these are apart times 1.5."""
        far = 0.84 * cutoff
        width = 1.5 * (far - NEAR) / max(k - 1, 1)
        start = 1 / (2 * width**2)
        raw = start + math.log(-math.expm1(-start))  # softplus of it is `start`
        centres = np.tile(np.linspace(NEAR, far, k), (species, 1))
        return Gaussians(jnp.full((species, k), raw, dtype), jnp.asarray(centres, dtype))

    @property
    def size(self) -> int:
        """How many functions there are."""
        return self.centres.shape[1]

    def __call__(self, length, envelope, species):
        exponents = jax.nn.softplus(self.exponents[species])[:, None]
        off = length[:, None] - self.centres[species][:, None]
        return jnp.exp(-exponents * off * off) * envelope[:, None]


class BesselNetwork(AbstractRadial):
    """Spherical Bessel functions through a small SiLU network: what other potentials have in place of orbitals.

    **Fields:** `first [species, waves, hidden]` and `second [species, hidden, k]`, the weights; `cutoff` in A.

    **Source:** Gasteiger, Gross & Guennemann, ICLR (2020); Batzner et al., Nat. Commun. 13, 2453 (2022).
    """

    first: Float[Array, "species waves hidden"]
    second: Float[Array, "species hidden k"]
    cutoff: float = eqx.field(static=True)

    @staticmethod
    def make(species: int, k: int, cutoff: float, dtype: np.dtype, key: Key[Array, ""]) -> BesselNetwork:
        """Eight waves and as many hidden units."""
        one, two = jax.random.split(key)
        first = jax.random.normal(one, (species, 8, 8), dtype) / math.sqrt(8)
        return BesselNetwork(first, jax.random.normal(two, (species, 8, k), dtype) / math.sqrt(8), cutoff)

    @property
    def size(self) -> int:
        """How many functions there are."""
        return self.second.shape[2]

    def __call__(self, length, envelope, species):
        order = jnp.arange(1, self.first.shape[1] + 1, dtype=length.dtype)[:, None] * (math.pi / self.cutoff)
        waves = math.sqrt(2 / self.cutoff) * jnp.sin(order * length[:, None]) / length[:, None]
        hidden = jax.nn.silu(jnp.einsum("pwn,wh->phn", 2 * waves, self.first[species]))
        return jnp.einsum("phn,hk->pkn", hidden, self.second[species]) * envelope[:, None]
