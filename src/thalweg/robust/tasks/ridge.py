"""The way over the ridge: its profile, the point where it crosses the decision boundary, and the saddle there."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import logsumexp

from thalweg.core.energy import AbstractHostField, Landscape, force, height
from thalweg.core.mirror import Mirrored, seen
from thalweg.core.space import Box, Frozen
from thalweg.diagnostics.curvature import Modes, lowest_modes
from thalweg.robust.classifier import AbstractClassifier
from thalweg.robust.energy import Overtaking
from thalweg.verbs.path import find_path
from thalweg.verbs.saddle import find_saddle

_BETWEEN = 8  # points at which the profile is read between two corners
_HAIR = 0.05  # the angle off the walls at which images start: 6e-4 of the way between the walls
_HELD = 1e-6  # of the way between the walls: nearer to one than this, a coordinate that is pushed outwards is held
# A ridge that falls by less than this (logits, over the distance to it) and bends by less than this (beside the
# bend across it) is level: a walk along it would follow the ever smaller shares of other classes without an end.
_LEVEL = 1e-3
_KRYLOV, _RESTARTS = 40, 2  # of the search for the two lowest modes of a large input


class Profile(NamedTuple):
    """What a polygon runs through.

    **Fields:** the arc length `arc`, the log odds `heights` (logits) and the class `labels` at points along it, those
    on the decision boundary included; the places of these among all points, `crossings`, their classes before
    and after, `sides`, and the inputs there, `x`.
    """

    arc: Float[np.ndarray, " points"]
    heights: Float[np.ndarray, " points"]
    labels: Int[np.ndarray, " points"]
    crossings: Int[np.ndarray, " crossings"]
    sides: Int[np.ndarray, "crossings 2"]
    x: Float[np.ndarray, "crossings ..."]

    @property
    def visited(self) -> list[int]:
        """The classes in the order in which they are met."""
        changes = np.flatnonzero(np.diff(self.labels)) + 1
        return [int(self.labels[place]) for place in (0, *changes)]

    @property
    def ridge(self) -> int | None:
        """Which of the crossings is the highest, if there is any."""
        return int(np.argmax(self.heights[self.crossings])) if len(self.crossings) else None


class Saddle(NamedTuple):
    """A stationary point on the ridge, or why there is none.

    **Fields:** the point `x` and its height `energy` (`Ambiguity`, logits); in how many directions it falls, `index`
    (2: in two or more); the curvature `along` the steepest of these, its unit direction `mode`, and the next curvature
    up, `across` (logits per squared unit of the input; NaN where the walls leave one way only); the `force` left;
    whether the rest of the ridge is `level` here; `found`, whether it is at rest with index one; the `reason` where
    not.
    """

    x: Float[np.ndarray, "..."]
    mode: Float[np.ndarray, "..."]
    energy: float
    index: int
    along: float
    across: float
    force: float
    level: bool
    found: bool
    reason: str


def log_odds(logits: Any) -> Float[np.ndarray, " n"]:
    """The log odds against the most likely class of each of a batch."""
    ordered = np.sort(np.asarray(logits, np.float64), axis=1)
    return logsumexp(ordered[:, :-1], axis=1) - ordered[:, -1]


def polygon_profile(classifier: AbstractClassifier, points: Float[Array, "corners ..."]) -> Profile:
    """Heights and classes along straight pieces through `points`, the decision boundary bisected to rounding."""
    corners = np.asarray(points)
    pieces = len(corners) - 1
    t = np.linspace(0, pieces, pieces * _BETWEEN + 1)
    read = _read(classifier, corners, t)
    labels = read.argmax(axis=1)
    change = np.flatnonzero(np.diff(labels))
    low, high, before, after = t[change], t[change + 1], labels[change], labels[change + 1]
    for _ in range(np.finfo(corners.dtype).nmant if len(change) else 0):
        middle = 0.5 * (low + high)
        there = _read(classifier, corners, middle).argmax(axis=1)
        same = there == before
        low, high, after = np.where(same, middle, low), np.where(same, high, middle), np.where(same, after, there)
    found = _read(classifier, corners, high) if len(change) else read[:0]
    order = np.argsort(np.concatenate([t, high]), kind="stable")
    every, read = np.concatenate([t, high])[order], np.concatenate([read, found])[order]
    lengths = np.linalg.norm(np.diff(corners.reshape(len(corners), -1), axis=0), axis=1)
    arc = np.interp(every, np.arange(len(corners)), np.concatenate([[0], np.cumsum(lengths)]))
    sides = np.stack([before, after], axis=1)
    crossings = np.flatnonzero(order >= len(t))
    return Profile(arc, log_odds(read), read.argmax(axis=1), crossings, sides, _at(corners, high))


def _read(classifier: AbstractClassifier, corners: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(classifier.logits(jnp.asarray(_at(corners, t))))


def _at(corners: np.ndarray, t: np.ndarray) -> np.ndarray:
    piece = np.minimum(t.astype(int), len(corners) - 2)
    within = (t - piece).reshape(-1, *[1] * (corners.ndim - 1)).astype(corners.dtype)
    return corners[piece] + within * (corners[piece + 1] - corners[piece])


def path_between(
    field: AbstractHostField, walls: Mirrored, a: Array, b: Array, *, images: int, max_steps: int
) -> tuple[Float[Array, "images ..."], dict[str, float]]:
    """The path of least energy from `a` to `b` between the walls, and its `steps` and `residual`.

    It is relaxed in mirrored coordinates; images whose coordinates lie on a wall start a hair inside, where a force
    that points inwards can take them along.
    """
    shares = jnp.linspace(0, 1, images, dtype=a.dtype).reshape(-1, *[1] * a.ndim)
    start = walls.within(a + shares * (b - a), _HAIR)
    ends = walls.within(a), walls.within(b)
    path = find_path(
        seen(field, walls), *ends, initial=start, images=images, max_steps=max_steps, saddles=False, throw=False
    )
    inner = walls(path.images)[1:-1]
    told = {"steps": float(path.stats["steps"]), "residual": float(path.stats["residual"])}
    return jnp.concatenate([a[None], inner, b[None]]), told


def saddle_from(
    energy: Landscape | AbstractHostField, walls: Mirrored, x: Array, normal: Array, scale: float, *, max_steps: int
) -> Saddle:
    """The saddle of `energy` next to `x`, a point on the ridge with the direction `normal` across it.

    **Arguments:** `scale`, the distance of the ridge from the input.
    """
    here = _judged(energy, walls, x, scale)
    if here.found and here.level:
        return here
    u = walls.within(x, _HAIR)
    along = normal * walls.slope(u)
    end = find_saddle(seen(energy, walls), u, max_steps=max_steps, along=along, throw=False)
    there = _judged(energy, walls, walls(end.value), scale)
    return there if there.found else there._replace(reason=f"{there.reason} {end.sentence}")


def ridge_normal(classifier: AbstractClassifier, x: Array, sides: tuple[int, int]) -> Float[Array, "..."]:
    """The slope of the margin of the class beyond the ridge over that before it (logits per unit of the input)."""
    before, after = (jnp.asarray(side) for side in sides)
    head = Overtaking(after, before, jnp.zeros((), x.dtype))
    return -classifier.field(head, each=False).value_and_force_batch(x[None])[1][0]


def free_force(energy: Any, walls: Mirrored, x: Array) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """The force that the walls let act at `x`, and which coordinates they do not hold."""
    push = force(energy, x)
    near = _HELD * (walls.upper - walls.lower)
    held = ((x <= walls.lower + near) & (push < 0)) | ((x >= walls.upper - near) & (push > 0))
    return jnp.where(held, 0, push), ~held


def _judged(energy: Landscape | AbstractHostField, walls: Mirrored, x: Array, scale: float) -> Saddle:
    push, free = free_force(energy, walls, x)
    left = float(jnp.linalg.norm(push.ravel()))
    moving = int(free.sum())
    if not moving:
        return _nowhere(x, left, "The walls hold all coordinates at the ridge.")
    # Two modes say whether the index is one; more accuracy than `flat` asks for would cost most on a level ridge.
    few = min(2, moving)
    modes: Modes = lowest_modes(energy, x, count=few, space=Frozen(free), krylov=_KRYLOV, restarts=_RESTARTS)
    along, across = float(modes.values[0]), float(modes.values[1]) if few == 2 else float("nan")
    flat = max(_LEVEL * abs(along), float(modes.zero))
    index = int((np.asarray(modes.values) < -flat).sum())
    sure = float(modes.residuals.max()) < max(flat, 0.1 * abs(across))
    reason = _reason(left, index, left * scale <= _LEVEL, sure)
    level = not reason and abs(across) <= flat
    mode, at = np.asarray(modes.directions[0]), float(height(energy, x))
    return Saddle(np.asarray(x), mode, at, index, along, across, left, level, not reason, reason)


def _nowhere(x: Array, left: float, reason: str) -> Saddle:
    nothing = float("nan")
    return Saddle(np.asarray(x), np.zeros(x.shape, x.dtype), nothing, -1, nothing, nothing, left, False, False, reason)


def _reason(left: float, index: int, still: bool, sure: bool) -> str:
    if not still:
        return f"The search ended where a force of {left:.3g} logits per unit is left."
    if index != 1:
        return f"The search ended at a point that falls in {index or 'no'} directions, not in one."
    return "" if sure else "The curvature at the ridge was not resolved."


def box_of(walls: Mirrored) -> Box:
    """The same walls as a space."""
    return Box(walls.lower, walls.upper)
