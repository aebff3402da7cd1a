"""Many chains of a sampler as one walk: random keys, the lowest points seen, and the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace
from thalweg.methods.sampler import AbstractTunedSampler
from thalweg.methods.schedule import AbstractSchedule
from thalweg.methods.trace import Trace


class Sampling(eqx.Module):
    """Chains under way: all that a checkpoint must hold; every leaf but `step` has a leading axis of chains.

    **Fields:** the `state` of the method; one key per chain, `[chains]`; the `step` taken, warmup included; the `best`
    configuration of each chain and its energy `lowest`; `accepted`, summed since the warmup; `records`, with leading
    axis the records and one row more than there are, where what is not kept is written.
    """

    state: PyTree
    keys: Any
    step: Any
    best: PyTree
    lowest: Any
    accepted: Any
    records: PyTree


class Recipe(eqx.Module):
    """What stays the same from step to step; `steps` and `warmup` shape the records, so that they are static."""

    method: Any  # an AbstractSampler, or an AbstractHostSampler with any kind of energy
    energy: Any
    space: AbstractSpace
    temperature: Callable[[Int[Array, ""]], Float[Array, ""]]
    trace: Trace
    warmup: int
    steps: int


def everything(state: Any) -> PyTree:
    """The configuration and the energy of a chain: what is recorded unless something else is asked for."""
    return {"x": state.x, "energy": state.value}


def _place(state: Any) -> tuple[PyTree, Float[Array, ""]]:
    return state.x, state.value


@eqx.filter_jit
def begun(recipe: Recipe, x: PyTree, key: Key[Array, ""]) -> Sampling:
    """The walk at its start: `x` has a leading axis of chains."""
    chains = jax.tree.leaves(x)[0].shape[0]
    keys = jax.vmap(lambda chain: jax.random.split(jax.random.fold_in(key, chain)))(jnp.arange(chains))
    state = jax.vmap(lambda x, key: _first(recipe, x, key))(x, keys[:, 0])
    best, lowest = jax.vmap(_place)(state)
    room = recipe.steps // recipe.trace.every
    shapes = jax.eval_shape(jax.vmap(recipe.trace.observe), state)
    records = jax.tree.map(lambda leaf: jnp.zeros((room + 1, *leaf.shape), leaf.dtype), shapes)
    step = jnp.asarray(0, jnp.int32)
    return Sampling(state, keys[:, 1], step, best, lowest, jnp.zeros_like(lowest), records)


def _first(recipe: Recipe, x: PyTree, key: Key[Array, ""]) -> Any:
    height = jax.eval_shape(recipe.energy, x)
    temperature = jnp.asarray(recipe.temperature(jnp.asarray(0, jnp.int32))).astype(height.dtype)
    return recipe.method.init(recipe.energy, recipe.space, x, temperature, key)


@eqx.filter_jit
def first_states(recipe: Recipe, x: PyTree, key: Key[Array, ""]) -> Any:
    """The states of all chains at the start, without the walk around them: for their shapes."""
    return jax.vmap(lambda x: _first(recipe, x, key))(x)


def advance(recipe: Recipe, walk: Sampling) -> Sampling:
    """One step of all chains."""
    method, warmup = recipe.method, recipe.warmup
    step = walk.step + 1
    since = step - warmup
    temperature = jnp.asarray(recipe.temperature(jnp.maximum(since - 1, 0))).astype(walk.lowest.dtype)

    def once(state: Any, key: Key[Array, ""]) -> Any:
        # A key per step, from its number: chunks and resuming cannot change it.
        key = jax.random.fold_in(key, walk.step)
        state = method.step(recipe.energy, recipe.space, state, temperature, key)
        return method.tune(state, step, warmup) if warmup and isinstance(method, AbstractTunedSampler) else state

    state = jax.vmap(once)(walk.state, walk.keys)
    accepted = jax.vmap(lambda one: one.accepted)(state)
    if warmup:
        warm = since <= 0
        zeroed = jax.tree.map(lambda count: jnp.where(warm, jnp.zeros_like(count), count), state.counts)
        state = eqx.tree_at(lambda s: s.counts, state, zeroed, is_leaf=lambda leaf: leaf is None)
        accepted = jnp.where(warm, 0, accepted)
    x, value = jax.vmap(_place)(state)
    lower = value < walk.lowest
    best = jax.tree.map(lambda new, old: jnp.where(_spread(lower, new), new, old), x, walk.best)
    records = _recorded(recipe, state, since, walk.records)
    lowest = jnp.where(lower, value, walk.lowest)
    return Sampling(state, walk.keys, step, best, lowest, walk.accepted + accepted, records)


def _recorded(recipe: Recipe, state: Any, since: Int[Array, ""], records: PyTree) -> PyTree:
    every, room = recipe.trace.every, recipe.steps // recipe.trace.every
    if not jax.tree.leaves(records):
        return records
    turn = (since > 0) & (since % every == 0)
    observe = jax.vmap(recipe.trace.observe)
    if every == 1:
        seen = observe(state)
    else:
        nothing = jax.tree.map(lambda kept: jnp.zeros(kept.shape[1:], kept.dtype), records)
        seen = jax.lax.cond(turn, observe, lambda _: nothing, state)
    slot = jnp.where(turn, since // every - 1, room)
    put = lambda kept, new: jax.lax.dynamic_update_index_in_dim(kept, new, slot, 0)  # noqa: E731
    return jax.tree.map(put, records, seen)


def _spread(mask: Array, like: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))


@eqx.filter_jit
def judge(walk: Sampling) -> Int[Array, ""]:
    """NONFINITE as soon as the energy of a chain is."""
    finite = jnp.isfinite(jax.vmap(lambda one: one.value)(walk.state)).all()
    return jnp.where(finite, Outcome.WALKING.code, Outcome.NONFINITE.code)


# Chains on the host ---------------------------------------------------------------------------------------------------


def begun_on_host(recipe: Recipe, x: PyTree, key: Key[Array, ""]) -> Sampling:
    """The walk of a host sampler at its start: every leaf of `x` and of the walk is a NumPy array."""
    method = recipe.method
    chains = jax.tree.leaves(x)[0].shape[0]
    words = np.asarray(jax.random.bits(key, (chains, 8), jnp.uint32)).view(np.uint64)
    state = method.init(recipe.energy, jax.tree.map(np.array, x), _degrees(recipe, 0), words)
    seen = method.observe(state)
    room, shapes = recipe.steps // recipe.trace.every, recipe.trace.observe(seen)
    records = jax.tree.map(lambda leaf: np.zeros((room, *np.shape(leaf)), np.asarray(leaf).dtype), shapes)
    lowest = np.array(seen.value)
    step, none = np.zeros((), np.int64), np.zeros((0,))
    return Sampling(state, None, step, jax.tree.map(np.array, seen.x), lowest, none, records)


def _degrees(recipe: Recipe, step: int) -> float:
    schedule, step_at = recipe.temperature, jnp.asarray(step, jnp.int32)
    # Our own schedules are compiled, which is several times as quick; anyone's function may ask for a known step.
    return float(_told(schedule, step_at) if isinstance(schedule, AbstractSchedule) else schedule(step_at))


@eqx.filter_jit
def _told(schedule: AbstractSchedule, step: Int[Array, ""]) -> Float[Array, ""]:
    return schedule(step)


def advance_on_host(recipe: Recipe, constant: float | None, walk: Sampling) -> Sampling:
    """One step of all chains on the host, in place; `constant` is the temperature where there is one for all steps."""
    method = recipe.method
    since = int(walk.step) + 1 - recipe.warmup
    state = method.advance(walk.state, _degrees(recipe, max(since - 1, 0)) if constant is None else constant)
    seen = method.observe(state)
    lower = np.asarray(seen.value) < walk.lowest
    if lower.any():
        walk.lowest[lower] = seen.value[lower]
        jax.tree.map(lambda best, here: best.__setitem__(lower, here[lower]), walk.best, seen.x)
    if since > 0 and since % recipe.trace.every == 0:
        slot = since // recipe.trace.every - 1
        jax.tree.map(lambda kept, new: kept.__setitem__(slot, new), walk.records, recipe.trace.observe(seen))
    if state is walk.state and isinstance(walk.step, np.ndarray):
        walk.step[...] += 1  # all was done in place: a new module in each step would cost more than a small kernel
        return walk
    return Sampling(state, walk.keys, walk.step + 1, walk.best, walk.lowest, walk.accepted, walk.records)


def judge_on_host(recipe: Recipe, walk: Sampling) -> int:
    """NONFINITE as soon as the energy of a chain is."""
    method = recipe.method
    finite = np.isfinite(method.observe(walk.state).value).all()
    return Outcome.WALKING.code if finite else Outcome.NONFINITE.code
