"""One way to train a network with any Optax optimiser, whether JAX or somebody else's program computes its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.learning.model.pair import Pair
from thalweg.learning.model.units import table, with_table
from thalweg.methods.data import AbstractData
from thalweg.methods.gradient import Gradient
from thalweg.methods.trace import Trace
from thalweg.verbs.relax import relax
from thalweg.verbs.train import train

Observe = Callable[[PyTree, PyTree, Array], PyTree]


class EveryStep(AbstractData):
    """One landscape as the batch of every step.

    Unlike data in `Whole` it may hold infinities: a layer for maximum pooling begins with minus infinity.
    """

    loss: Landscape

    def init(self, key: Array) -> None:
        return None

    def next(self, cursor: None) -> tuple[Landscape, None]:
        return self.loss, None


class Watched(eqx.Module):
    """The gradient rule of a landscape that comes as the batch; it watches two units, and may add noise to their layer.

    What it carries is the first step before which a bit of the two units differed, or -1. The `noise` is normal,
    independent for each number of each unit of the layer and each step.
    """

    pair: Pair | None = eqx.field(default=None, static=True)
    noise: Float[Array, ""] | None = None

    def __call__(self, model, batch, carry, step, key, /):
        loss, slopes = jax.value_and_grad(batch)(model)
        if self.pair is None:
            return slopes, carry, {"loss": loss}
        if self.noise is not None:
            rows = table(slopes, self.pair.units)
            rows = rows + self.noise.astype(rows.dtype) * jax.random.normal(key, rows.shape, rows.dtype)
            slopes = with_table(slopes, self.pair.units, rows)
        return slopes, jnp.where((carry < 0) & self.pair.differ(model), step, carry), {"loss": loss}


def descend(
    loss: Landscape | AbstractHostField | AbstractData,
    start: PyTree,
    rule: optax.GradientTransformation,
    steps: int,
    *,
    observe: Observe,
    every: int,
    watch: Watched | None = None,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Solution:
    """Train on a landscape, on data whose batches are landscapes, or on a host field.

    **Arguments:** `observe(params, optimiser state, loss)`, recorded `every` so many steps. The record at step k of a
    landscape is of the state after k steps, and its loss the one before the last of them. For a host field it is of the
    state after k + 1 steps, since a descent there looks one step ahead.

    **Returns:** a `Solution` whose `trace` holds the records; for landscapes `stats["carry"]` is what `watch` carried.

    **Raises:** `WalkError` where the loss or the params stop being finite.
    """
    if isinstance(loss, AbstractHostField):
        # Only the budget of steps ends it: no force is below this.
        found = relax(
            loss, start, Gradient(rule), tol=1e-300, max_steps=steps, throw=False, on_chunk=hooks,
            trace=Trace(eqx.Partial(_of_descent, observe), every),
        )  # fmt: skip
        if Outcome.of(found.outcome) not in (Outcome.STEPS, Outcome.STALLED, Outcome.DONE):
            raise WalkError(f"training: {found.sentence}", found)
        return found
    return train(
        start,
        Watched() if watch is None else watch,
        loss if isinstance(loss, AbstractData) else EveryStep(loss),
        rule,
        carry=jnp.array(-1),
        key=jax.random.key(seed),
        steps=steps,
        trace=Trace(eqx.Partial(_of_training, observe), every),
        on_chunk=hooks,
    )


def _of_training(observe: Observe, walk: Any) -> PyTree:
    return observe(walk.model, walk.optimiser, walk.metrics["loss"])


def _of_descent(observe: Observe, walk: Any) -> PyTree:
    return observe(walk.state.trial, walk.state.optimiser, walk.state.value)
