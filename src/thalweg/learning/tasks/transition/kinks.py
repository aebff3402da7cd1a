"""Transitions of problems that are not smooth, such as ReLU networks: by relaxations instead of branches."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.energy import AbstractEnergy, Landscape
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.transition.branches import drawn, like_of, loss_of
from thalweg.learning.tasks.transition.collapse import Ground
from thalweg.learning.tasks.transition.learnt import LANES, Relaxer
from thalweg.verbs.relax import relax

_LINE = 4001  # points on a line between two starts, on which kinks are looked for
_TINY = 1e-6  # how far from collapse curvatures along a direction are taken: beyond the kink, and short of what bends
_STARTS = 64
_FAR, _NEAR = 0.08, 0.003  # relative distances from the end of the learnt state, between which it is extrapolated
_APART = 0.05  # of the first learnt state: nearer to collapse, a state counts as collapsed


@eqx.filter_jit
def _slopes_on_line(loss: Landscape, a: PyTree, b: PyTree) -> Array:
    def height(t: Array) -> Array:
        return loss(jax.tree.map(lambda one, other: one + t.astype(one.dtype) * (other - one), a, b))

    return jax.lax.map(jax.grad(height), jnp.linspace(0.0, 1.0, _LINE), batch_size=200)


def is_smooth(problem: Problem) -> bool:
    """Whether the loss has two derivatives along lines between random starts.

    The largest second difference of the slope falls by four where the spacing is halved, and by two across a kink.
    """
    unravel, ratios = jax.jit(ravel_pytree(like_of(problem))[1]), []
    starts = drawn(problem, 1, 0, 6)
    for place in range(3):
        ends = (unravel(starts[2 * place + side]) for side in (0, 1))
        slope = np.asarray(_slopes_on_line(loss_of(problem), *ends))
        fine, coarse = (np.abs(np.diff(slope[::stride], 2)).max() for stride in (1, 2))
        noise = 1e3 * np.finfo(slope.dtype).eps * np.abs(slope).max()
        ratios.append(4.0 if fine <= noise else coarse / fine)
    return float(np.median(ratios)) > 3.0


class Leaving(AbstractEnergy):
    """The curvature of the loss along a direction out of the collapsed state, over that direction.

    Minus its minimum is the decay below which the state is left; unit length is counted in penalised parameters.
    """

    loss: Landscape
    at: PyTree
    held: Float[Array, " n"]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        flat, unravel = ravel_pytree(self.at)
        unit = x / jnp.sqrt(jnp.sum((self.held * x) ** 2))

        def slope(t: Array) -> Array:
            return jax.jvp(lambda s: self.loss(unravel(flat + s * unit)), (t,), (jnp.ones_like(t),))[1]

        t = jnp.asarray(_TINY, flat.dtype)
        return jax.jvp(slope, (t,), (jnp.ones_like(t),))[1]


@eqx.filter_jit
def _left(energy: Leaving, scale: Array, starts: Array) -> tuple[Array, Array]:
    def one(start: Array) -> tuple[Array, Array]:
        found = relax(eqx.Partial(_scaled, energy, scale), start, "fire", max_steps=3000, tol=1e-9, throw=False)
        return found.value, energy(found.value)

    return jax.vmap(one)(starts)


def _scaled(energy: Landscape, scale: Array, x: Array) -> Array:
    return energy(x) / scale


def steepest(relaxer: Relaxer, held: Bool[np.ndarray, " n"]) -> float:
    """The decay below which the collapsed state is left along some direction, kinks or not; not positive where none is.

    The best of many searches over all directions: a lower bound.
    """
    flat, unravel = ravel_pytree(relaxer.like)
    at = unravel(jnp.asarray(relaxer.state.x, flat.dtype))
    energy = Leaving(loss_of(relaxer.problem), at, jnp.asarray(held, flat.dtype))
    starts = jnp.asarray(np.random.default_rng([relaxer.seed, 104729]).normal(size=(_STARTS, len(held))), flat.dtype)
    rough = np.abs(np.asarray(jax.vmap(energy)(starts))).max()
    values = np.asarray(_left(energy, jnp.asarray(float(rough) or 1.0, flat.dtype), starts)[1])
    return -float(np.nanmin(values))


class Ebb(NamedTuple):
    """How a learnt state goes as the decay grows, from relaxations of it.

    **Fields:** the `decay`s, the states `x` and `energy`, upwards; `stays`, the last decay at which it is apart from
    collapse and the first at which it is not; `meets`, the decay at which its energy passes that of collapse and two
    around it, or `None`; `zero`, the decay at which the square of its weights extrapolates to zero, with an `interval`;
    `jump`, the square of the weights where it ends over that at the far end of the extrapolation.
    """

    decay: Float[np.ndarray, " lanes"]
    x: Float[np.ndarray, "lanes n"]
    energy: Float[np.ndarray, " lanes"]
    stays: tuple[float, float]
    meets: tuple[float, float, float] | None
    zero: float
    interval: tuple[float, float]
    jump: float


def ebb(relaxer: Relaxer, x: np.ndarray, decay: float, top: float, ground: Ground, held: Bool[np.ndarray, " n"]) -> Ebb:
    """Follow a learnt state from `decay` upwards by relaxations, ever closer to where it ends."""
    low, high, learnt, met = decay, top, x, None
    scale = _weights(x[None] - ground.x(decay), held)[0]
    for _ in range(3):
        decays = np.geomspace(low, high, LANES)
        found, energy = relaxer(decays, np.broadcast_to(learnt, (LANES, len(x))))
        floors = np.array([ground.energy(float(one)) for one in decays])
        apart = _weights(found - np.stack([ground.x(float(one)) for one in decays]), held) > _APART**2 * scale
        last = int(np.argmin(apart)) - 1 if not apart.all() else LANES - 2
        last = max(last, 0)
        above = np.flatnonzero(apart & (energy > floors))
        if len(above) and above[0] > 0 and met is None:
            met = _crossing(decays, energy - floors, int(above[0]))
        low, high, learnt = float(decays[last]), float(decays[last + 1]), found[last]
    near = low * (1 - np.geomspace(_FAR, _NEAR, LANES))
    found, energy = relaxer(near, np.broadcast_to(x, (LANES, len(x))))
    squares = _weights(found, held)
    zero, interval = _zero(near, squares)
    jump = float(_weights(learnt[None], held)[0] / squares[0])
    return Ebb(near, found, energy, (low, high), met, zero, interval, jump)


def _crossing(decay: np.ndarray, excess: np.ndarray, place: int) -> tuple[float, float, float]:
    low, high = (float(one) for one in decay[place - 1 : place + 1])
    part = excess[place - 1] / (excess[place - 1] - excess[place])
    return low + float(part) * (high - low), low, high


def _weights(x: np.ndarray, held: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " lanes"]:
    return (x[:, held] ** 2).sum(axis=1)


def _zero(decay: np.ndarray, squares: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Where a parabola through the squares is zero, and the range of it over parts of the points and other degrees."""

    def root(rows: Any, degree: int) -> float:
        middle = decay[rows].mean()
        line = np.polynomial.Polynomial.fit(decay[rows] - middle, squares[rows], degree)
        roots = [float(one.real) for one in line.roots() if abs(one.imag) < 1e-9]
        # Of several, the one next to where the points end.
        return float(middle) + min(roots, key=lambda one: abs(one + float(middle - decay[-1])), default=float("nan"))

    count = len(decay)
    tried = [(slice(0, count), 2), (slice(0, count), 1), (slice(0, count), 3), (slice(count // 3, count), 2)]
    found = [root(rows, degree) for rows, degree in tried]
    good = [one for one in found if np.isfinite(one)]
    return found[0], (min(good, default=found[0]), max(good, default=found[0]))
