"""A shrinking ball: steps by the signs of the slope inside a ball that closes in on the crossing."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.space import AbstractSpace
from thalweg.methods.crossing.search import AbstractCrossing, Best, Norm, dual_length, length


class BallState(eqx.Module):
    """The point to look at next, the nearest crossing so far, and the radius of the ball."""

    trial: Float[Array, "..."]
    best: Best
    radius: Float[Array, ""]


class ShrinkingBall(AbstractCrossing):
    """Signed steps, brought back into a ball around the origin that is smaller than the nearest crossing so far.

    Once a crossing is known, the radius falls below it by a share `shrink` (first and last, geometrically between),
    or by `trust` of what the slope promises if that is more. Before, it is what the slope says is needed.

    Signs of the slope, rather than the slope, move all coordinates alike: where a trained landscape is flat in most of
    them the walk still leaves its basin. The steps fall from `stride[0]` to `stride[1]` of the radius.

    **Source:** our own; the rule for the radius is near to Pintor et al., NeurIPS 34 (2021) and Rony et al., CVPR
    (2019), which do without the jump by the slope.
    """

    norm: Norm = "l2"
    probes: int = 0
    shrink: tuple[float, float] = (0.1, 0.01)
    stride: tuple[float, float] = (1.0, 0.02)
    trust: float = 0.6

    bibtex: ClassVar[str] = """@inproceedings{pintor2021fast,
  title={Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints},
  author={Pintor, Maura and Roli, Fabio and Brendel, Wieland and Biggio, Battista},
  booktitle={Advances in Neural Information Processing Systems}, volume={34}, year={2021}}"""

    def init(self, space: AbstractSpace, origin: Array, best: Best, start: Array) -> BallState:
        return BallState(space.wrap(start), best, jnp.full_like(best.distance, jnp.nan))

    def tell(
        self, space: AbstractSpace, origin: Array, state: BallState, share: Array, value: Array, slope: Array
    ) -> BallState:
        distance, steepness = length(self.norm, state.trial - origin), dual_length(self.norm, slope)
        best = state.best.seen(state.trial, distance, value)
        radius = self._radius(state, best, share, distance, value, steepness)
        trial = state.trial - _between(self.stride, share) * radius * _direction(self.norm, slope)
        return BallState(space.wrap(_into_ball(self.norm, origin, space.wrap(trial), radius)), best, radius)

    def probe(self, space: AbstractSpace, origin: Array, state: BallState, value: Array) -> BallState:
        return state

    def _radius(
        self, state: BallState, best: Best, share: Array, distance: Array, value: Array, steepness: Array
    ) -> Array:
        shrink = _between(self.shrink, share)
        improved = best.distance < state.best.distance
        promised = best.distance - self.trust * jnp.abs(value) / steepness
        inside = best.distance * (1 - shrink)
        # A promise by a flat slope may be empty: never by more than this at once.
        inside = jnp.maximum(jnp.where(improved, jnp.minimum(inside, promised), inside), 0.3 * best.distance)
        needed = distance + jnp.maximum(value, 0) / steepness
        grown = jnp.where(jnp.isnan(state.radius), 1.3 * needed, jnp.maximum(state.radius * (1 + shrink), 1.1 * needed))
        return jnp.where(jnp.isfinite(best.distance), inside, grown)


def _between(ends: tuple[float, float], share: Array) -> Array:
    return ends[0] * (ends[1] / ends[0]) ** share


def _direction(norm: Norm, slope: Array) -> Array:
    signs = jnp.sign(slope)
    return signs if norm == "linf" else signs / jnp.maximum(length("l2", signs), 1)


def _into_ball(norm: Norm, origin: Array, x: Array, radius: Array) -> Array:
    if norm == "linf":
        return jnp.clip(x, origin - radius, origin + radius)
    step = x - origin
    return origin + step * (radius / jnp.maximum(length("l2", step), jnp.finfo(x.dtype).tiny))
