"""Steps to the nearest point of a plane: sequential quadratic programming with an exact projection into the box."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core.space import AbstractSpace
from thalweg.methods.crossing.search import AbstractCrossing, Best, Norm, length

_NEWTON_STEPS = 12  # the multiplier's function is piecewise linear: one step per wall that is met, then exact


class PlaneState(eqx.Module):
    """A search over one step.

    **Fields:** the `trial` to look at next and the nearest crossing so far; the averaged plane `normal . x <= offset`
    (infinite before there is one); `damping` of the step; the point `aim` of the step; along the ray from the origin
    through it the share `at` that is looked at, the last one `above` zero and the first one `below`, with their
    heights; the probes `left` in this step; the distance of the best `before` it.
    """

    trial: Float[Array, "..."]
    best: Best
    normal: Float[Array, "..."]
    offset: Float[Array, ""]
    damping: Float[Array, ""]
    aim: Float[Array, "..."]
    at: Float[Array, ""]
    above: tuple[Float[Array, ""], Float[Array, ""]]
    below: tuple[Float[Array, ""], Float[Array, ""]]
    left: Int[Array, ""]
    before: Float[Array, ""]


class PlaneSteps(AbstractCrossing):
    """Euclidean projections of the origin onto the landscape's tangent plane at the crossing, inside the box.

    Where the landscape has kinks its slope at the crossing flips between faces: planes are averaged over the steps with
    the weight `memory`. Each step is followed by `probes` heights along the ray from the origin, which
    bracket the crossing there (regula falsi, kept off the ends); without them an almost-crossing would not count.
    A step that brings nothing is followed by shorter ones.

    **Source:** Wilson's sequential quadratic programming with the unit Hessian of the squared distance: Nocedal &
    Wright, Numerical Optimization (2006), chapter 18.
    """

    probes: int = 3
    memory: float = 0.5
    norm: Norm = "l2"

    bibtex: ClassVar[str] = """@book{nocedal2006numerical,
  title={Numerical Optimization}, author={Nocedal, Jorge and Wright, Stephen J},
  edition={2}, publisher={Springer}, year={2006}}"""

    def init(self, space: AbstractSpace, origin: Array, best: Best, start: Array) -> PlaneState:
        # The crossing that is known is where the plane belongs; without one, the start.
        trial = jnp.where(jnp.isfinite(best.distance), best.x, space.wrap(start))
        one, none = jnp.ones_like(best.distance), jnp.full_like(best.distance, jnp.nan)
        ray = one, (0 * one, none), (jnp.inf * one, none)
        return PlaneState(
            trial, best, jnp.zeros_like(trial), jnp.inf * one, one, trial, *ray, jnp.array(0), best.distance
        )

    def tell(
        self, space: AbstractSpace, origin: Array, state: PlaneState, share: Array, value: Array, slope: Array
    ) -> PlaneState:
        best = state.best.seen(state.trial, length("l2", state.trial - origin), value)
        keep = jnp.where(jnp.isfinite(state.offset), jnp.asarray(self.memory, value.dtype), 0)
        normal = keep * state.normal + (1 - keep) * slope
        kept = keep * jnp.where(jnp.isfinite(state.offset), state.offset, 0)
        offset = kept + (1 - keep) * (jnp.sum(slope * state.trial) - value)
        aim = state.trial + state.damping * (nearest_on_plane(space, origin, normal, offset) - state.trial)
        one, none = jnp.ones_like(value), jnp.full_like(value, jnp.nan)
        ray = one, (0 * one, none), (jnp.inf * one, none)
        left = jnp.array(self.probes)
        return PlaneState(space.wrap(aim), best, normal, offset, state.damping, aim, *ray, left, state.best.distance)

    def probe(self, space: AbstractSpace, origin: Array, state: PlaneState, value: Array) -> PlaneState:
        best = state.best.seen(state.trial, length("l2", state.trial - origin), value)
        under, pair = value < 0, (state.at, value)
        below = _either(under & (state.at < state.below[0]), pair, state.below)
        above = _either(~under & (state.at >= state.above[0]), pair, state.above)
        found, last = jnp.isfinite(below[0]), state.left == 1
        # The last probe's answer is the crossing itself, where the next slope is wanted.
        at = jnp.where(last, below[0], _next_share(above, below))
        trial = space.wrap(origin + jnp.where(jnp.isfinite(at), at, 1) * (state.aim - origin))
        near = found & (length("l2", trial - origin) < 1.02 * best.distance)
        trial = jnp.where(last & ~near & jnp.isfinite(best.distance), best.x, trial)
        stretched = jnp.minimum(1.3 * state.damping, 1)
        damping = jnp.where(best.distance < state.before, stretched, 0.5 * state.damping)
        damping = jnp.where(last, damping, state.damping)
        return PlaneState(
            trial, best, state.normal, state.offset, damping, state.aim, at, above, below, state.left - 1, state.before
        )


def nearest_on_plane(space: AbstractSpace, origin: Array, normal: Array, offset: Array) -> Array:
    """The point of the box nearest to `origin` with `normal . x <= offset`, by Newton steps on its multiplier.

    The point is `wrap(origin - multiplier normal)`, whose fall along the normal is concave and piecewise linear in the
    multiplier. A plane that the box does not reach is met by its farthest corner.
    """
    least = jnp.finfo(normal.dtype).tiny  # a flat landscape has no plane: the origin is then as good as any point
    steepness = jnp.maximum(jnp.sum(normal**2), least)
    needed = jnp.sum(normal * origin) - offset

    def improved(_: int, multiplier: Array) -> Array:
        there = space.wrap(origin - multiplier * normal)
        short = needed + jnp.sum(normal * (there - origin))
        free = jnp.sum(jnp.where(space.project(there, -normal) != 0, normal**2, 0))
        return jnp.maximum(multiplier + short / jnp.maximum(free, jnp.maximum(1e-6 * steepness, least)), 0)

    multiplier = jax.lax.fori_loop(0, _NEWTON_STEPS, improved, jnp.maximum(needed / steepness, 0))
    return space.wrap(origin - multiplier * normal)


def _either(condition: Array, then: tuple[Array, Array], otherwise: tuple[Array, Array]) -> tuple[Array, Array]:
    return jnp.where(condition, then[0], otherwise[0]), jnp.where(condition, then[1], otherwise[1])


def _next_share(above: tuple[Array, Array], below: tuple[Array, Array]) -> Array:
    """Where to look next along the ray: between the bracket's ends, a little beyond the chord's zero."""
    bracketed = jnp.isfinite(below[0]) & jnp.isfinite(above[1])
    fall = jnp.where(bracketed, above[1] - below[1], 1)
    chord = jnp.clip(1.05 * above[1] / fall + 0.01, 0.05, 0.95)
    inside = above[0] + jnp.where(bracketed, chord, 0.5) * (jnp.where(bracketed, below[0], 1) - above[0])
    outside = jnp.where(jnp.isfinite(below[0]), 0.97 * below[0], 1.03 * jnp.maximum(above[0], 1))
    return jnp.where(bracketed, inside, outside)
