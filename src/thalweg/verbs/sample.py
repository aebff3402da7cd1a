"""`sample`: draw configurations from the Boltzmann law."""

from __future__ import annotations

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.refresh import refreshing
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean, Signs
from thalweg.methods.drive import Walk, drive
from thalweg.methods.registry import named
from thalweg.methods.sampler import AbstractHostSampler, AbstractSampler
from thalweg.methods.sampling import (
    Recipe,
    Sampling,
    advance,
    advance_on_host,
    begun,
    begun_on_host,
    everything,
    first_states,
    judge,
    judge_on_host,
)
from thalweg.methods.schedule import AbstractSchedule, Constant, check_warm
from thalweg.methods.trace import Trace
from thalweg.verbs.ending import concluded

Method = AbstractSampler | AbstractHostSampler

_MOST_BYTES = 2**30  # of records that nobody asked for
_FEWEST_DRAWS = 4  # below that, effective sample sizes are not defined


def sample(
    energy: Landscape | AbstractHostField,
    x0: PyTree,
    method: Method | str,
    *,
    key: Key[Array, ""],
    steps: int,
    chains: int | None = 4,
    warmup: int = 0,
    space: AbstractSpace | None = None,
    temperature: float | Float[Array, ""] | AbstractSchedule = 1.0,
    trace: Trace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Walk with the law `exp(-E/T)` (Boltzmann's constant is one) from `x0`, in several chains at once.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar; a host field only where `method` is a host sampler.
    - `x0`: one configuration, from which all chains start; with `chains=None` every leaf has a leading axis of chains.
    - `method`: a sampler, or its name (`heat_bath`, `hmc`, `mala`, `metropolis`, `nuts`, `overdamped`).
    - `key`: of all random numbers, as of `jax.random.key`.
    - `steps` of every chain after the `warmup`, in which some methods tune their constants; these are then frozen.
    - `space`: where `x` lives; by default unbounded.
    - `temperature`: in the units of the energy, or a schedule (annealing): its step 0 is the first after the warmup,
      which has its temperature throughout.
    - `trace`: what to record of a chain's state (`.x`, `.value`), by default both of every step; `every` so many steps
      after the warmup, the first record after the first `every` of them.
    - `throw`: raise if a chain breaks; otherwise the last good state comes back with its outcome. Inside `jit` and
      `vmap` nothing can be raised: pass `throw=False` there.
    - `on_chunk`: hooks, called between chunks of steps, warmup included.

    **Returns:** a `Solution` with leading axis `[chains]`; `trace`, the records `[records, chains, ...]`; and `stats`:
    `best` and `lowest`, each chain's lowest configuration and its energy, start and warmup included; `acceptance
    [chains]`, the mean probability of a move; `ess` and `r_hat`, of each number of a record, with `ess_min` and
    `r_hat_max` over those that vary (not under a schedule, whose draws have no common law, not for fewer than 4
    records, and not inside a transformation); `steps`, `seconds`, and what the method counts (`divergences`,
    `step_size`, `swap_acceptance [chains, pairs]`, `round_trips`).

    **Raises:** `InputError` for an unusable start, method or space; `WalkError` for a chain that broke.
    """
    space = Euclidean() if space is None else space
    chosen: Any = named("sample", method) if isinstance(method, str) else method
    x, one = _checked(energy, x0, chosen, space, chains)
    if throw and traced(x, energy, key, chosen, space, temperature):
        raise InputError("sample: nothing can be raised inside jit or vmap: pass throw=False and read `outcome`.")
    _counts(key, steps, warmup)
    schedule: Any = temperature if callable(temperature) else Constant(temperature)
    check_warm(schedule, steps)
    if isinstance(chosen, AbstractSampler):
        chosen = chosen.ready(cast(Landscape, energy), space, one)
    recipe = Recipe(chosen, energy, space, schedule, Trace(everything) if trace is None else trace, warmup, steps)
    if trace is None:
        _refuse_floods(recipe, x, key)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    end = _walked(recipe, x, key, hooks)
    return concluded(_solution(recipe, end), end, "sample", hooks, throw)


def _walked(recipe: Recipe, x: PyTree, key: Key[Array, ""], hooks: tuple[Hook, ...]) -> Walk:
    total = recipe.warmup + recipe.steps
    if isinstance(recipe.method, AbstractHostSampler):
        constant = float(recipe.temperature.temperature) if isinstance(recipe.temperature, Constant) else None
        step: Any = eqx.Partial(advance_on_host, recipe, constant)
        look: Any = eqx.Partial(judge_on_host, recipe)
        end = drive(step, begun_on_host(recipe, x, key), total, judge=look, host=True, hooks=hooks)
    else:
        end = drive(eqx.Partial(advance, recipe), begun(recipe, x, key), total, judge=judge, hooks=hooks)
    # A chain has no other aim than its steps.
    code = jnp.where(end.outcome == Outcome.STEPS.code, Outcome.DONE.code, end.outcome)
    return end._replace(outcome=code)


def _solution(recipe: Recipe, end: Walk) -> Solution:
    walk: Sampling = end.state
    steps = jnp.maximum(end.step - recipe.warmup, 0)
    inside = traced(walk, steps)
    done = steps if inside else int(steps)
    stats: dict[str, Any] = {"best": walk.best, "lowest": walk.lowest, "steps": done, "seconds": end.seconds}
    if isinstance(recipe.method, AbstractHostSampler):
        x, value = jax.tree.map(jnp.asarray, tuple(recipe.method.observe(walk.state)))
    else:
        method = recipe.method
        x, value = jax.vmap(lambda one: (one.x, one.value))(walk.state)
        stats["acceptance"] = walk.accepted / jnp.maximum(steps, 1).astype(walk.accepted.dtype)
        stats |= jax.vmap(lambda one: method.counted(one, steps))(walk.state)
    room = recipe.steps // recipe.trace.every
    taken = room if inside else int(done) // recipe.trace.every
    records = jax.tree.map(lambda kept: kept[:taken], walk.records)
    if isinstance(recipe.temperature, Constant) and not inside and taken >= _FEWEST_DRAWS:
        stats |= _mixing(records)
    return Solution(x, value, end.outcome, records if jax.tree.leaves(records) else None, stats)


def _mixing(records: PyTree) -> dict[str, Any]:
    """How much the draws are worth, for each number of a record and for the worst of them."""
    # Imported when it is needed, because it brings SciPy and ArviZ.
    from thalweg.diagnostics.convergence import effective_sample_size, r_hat

    if not jax.tree.leaves(records):
        return {}
    sizes, ratios = effective_sample_size(records), r_hat(records)
    all_sizes = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(sizes)])
    all_ratios = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ratios)])
    # A number that never varied has no size; where none did, the worst has none either.
    least = float(np.nanmin(all_sizes)) if np.isfinite(all_sizes).any() else float("nan")
    most = float(np.nanmax(all_ratios)) if not np.isnan(all_ratios).all() else float("nan")
    return {"ess": sizes, "r_hat": ratios, "ess_min": least, "r_hat_max": most}


def _checked(energy, x0: PyTree, method: Any, space: AbstractSpace, chains: int | None):
    """The start of all chains with their leading axis, and that of one."""
    if not isinstance(method, AbstractSampler | AbstractHostSampler):
        raise InputError(f"sample: {type(method).__name__} is no sampler: pass one such as Metropolis(), or its name.")
    if chains is not None and (not isinstance(chains, int | np.integer) or chains < 1):
        raise InputError(
            f"sample: {chains} chains cannot walk: give at least one, or None if x0 has an axis of chains."
        )
    x = floating(x0, "sample")
    if chains is None:
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
        if len(sizes) > 1 or sizes == {()}:
            raise InputError(f"sample: with chains=None every leaf of x0 needs the same leading axis, not {sizes}.")
        one = jax.tree.map(lambda leaf: leaf[0], x)
    else:
        one = x
        x = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (chains, *leaf.shape)), x)
    fits(space, one, "sample")
    _refuse_strangers(energy, one, method, space)
    return jax.vmap(space.wrap)(x), space.wrap(one)


def _refuse_strangers(energy: Any, one: PyTree, method: Any, space: AbstractSpace) -> None:
    if isinstance(method, AbstractHostSampler):
        if not isinstance(space, Euclidean | Signs):
            raise InputError(
                f"sample: {type(method).__name__} runs on the host and knows no {type(space).__name__}: leave the "
                "space out, or choose a method such as HeatBath() or Metropolis()."
            )
        return
    if isinstance(energy, AbstractHostField):
        raise InputError(
            "sample: a host field cannot be compiled into a chain: write an AbstractHostSampler for it, or turn a "
            "PyTorch module into a JAX function with interop.as_jax."
        )
    if refreshing(energy):
        raise InputError(
            "sample: an energy with lists that go stale is not sampled: use simulate with a thermostat, or an energy "
            "without lists."
        )
    check_scalar(energy, one, "sample")


def _counts(key: Any, steps: Any, warmup: Any) -> None:
    for name, count in (("steps", steps), ("warmup", warmup)):
        if traced(count) or not isinstance(count, int | np.integer) or count < 0:
            raise InputError(f"sample: {name} is {count}, but it must be a whole number that is not negative.")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise InputError("sample: key must be one random key: pass jax.random.key(0), say.")


def _refuse_floods(recipe: Recipe, x: PyTree, key: Key[Array, ""]) -> None:
    """Refuse to record everything where nobody asked for it and it would not fit a modest memory."""
    if isinstance(recipe.method, AbstractHostSampler):
        leaves = jax.tree.leaves(x)
    else:
        state = eqx.filter_eval_shape(first_states, recipe, x, key)
        leaves = jax.tree.leaves(jax.eval_shape(jax.vmap(everything), state))
    needed = recipe.steps * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > _MOST_BYTES:
        raise InputError(
            f"sample: recording all {recipe.steps} steps would take {needed / 2**30:.1f} GiB: pass a trace, such as "
            "Trace(lambda state: state.value, every=10)."
        )
