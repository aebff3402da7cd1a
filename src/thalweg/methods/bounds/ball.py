"""The set of inputs to bound over: a ball around a centre, inside a box."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Norm = Literal["linf", "l2"]


class Ball(eqx.Module):
    """The points of a box within `radius` of `center [n]` in a norm.

    **Arguments:** `lower` and `upper`, the walls of the box, numbers or arrays `[n]`; `norm`, `linf` or `l2`.
    """

    center: Float[Array, " n"]
    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    lower: Float[Array, "..."] = eqx.field(converter=jnp.asarray)
    upper: Float[Array, "..."] = eqx.field(converter=jnp.asarray)
    norm: Norm = eqx.field(default="linf", static=True)

    def box(self) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """The smallest box around the set."""
        low, high = self.center - self.radius, self.center + self.radius
        return jnp.maximum(low, self.lower), jnp.minimum(high, self.upper)

    def least(
        self, forms: Float[Array, "... n m"], columns: Int[Array, "g n"] | None = None
    ) -> tuple[Float[Array, "... m"], Float[Array, "... m"]]:
        """Lower bounds of linear forms over the set, and the sum of the absolute values of their terms.

        **Arguments:** `columns`, which items of the input the forms take, by default all.
        """
        low, high = self.box()
        center = self.center
        if columns is not None:
            low, high, center = (a.at[columns].get(mode="fill", fill_value=0.0) for a in (low, high, center))
        low, high, center = low[..., None], high[..., None], center[..., None]
        terms = jnp.maximum(forms, 0) * low + jnp.minimum(forms, 0) * high
        scale = jnp.sum(jnp.abs(forms) * jnp.maximum(jnp.abs(low), jnp.abs(high)), axis=-2)
        found = jnp.sum(terms, axis=-2)
        if self.norm == "l2":
            found = jnp.maximum(
                found, jnp.sum(forms * center, axis=-2) + self._dual(forms, low - center, high - center)
            )
        return found, scale

    def _dual(self, forms: Array, low: Array, high: Array) -> Array:
        """A lower bound of the forms over the moves from the centre.

        Any multiplier of the constraint `|d|^2 <= r^2` gives one; three rounds come close to the best.
        """
        tiny = jnp.finfo(forms.dtype).tiny ** 0.5
        free = ((forms > 0) & (low < 0)) | ((forms < 0) & (high > 0))
        length = jnp.sqrt(jnp.sum(jnp.where(free, forms, 0.0) ** 2, axis=-2, keepdims=True))
        twice = length / jnp.maximum(self.radius, tiny)

        def better(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            twice, best = jnp.maximum(state[0], tiny), state[1]
            move = jnp.clip(-forms / twice, low, high)
            squares = jnp.sum(move**2, axis=-2, keepdims=True)
            value = jnp.sum(forms * move, axis=-2, keepdims=True) + twice / 2 * (squares - self.radius**2)
            inside = (-forms > twice * low) & (-forms < twice * high)
            stuck = jnp.sum(jnp.where(inside, 0.0, move**2), axis=-2, keepdims=True)
            rest = jnp.sqrt(jnp.sum(jnp.where(inside, forms, 0.0) ** 2, axis=-2, keepdims=True))
            room = jnp.sqrt(jnp.maximum(self.radius**2 - stuck, tiny))
            closer = jnp.where((rest > 0) & (stuck < self.radius**2), rest / room, twice)
            return closer, jnp.maximum(best, value)

        return jax.lax.fori_loop(0, 3, better, (twice, jnp.full_like(twice, -jnp.inf)))[1][..., 0, :]
