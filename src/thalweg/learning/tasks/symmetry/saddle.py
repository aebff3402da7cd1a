"""The saddle on which identical units sit, and how the loss curves where they would part."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractHostField
from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.core.space import Euclidean
from thalweg.diagnostics.curvature import lowest_modes
from thalweg.learning.model.pair import Pair, apart, tied
from thalweg.learning.model.problem import Problem
from thalweg.methods.curvature import hessian
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.relax import relax

WHOLE_BLOCK = 256  # up to so many numbers per unit the antisymmetric block is diagonalised as a whole
_MODES = 6  # of a larger one
_SMALL = 5_000  # numbers, up to which several starts are relaxed side by side
_STEPS = 5_000
_LOOKED_AT = 4  # different rests whose curvature is computed until one is found where the pair would part


class Saddle(NamedTuple):
    """The lowest state found in which two units are identical.

    **Fields:** the tied `params`; their `loss`; the `pair`; the `eigenvalues` of the antisymmetric Hessian block
    `H11 - H12`, ascending (the lowest ones, where units have more than 256 numbers), and their unit `vectors` [k, m]
    in the coordinates of `pair.apart`; `stiffest`, the largest curvature in any direction, which bounds the learning
    rate of gradient descent by 2 / stiffest; whether it
    is a `tied_minimum`, from which only parting leads down; `force`, the norm of what is left of the gradient, and
    whether that counts as being `at_rest`.
    """

    params: PyTree
    loss: float
    pair: Pair
    eigenvalues: np.ndarray
    vectors: np.ndarray
    stiffest: float
    tied_minimum: bool
    force: float
    at_rest: bool

    @property
    def softest(self) -> Float[Array, " m"]:
        """The unit direction, in the coordinates of `pair.apart`, that belongs to the lowest eigenvalue."""
        return jnp.asarray(self.vectors[0])

    @property
    def parts(self) -> bool:
        """Whether the pair would part, by more than rounding says."""
        return bool(self.eigenvalues[0] < -(np.finfo(self.eigenvalues.dtype).eps ** 0.5))

    def nudged(self, amplitude: float) -> PyTree:
        """The params after a move by `amplitude` along the softest direction."""
        return self.pair.moved(self.params, amplitude * self.softest)


def find_saddle(
    problem: Problem,
    pair: Pair,
    decay: float = 0.0,
    *,
    starts: int | None = None,
    seed: int = 0,
    tol: float | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Saddle:
    """Relax a network whose pair of units is tied, and diagonalise the Hessian where the pair would part.

    By the exchange symmetry the gradient at tied units is tied as well, so that a rest of the tied network is a
    stationary point of the whole loss, and the Hessian splits: the antisymmetric block is `H11 - H12`. For a hidden
    layer `sum_h v_h phi(w_h x + b_h)` under the mean squared residual its Gauss-Newton part cancels, which leaves
    `E[r grad^2 (v phi(w x + b))]` plus the decay. All other units are free.

    Of several random starts, relaxed side by side, the lowest rest at which the pair would part is kept, or the lowest
    rest where it would part at none. Second derivatives of host fields are differenced gradients.

    **Arguments:** `decay`, the weight of the penalty; `starts`, by default 32 up to 300 numbers and 8 up to 5,000
    (larger networks and host fields have one); `tol`, on the force at rest, by default 1e-10 in float64; `hooks`, heard
    while a large network relaxes.
    """
    energy, key = problem.at(decay), jax.random.key(seed)
    shapes = jax.tree.leaves(jax.eval_shape(problem.start, key))
    dtype, size = jnp.result_type(*(leaf.dtype for leaf in shapes)), sum(leaf.size for leaf in shapes)
    eps = float(jnp.finfo(dtype).eps)
    usual = 1e-10 if dtype == jnp.float64 and not problem.on_host else 0.5 * eps**0.5
    bound = usual if tol is None else tol
    if problem.on_host or size > _SMALL:
        way = "lbfgs" if problem.on_host else "projected"
        end = relax(
            tied(energy, pair), problem.start(key), way, tol=bound, max_steps=_STEPS, throw=False, on_chunk=hooks
        )
        refuse_stopped(end, "symmetry")
        ends = [(pair.tied(end.value), float(end.energy), float(end.stats["force_norm"]))]
    else:
        count = (32 if size <= 300 else 8) if starts is None else starts
        ends = _rests(tied(energy, pair), problem, key, count, pair, bound, eps**0.4)
    looked = (Saddle(at, loss, pair, *curvatures(energy, at, pair), force, False) for at, loss, force in ends)
    lowest = next(looked)
    # Collapsed ReLU units rest near a kink from which the tied network itself would go down: no place to stay at.
    parting = (other for other in itertools.chain([lowest], looked) if other.parts and other.tied_minimum)
    found = next(parting, lowest)
    # A force of the square root of eps moves the state far less than the linear law of small nudges can tell.
    return found._replace(at_rest=found.force < eps**0.5)


def curvatures(energy: Any, params: PyTree, pair: Pair) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """The curvature at tied units: where they would part, at its largest, and whether the tied network is at a minimum.

    **Returns:** the eigenvalues and eigenvectors [k, m] of the antisymmetric block; the largest curvature in any
    direction; whether none goes down that keeps the units tied (looked at up to 256 numbers, granted beyond).
    """
    z = jnp.zeros_like(pair.apart(params))
    if sum(leaf.size for leaf in jax.tree.leaves(params)) <= WHOLE_BLOCK:
        of = _hessian_on_host if isinstance(energy, AbstractHostField) else _hessian
        whole = np.asarray(of(energy, params))
        parting = np.asarray(_directions(pair, params, z))
        values, vectors = np.linalg.eigh(parting @ whole @ parting.T)
        alike = np.eye(len(whole)) - parting.T @ parting
        stiffest, lowest = float(np.linalg.eigvalsh(whole)[-1]), float(np.linalg.eigvalsh(alike @ whole @ alike)[0])
        return values, vectors.T, stiffest, lowest > -(np.finfo(whole.dtype).eps ** 0.5) * stiffest
    small = z.size <= WHOLE_BLOCK
    modes = lowest_modes(apart(energy, params, pair), z, count=z.size if small else _MODES, dense=small)
    stiffest = float(lowest_modes(energy, params, count=1).highest)
    return np.asarray(modes.values), np.asarray(modes.directions), stiffest, True


def _rests(
    energy: Any, problem: Problem, key: Any, count: int, pair: Pair, tol: float, resting: float
) -> list[tuple[PyTree, float, float]]:
    """The different rests that random starts lead to, lowest first, each as (tied params, loss, force)."""
    ends = _relaxed(energy, problem, key, count, tol)
    heights, forces = np.asarray(ends.energy), np.asarray(ends.stats["force_norm"])
    among = forces < resting if (forces < resting).any() else np.isfinite(heights)
    order = [at for at in np.argsort(heights) if among[at]]
    gap = np.finfo(heights.dtype).eps ** 0.4 * np.abs(heights).max(initial=0.0, where=among)
    rises = np.diff(heights[order], prepend=-np.inf)
    different = [at for at, rise in zip(order, rises, strict=True) if rise > gap]
    found = []
    for at in different[:_LOOKED_AT]:
        params, loss, force = jax.tree.map(lambda leaf, at=at: leaf[at], ends.value), heights[at], forces[at]
        if force >= tol:
            more = relax(energy, params, "projected", tol=tol, max_steps=4 * _STEPS, throw=False)
            params, loss, force = more.value, more.energy, more.stats["force_norm"]
        found.append((pair.tied(params), float(loss), float(force)))
    return found


@eqx.filter_jit
def _relaxed(energy: Any, problem: Problem, key: Any, count: int, tol: float) -> Solution:
    starts = problem.starts(key, count)
    return jax.vmap(lambda x: relax(energy, x, "projected", tol=tol, max_steps=_STEPS, throw=False))(starts)


def _hessian_on_host(energy: Any, params: PyTree) -> Float[Array, "n n"]:
    return hessian(energy, Euclidean(), params)


_hessian = eqx.filter_jit(_hessian_on_host)


@eqx.filter_jit
def _directions(pair: Pair, params: PyTree, z: Float[Array, " m"]) -> Float[Array, "m n"]:
    still = jax.tree.map(jnp.zeros_like, params)
    return jax.vmap(lambda one: ravel_pytree(pair.moved(still, one))[0])(jnp.eye(z.size, dtype=z.dtype))
