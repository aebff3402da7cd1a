"""A training and its linearisation, side by side: the product of the tangent maps of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.learning.model.pair import Pair
from thalweg.learning.tasks.symmetry.descend import EveryStep, Watched
from thalweg.methods.trace import Trace
from thalweg.verbs.train import train

_RECORDS = 200
_LINEAR = 1e-4  # a difference this large is off its linear law by about its square, 1e-8


class Parting(NamedTuple):
    """A difference between two units along a training of the tied network.

    **Fields:** after `steps` steps, the difference `predicted` by the tangent maps and the one `measured` between two
    actual trainings, in the coordinates of `pair.apart` and over the amplitude of the nudge; the one at the `start`.
    """

    start: np.ndarray
    predicted: np.ndarray
    measured: np.ndarray
    steps: int

    @property
    def error(self) -> float:
        """The distance between the two differences, relative to the predicted one."""
        return float(np.linalg.norm(self.measured - self.predicted) / np.linalg.norm(self.predicted))


class _Both(eqx.Module):
    """A network and a direction at it: what the linearised training moves."""

    params: PyTree
    along: PyTree


class _Slopes(eqx.Module):
    """The gradient rule of both: the gradient, and its change along the direction."""

    def __call__(self, model, batch, carry, step, key, /):
        loss, slopes = jax.value_and_grad(batch)(model.params)
        turned = jax.jvp(jax.grad(batch), (model.params,), (model.along,))[1]
        return _Both(slopes, turned), carry, {"loss": loss}


def tangent_optimiser(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser of a network and a direction at it: the rule's own update, and its linearisation."""
    return optax.GradientTransformation(eqx.Partial(_begun, rule), eqx.Partial(_updated, rule))  # type: ignore[arg-type]


def follow(
    energy: Any,
    start: PyTree,
    pair: Pair,
    direction: Float[Array, " m"],
    rule: optax.GradientTransformation,
    *,
    steps: int,
    amplitude: float,
) -> Parting:
    """Train a tied network and the same one with its units nudged apart, and compare them with the tangent maps.

    The optimiser's state parts along with the params: a step is the map `T(params, state)`, and the nudge goes through
    the product of its derivatives along the tied training, as a jvp through the gradient and the update. The
    comparison is at the last of some two hundred records at which the difference is still small.

    **Arguments:** `energy`, a compiled landscape; `direction`, in the coordinates of `pair.apart`; the `amplitude` of
    the nudge along it.
    """
    every = max(1, steps // _RECORDS)
    base = pair.tied(start)
    along = pair.moved(jax.tree.map(jnp.zeros_like, base), direction)
    data, key = EveryStep(energy), jax.random.key(0)
    trace = Trace(eqx.Partial(_along, pair), every)
    both = tangent_optimiser(rule)
    tangent = train(_Both(base, along), _Slopes(), data, both, key=key, steps=steps, trace=trace)
    nudged, trace = pair.moved(base, amplitude * direction), Trace(eqx.Partial(_apart, pair), every)
    actual = train(nudged, Watched(), data, rule, carry=jnp.array(-1), key=key, steps=steps, trace=trace)
    predicted, measured = np.asarray(tangent.trace), np.asarray(actual.trace) / amplitude
    sizes = amplitude * np.linalg.norm(predicted, axis=1)
    small = np.isfinite(sizes) & (sizes <= max(_LINEAR, 10 * amplitude))
    last = len(small) - 1 if small.all() else int(np.argmin(small)) - 1
    return Parting(predicted[0], predicted[last], measured[last], last * every)


def tangent_update(rule: Any, at: tuple[PyTree, PyTree, PyTree], along: tuple[PyTree, PyTree, PyTree]) -> Any:
    """How an optimiser's (updates, state) change as its (gradients, state, params) move `along` from `at`."""
    moving, fixed = eqx.partition(at, eqx.is_inexact_array)

    def update(numbers: PyTree) -> PyTree:
        gradients, state, params = eqx.combine(numbers, fixed)
        return eqx.filter(rule.update(gradients, state, params), eqx.is_inexact_array)

    return jax.jvp(update, (moving,), (eqx.filter(along, eqx.is_inexact_array),))[1]


def _begun(rule: Any, model: _Both) -> tuple[PyTree, PyTree]:
    state = rule.init(model.params)
    return state, jax.tree.map(jnp.zeros_like, eqx.filter(state, eqx.is_inexact_array))


def _updated(rule: Any, slopes: _Both, state: tuple[PyTree, PyTree], model: Any = None) -> tuple[_Both, PyTree]:
    own, along = state
    updates, after = rule.update(slopes.params, own, model.params)
    turned, moved = tangent_update(rule, (slopes.params, own, model.params), (slopes.along, along, model.along))
    return _Both(updates, turned), (after, moved)


def _along(pair: Pair, walk: Any) -> Float[Array, " m"]:
    return pair.apart(walk.model.along)


def _apart(pair: Pair, walk: Any) -> Float[Array, " m"]:
    return pair.apart(walk.model)
