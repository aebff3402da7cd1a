"""The step of a Newton method inside a trust radius, by truncated conjugate gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.methods.curvature import Product


class _Solve(NamedTuple):
    step: Float[Array, " n"]
    rest: Float[Array, " n"]
    search: Float[Array, " n"]
    count: Int[Array, ""]
    done: Bool[Array, ""]


def trust_region_step(
    apply: Product, slope: Float[Array, " n"], radius: Float[Array, ""], tolerance: Float[Array, ""], limit: int
) -> tuple[Float[Array, " n"], Float[Array, " n"], Int[Array, ""]]:
    """An approximate minimiser `s` of `slope.s + s.H s / 2` with `|s| <= radius`.

    **Arguments:** `apply`, the product with the symmetric `H`, which may be indefinite: a direction of negative
    curvature is followed to the radius; `tolerance`, the residual relative to `slope`; `limit`, the most iterations.

    **Returns:** the step, `H s`, and the number of products.

    **Source:** Steihaug, SIAM J. Numer. Anal. 20, 626 (1983).
    """
    target = tolerance * jnp.linalg.norm(slope)

    def going(solve: _Solve) -> Bool[Array, ""]:
        return ~solve.done & (solve.count < limit)

    def once(solve: _Solve) -> _Solve:
        image = apply(solve.search)
        bend, rest = solve.search @ image, solve.rest @ solve.rest
        inner = rest / jnp.where(bend > 0, bend, 1)
        outside = (bend <= 0) | (jnp.linalg.norm(solve.step + inner * solve.search) >= radius)
        length = jnp.where(outside, _to_the_radius(solve.step, solve.search, radius), inner)
        left = solve.rest - length * image
        search = left + (left @ left) / jnp.maximum(rest, jnp.finfo(rest.dtype).tiny) * solve.search
        done = outside | (jnp.linalg.norm(left) <= target)
        return _Solve(solve.step + length * solve.search, left, search, solve.count + 1, done)

    still = jnp.linalg.norm(slope) == 0
    begun = _Solve(jnp.zeros_like(slope), -slope, -slope, jnp.zeros((), jnp.int32), still)
    end = jax.lax.while_loop(going, once, begun)
    return end.step, -slope - end.rest, end.count


def _to_the_radius(step: Array, search: Array, radius: Array) -> Array:
    """The positive `t` with `|step + t search| = radius`."""
    a, b, c = search @ search, step @ search, step @ step - radius**2
    root = jnp.sqrt(jnp.maximum(b**2 - a * c, 0))
    # The form without cancellation, whatever the sign of b.
    return jnp.where(b > 0, -c / jnp.where(b > 0, b + root, 1), (root - b) / jnp.maximum(a, jnp.finfo(a.dtype).tiny))
