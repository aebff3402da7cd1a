"""The smallest push of each input over the ridge to another class, and whether a ball holds one at all."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.errors import InputError
from thalweg.core.space import Box
from thalweg.methods.crossing import AbstractCrossing, BallDescent, Norm, PlaneSteps, ShrinkingBall
from thalweg.robust.classifier import AbstractClassifier
from thalweg.robust.energy import Margin, Overtaking
from thalweg.robust.tasks.bring import Posed
from thalweg.verbs.crossing import Crossings, nearest_crossing

# One start: many short ones find nearer ridges than few long ones, since which ridge is met matters most.
_EXPLORING, _REFINING, _EXPLORING_LINF = 8, 4, 20
_TARGETS = 4  # nearest classes that have starts of their own
_NOISE, _HOP = 0.3, 0.15  # of the box's width: random starts are so far from the input, or from the best push so far
_RESTART = 40  # steps of one descent in a ball
_OVER, _ROUNDINGS = 2e-5, 32  # beyond the ridge: by this share of the clean margin, and so many roundings of the logits


class Pushes(NamedTuple):
    """Pushed inputs, one per item.

    **Fields:** `x [n, ...]`, inside the box; `norm [n]`, the length of the push, infinite where none was found;
    `success [n]`, whether it is misclassified, in float64 where the model can be had in it; `target [n]`, the class
    on the other side; `forwards` and `gradients`, evaluations of the model for each input, a gradient with its value
    counting as one of each.
    """

    x: Float[Array, "n ..."]
    norm: Float[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]
    forwards: int
    gradients: int


def minimal_pushes(posed: Posed, *, norm: Norm = "l2", budget: int = 240, seed: int = 0) -> Pushes:
    """The smallest push of each input over the ridge to another class, inside the box.

    Searches begin at the input, towards each of the nearest classes, and at random points around it, towards any; the
    second half begins at random points around the best push so far. Each shrinks a ball around the input and, for
    Euclidean length, goes on by projections onto the ridge's tangent plane. What they find is an upper bound of the
    distance to the ridge.

    **Arguments:** `posed`, inputs that are read as labelled; `norm`, `l2` or `linf`; `budget`, gradients per input at
    most; `seed` of the random starts, which for each input also follow from its place in the data only.

    **Raises:** `InputError` for a budget or norm that cannot be used; `WalkError` for logits that stop being finite.
    """
    return _sought(posed, *_starts_minimal(posed, norm, budget), norm, seed)


def pushes_within(posed: Posed, eps: float, *, norm: Norm = "linf", budget: int = 240, seed: int = 0) -> Pushes:
    """A push of each input over a ridge within the ball of radius `eps`, by projected descent of the margin.

    **Arguments:** as in `minimal_pushes`; `eps` in the units of the inputs.

    **Source:** Croce & Hein, ICML (2020): untargeted and targeted descents in turn, from random points of the ball.
    """
    if not (np.isfinite(eps) and eps > 0):
        raise InputError(f"attack: eps is {eps}, but it must be a positive number.")
    _check(norm, budget)
    count = max(budget // _RESTART, 1)
    searches = ((BallDescent(radius=eps, norm=norm), min(_RESTART, budget)),)
    starts = [_Start(None if k % 2 == 0 else k // 2, eps, False, searches) for k in range(count)]
    return _sought(posed, starts, (), norm, seed)


class _Start(NamedTuple):
    """One search.

    **Fields:** the `rank` of the class that it goes to, or any; how far it begins from the input (`noise`, in the units
    of the inputs), or from the best push so far (`hop`); by which methods.
    """

    rank: int | None
    noise: float
    hop: bool
    searches: tuple[tuple[AbstractCrossing, int], ...]


def _check(norm: str, budget: int) -> None:
    if norm not in ("l2", "linf"):
        raise InputError(f"attack: there is no norm {norm!r}: choose l2 or linf.")
    if budget < 1:
        raise InputError(f"attack: a budget of {budget} gradients is none: give at least 1.")


def _starts_minimal(
    posed: Posed, norm: Norm, budget: int
) -> tuple[list[_Start], tuple[tuple[AbstractCrossing, int], ...]]:
    """The starts that a budget pays for, and how the nearest of all is polished at the end."""
    _check(norm, budget)
    if norm == "linf":
        each = min(_EXPLORING_LINF, budget)
        searches: Any = ((ShrinkingBall(norm="linf", trust=0.8, shrink=(0.1, 0.002), stride=(1.0, 0.05)), each),)
        last: Any = ()
    else:
        exploring, refining = min(_EXPLORING, budget), min(_REFINING, max(budget - _EXPLORING, 0))
        searches, each = ((ShrinkingBall(), exploring), (PlaneSteps(), refining)), exploring + refining
        polishing = min(max(budget // 10, 8), max(budget - each, 0))
        last = ((PlaneSteps(probes=4), polishing),)
        budget -= polishing
    count = max(budget // each, 1)
    width = posed.upper - posed.lower
    starts = []
    for k in range(count):
        # In turn towards a near class and from a random point, until the classes are used up.
        rank = k // 2 if k % 2 == 0 and k // 2 < _TARGETS else None
        hop = rank is None and k >= count / 2
        starts.append(_Start(rank, 0.0 if rank is not None else width * (_HOP if hop else _NOISE), hop, searches))
    return starts, last


def _sought(posed: Posed, starts: list[_Start], last: Any, norm: Norm, seed: int) -> Pushes:
    classifier, x = posed.classifier, posed.x
    labels = jnp.asarray(posed.labels)
    space = Box(posed.lower, posed.upper)
    logits = np.asarray(classifier.logits(x), np.float64)
    ranked, by = _ranked(logits, np.asarray(labels), np.dtype(classifier.dtype))
    untargeted = classifier.field(Margin(labels, by))
    found: Crossings | None = None
    for number, start in enumerate(starts):
        # A rank beyond the last class: any class, and not from where another search began already.
        lost = start.rank is not None and start.rank >= ranked.shape[1]
        field = (
            untargeted
            if start.rank is None or lost
            else classifier.field(Overtaking(labels, ranked[:, start.rank], by))
        )
        middle = found.x if start.hop and found is not None else x
        noise = start.noise or (_NOISE * (posed.upper - posed.lower) if lost else 0.0)
        begin = _around(middle, posed, noise, seed, number) if noise else middle
        new = nearest_crossing(field, x, start.searches, start=begin, space=space)
        found = new if found is None else found.nearer(new)
    assert found is not None  # a plan has at least one start
    if last:
        found = nearest_crossing(untargeted, x, last, known=found, space=space)
    return _confirmed(posed, found, norm)


def _ranked(logits: np.ndarray, labels: np.ndarray, dtype: np.dtype) -> tuple[Array, Array]:
    """The other classes of each input, the most likely first, and by how much the ridge is to be overstepped."""
    items = np.arange(len(labels))
    others = logits.copy()
    others[items, labels] = -np.inf
    ranked = np.argsort(-others, axis=1, kind="stable")[:, :-1]
    margins = logits[items, labels] - others.max(axis=1)
    width = np.float32 if dtype == np.float64 else dtype  # a push should survive its user's float32
    rounding = float(jnp.finfo(width).eps) * np.abs(logits).max(axis=1)
    return jnp.asarray(ranked), jnp.asarray(_OVER * margins + _ROUNDINGS * rounding, dtype)


def _around(middle: Array, posed: Posed, noise: float, seed: int, number: int) -> Array:
    """A uniformly random point around each `middle`, whose noise follows from its place and not from its batch."""
    key = jax.random.fold_in(jax.random.key(seed), number)
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.asarray(posed.places))
    draw = lambda each: jax.random.uniform(each, middle.shape[1:], middle.dtype, -1, 1)  # noqa: E731
    return jnp.clip(middle + noise * jax.vmap(draw)(keys), posed.lower, posed.upper)


def _confirmed(posed: Posed, found: Crossings, norm: Norm) -> Pushes:
    """Look at every push once more, in float64 if the model can, and count those that are still misclassified."""
    labels = np.asarray(posed.labels)
    judge, dtype = double_of(posed.classifier, posed.x)
    pushed = np.clip(np.asarray(found.x, np.float64), posed.lower, posed.upper)
    read = np.array(judge.logits(jnp.asarray(pushed, dtype)), np.float64)
    own = read[np.arange(len(labels)), labels]
    read[np.arange(len(labels)), labels] = -np.inf
    success = np.isfinite(np.asarray(found.distance)) & (read.max(axis=1) > own)
    step = (pushed - np.asarray(posed.x, np.float64)).reshape(len(labels), -1)
    lengths = np.linalg.norm(step, axis=1) if norm == "l2" else np.abs(step).max(axis=1)
    forwards = found.slopes + found.heights + 2  # one ranked the classes, one was this look
    return Pushes(found.x, np.where(success, lengths, np.inf), success, read.argmax(axis=1), forwards, found.slopes)


def double_of(classifier: AbstractClassifier, like: Float[Array, "n ..."]) -> tuple[AbstractClassifier, Any]:
    """The classifier in float64 with its dtype, or as it is where it cannot be had so; `like`, inputs to try it on."""
    try:
        wide = classifier.in_double()
        wide.logits(jnp.asarray(like[:1], np.float64))
    except InputError:
        return classifier, classifier.dtype
    return wide, np.dtype(np.float64)


def steps_to_boundary(posed: Posed, *, probes: int = 30) -> Float[np.ndarray, " n"]:
    """The baseline: the Euclidean length of one straight step down the margin's slope, just over the boundary.

    One gradient is spent, on the class that comes first; infinite where the ray does not leave the class in the box.
    """
    logits = np.asarray(posed.classifier.logits(posed.x), np.float64)
    by = _ranked(logits, np.asarray(posed.labels), np.dtype(posed.classifier.dtype))[1]
    field = posed.classifier.field(Margin(jnp.asarray(posed.labels), by))
    space = Box(posed.lower, posed.upper)
    found = nearest_crossing(field, posed.x, ((PlaneSteps(probes=probes), 1),), space=space)
    return np.asarray(found.distance, np.float64)
