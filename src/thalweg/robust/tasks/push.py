"""The smallest push over the ridge: minimal L2 adversarial examples by `relax`."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.errors import InputError
from thalweg.core.space import Box
from thalweg.robust.energy import Classifier, HalfSquaredDistance, Overtaking, margin
from thalweg.verbs.constrained import relax_constrained

# Over the ridge means by so many logits, so that rounding cannot call a tie a success.
OVER_THE_RIDGE = 1e-4
_BISECTIONS = 60


class Pushes(NamedTuple):
    """Pushed inputs, one per item.

    **Fields:** `x [n, ...]`, inside the box; `norm [n]`, the L2 length of the push, infinite where none was found;
    `success [n]`, misclassified by more than the stated margin; `target [n]`, the class on the other side;
    `alignment [n]`, the cosine between the push and the direction in which the margin falls fastest, over the
    coordinates that no wall holds: 1 at a smallest push; `forwards` and `gradients [n]`, evaluations of the model
    spent on each input, a gradient with its value counting as one of each.
    """

    x: Float[Array, "n ..."]
    norm: Float[Array, " n"]
    success: Bool[Array, " n"]
    target: Int[Array, " n"]
    alignment: Float[Array, " n"]
    forwards: Int[Array, " n"]
    gradients: Int[Array, " n"]


def minimal_pushes(
    model: Classifier,
    x: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    lower: float,
    upper: float,
    targets: int = 3,
) -> Pushes:
    """The smallest L2 push of each input over the ridge to another class, by constrained relaxation.

    For each of the nearest `targets` classes (by linearised distance) an augmented Lagrangian is relaxed in the box,
    its multiplier updated between relaxations, and the result brought onto the ridge along the ray from the input.

    **Raises:** `InputError` if an input is not classified as labelled, or there are fewer than two classes.
    """
    _check(model, x, labels)
    return _pushed(model, x, jnp.asarray(labels), Box(lower, upper), min(targets, _classes(model, x) - 1))


def steps_to_boundary(
    model: Classifier,
    x: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    lower: float,
    upper: float,
    targets: int = 3,
) -> Float[Array, " n"]:
    """The baseline: the length of one straight step down the gradient of the margin, just over the boundary.

    The best of the same target classes counts; infinite where none of the rays leaves the class inside the box.
    """
    _check(model, x, labels)
    return _stepped(model, x, jnp.asarray(labels), Box(lower, upper), min(targets, _classes(model, x) - 1))


def _classes(model: Classifier, x: Float[Array, "n ..."]) -> int:
    return jax.eval_shape(model, x[0]).shape[0]


def _check(model: Classifier, x: Float[Array, "n ..."], labels: Int[Array, " n"]) -> None:
    if _classes(model, x) < 2:
        raise InputError("attack: the model has fewer than two classes: there is no ridge to push over.")
    wrong = eqx.filter_jit(jax.vmap(lambda item, label: margin(model, item, label)))(x, jnp.asarray(labels)) <= 0
    if bool(wrong.any()):
        first = int(jnp.argmax(wrong))
        raise InputError(
            f"attack: input {first} is already misclassified: attack only inputs that the model gets right."
        )


@eqx.filter_jit
def _pushed(model: Classifier, x: Array, labels: Array, box: Box, targets: int) -> Pushes:
    return jax.vmap(lambda item, label: _push_one(model, item, label, box, targets))(x, labels)


@eqx.filter_jit
def _stepped(model: Classifier, x: Array, labels: Array, box: Box, targets: int) -> Array:
    def one(item: Array, label: Array) -> Array:
        def towards(target: Array) -> Array:
            ridge = Overtaking(model, label, target, OVER_THE_RIDGE)
            value, slope = jax.value_and_grad(ridge)(item)
            # Four times the linearised distance: far enough for the bisection to find the boundary on the way.
            there = _onto_ridge(ridge, box, item, item - 4 * value * slope / jnp.sum(slope**2))
            return jnp.where(margin(model, there, label) < 0, _length(there - item), jnp.inf)

        return jnp.min(jax.vmap(towards)(_nearest(model, item, label, targets)))

    return jax.vmap(one)(x, labels)


def _push_one(model: Classifier, item: Array, label: Array, box: Box, targets: int) -> Pushes:
    choices = _nearest(model, item, label, targets)
    ends, steps, stages = jax.vmap(lambda target: _push_towards(model, item, label, target, box))(choices)
    over = jax.vmap(lambda there: margin(model, there, label))(ends) <= -0.5 * OVER_THE_RIDGE
    norms = jnp.where(over, jax.vmap(lambda there: _length(there - item))(ends), jnp.inf)
    best = jnp.argmin(norms)
    ridge = Overtaking(model, label, choices[best], OVER_THE_RIDGE)
    # Each stage begins with one more gradient and asks twice for the new multiplier and height; one gradient per
    # class ranks the targets; one per target poses its problem, and one measures the alignment.
    gradients = jnp.sum(steps + stages) + jax.eval_shape(model, item).shape[0] + targets + 1
    forwards = gradients + 3 * jnp.sum(stages) + (_BISECTIONS + 1) * targets
    alignment = _alignment(ridge, box, item, ends[best])
    return Pushes(ends[best], norms[best], over[best], choices[best], alignment, forwards, gradients)


def _push_towards(model: Classifier, item: Array, label: Array, target: Array, box: Box) -> tuple[Array, Array, Array]:
    ridge = Overtaking(model, label, target, OVER_THE_RIDGE)
    slope = jax.grad(ridge)(item)
    rest = relax_constrained(
        HalfSquaredDistance(item),
        ridge,
        item,
        "projected",
        stiffness=16 / jnp.sum(slope**2),
        space=box,
        tol=1e-6,
        max_steps=60,
        stages=20,
        throw=False,
    )
    return _onto_ridge(ridge, box, item, rest.value), rest.stats["steps"], rest.stats["stages"]


def _nearest(model: Classifier, item: Array, label: Array, targets: int) -> Array:
    """The classes whose boundaries would be nearest if the margins were linear."""
    classes = jnp.arange(jax.eval_shape(model, item).shape[0])

    def distance(target: Array) -> Array:
        value, slope = jax.value_and_grad(Overtaking(model, label, target, OVER_THE_RIDGE))(item)
        return value / _length(slope)

    return jnp.argsort(jnp.where(classes == label, jnp.inf, jax.vmap(distance)(classes)))[:targets]


def _onto_ridge(ridge: Overtaking, box: Box, item: Array, there: Array) -> Array:
    """The point where the ray from the item through `there`, folded into the box, first meets the constraint."""

    def at(t: Array) -> Array:
        return box.wrap(item + t * (there - item))

    one = jnp.ones((), there.dtype)
    # A target that cannot be reached along the ray has no root: the search is then sent to t = 1, and the caller,
    # who looks at the margin there, counts it as a failure.
    crosses = (ridge(at(0 * one)) > 0) & (ridge(at(1.5 * one)) < 0)
    root = optx.root_find(
        lambda t, _: jnp.where(crosses, ridge(at(t)), 1 - t),
        optx.Bisection(rtol=1e-12, atol=1e-12, flip="detect"),
        one,
        options={"lower": 0 * one, "upper": 1.5 * one},
        max_steps=_BISECTIONS,
        throw=False,
    )
    # A hair beyond the root, so that the constraint holds rather than almost holds.
    return at(root.value * (1 + 0.04 * jnp.sqrt(jnp.finfo(there.dtype).eps)))


def _alignment(ridge: Overtaking, box: Box, item: Array, there: Array) -> Array:
    # The last scaling along the ray leaves what lay on a wall a rounding away from it.
    held = 1e-6 * (box.upper - box.lower)
    free = (there > box.lower + held) & (there < box.upper - held)
    step = jnp.where(free, there - item, 0)
    downhill = jnp.where(free, -jax.grad(ridge)(there), 0)
    return jnp.sum(step * downhill) / (_length(step) * _length(downhill))


def _length(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2))
