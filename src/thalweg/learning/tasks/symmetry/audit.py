"""The audit of a training bit by bit: until when two identical units stay identical, and what parted them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.learning.energy import DataLoss, Regularised
from thalweg.learning.model.pair import Pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.symmetry.descend import Watched, descend
from thalweg.methods.data import AbstractData, Batches

Seed = Literal["nudge", "noise", "rounding", "nothing"]
_RECORDED = 2_000_000  # numbers: of larger networks only the pair is recorded


class Split(NamedTuple):
    """A training that may part two units.

    **Fields:** the losses `loss [records]` and `distance [records]` between the two units, every `every` steps; the
    `params` there (leading axis the records), unless they are too many; `identical_until`, the number of steps after
    which a bit of the two units first differed, `None` if none ever did.
    """

    loss: np.ndarray
    distance: np.ndarray
    params: PyTree | None
    every: int
    identical_until: int | None


class LossBatches(AbstractData):
    """Batches of a loss over data, each as the regularised landscape of its items."""

    batches: Batches
    loss: Regularised

    def init(self, key: Array) -> Any:
        return self.batches.init(key)

    def next(self, cursor: Any) -> tuple[Regularised, Any]:
        (x, y), after = self.batches.next(cursor)
        return eqx.tree_at(lambda whole: (whole.loss.x, whole.loss.y), self.loss, (x, y)), after


def audit(
    problem: Problem,
    pair: Pair,
    start: PyTree,
    rule: optax.GradientTransformation,
    decay: float = 0.0,
    *,
    steps: int,
    every: int = 1,
    batch: int | None = None,
    noise: float | None = None,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Split:
    """Train from `start`, watch every bit of the pair, and record how the two units part.

    The exchange of two identical units is a symmetry of the loss on any items, so that neither mini-batches nor
    imbalanced data can part them; noise that differs from unit to unit can.

    **Arguments:** `batch`, the items of a mini-batch (all by default); `noise`, the standard deviation of normal noise
    on the gradients of the layer's units.

    **Raises:** `InputError` for batches or noise that the problem cannot have; `WalkError` where the training breaks.
    """
    loss: Any = problem.at(decay)
    size = sum(leaf.size for leaf in jax.tree.leaves(start))
    if problem.on_host:
        if batch is not None or noise is not None:
            raise InputError(f"{problem.name} is no JAX model: batches and noise are for those only.")
        return _on_host(loss, pair, start, rule, steps, every, hooks)
    if batch is not None:
        if not isinstance(problem.loss, DataLoss):
            raise InputError(f"{problem.name}: batches need a DataLoss, whose items are known; leave --batch out.")
        loss = LossBatches(Batches((problem.loss.x, problem.loss.y), batch), loss)
    whole = size * (steps // every + 1) <= _RECORDED
    watch = Watched(pair, None if noise is None else jnp.asarray(noise))
    seen = eqx.Partial(_seen, pair, whole)
    walk = descend(loss, start, rule, steps, observe=seen, every=every, watch=watch, seed=seed, hooks=hooks)
    params, distances, losses = walk.trace
    losses = np.array(losses)
    losses[0] = _height(problem.at(decay), start)
    if whole:
        losses = np.asarray(_heights(problem.at(decay), params))
    parted = int(walk.stats["carry"])
    if parted < 0 and bool(pair.differ(walk.value)):
        parted = steps
    return Split(losses, np.asarray(distances), params, every, None if parted < 0 else parted)


def seeded_by(split: Split, nudge: float | None, noise: float | None) -> Seed:
    """What parted the units: the nudge, the noise, or rounding where there was neither."""
    if split.identical_until is None:
        return "nothing"
    return "nudge" if nudge is not None else "noise" if noise is not None else "rounding"


def _on_host(loss: Any, pair: Pair, start: PyTree, rule: Any, steps: int, every: int, hooks: tuple[Hook, ...]) -> Split:
    """The same for a host field, where every step is recorded, of the pair alone."""
    walk = descend(loss, start, rule, steps - 1, observe=eqx.Partial(_seen, pair, False), every=1, hooks=hooks)
    _, distances, losses = walk.trace
    # The walk looks one step ahead: its records are of the states after 1, 2, ... steps, and of the losses before.
    distances = np.concatenate([[float(pair.distance(start))], np.asarray(distances)])
    differed = np.flatnonzero(np.concatenate([[bool(pair.differ(start))], distances[1:] > 0]))
    last = loss.value_and_force_batch(jax.tree.map(lambda leaf: leaf[None], walk.value))[0]
    losses = np.concatenate([np.asarray(losses), np.asarray(last)])
    return Split(losses[::every], distances[::every], None, every, int(differed[0]) if len(differed) else None)


def _seen(pair: Pair, whole: bool, params: PyTree, state: PyTree, loss: Array) -> tuple[PyTree, Array, Array]:
    return params if whole else None, pair.distance(params), loss


@eqx.filter_jit
def _height(loss: Any, params: PyTree) -> Array:
    return loss(params)


@eqx.filter_jit
def _heights(loss: Any, params: PyTree) -> Array:
    return jax.vmap(loss)(params)
