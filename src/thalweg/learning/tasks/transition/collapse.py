"""The state of a training problem at large decay, and where it stops being a minimum."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree
from scipy.interpolate import CubicHermiteSpline, make_interp_spline

from thalweg.core.energy import Landscape
from thalweg.core.space import Euclidean
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.transition.branches import Curve, drawn, like_of, loss_of
from thalweg.methods.curvature import hessian

_EVEN = 1e-8  # of the slopes of a random start: below it, collapse is a stationary point
_SAME = 1e-6  # relative to the largest: eigenvalues that differ by less are one crossing
_NEWTON = 30  # corrections of the free parameters; one does for squared residuals and an output bias


class Collapsed(NamedTuple):
    """The state in which all penalised parameters are zero and the free ones fit as well as they can.

    **Fields:** the flat `x` and its `loss`; `even`, whether this is a stationary point (then at every decay); the
    decays `crossings`, largest first, at which eigenvalues of its Hessian are zero, each with its `multiplicity`;
    `error`, a bound on each; `stiffness`, the largest curvature of the loss there.
    """

    x: Float[np.ndarray, " n"]
    loss: float
    even: bool
    crossings: Float[np.ndarray, " crossings"]
    multiplicity: np.ndarray
    error: float
    stiffness: float


@eqx.filter_jit
def slopes(loss: Landscape, x: PyTree) -> tuple[Array, Array]:
    """The loss at some params and its flat gradient."""
    height, slope = jax.value_and_grad(loss)(x)
    return height, ravel_pytree(slope)[0]


@eqx.filter_jit
def curvature(loss: Landscape, x: PyTree) -> Array:
    """The Hessian of the loss over the flat params."""
    return hessian(loss, Euclidean(), x)


def is_penalised(problem: Problem, like: PyTree) -> Bool[np.ndarray, " n"]:
    """For each flat parameter, whether the decay acts on it."""
    leaves = jax.tree.leaves(like)
    chosen = problem.penalised or (True,) * len(leaves)
    return np.concatenate([np.full(leaf.size, one) for leaf, one in zip(leaves, chosen, strict=True)])


def collapsed(problem: Problem) -> Collapsed:
    """The collapsed state, and where it stops being a minimum.

    Its Hessian over the decay is `H + decay * P`, with `P` the projection on the penalised parameters: it is singular
    where the decay is minus an eigenvalue of `H` after the free parameters are eliminated, for all decays at once.
    """
    loss, like = loss_of(problem), like_of(problem)
    unravel, held = jax.jit(ravel_pytree(like)[1]), is_penalised(problem, like)
    start = drawn(problem, 0, 0, 1)[0]
    scale = float(np.linalg.norm(slopes(loss, unravel(start))[1]))
    x = np.zeros_like(start)
    for _ in range(_NEWTON):
        height, slope = (np.asarray(part) for part in slopes(loss, unravel(x)))
        bent = np.asarray(curvature(loss, unravel(x)))
        if np.linalg.norm(slope[~held]) <= 1e-3 * _EVEN * scale:
            break
        x[~held] -= np.linalg.pinv(bent[np.ix_(~held, ~held)], hermitian=True) @ slope[~held]
    even = float(np.linalg.norm(slope)) <= _EVEN * scale
    stiffness = float(np.abs(np.linalg.eigvalsh(bent)).max())
    state = Collapsed(x, float(height), even, np.zeros(0), np.zeros(0, int), 0.0, stiffness)
    return _with_crossings(state, bent, held) if even else state


def _with_crossings(state: Collapsed, bent: np.ndarray, held: np.ndarray) -> Collapsed:
    free = ~held
    answer = -np.linalg.pinv(bent[np.ix_(free, free)], hermitian=True) @ bent[np.ix_(free, held)]
    reduced = bent[np.ix_(held, held)] + bent[np.ix_(held, free)] @ answer
    values = np.linalg.eigvalsh(-0.5 * (reduced + reduced.T))[::-1]
    largest = float(np.abs(values).max(initial=0.0))
    floor = max(_SAME * largest, 1e-12 * (abs(state.loss) + largest))
    groups: list[list[float]] = []
    for value in values[values > floor]:
        if groups and groups[-1][0] - value < floor:
            groups[-1].append(float(value))
        else:
            groups.append([float(value)])
    error = float(len(held) * np.finfo(values.dtype).eps * max(largest, np.abs(bent).max(initial=0.0)))
    crossings = np.array([np.mean(group) for group in groups])
    return state._replace(crossings=crossings, multiplicity=np.array([len(g) for g in groups], int), error=error)


class Ground(NamedTuple):
    """What a learnt state is compared with: the state that comes down from large decays, over the decay.

    **Fields:** `low`, the decay below which it is no more; `x` and `energy` at `decays`, or constant ones where there
    is one value only.
    """

    low: float
    decays: Float[np.ndarray, " points"]
    xs: Float[np.ndarray, "points n"]
    energies: Any

    def energy(self, decay: float) -> float:
        """The energy at a decay, infinite where the state is no more."""
        if len(self.decays) == 1:
            return float(self.energies)
        return float(self.energies(np.log(decay))) if decay >= self.low else np.inf

    def x(self, decay: float) -> Float[np.ndarray, " n"]:
        """The state at a decay."""
        if len(self.decays) == 1:
            return self.xs[0]
        return make_interp_spline(self.decays, self.xs, k=1)(np.clip(decay, self.decays[0], self.decays[-1]))


def constant(state: Collapsed) -> Ground:
    """The collapsed state where it is stationary at every decay."""
    return Ground(0.0, np.zeros(1), state.x[None], state.loss)


def along(curve: Curve, held: Bool[np.ndarray, " n"]) -> Ground:
    """A state that moves with the decay: the stable part of a branch that was walked downwards."""
    rows = np.flatnonzero(curve.stable())
    rows = rows[np.argsort(curve.decay[rows])]
    decay, x = curve.decay[rows], curve.x[rows]
    # By the envelope theorem the energy changes with the decay as the penalty does.
    slope = 0.5 * decay * (x[:, held] ** 2).sum(axis=1)
    spline = CubicHermiteSpline(np.log(decay), curve.energy[rows], slope)
    place = curve.ends_at()
    return Ground(0.0 if place is None else float(curve.kind_decay[place]), decay, x, spline)
