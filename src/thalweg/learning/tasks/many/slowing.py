"""Critical slowing down: how long a training takes to relax near a transition, in theory and in fact."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.diagnostics.curvature import lowest_modes
from thalweg.learning.energy import Regularised
from thalweg.learning.model.problem import Problem
from thalweg.methods.curvature import DENSE
from thalweg.methods.data import Whole
from thalweg.methods.descent import tree_dot
from thalweg.methods.parts import in_parts, part_name
from thalweg.verbs.relax import relax
from thalweg.verbs.train import from_loss, train

_ZERO = 1e-6  # of the highest curvature: below, a mode is one of a continuous symmetry
_NUDGE = 1e-3  # of the curvature ratio: the cubic terms then stay below a millionth of the linear ones
_FOLDS = 2.0  # e-folds that are watched
_FEWEST = 3  # decays on one side for a slope


class Slowing(NamedTuple):
    """Relaxation near a transition, decay by decay.

    **Fields:** `decays`, increasing; the `curvature` of the softest mode of the lowest state found that is not zero,
    whose inverse is the relaxation time of gradient flow; `predicted`, the rate of decay per step of gradient descent
    that follows, `log(1 - eta curvature)`, and the rate `measured`; `lambda_c`, where the relaxation time diverges;
    the exponents of the divergence `below` and `above`, with standard errors, `None` for a side of fewer than three
    decays; `given`, whether `lambda_c` was told rather than fitted.
    """

    decays: Float[np.ndarray, " values"]
    curvature: Float[np.ndarray, " values"]
    predicted: Float[np.ndarray, " values"]
    measured: Float[np.ndarray, " values"]
    lambda_c: float
    below: tuple[float, float] | None
    above: tuple[float, float] | None
    given: bool

    @property
    def times(self) -> Float[np.ndarray, " values"]:
        """The measured relaxation times in units of gradient flow."""
        return self.predicted / self.measured / self.curvature

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers."""
        error = float(np.abs(self.measured / self.predicted - 1).max())
        told = {"lambda_c": self.lambda_c, "lambda_c_given": self.given, "relative_error": error}
        for name, side in (("below", self.below), ("above", self.above)):
            told |= {f"exponent_{name}": None if side is None else side[0]}
            told |= {f"exponent_{name}_error": None if side is None else side[1]}
        return told | {"longest_time": float(self.times.max())}


def slowing_down(
    problem: Problem,
    lambdas: Any,
    *,
    key: Key[Array, ""],
    lambda_c: float | None = None,
    starts: int = 8,
    max_steps: int = 100_000,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> Slowing:
    """Follow the relaxation of the lowest state at each weight decay; needs float64.

    The state is the lowest of several descents; it is pushed to both sides along its softest mode, and the difference
    of the two trainings is watched through two e-folds of gradient descent (fewer where `max_steps` end it), whose
    rate is half the inverse of the highest curvature. The difference cancels what is even in the push.

    **Arguments:** `lambdas`, at least three increasing decays; `lambda_c`, by default where straight lines through the
    softest curvatures of both sides say that they vanish (right for a transition of second order, whose softest
    curvature is linear on both sides); `starts`, descents per decay; `done`, `hooks`, `executor`: of the
    parts, one per decay.

    **Raises:** `InputError` for unusable decays, a state that is no minimum, or a problem outside JAX.

    **Source:** Hohenberg & Halperin, Rev. Mod. Phys. 49, 435 (1977), for the conventional theory.
    """
    decays = _checked(problem, lambdas)
    weights = problem.starts(key, starts)
    told = {"start": _bytes(weights), "program": _program(problem, weights), "steps": max_steps}
    names = {part_name("slowing", decay=float(decay), **told): float(decay) for decay in decays}
    found = in_parts(
        list(names), functools.partial(_part, problem, weights, names, max_steps), done=done, hooks=hooks,
        task="slowing_down", executor=executor,
    )  # fmt: skip
    rows = np.array([[float(part[kind]) for kind in _KINDS] for part in found.values()])
    curvature, predicted, measured = rows.T
    critical = _vanishing(decays, curvature) if lambda_c is None else float(lambda_c)
    sides = [
        _exponent(np.abs(decays - critical), 1 / curvature, here) for here in (decays < critical, decays > critical)
    ]
    return Slowing(decays, curvature, predicted, measured, critical, *sides, given=lambda_c is not None)


_KINDS = ("curvature", "predicted", "measured")


def _part(
    problem: Problem, weights: PyTree, names: Mapping[str, float], max_steps: int, name: str
) -> dict[str, np.ndarray]:
    return _relaxation(problem, weights, names[name], max_steps)


def _relaxation(problem: Problem, weights: PyTree, decay: float, max_steps: int) -> dict[str, np.ndarray]:
    """The softest curvature of the lowest state and the two rates, by prediction and by trainings."""
    energy = problem.at(jnp.asarray(decay))
    params = _lowest(energy, weights)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    modes = lowest_modes(energy, params, count=size if size <= DENSE else min(32, size))
    values, highest = np.asarray(modes.values), float(modes.highest)
    soft = int(np.argmax(np.abs(values) > _ZERO * highest))
    if not values[soft] > _ZERO * highest:
        raise InputError(
            f"slowing_down: the lowest state found at the decay {decay:g} is no minimum with a mode that could relax "
            f"(curvature {values[soft]:.3g}): move the decays, or take more starts."
        )
    curvature, eta = float(values[soft]), 0.5 / highest
    direction = jax.tree.map(lambda leaf: leaf[soft], modes.directions)
    push = _NUDGE * curvature / highest
    rate = float(np.log1p(-eta * curvature))
    steps = int(min(max_steps, np.ceil(-_FOLDS / rate)))
    both = jax.tree.map(lambda leaf, way: jnp.stack([leaf + push * way, leaf - push * way]), params, direction)
    rule, data = from_loss(_both), Whole((energy, jnp.asarray(eta)))
    end = train(both, rule, data, _unit(), key=jax.random.key(0), steps=steps).value
    apart = jax.tree.map(lambda leaf: leaf[0] - leaf[1], end)
    measured = float(np.log(float(tree_dot(apart, direction)) / (2 * push)) / steps)
    return {name: np.asarray(part) for name, part in zip(_KINDS, (curvature, rate, measured), strict=True)}


@eqx.filter_jit
def _lowest(energy: Regularised, weights: PyTree) -> PyTree:
    # The tolerance is out of reach of rounding on purpose: every descent goes on until it stalls.
    found = jax.vmap(lambda x: relax(energy, x, "lbfgs", tol=1e-14, max_steps=20_000, throw=False))(weights)
    best = jnp.argmin(found.energy)
    return jax.tree.map(lambda leaf: leaf[best], found.value)


def _both(pair: PyTree, batch: tuple[Regularised, Array], key: Key[Array, ""]) -> Float[Array, ""]:
    # The rate of learning is in the loss, so that one compiled optimiser serves all decays.
    energy, eta = batch
    return eta * jnp.sum(jax.vmap(energy)(pair))


@functools.cache
def _unit() -> optax.GradientTransformation:
    return optax.sgd(1.0)


def _vanishing(decays: np.ndarray, curvature: np.ndarray) -> float:
    """Where the softest curvature vanishes: the mean of what straight lines from both sides of its minimum say."""
    place = int(np.argmin(curvature))
    # The decay of the minimum lies on one of the sides; the better straight line tells on which.
    cuts = [cut for cut in (place, place + 1) if 2 <= cut <= len(decays) - 2]
    if not cuts:
        raise InputError("slowing_down: the transition is not inside the decays: widen them, or pass lambda_c.")
    best = min(cuts, key=lambda cut: sum(_line(decays[s], curvature[s])[1] for s in (slice(cut), slice(cut, None))))
    zeros = [_line(decays[side], curvature[side])[0] for side in (slice(best), slice(best, None))]
    return float(np.mean(zeros))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Where the line through the two or three points with the smallest `y` is zero, and the squares that it leaves."""
    near = np.argsort(y)[:_FEWEST]
    slope, height = np.polyfit(x[near], y[near], 1)
    return float(-height / slope), float(((slope * x[near] + height - y[near]) ** 2).sum())


def _exponent(distance: np.ndarray, time: np.ndarray, here: np.ndarray) -> tuple[float, float] | None:
    """Minus the slope of the time over the distance on logarithmic axes, with its standard error."""
    here = here & (distance > 0)
    if here.sum() < _FEWEST:
        return None
    x, y = np.log(distance[here]), np.log(time[here])
    x = x - x.mean()
    slope = float((x * y).sum() / (x**2).sum())
    left = y - y.mean() - slope * x
    return -slope, float(np.sqrt((left**2).sum() / (here.sum() - 2) / (x**2).sum()))


def _bytes(tree: PyTree) -> str:
    return part_name("x", **{str(place): np.asarray(leaf) for place, leaf in enumerate(jax.tree.leaves(tree))})


def _program(problem: Problem, weights: PyTree) -> str:
    """What tells a problem from others: its compiled landscape and the numbers in it."""
    one = jax.tree.map(lambda leaf: leaf[0], weights)
    arrays, rest = eqx.partition(problem.at(jnp.asarray(0.0)), eqx.is_array)
    height = lambda arrays, x: eqx.combine(arrays, rest)(x)  # noqa: E731
    text = jax.jit(height).lower(arrays, one).as_text()
    return part_name(text, numbers=_bytes(arrays))


def _checked(problem: Problem, lambdas: Any) -> Float[np.ndarray, " values"]:
    decays = np.asarray(lambdas, np.float64)
    if decays.ndim != 1 or len(decays) < _FEWEST or not (np.diff(decays) > 0).all() or not decays[0] >= 0:
        raise InputError(f"slowing_down: the decays are {lambdas}: give at least {_FEWEST} increasing numbers.")
    if problem.on_host:
        raise InputError(f"slowing_down: the loss of {problem.name} is computed outside JAX: write it in JAX.")
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise InputError("slowing_down: the softest curvatures drown in float32: turn on jax_enable_x64.")
    return decays
