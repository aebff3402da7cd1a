"""The largest ball over which a bound stays positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class _Bracket(NamedTuple):
    """Positive at `low`, not at `high`; weighted heights there; where the last step fell; the heights of the probes."""

    low: Float[Array, ""]
    at_low: Float[Array, ""]
    high: Float[Array, ""]
    at_high: Float[Array, ""]
    side: Int[Array, ""]
    count: Int[Array, ""]
    probed: Float[Array, " probes"]


def largest_radius(
    bound: Callable[[Float[Array, ""]], Float[Array, ""]],
    probes: Float[Array, " probes"],
    *,
    search: bool = True,
    tolerance: float = 1e-3,
    most: int = 24,
) -> tuple[Float[Array, ""], Float[Array, " probes"]]:
    """A radius at which `bound` was found to be positive, close to the largest one; and the bounds at some radii.

    **Arguments:** `bound`, of a radius; `probes`, radii that are asked first: zero, and one where the bound is not
    positive any more, must be among them if there is something to `search`; `tolerance`, relative to the answer;
    `most`, evaluations.

    **Returns:** the radius, zero if the bound is positive at no radius that was asked; the bounds at the probes.

    **Source:** the Illinois rule, M. Dowell & P. Jarratt, BIT 11, 168 (1971), with a bisection every fourth time.
    """
    first = len(probes)

    def unfinished(state: _Bracket) -> Array:
        open_ = (state.at_low > 0) & jnp.isfinite(state.high) & (state.high - state.low > tolerance * state.high)
        return (state.count < first) | (open_ & (state.count < most) & search)

    def closer(state: _Bracket) -> _Bracket:
        fall = state.at_low - state.at_high
        share = jnp.where(jnp.isfinite(fall) & (state.count % 4 < 3), state.at_low / fall, 0.5)
        between = state.low + jnp.clip(share, 0.02, 0.98) * (state.high - state.low)
        radius = jnp.where(state.count < first, probes[jnp.minimum(state.count, first - 1)], between)
        height = bound(radius)  # once, so that its program is compiled once
        probing, up = state.count < first, height > 0
        again = ~probing & jnp.where(up, state.side == 1, state.side == -1)
        half = jnp.where(again, 0.5, 1.0)
        higher, lower = up & (radius >= state.low), ~up & (radius <= state.high)
        return _Bracket(
            jnp.where(higher, radius, state.low),
            jnp.where(higher, height, jnp.where(up, 1.0, half) * state.at_low),
            jnp.where(lower, radius, state.high),
            jnp.where(lower, height, jnp.where(up, half, 1.0) * state.at_high),
            jnp.where(probing, 0, jnp.where(up, 1, -1)),
            state.count + 1,
            state.probed.at[state.count].set(height, mode="drop"),
        )

    nothing, zero = jnp.full_like(probes[0], -jnp.inf), jnp.asarray(0)
    low, high = jnp.zeros_like(nothing), -nothing
    start = _Bracket(low, nothing, high, nothing, zero, zero, jnp.zeros_like(probes))
    found = jax.lax.while_loop(unfinished, closer, start)
    return found.low, found.probed
