"""The only step loop of the package: chunks of steps, with the world let in between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from thalweg.core.checks import bad_leaves, traced
from thalweg.core.hooks import Closer, Hook, Report, Resumer
from thalweg.core.solution import Outcome

S = TypeVar("S")
Judge = Callable[[Any], Int[Array, ""]]

_CHUNK_SECONDS = 0.3  # how long the hooks wait at most, once the speed is known


class Walk(NamedTuple):
    """Where a drive ended.

    **Fields:** the last good `state`; the `step` that it is at; the `outcome` as its code;
    `bad_leaves`, the names of what stopped being finite; `seconds`.
    """

    state: Any
    step: int | Int[Array, ""]
    outcome: Int[Array, ""]
    bad_leaves: tuple[str, ...] = ()
    seconds: float = 0.0


class _Carry(eqx.Module):
    state: PyTree
    step: Int[Array, ""]
    code: Int[Array, ""]


def judge_leaves(state: PyTree) -> Int[Array, ""]:
    """WALKING while every floating leaf is finite, NONFINITE after: the judge for states without a better one."""
    leaves = [leaf for leaf in jax.tree.leaves(state) if eqx.is_inexact_array(leaf)]
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])) if leaves else jnp.array(True)
    return jnp.where(finite, Outcome.WALKING.code, Outcome.NONFINITE.code)


def drive(
    advance: Callable[[S], S],
    state: S,
    steps: int,
    *,
    judge: Judge = judge_leaves,
    host: bool = False,
    chunk: int | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Walk:
    """Advance `state` by at most `steps` steps, and never past a step that `judge` objects to.

    Inside a JAX transformation the whole walk is one compiled loop without hooks, one lane per walk.

    **Arguments:**

    - `advance`: one step, `state -> state`, without side effects: pure JAX, or with `host=True` any function of a
      pytree of arrays (a numba kernel, another program), its random words included in the state.
    - `judge`: the code of an `Outcome` for a state; `WALKING` goes on, `DONE` has arrived, anything else is a
      fault that rolls the walk back to the step before it. Compiled with `advance`.
    - `chunk`: steps between two calls of the hooks; by default found from the clock. It changes latency,
      never a bit of the result.
    - `hooks`: called in order; the first outcome that one of them returns stops the walk.
    """
    carry = _Carry(
        jax.tree.map(lambda leaf: _settled(leaf, host), state), jnp.array(0), jnp.array(Outcome.WALKING.code)
    )
    if traced(carry, advance):
        return _drive_traced(advance, judge, carry, steps)
    carry = _restored(carry, hooks)
    run = _host_chunk if host else _chunk
    size, began = chunk or 1, time.perf_counter()
    while int(carry.step) < steps and int(carry.code) == Outcome.WALKING.code:
        start, clock = carry, time.perf_counter()
        carry = run(advance, judge, start, jnp.asarray(min(int(start.step) + size, steps)))
        if Outcome.of(carry.code) not in _GOOD:
            carry, leaves = _rolled_back(run, advance, judge, start, carry)
            break
        carry = _told(hooks, carry, steps, began)
        taken = time.perf_counter() - clock
        size = chunk or max(1, min(2 * size, int(size * _CHUNK_SECONDS / max(taken, 1e-9))))
    else:
        leaves = ()
    outcome = Outcome.STEPS if int(carry.code) == Outcome.WALKING.code else Outcome.of(carry.code)
    seconds = time.perf_counter() - began
    for hook in hooks:
        if isinstance(hook, Closer):
            hook.close(Report(int(carry.step), steps, carry.state, outcome, seconds))
    return Walk(carry.state, int(carry.step), jnp.asarray(outcome.code), leaves, seconds)


_GOOD = (Outcome.WALKING, Outcome.DONE)


def _settled(leaf: Any, host: bool) -> Any:
    if not host and isinstance(leaf, np.ndarray):
        return jnp.asarray(leaf)
    # A weakly typed leaf would change its type in the first step, which a compiled loop refuses.
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def _loop(advance, judge, carry: _Carry, stop_at: Int[Array, ""], keep_last_good: bool) -> _Carry:
    # Judged on entry too: a start that has arrived, or is broken, takes no step.
    carry = _Carry(carry.state, carry.step, jnp.asarray(judge(carry.state), carry.code.dtype))
    moving, fixed = eqx.partition(carry, eqx.is_array)

    def going(moving):
        c = eqx.combine(moving, fixed)
        return (c.step < stop_at) & (c.code == Outcome.WALKING.code)

    def once(moving):
        c = eqx.combine(moving, fixed)
        state = advance(c.state)
        code = jnp.asarray(judge(state), c.code.dtype)
        step = c.step + 1
        if keep_last_good:
            good = (code == Outcome.WALKING.code) | (code == Outcome.DONE.code)
            state = jax.tree.map(
                lambda new, old: jnp.where(good, new, old) if eqx.is_array(new) else new, state, c.state
            )
            step = jnp.where(good, step, c.step)
        return eqx.filter(_Carry(state, step, code), eqx.is_array)

    return eqx.combine(jax.lax.while_loop(going, once, moving), fixed)


@eqx.filter_jit
def _chunk(advance, judge, carry: _Carry, stop_at: Int[Array, ""]) -> _Carry:
    # `stop_at` is traced: one compilation serves every chunk size, so chunking cannot change bits.
    return _loop(advance, judge, carry, stop_at, keep_last_good=False)


def _host_chunk(advance, judge, carry: _Carry, stop_at: Int[Array, ""]) -> _Carry:
    state, step = carry.state, int(carry.step)
    code = int(judge(state))
    while step < int(stop_at) and code == Outcome.WALKING.code:
        state, step = advance(state), step + 1
        code = int(judge(state))
    return _Carry(state, jnp.asarray(step), jnp.asarray(code))


def _drive_traced(advance, judge, carry: _Carry, steps: int) -> Walk:
    end = _loop(advance, judge, carry, jnp.asarray(steps), keep_last_good=True)
    spent = jnp.where(end.code == Outcome.WALKING.code, Outcome.STEPS.code, end.code)
    return Walk(end.state, end.step, spent)


def _restored(carry: _Carry, hooks: tuple[Hook, ...]) -> _Carry:
    for hook in hooks:
        if isinstance(hook, Resumer) and (found := hook.restore(carry.state)) is not None:
            state, step = found
            return _Carry(state, jnp.asarray(step), carry.code)
    return carry


def _rolled_back(run, advance, judge, start: _Carry, bad: _Carry) -> tuple[_Carry, tuple[str, ...]]:
    """The state one step before the fault, by walking the chunk again: steps are pure, so the bits are the same."""
    leaves = tuple(bad_leaves(bad.state)) if int(bad.code) == Outcome.NONFINITE.code else ()
    if int(bad.step) == int(start.step):
        return bad, leaves
    good = run(advance, judge, start, bad.step - 1)
    return _Carry(good.state, good.step, bad.code), leaves


def _told(hooks: tuple[Hook, ...], carry: _Carry, steps: int, began: float) -> _Carry:
    report = Report(int(carry.step), steps, carry.state, Outcome.of(carry.code), time.perf_counter() - began)
    # Every hook hears every report, also after one of them has asked to stop.
    answers = [answer for answer in [hook(report) for hook in hooks] if answer is not None]
    if answers and report.outcome is Outcome.WALKING and report.step < steps:
        return _Carry(carry.state, carry.step, jnp.asarray(answers[0].code))
    return carry
