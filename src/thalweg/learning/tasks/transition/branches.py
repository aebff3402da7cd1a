"""Branches of stationary points of a training problem over its decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.learning.energy import Regularised
from thalweg.learning.model.problem import Problem
from thalweg.methods.bifurcation import Locator, Segment, SpecialPoint
from thalweg.methods.continuation import PseudoArclength
from thalweg.methods.corrector import Stationary
from thalweg.verbs.branch import Branch
from thalweg.verbs.continuation import follow_branch, switch_branch

KINDS = ("fold", "pitchfork", "transcritical")
_POOL = 16  # random starts that are drawn together


class Resized(AbstractEnergy):
    """A landscape over parameters in units of `size`."""

    energy: Landscape
    size: Float[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.energy(jax.tree.map(lambda leaf: self.size.astype(leaf.dtype) * leaf, x))


class OverLogDecay(eqx.Module):
    """A problem as a family over the logarithm of its decay, with parameters of the order of one.

    Decays and parameters of all sizes then look alike to a walk along a branch.
    """

    loss: Landscape
    size: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    penalised: tuple[bool, ...] | None = eqx.field(static=True)

    def __call__(self, value: Float[Array, ""]) -> Resized:
        return Resized(Regularised(self.loss, jnp.exp(value), self.penalised), self.size)


class Curve(NamedTuple):
    """A branch of states over the decay: arrays over its points, and over the special points on it.

    **Fields:** `decay`, the flat parameters `x`, `energy` (the penalty is part of it), Morse `index`, `lowest`
    eigenvalue of the Hessian, `arclength` (zero where the walk began); `kind` (a place in `KINDS`), `kind_decay`,
    `kind_x`, `kind_energy`, `kind_arclength` of the folds and branch points; `meets`, the decays at which stable
    states have the energy that they were compared with.
    """

    decay: Float[np.ndarray, " points"]
    x: Float[np.ndarray, "points n"]
    energy: Float[np.ndarray, " points"]
    index: np.ndarray
    lowest: Float[np.ndarray, " points"]
    arclength: Float[np.ndarray, " points"]
    kind: np.ndarray
    kind_decay: Float[np.ndarray, " special"]
    kind_x: Float[np.ndarray, "special n"]
    kind_energy: Float[np.ndarray, " special"]
    kind_arclength: Float[np.ndarray, " special"]
    meets: Float[np.ndarray, " meets"]

    def ends_at(self) -> int | None:
        """The first special point on the way up from where the walk began, if there is one."""
        ahead = np.flatnonzero(self.kind_arclength > 0)
        return int(ahead[0]) if len(ahead) else None

    def stable(self) -> Bool[np.ndarray, " points"]:
        """The minima between the special points that are next to where the walk began."""
        behind, ahead = (self.kind_arclength[side] for side in (self.kind_arclength <= 0, self.kind_arclength > 0))
        low, high = behind.max(initial=-np.inf), ahead.min(initial=np.inf)
        return (self.arclength > low) & (self.arclength < high) & (self.index == 0)


class Walked(NamedTuple):
    """A branch as the verbs know it, over the logarithm of the decay, with what is needed to go on from it."""

    branch: Branch
    family: OverLogDecay
    size: float
    curve: Curve


def followed(
    problem: Problem,
    x: np.ndarray,
    decay: float,
    like: PyTree,
    bounds: tuple[float, float],
    *,
    size: float | None = None,
    floor: Callable[[float], float] | None = None,
    direction: Any = "both",
    longest: float = 0.05,
    max_steps: int = 400,
) -> Walked:
    """The branch of stationary points near the flat `x` at `decay`, between two decays.

    **Arguments:** `like`, parameters whose structure those of the problem have; `size` of parameters, by default that
    of `x`; `floor`, an energy over the decay with which that of the states is compared; `longest` step, in units of
    `size` and of the logarithm of the decay. A branch that stalls comes back as far as it goes.

    **Raises:** `InputError` where Newton's method finds no stationary point.
    """
    size = size or float(np.linalg.norm(x)) or 1.0
    flat, unravel = ravel_pytree(like)
    family = OverLogDecay(loss_of(problem), jnp.asarray(size, flat.dtype), problem.penalised)
    branch = follow_branch(
        family,
        unravel(jnp.asarray(x / size, flat.dtype)),
        float(np.log(decay)),
        PseudoArclength(step=longest / 4, longest=longest),
        bounds=_logs(bounds),
        direction=direction,
        max_steps=max_steps,
        throw=False,
    )
    return Walked(branch, family, size, _curve(branch, family, size, floor))


def loss_of(problem: Problem) -> Landscape:
    """The loss of a problem that JAX can see into.

    **Raises:** `InputError` for one of somebody else's program.
    """
    if isinstance(problem.loss, AbstractHostField):
        raise InputError(
            f"{problem.name}: transitions need second derivatives and many relaxations at once, which a model of "
            "another library cannot give: write it in JAX."
        )
    return problem.loss


def like_of(problem: Problem) -> PyTree:
    """Parameters of the problem's structure, all zero."""
    shapes = jax.eval_shape(problem.start, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@eqx.filter_jit
def _pool(problem: Problem, seed: Array, place: Array, part: Array) -> Array:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), place), part)
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(problem.starts(key, _POOL))


def drawn(problem: Problem, seed: int, place: int, count: int) -> Float[np.ndarray, "count n"]:
    """Random starts of a problem, flat; other ones for each place."""
    # Drawn by one compiled program, whatever their count: drawing alone compiles for more than a second.
    parts = [_pool(problem, *map(jnp.asarray, (seed, place, part))) for part in range(-(-count // _POOL))]
    return np.concatenate([np.asarray(part) for part in parts])[:count]


def switched(
    walked: Walked, point: SpecialPoint, bounds: tuple[float, float], *, step: float, longest: float = 0.05
) -> Walked:
    """The other branch through a branch point of one that was walked, from a first step of that length on."""
    method = PseudoArclength(step=step, longest=longest, shortest=1e-3 * step)
    branch = switch_branch(walked.family, point, method, bounds=_logs(bounds), throw=False)
    return Walked(branch, walked.family, walked.size, _curve(branch, walked.family, walked.size, None))


def _logs(bounds: tuple[float, float]) -> tuple[float, float]:
    return float(np.log(bounds[0])), float(np.log(bounds[1]))


def _curve(branch: Branch, family: OverLogDecay, size: float, floor: Callable[[float], float] | None) -> Curve:
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])
    x, along = np.asarray(flat(branch.x)), np.asarray(flat(branch.tangent_x))
    points = branch.points
    curve = Curve(
        np.exp(np.asarray(branch.value)),
        size * x,
        np.asarray(branch.energy),
        np.asarray(branch.index),
        np.asarray(branch.lowest) / size**2,
        np.asarray(branch.arclength),
        np.array([KINDS.index(point.kind) for point in points], int),
        np.exp(np.array([float(point.value) for point in points])),
        np.array([size * np.asarray(ravel_pytree(point.x)[0]) for point in points]).reshape(len(points), x.shape[1]),
        np.array([float(point.energy) for point in points]),
        np.array([float(point.arclength) for point in points]),
        np.zeros(0),
    )
    if floor is None:
        return curve
    locator = Locator(Stationary(family, _first(branch.x)), PseudoArclength().precision(x.dtype))
    above = curve.energy > [floor(float(decay)) for decay in curve.decay]
    stable, logs = curve.stable(), np.asarray(branch.value)
    meets = []
    for place in np.flatnonzero(stable[1:] & stable[:-1] & (above[1:] != above[:-1])):
        start, end = (jnp.asarray(np.append(x[at], logs[at])) for at in (place, place + 1))
        leaving, arriving = (jnp.append(along[at], branch.tangent_value[at]) for at in (place, place + 1))
        segment = Segment(start, end, leaving, arriving, (0, 0), (0, 0), float(curve.arclength[place]))
        meets.append(_met(locator, segment, floor))
    return curve._replace(meets=np.array(meets))


def _met(locator: Locator, segment: Segment, floor: Callable[[float], float]) -> float:
    """The decay in a segment at which the energy of the branch is `floor`."""

    def higher(probe: Any) -> float:
        return float(_height(locator.equations, probe.point)) - floor(float(np.exp(probe.point[-1])))

    return float(np.exp(locator.at(segment, locator.root(segment, higher)).point[-1]))


@eqx.filter_jit
def _height(equations: Stationary, point: Array) -> Array:
    return equations.energy(point)


def _first(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], tree)
