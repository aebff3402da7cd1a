"""When two bit-identical neurons part, how fast, and what for."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from thalweg.core.energy import Restrict
from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.learning.energy import HiddenLayerLoss, Neurons, pair_directions, tied
from thalweg.methods.data import Whole
from thalweg.methods.trace import Trace
from thalweg.verbs.relax import relax
from thalweg.verbs.train import from_loss, train

_NO_RATE = 1e-9  # below this the eigenvalue is rounding, as the tolerance of the saddle's rest leaves it


class Saddle(NamedTuple):
    """The best configuration of two tied neurons, and how the loss curves where they part.

    **Fields:** the tied `neurons`; their `loss`; the `eigenvalues` of the antisymmetric Hessian block in increasing
    order; `softest`, the unit direction (of both neurons) that belongs to the first; `stiffest`, the largest
    curvature in any direction, which bounds the learning rate by 2 / stiffest.
    """

    neurons: Neurons
    loss: float
    eigenvalues: np.ndarray
    softest: Neurons
    stiffest: float


class Growth(NamedTuple):
    """How fast a small difference grows under gradient descent, per step, in theory and as measured.

    The relative error is `None` where theory says that nothing grows (ReLU away from its kinks).
    """

    predicted: float
    measured: float
    relative_error: float | None


class Split(NamedTuple):
    """A training that parts two neurons.

    **Fields:** losses `loss [records]` and neurons (leading axis the records) every `every` steps; the `distance`
    between the two neurons there.
    """

    loss: np.ndarray
    neurons: Neurons
    distance: np.ndarray
    every: int


def single_neuron(inputs: int, dtype: Any) -> Neurons:
    """A plain start for one neuron: all weights a half, no bias at zero where odd activations have no slope."""
    return Neurons(jnp.full((1, inputs), 0.5, dtype), jnp.full(1, 0.3, dtype), jnp.full(1, 0.5, dtype))


def find_saddle(loss: HiddenLayerLoss, *, starts: int = 32, seed: int = 0, tol: float = 1e-10) -> Saddle:
    """Relax two tied neurons, and diagonalise the Hessian in the directions that would part them.

    Several random starts are relaxed and the lowest is kept.

    By the exchange symmetry the tied neurons are a stationary point of the whole loss, and the Hessian splits
    into a symmetric and an antisymmetric block; the Gauss-Newton part of the second cancels, so that it is
    `E[r grad^2 (v phi(w x + b))]` plus the decay.

    **Raises:** `ThalwegError` where none of the starts comes to rest.
    """
    rests, neurons, values, softest, stiffest = _found(loss, jax.random.key(seed), starts, tol)
    if not bool((rests.outcome == Outcome.DONE.code).any()):
        raise ThalwegError(f"two tied neurons found no rest from {starts} starts: {rests.sentence}")
    lowest = float(jnp.min(jnp.where(rests.outcome == Outcome.DONE.code, rests.energy, jnp.inf)))
    return Saddle(neurons, lowest, np.asarray(values), softest, float(stiffest))


@eqx.filter_jit
def _found(
    loss: HiddenLayerLoss, key: Array, starts: int, tol: float
) -> tuple[Solution, Neurons, Array, Neurons, Array]:
    single = single_neuron(loss.x.shape[1], loss.y.dtype)
    zero = jax.tree.map(jnp.zeros_like, tied(single))
    together = Restrict(loss, zero, pair_directions(single, 1))
    clouds = 2 * jax.random.normal(key, (starts, loss.x.shape[1] + 2), loss.y.dtype)
    rests = jax.vmap(lambda z: relax(together, z, "projected", tol=tol, max_steps=5_000, throw=False))(clouds)
    lowest = jnp.argmin(jnp.where(rests.outcome == Outcome.DONE.code, rests.energy, jnp.inf))
    neurons = together.lift(rests.value[lowest])
    apart = pair_directions(single, -1)
    values, vectors = jnp.linalg.eigh(_curvature(loss, neurons, apart))
    softest = jax.tree.map(lambda along: jnp.tensordot(vectors[:, 0], along, axes=1), apart)
    tied_values = jnp.linalg.eigvalsh(_curvature(loss, neurons, pair_directions(single, 1)))
    return rests, neurons, values, softest, jnp.maximum(values[-1], tied_values[-1])


def _curvature(loss: HiddenLayerLoss, at: Neurons, directions: Neurons) -> Float[Array, "k k"]:
    along = Restrict(loss, at, directions)
    return jax.hessian(along)(jnp.zeros(jax.tree.leaves(directions)[0].shape[0], loss.y.dtype))


def measure_growth(loss: HiddenLayerLoss, saddle: Saddle, *, eta: float, nudge: float = 1e-8) -> Growth:
    """Compare the growth of a nudge along the softest direction with `log(1 - eta h)` per step.

    The walk is as long as the nudge needs to grow or shrink a hundredfold, at most 5,000 steps: far enough to be
    measured, near enough to the saddle for the linear law.

    **Raises:** `InputError` for a learning rate beyond the stability limit of the saddle.
    """
    if not 0 < eta < 2 / saddle.stiffest:
        limit = f"{2 / saddle.stiffest:.3g}"
        raise InputError(f"the learning rate {eta} must lie between 0 and {limit} (2 / the largest curvature).")
    predicted = float(np.log1p(-eta * saddle.eigenvalues[0]))
    steps = int(np.clip(np.log(100) / max(abs(predicted), 1e-12), 10, 5_000))
    start = nudged(saddle, nudge)
    trained = _descend(loss, start, eta, steps)
    before, after = _along(start, saddle), _along(trained.value, saddle)
    measured = float(jnp.log(jnp.abs(after / before))) / steps
    return Growth(predicted, measured, abs(measured / predicted - 1) if abs(predicted) > _NO_RATE else None)


def identical_until(
    loss: HiddenLayerLoss, start: Neurons, *, eta: float, steps: int, hooks: tuple[Hook, ...] = ()
) -> int | None:
    """Train two neurons that start bit-identical; the first step after which a bit differs, or `None`."""
    return _first_difference(_descend(loss, tied(start), eta, steps, hooks=hooks).stats["carry"])


def split(
    loss: HiddenLayerLoss, start: Neurons, *, eta: float, steps: int, every: int, hooks: tuple[Hook, ...] = ()
) -> tuple[Split, int | None]:
    """Train two neurons from `start`, record how they part, and say after which step a bit first differed."""
    trained = _descend(loss, start, eta, steps, trace=Trace(_watched, every), hooks=hooks)
    neurons = trained.trace
    heights, distances = _along_the_way(loss, neurons)
    parting = Split(np.asarray(heights), neurons, np.asarray(distances), every)
    return parting, _first_difference(trained.stats["carry"])


@eqx.filter_jit
def _along_the_way(loss: HiddenLayerLoss, neurons: Neurons) -> tuple[Array, Array]:
    return jax.vmap(loss)(neurons), jax.vmap(distance)(neurons)


def nudged(saddle: Saddle, amplitude: float) -> Neurons:
    """The saddle's neurons, moved by `amplitude` along the softest direction."""
    return jax.tree.map(lambda here, along: here + amplitude * along, saddle.neurons, saddle.softest)


def distance(neurons: Neurons) -> Float[Array, ""]:
    """The Euclidean distance between the parameters of two neurons."""
    return jnp.sqrt(sum(jnp.sum((leaf[0] - leaf[1]) ** 2) for leaf in jax.tree.leaves(neurons)))


class _Audited(eqx.Module):
    """Full-batch gradients, while watching for the first bit in which the two neurons differ."""

    rule: from_loss

    def __call__(self, model, batch, carry, step, key, /):
        slopes, _, metrics = self.rule(model, batch, None, step, key)
        unequal = jnp.any(jnp.stack([jnp.any(leaf[0] != leaf[1]) for leaf in jax.tree.leaves(model)]))
        return slopes, jnp.where((carry < 0) & unequal, step, carry), metrics


def _evaluate(model: Neurons, batch: HiddenLayerLoss, key: Array) -> Float[Array, ""]:
    return batch(model)


def _watched(walk: Any) -> Neurons:
    return walk.model


def _descend(loss, start, eta, steps, *, trace=None, hooks=()):
    if eta <= 0:
        raise InputError(f"the learning rate is {eta}, but it must be positive.")
    return train(
        start,
        _Audited(from_loss(_evaluate)),
        Whole(loss),
        optax.sgd(eta),
        carry=jnp.array(-1),
        key=jax.random.key(0),
        steps=steps,
        trace=trace,
        on_chunk=hooks,
    )


def _first_difference(carry: Array) -> int | None:
    return None if int(carry) < 0 else int(carry)


def _along(neurons: Neurons, saddle: Saddle) -> Float[Array, ""]:
    products = jax.tree.map(
        lambda here, rest, along: jnp.sum((here - rest) * along), neurons, saddle.neurons, saddle.softest
    )
    return sum(jax.tree.leaves(products), jnp.zeros(()))
