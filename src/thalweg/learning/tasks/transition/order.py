"""The order of a transition, its exponent, and the evidence for both."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError
from thalweg.learning.model.order_parameters import OrderParameter
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.transition.branches import Curve, Walked, followed, switched

Order = Literal["first", "second", "none"]
_STEP = 2e-4  # the first step onto the emanating branch, in units of the size of the parameters
_MERGED = 1e-6  # relative: a branch point is located to the last bits, but its fold in decay only to their root
_NEAR = 0.1  # relative distance from the transition up to which slopes are extrapolated
_FAR = 0.6
_JUMP = 0.2  # of the squared weights: a tenth of a per cent below a continuous end they are a hundredth of those at 8 %
_AGREE = 0.02  # of two estimates of a continuous transition: more is a contradiction


@eqx.filter_jit
def _measured(problem: Problem, measure: OrderParameter, x: Array, like: PyTree) -> Array:
    unravel = ravel_pytree(like)[1]
    return jax.vmap(lambda one: measure(problem, unravel(one)))(x)


def measured(problem: Problem, measure: OrderParameter, x: np.ndarray, like: PyTree) -> Float[np.ndarray, " points"]:
    """An order parameter of flat states `[points, n]`."""
    room = 1 << max(0, int(len(x) - 1).bit_length())  # few shapes, so that little is compiled
    padded = x[np.minimum(np.arange(room), len(x) - 1)]
    return np.asarray(_measured(problem, measure, jnp.asarray(padded), like))[: len(x)]


class Onset(NamedTuple):
    """Where the state at large decay stops being a minimum, and what leaves it there.

    **Fields:** the `decay` and the `error` of it; the `kind`: `supercritical` (stable states grow out of it
    continuously, below), `subcritical` (unstable ones, above) or `transcritical`; the emanating `curve`.
    """

    decay: float
    error: float
    kind: Literal["supercritical", "subcritical", "transcritical"]
    curve: Curve


def onset(walked: Walked, bounds: tuple[float, float], error: float) -> Onset | None:
    """The branch that leaves a branch at its highest branch point, if it has one."""
    points = [point for point in walked.branch.points if point.kind != "fold"]
    if not points:
        return None
    point = max(points, key=lambda one: float(one.value))
    decay = float(np.exp(point.value))
    low, high = max(bounds[0], (1 - _FAR) * decay), min(bounds[1], 1.5 * decay)
    try:
        curve = switched(walked, point, (low, high), step=_STEP).curve
    except InputError:
        return None
    if point.kind == "transcritical":
        return Onset(decay, error, "transcritical", curve)
    beside = np.argsort(np.abs(curve.arclength))[:4]
    grows = bool((curve.decay[beside] < decay).all() and (curve.index[beside] == 0).all())
    return Onset(decay, error, "supercritical" if grows else "subcritical", curve)


def onset_of_collapse(
    problem: Problem, x: np.ndarray, decay: float, error: float, size: float, like: PyTree, bounds: tuple[float, float]
) -> Onset | None:
    """The onset at the first crossing of the collapsed state, whose `x` is the same at all decays."""
    around = (max(bounds[0], 0.93 * decay), min(bounds[1], 1.04 * decay))
    walked = followed(problem, x, around[1], like, around, size=size, direction="down", longest=0.05)
    return onset(walked, bounds, error)


class Exponent(NamedTuple):
    """How an order parameter vanishes: `beta` with an interval, and the local slopes that it is extrapolated from."""

    beta: float
    interval: tuple[float, float]
    distance: Float[np.ndarray, " slopes"]
    slope: Float[np.ndarray, " slopes"]


def exponent(decay: np.ndarray, value: np.ndarray, critical: float, near: float = _NEAR) -> Exponent | None:
    """The exponent of `value ~ (critical - decay)^beta`, from local slopes extrapolated to the transition.

    A line is laid through the local log-log slopes over the relative distance; the interval adds three standard errors
    of its intercept to the difference from that of a parabola.
    """
    apart = 1 - decay / critical
    good = (apart > 1e-9) & (apart < near) & (value > 0)
    order = np.argsort(apart[good])
    apart, value = apart[good][order], value[good][order]
    keep = np.concatenate([[True], np.diff(np.log(apart)) > 1e-3]) if len(apart) else np.zeros(0, bool)
    apart, value = apart[keep], value[keep]
    if len(apart) < 5:
        return None
    slope = np.diff(np.log(value)) / np.diff(np.log(apart))
    middle = np.sqrt(apart[1:] * apart[:-1])
    line, covariance = np.polyfit(middle, slope, 1, cov="unscaled")
    left = slope - np.polyval(line, middle)
    error = float(np.sqrt(covariance[1, 1] * (left @ left) / max(1, len(slope) - 2)))
    bent = float(np.polyfit(middle, slope, 2)[-1])
    beta, half = float(line[-1]), 3 * error + abs(float(line[-1]) - bent)
    return Exponent(beta, (beta - half, beta + half), middle, slope)


class Verdict(NamedTuple):
    """The order of a transition with the numbers that go with it, `None` where there is no such number."""

    order: Order
    lambda_c: float | None
    interval: tuple[float, float] | None
    spinodal: float | None
    hysteresis: float
    why: str


def merges(onset: Onset, ascent: Any) -> bool:
    """Whether the learnt minimum, followed up, ends where the state at large decay stops being a minimum."""
    return ascent is not None and ascent.ends == "merged" and abs(ascent.end / onset.decay - 1) < _MERGED


def verdict(onset: Onset | None, ascent: Any, precision: float = 1e-9) -> Verdict:
    """The order that the branches of a smooth problem show.

    First where a learnt minimum meets the energy of the state at large decay while it is still apart from it, above any
    decay at which that state is left continuously. Second where a stable branch grows out of that state, supercritical,
    or the learnt minimum itself ends in it there, and no other learnt state is lower above. None where no learnt state
    was found that is a different one.
    """
    meets = None if ascent is None else ascent.coexistence
    start = None if onset is None else onset.decay
    if ascent is not None and meets is not None and (start is None or meets > start * (1 + precision)):
        end = float(ascent.end)
        back = 0.0 if start is None else start
        why = "a learnt minimum has the energy of the state at large decay while it is a state apart"
        return Verdict("first", meets, _around(meets, precision), end, max(0.0, end - back), why)
    if onset is not None and onset.kind == "supercritical":
        half = max(onset.error, precision * 1e-3 * onset.decay)
        why = "a stable branch grows continuously out of the state at large decay where its Hessian is singular"
        return Verdict("second", onset.decay, (onset.decay - half, onset.decay + half), None, 0.0, why)
    # Where several units become unstable at once, the branch that was switched to need not be the stable one.
    if onset is not None and merges(onset, ascent):
        half = max(onset.error, precision * 1e-3 * onset.decay)
        why = "the learnt minimum ends continuously in the state at large decay, where the Hessian of that is singular"
        return Verdict("second", onset.decay, (onset.decay - half, onset.decay + half), None, 0.0, why)
    if ascent is None and onset is None:
        return Verdict("none", None, None, None, 0.0, "no learnt state is apart from the one at large decay")
    raise InputError(
        "transition: the branches do not say of what order the transition is: give --lambdas around it, or more seeds."
    )


def kinked_verdict(left: float, ebb: Any, bounds: tuple[float, float]) -> Verdict:
    """The order that relaxations of a problem with kinks show.

    **Arguments:** `left`, the decay below which the collapsed state is left (see `kinks.steepest`); `ebb`, how the
    learnt state goes, or `None` where there is none.
    """
    inside = left > bounds[0]
    if ebb is None:
        if inside:
            raise InputError(
                "transition: collapse is left, but no learnt state was found: give --lambdas or more seeds."
            )
        return Verdict("none", None, None, None, 0.0, "no learnt state is apart from the one at large decay")
    back = max(left, 0.0)
    if ebb.jump > _JUMP:
        if ebb.meets is None:
            raise InputError("transition: the learnt state jumps, but its energy does not meet that of collapse: "
                             "give --lambdas around the transition, or more seeds.")  # fmt: skip
        end = float(np.mean(ebb.stays))
        why = "the weights of the learnt state are finite where it ends, and its energy passes that of collapse before"
        return Verdict("first", ebb.meets[0], ebb.meets[1:], end, max(0.0, end - back), why)
    if not inside or abs(ebb.zero / left - 1) > _AGREE:
        raise InputError(
            "transition: the learnt state vanishes continuously, but not where collapse is left: give --lambdas around "
            "the transition, or more seeds."
        )
    why = "the squared weights of the learnt state extrapolate to zero at the decay at which collapse is left"
    hull = min(left, *ebb.interval), max(left, *ebb.interval)
    return Verdict("second", left, hull, None, 0.0, why)


def _around(value: float, relative: float) -> tuple[float, float]:
    return value * (1 - relative), value * (1 + relative)
