"""`train`: walk downhill on a loss that is only seen batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.checks import floating, traced
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Pacer
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.data import AbstractData, AbstractHostData
from thalweg.methods.devices import beyond_process, kept_on_all, mesh_of, put_on_all, shared
from thalweg.methods.drive import Walk, drive
from thalweg.methods.trace import Trace
from thalweg.verbs.ending import concluded


@runtime_checkable
class GradientRule(Protocol):
    """What `train` asks for: gradients of the model, what is carried to the next step, and metrics (with `loss`)."""

    def __call__(
        self, model: PyTree, batch: PyTree, carry: PyTree, step: Int[Array, ""], key: Key[Array, ""], /
    ) -> tuple[PyTree, PyTree, dict[str, Array]]: ...


class from_loss(eqx.Module):
    """The gradient rule of a plain loss.

    **Arguments:** `loss(model, batch, key)`, which returns a scalar, or with `metrics=True` a scalar and a dict of
    further scalars to watch.
    """

    loss: Callable[..., Any]
    metrics: bool = False

    def __call__(self, model, batch, carry, step, key, /):
        pair = self.loss if self.metrics else _with_nothing(self.loss)
        (value, metrics), slopes = eqx.filter_value_and_grad(pair, has_aux=True)(model, batch, key)
        return slopes, carry, {"loss": value, **metrics}


def _with_nothing(loss: Callable[..., Any]) -> Callable[..., tuple[Any, dict]]:
    return lambda model, batch, key: (loss(model, batch, key), {})


class EarlyStop(eqx.Module):
    """Stop when a held-out measure has not fallen for a while, and keep the best model.

    **Arguments:** `measure(model)`, a scalar to be made small; taken `every` so many steps; `patience`, how many
    measures without a new best are borne.
    """

    measure: Callable[[PyTree], Float[Array, ""]]
    every: int = 100
    patience: int = 10


class Training(eqx.Module):
    """A training under way: all that a checkpoint must hold."""

    model: PyTree
    optimiser: PyTree
    carry: PyTree
    cursor: PyTree
    key: Key[Array, ""]
    step: Int[Array, ""]
    metrics: dict[str, Array]
    average: PyTree
    best: PyTree
    lowest: Float[Array, ""]
    waited: Int[Array, ""]


class _Recipe(eqx.Module):
    """What stays the same from step to step."""

    gradient: GradientRule
    optimiser: optax.GradientTransformation
    ema: float | None
    stop: EarlyStop | None
    mesh: Mesh | None = eqx.field(static=True, default=None)


def train(
    model: PyTree,
    gradient: GradientRule,
    data: AbstractData | AbstractHostData,
    optimiser: optax.GradientTransformation,
    *,
    carry: PyTree = None,
    key: Key[Array, ""],
    steps: int,
    ema: float | None = None,
    stop: EarlyStop | None = None,
    devices: Sequence[Any] | None = None,
    trace: Trace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Train the floating arrays of `model` for `steps` steps.

    **Arguments:**

    - `model`: a pytree (an Equinox module, a dict of arrays); what is not a floating array stays as it is.
    - `gradient`: a rule as of `from_loss`; contrastive divergence, truncated back-propagation through time and staged
      losses keep their chains, hidden states and stages in `carry`.
    - `data`: `Whole`, `Batches` or `Fetched`.
    - `optimiser`: any Optax transformation; schedules and clipping are parts of it.
    - `carry`: what the rule hands from step to step, at the start.
    - `key`: the source of all randomness; the same key gives the same bits.
    - `ema`: decay of an exponential moving average of the model, which is then the result; at step `t` at most
      `t / (t + 9)`, so that the start is forgotten soon.
    - `stop`: early stopping; the best model is then the result.
    - `devices`: several that share every batch, each an equal part; the model is on all of them. Sums over a batch are
      the same up to rounding. Several processes (`thalweg.scale.together`) all call `train` alike.
    - `trace`: what to record of the `Training` (`walk.metrics["loss"]`); record 0 is of the start, where nothing has
      been measured and metrics are NaN.
    - `on_chunk`: hooks; a checkpoint among them resumes the training to the same bits.

    **Returns:** a `Solution` whose `value` is the model and whose `energy` is the last batch's loss; `stats` has
    `steps`, `metrics`, `carry`, `seconds`, and with early stopping `best`, the lowest measure.

    **Raises:** `InputError` for unusable arguments; `WalkError` where the loss, a metric or the model stopped being
    finite, naming the step, the leaf and the last good checkpoint.
    """
    _check(model, data, (key, carry), steps, ema, throw)
    host = isinstance(data, AbstractHostData)
    recipe = _Recipe(gradient, optimiser, ema, stop, mesh_of(devices))
    state: Any = _begun(recipe, data, model, carry, key)
    if recipe.mesh is not None:
        state, data = put_on_all(recipe.mesh, state), data if host else put_on_all(recipe.mesh, data)
    advance: Any = eqx.Partial(_advance_on_host if host else _advance, recipe, data)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    _check_pace(recipe.mesh, hooks)
    judge = eqx.Partial(_judge, stop)
    end = drive(advance, state, steps, judge=judge, host=host, hooks=hooks, trace=trace)
    # The budget of steps is the aim of a training, not its failure.
    code = jnp.where(end.outcome == Outcome.STEPS.code, Outcome.DONE.code, end.outcome)
    end = end._replace(outcome=code)
    return concluded(_solution(recipe, end), end, "train", hooks, throw)


def _solution(recipe: _Recipe, end: Walk) -> Solution:
    walk: Training = end.state
    value, stats = walk.model, {"steps": end.step, "metrics": walk.metrics, "carry": walk.carry, "seconds": end.seconds}
    if recipe.ema is not None:
        value = walk.average
    if recipe.stop is not None:
        value, stats["best"] = walk.best, walk.lowest
    return Solution(value, walk.metrics["loss"], end.outcome, end.records, stats)


def _check(model: PyTree, data: Any, others: PyTree, steps: int, ema: float | None, throw: bool) -> None:
    floating(eqx.filter(model, _trainable), "train", "the model")
    if not isinstance(data, AbstractData | AbstractHostData):
        raise InputError(f"train: data is a {type(data).__name__}: wrap it in Batches(arrays, size) or Whole(arrays).")
    if steps < 1:
        raise InputError(f"train: steps is {steps}, but at least one is needed.")
    if ema is not None and not 0 < ema < 1:
        raise InputError(f"train: ema is {ema}, but a decay lies between 0 and 1.")
    if throw and traced(model, data, others):
        raise InputError("train: nothing can be raised inside jit or vmap: pass throw=False and read `outcome`.")


def _check_pace(mesh: Mesh | None, hooks: tuple[Hook, ...]) -> None:
    if beyond_process(mesh) and not any(isinstance(hook, Pacer) for hook in hooks):
        raise InputError(
            "train: devices belong to several processes, which must keep in step: pass `on_chunk=team.hooks(...)` of "
            "`with thalweg.scale.together(...) as team`."
        )


def _trainable(leaf: Any) -> bool:
    return eqx.is_inexact_array(leaf) or (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating))


def _begun(recipe: _Recipe, data: Any, model: PyTree, carry: PyTree, key: Key[Array, ""]) -> Training:
    data_key, step_key = jax.random.split(key)
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf) if _trainable(leaf) else leaf, model)
    optimiser = recipe.optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    on_host = isinstance(data, AbstractHostData)
    cursor = None if on_host else data.init(data_key)
    batch = data.fetch(0) if on_host else eqx.filter_eval_shape(data.next, cursor)[0]
    _, after, shapes = eqx.filter_eval_shape(recipe.gradient, model, batch, carry, jnp.array(0), step_key)
    carry = _same_kind(carry, after)
    if not isinstance(shapes, dict) or "loss" not in shapes:
        raise InputError("train: the gradient rule must return (gradients, carry, metrics) with metrics['loss'].")
    metrics = {name: _unmeasured(shape) for name, shape in shapes.items()}
    average = model if recipe.ema is not None else None
    best = model if recipe.stop is not None else None
    lowest = jnp.full((), jnp.inf, shapes["loss"].dtype)
    return Training(
        model, optimiser, carry, cursor, step_key, jnp.array(0), metrics, average, best, lowest, jnp.array(0)
    )


def _same_kind(carry: PyTree, after: PyTree) -> PyTree:
    """The carry as arrays, if the rule hands back what it was given."""
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, carry)
    before = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(eqx.filter(arrays, eqx.is_array))]
    later = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after) if hasattr(leaf, "shape")]
    if before != later:
        raise InputError(f"train: the rule turns a carry of {before} into one of {later}: keep shapes and dtypes.")
    return arrays


def _unmeasured(shape: jax.ShapeDtypeStruct) -> Array:
    return jnp.full(shape.shape, jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else 0, shape.dtype)


def _advance(recipe: _Recipe, data: AbstractData, walk: Training) -> Training:
    batch, cursor = data.next(walk.cursor)
    return _learnt(recipe, walk, batch, cursor)


_learnt_compiled = eqx.filter_jit(lambda recipe, walk, batch: _learnt(recipe, walk, batch, None))


def _advance_on_host(recipe: _Recipe, data: AbstractHostData, walk: Training) -> Training:
    return _learnt_compiled(recipe, walk, jax.tree.map(jnp.asarray, data.fetch(int(walk.step))))


def _learnt(recipe: _Recipe, walk: Training, batch: PyTree, cursor: PyTree) -> Training:
    key = jax.random.fold_in(walk.key, walk.step)
    batch = batch if recipe.mesh is None else shared(recipe.mesh, batch)
    slopes, carry, metrics = recipe.gradient(walk.model, batch, walk.carry, walk.step, key)
    params = eqx.filter(walk.model, eqx.is_inexact_array)
    updates, optimiser = recipe.optimiser.update(slopes, walk.optimiser, params)
    model, step = eqx.apply_updates(walk.model, updates), walk.step + 1
    average = walk.average if recipe.ema is None else _averaged(walk.average, model, recipe.ema, step)
    new = Training(
        model, optimiser, carry, cursor, walk.key, step, metrics, average, walk.best, walk.lowest, walk.waited
    )
    if recipe.stop is not None:
        new = _measured(recipe.stop, new, average if recipe.ema is not None else model)
    return new if recipe.mesh is None else kept_on_all(recipe.mesh, new)


def _averaged(average: PyTree, model: PyTree, decay: float, step: Int[Array, ""]) -> PyTree:
    # At first over as many steps as there were: the average must not remember a start that was no model at all.
    share = jnp.maximum(1 - decay, 9 / (step + 9.0))

    def mix(old, new):
        return old + share.astype(new.dtype) * (new - old) if eqx.is_inexact_array(new) else new

    return jax.tree.map(mix, average, model)


def _measured(stop: EarlyStop, walk: Training, candidate: PyTree) -> Training:
    arrays, fixed = eqx.partition(candidate, eqx.is_array)
    best, best_fixed = eqx.partition(walk.best, eqx.is_array)

    def look(_):
        height = jnp.asarray(stop.measure(eqx.combine(arrays, fixed)), walk.lowest.dtype)
        better = height < walk.lowest
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), arrays, best)
        return kept, jnp.where(better, height, walk.lowest), jnp.where(better, 0, walk.waited + 1)

    due = walk.step % stop.every == 0
    kept, lowest, waited = jax.lax.cond(due, look, lambda _: (best, walk.lowest, walk.waited), None)
    return eqx.tree_at(
        lambda t: (t.best, t.lowest, t.waited),
        walk,
        (eqx.combine(kept, best_fixed), lowest, waited),
        is_leaf=lambda leaf: leaf is None,
    )


@eqx.filter_jit
def _judge(stop: EarlyStop | None, walk: Training) -> Int[Array, ""]:
    watched = [leaf for leaf in jax.tree.leaves((walk.metrics, walk.model, walk.carry)) if eqx.is_inexact_array(leaf)]
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in watched])) | (walk.step == 0)
    spent = jnp.array(False) if stop is None else walk.waited >= stop.patience
    going = jnp.where(spent, Outcome.DONE.code, Outcome.WALKING.code)
    return jnp.where(finite, going, Outcome.NONFINITE.code)
