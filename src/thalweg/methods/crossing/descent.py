"""The lowest point of a landscape within a ball: projected descent whose steps halve where they bring nothing."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.space import AbstractSpace
from thalweg.methods.crossing.search import AbstractCrossing, Best, Norm, length

_MOMENTUM, _WORTHWHILE = 0.75, 0.75
_FIRST, _LESS, _LEAST = 0.22, 0.03, 0.06  # shares of the walk between two looks at its progress


class BallDescentState(eqx.Module):
    """A descent in a ball.

    **Fields:** the `trial` to look at, the point `before` it, the nearest crossing, the lowest point `low` with its
    `height` and the slope there, the `stride`, and for the looks at its progress: steps taken, falls since the last
    look, the share of the walk at which the next one is due and the stretch before that, and what was true at the last.
    """

    trial: Float[Array, "..."]
    before: Float[Array, "..."]
    best: Best
    low: Float[Array, "..."]
    height: Float[Array, ""]
    slope: Float[Array, "..."]
    stride: Float[Array, ""]
    last: Float[Array, ""]
    falls: Int[Array, ""]
    steps: Int[Array, ""]
    due: Float[Array, ""]
    stretch: Float[Array, ""]
    height_then: Float[Array, ""]
    halved: Bool[Array, ""]


class BallDescent(AbstractCrossing):
    """Projected descent with momentum inside the ball of a fixed `radius`; where progress ends, half the stride.

    **Source:** Croce & Hein, ICML (2020), algorithm 1 (APGD).
    """

    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray, kw_only=True)
    norm: Norm = "linf"
    probes: int = 0

    bibtex: ClassVar[str] = """@inproceedings{croce2020reliable,
  title={Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks},
  author={Croce, Francesco and Hein, Matthias}, booktitle={ICML}, year={2020}}"""

    def init(self, space: AbstractSpace, origin: Array, best: Best, start: Array) -> BallDescentState:
        trial = self._inside(space, origin, start)
        one = jnp.ones_like(best.distance)
        due, none = _FIRST * one, jnp.array(0)
        stride, high = 2 * self.radius.astype(one.dtype), jnp.inf * one
        flat, unhalved = jnp.zeros_like(trial), jnp.array(False)
        return BallDescentState(
            trial, trial, best, trial, high, flat, stride, high, none, none, due, due, high, unhalved
        )

    def tell(
        self, space: AbstractSpace, origin: Array, state: BallDescentState, share: Array, value: Array, slope: Array
    ) -> BallDescentState:
        best = state.best.seen(state.trial, length(self.norm, state.trial - origin), value)
        lower = value < state.height
        low, height = jnp.where(lower, state.trial, state.low), jnp.minimum(value, state.height)
        low_slope = jnp.where(lower, slope, state.slope)
        falls, steps = state.falls + (value < state.last), state.steps + 1
        look = share >= state.due
        stuck = falls < _WORTHWHILE * steps
        idle = ~state.halved & (height >= state.height_then)
        halve = look & (stuck | idle) & jnp.isfinite(state.last)
        stride = jnp.where(halve, state.stride / 2, state.stride)
        stretch = jnp.where(look, jnp.maximum(state.stretch - _LESS, _LEAST), state.stretch)
        here, there_slope = jnp.where(halve, low, state.trial), jnp.where(halve, low_slope, slope)
        ahead = self._inside(space, origin, here - stride * _downhill(self.norm, there_slope))
        carried = here + _MOMENTUM * (ahead - here) + (1 - _MOMENTUM) * (here - state.before)
        carried = jnp.where(jnp.isfinite(state.last) & ~halve, carried, ahead)
        return BallDescentState(
            trial=self._inside(space, origin, carried),
            before=here,
            best=best,
            low=low,
            height=height,
            slope=low_slope,
            stride=stride,
            last=value,
            falls=jnp.where(look, 0, falls),
            steps=jnp.where(look, 0, steps),
            due=jnp.where(look, state.due + stretch, state.due),
            stretch=stretch,
            height_then=jnp.where(look, height, state.height_then),
            halved=jnp.where(look, halve, state.halved),
        )

    def probe(self, space: AbstractSpace, origin: Array, state: BallDescentState, value: Array) -> BallDescentState:
        return state

    def _inside(self, space: AbstractSpace, origin: Array, x: Array) -> Array:
        radius = self.radius.astype(x.dtype)
        if self.norm == "linf":
            return space.wrap(jnp.clip(x, origin - radius, origin + radius))
        step = x - origin
        shorter = jnp.minimum(1, radius / jnp.maximum(length("l2", step), jnp.finfo(x.dtype).tiny))
        return space.wrap(origin + shorter * step)


def _downhill(norm: Norm, slope: Array) -> Array:
    if norm == "linf":
        return jnp.sign(slope)
    return slope / jnp.maximum(length("l2", slope), jnp.finfo(slope.dtype).tiny)
