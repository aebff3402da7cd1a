"""Adaptive quadrature on [0, 1] with an error estimate that knows about corners and about rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import quadax
from jaxtyping import Array, Bool, Float, Int


class Integral(NamedTuple):
    """An integral, its estimated error, the integral of the absolute value, and whether the tolerance was reached."""

    value: Float[Array, ""]
    error: Float[Array, ""]
    absolute: Float[Array, ""]
    evaluations: Int[Array, ""]
    reached: Bool[Array, ""]


def integrate(
    integrand: Callable[[Float[Array, ""]], Float[Array, ""]],
    breaks: tuple[float, ...],
    dtype: jnp.dtype,
    *,
    tol: Float[Array, ""],
    max_pieces: int,
) -> Integral:
    """The integral of a scalar function over [0, 1], split at `breaks`, to the error `tol * max(1, |integral|)`.

    The error is the Gauss-Kronrod estimate plus QUADPACK's bound on rounding, 50 eps times the integral of the absolute
    value.

    **Source:** Piessens et al., QUADPACK (1983), algorithm QAG, as quadax has it.
    """

    def with_absolute(t: Float[Array, ""]) -> Float[Array, "2"]:
        height = integrand(t)
        return jnp.stack([height, jnp.abs(height)])

    # Only the signed part steers the refinement: the absolute value has corners of its own.
    both, info = quadax.quadgk(
        with_absolute,
        jnp.asarray([0.0, *breaks, 1.0], dtype),
        epsabs=tol,
        epsrel=tol,
        max_ninter=max(max_pieces, len(breaks) + 1),
        norm=lambda pair: jnp.abs(pair[..., 0]),
        extrapolate=False,
    )
    rounding = 50 * jnp.finfo(dtype).eps * both[1]
    return Integral(both[0], info.err + rounding, both[1], jnp.asarray(info.neval), jnp.asarray(info.status) == 0)
