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

from thalweg.core.checks import bad_leaves, leaf_name, traced
from thalweg.core.errors import InputError, PrecisionError
from thalweg.core.hooks import Closer, Hook, Pacer, Report, Resumer
from thalweg.core.solution import Outcome
from thalweg.methods.trace import Recorded, Trace, advance_recorded, recorded, taken

S = TypeVar("S")
Judge = Callable[[Any], Any]

_CHUNK_SECONDS = 0.3  # how long the hooks wait at most, once the speed is known
_GOOD = (Outcome.WALKING, Outcome.DONE)


class Walk(NamedTuple):
    """Where a drive ended.

    **Fields:** the last good `state`; the `step` that it is at; the `outcome` as its code; `bad_leaves`, the names of
    what stopped being finite; `seconds`, zero inside a transformation; `records`, what the trace took.
    """

    state: Any
    step: int | Int[Array, ""]
    outcome: Int[Array, ""]
    bad_leaves: tuple[str, ...] = ()
    seconds: float = 0.0
    records: Any = None


class _Carry(eqx.Module):
    state: PyTree
    step: Int[Array, ""]
    code: Int[Array, ""]


def judge_leaves(state: PyTree) -> Any:
    """WALKING while every floating leaf is finite, NONFINITE after: the judge for states without a better one."""
    leaves = [leaf for leaf in jax.tree.leaves(state) if eqx.is_inexact_array(leaf) or _is_host_float(leaf)]
    if all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves):
        return Outcome.WALKING.code if all(np.isfinite(leaf).all() for leaf in leaves) else Outcome.NONFINITE.code
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))
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
    trace: Trace | None = None,
    mend: Callable[[S, Outcome], S | None] | None = None,
) -> Walk:
    """Advance `state` by at most `steps` steps, and never past a step that `judge` objects to.

    Inside a JAX transformation the whole walk is one compiled loop without hooks, one lane per walk.

    **Arguments:**

    - `advance`: one step, `state -> state`: pure JAX, or with `host=True` any function of a pytree of arrays (a numba
      kernel, another program), its random words included in the state. A host function may work in place on NumPy
      arrays: each chunk owns a copy.
    - `judge`: the code of an `Outcome` for a state; `WALKING` goes on, `DONE` has arrived, anything else is a
      fault that rolls the walk back to the step before it. Compiled with `advance`.
    - `chunk`: steps between two calls of the hooks; by default found from the clock. It changes latency,
      never a bit of the result.
    - `hooks`: called in order; the first outcome that one of them returns stops the walk.
    - `trace`: what to record; judge and hooks see the same states with and without it.
    - `mend`: given the last good state and the fault, a state to go on from (with a larger buffer, say), or `None`.

    **Raises:** `InputError` for hooks or host functions inside a transformation, a Python number in the state that a
    compiled step would change, or a checkpoint beyond `steps`;
    `PrecisionError` for an array that this process would narrow.
    """
    settled: Any = jax.tree.map(lambda leaf: _settled(leaf, host), state)
    if trace is not None:
        settled = jax.tree.map(lambda leaf: _settled(leaf, host), recorded(trace, settled, steps, host=host))
        judge = eqx.Partial(_judge_recorded, judge)
    step: Any = advance if trace is None else eqx.Partial(advance_recorded, trace, advance)
    carry = _Carry(settled, _count(0), _count(Outcome.WALKING.code))
    if traced(carry, step, judge, steps):
        if hooks or host:
            raise InputError("hooks and host functions do not work inside jit or vmap: call from outside of it.")
        return _drive_traced(step, judge, carry, steps, trace)
    drive_on = _Drive(step, judge, steps, _host_chunk if host else _chunk, chunk, hooks, mend)
    return drive_on(carry, trace)


class _Drive(NamedTuple):
    """A walk that is driven from the host."""

    advance: Callable
    judge: Judge
    steps: int
    run: Callable
    chunk: int | None
    hooks: tuple[Hook, ...]
    mend: Callable | None

    def __call__(self, carry: _Carry, trace: Trace | None) -> Walk:
        began, start, leaves = time.perf_counter(), self._restored(carry), ()
        first = int(start.step)
        told = self._report(start, first, began)
        try:
            for carry, leaves in self._chunks(start):  # noqa: B007 - the last ones are used below
                if traced(carry):  # a closure over a tracer, which no argument showed
                    return _drive_traced(self.advance, self.judge, start, self.steps, trace)
                told = self._report(carry, first, began)
                outcome = self._heard(told)
                if outcome is not Outcome.WALKING:
                    break
            told = told._replace(outcome=Outcome.STEPS if outcome is Outcome.WALKING else outcome)
        finally:
            for hook in self.hooks:
                if isinstance(hook, Closer):
                    hook.close(told)
        records = taken(trace, told.whole) if trace is not None else None
        return Walk(told.state, told.step, _count(told.outcome.code), leaves, told.seconds, records)

    def _chunks(self, carry: _Carry):
        """The carry after each chunk, with the names of the leaves that broke in it; at least one chunk."""
        size = self.chunk or (1 if self.hooks else 64)
        pacers = [hook for hook in self.hooks if isinstance(hook, Pacer)]
        while True:
            for pacer in pacers:
                size = pacer.common_steps(size)
            start, clock = carry, time.perf_counter()
            carry = self.run(self.advance, self.judge, start, _count(min(int(start.step) + size, self.steps)))
            leaves: tuple[str, ...] = ()
            if not traced(carry) and Outcome.of(carry.code) not in _GOOD:
                carry, leaves = self._rolled_back(start, carry)
                mended = None if self.mend is None else self.mend(_bare(carry.state), Outcome.of(carry.code))
                if mended is not None:
                    carry, leaves = _Carry(_dressed(carry.state, mended), carry.step, start.code), ()
            yield carry, leaves
            if int(carry.step) >= self.steps:
                return
            taken_seconds = time.perf_counter() - clock
            wanted = int(size * _CHUNK_SECONDS / max(taken_seconds, 1e-9))
            size = self.chunk or max(1, min(2 * size, wanted))

    def _rolled_back(self, start: _Carry, bad: _Carry) -> tuple[_Carry, tuple[str, ...]]:
        """The state one step before the fault, by walking the chunk again: steps are pure, the bits are the same."""
        leaves = tuple(bad_leaves(_bare(bad.state))) if int(bad.code) == Outcome.NONFINITE.code else ()
        if int(bad.step) == int(start.step):
            return bad, leaves
        good = self.run(self.advance, self.judge, start, bad.step - 1)
        return _Carry(good.state, good.step, bad.code), leaves

    def _restored(self, carry: _Carry) -> _Carry:
        for hook in self.hooks:
            if isinstance(hook, Resumer) and (found := hook.restore(carry.state)) is not None:
                state, step = found
                if step > self.steps:
                    raise InputError(
                        f"the checkpoint is at step {step}, beyond the {self.steps} asked for: ask for at least {step}."
                    )
                return _Carry(state, _count(step), carry.code)
        return carry

    def _report(self, carry: _Carry, first: int, began: float) -> Report:
        seconds = time.perf_counter() - began
        outcome = Outcome.of(carry.code)
        return Report(int(carry.step), self.steps, _bare(carry.state), outcome, seconds, first, carry.state)

    def _heard(self, report: Report) -> Outcome:
        if report.outcome not in _GOOD:
            return report.outcome
        # Every hook hears every report, also after one of them has asked to stop.
        answers = [answer for answer in [hook(report) for hook in self.hooks] if answer is not None]
        ends = report.outcome is Outcome.DONE or report.step >= self.steps
        return report.outcome if ends or not answers else answers[0]


def _drive_traced(advance, judge, carry: _Carry, steps: Any, trace: Trace | None) -> Walk:
    end = _loop(advance, judge, carry, jnp.asarray(steps, jnp.int32), keep_last_good=True)
    spent = jnp.where(end.code == Outcome.WALKING.code, Outcome.STEPS.code, end.code)
    return Walk(_bare(end.state), end.step, spent, records=None if trace is None else taken(trace, end.state))


@eqx.filter_jit
def _chunk(advance, judge, carry: _Carry, stop_at: Int[Array, ""]) -> _Carry:
    # `stop_at` is traced: one compilation serves every chunk size, so chunking cannot change bits.
    return _loop(advance, judge, carry, stop_at, keep_last_good=False)


def _loop(advance, judge, carry: _Carry, stop_at: Int[Array, ""], keep_last_good: bool) -> _Carry:
    # Judged on entry too: a start that has arrived, or is broken, takes no step.
    carry = _Carry(carry.state, carry.step, jnp.asarray(judge(carry.state), jnp.int32))
    moving, fixed = eqx.partition(carry, eqx.is_array)

    def going(moving):
        c = eqx.combine(moving, fixed)
        return (c.step < stop_at) & (c.code == Outcome.WALKING.code)

    def once(moving):
        c = eqx.combine(moving, fixed)
        state, step = advance(c.state), c.step + 1
        _refuse_moving_numbers(c.state, state)
        code = jnp.asarray(judge(state), jnp.int32)
        if keep_last_good:
            good = (code == Outcome.WALKING.code) | (code == Outcome.DONE.code)
            keep = lambda new, old: jnp.where(good, new, old) if eqx.is_array(new) else new  # noqa: E731
            state, step = jax.tree.map(keep, state, c.state), keep(step, c.step)
        return eqx.filter(_Carry(state, step, code), eqx.is_array)

    return eqx.combine(jax.lax.while_loop(going, once, moving), fixed)


def _refuse_moving_numbers(before: Any, after: Any) -> None:
    """A compiled loop carries arrays only: a Python number that a step would change has to be one.

    **Raises:** `InputError` naming the leaf.
    """
    old = jax.tree_util.tree_leaves_with_path(before)
    for (path, was), now in zip(old, jax.tree.leaves(after), strict=False):
        if isinstance(was, bool | int | float | complex) and (eqx.is_array(now) or now != was):
            raise InputError(f"the state's leaf {leaf_name(path)} is the Python number {was}: make it an array.")


def _host_chunk(advance, judge, carry: _Carry, stop_at: Int[Array, ""]) -> _Carry:
    # The chunk owns a copy: kernels may then work in place, and its start stays whole for the roll-back.
    state = jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, carry.state)
    step, stop, code = int(carry.step), int(stop_at), int(judge(state))
    while step < stop and code == Outcome.WALKING.code:
        state, step = advance(state), step + 1
        code = int(judge(state))
    return _Carry(state, _count(step), _count(code))


def _judge_recorded(judge: Judge, recording: Recorded) -> Any:
    return judge(recording.state)


def _bare(state: Any) -> Any:
    return state.state if isinstance(state, Recorded) else state


def _dressed(old: Any, state: Any) -> Any:
    return Recorded(state, old.step, old.records) if isinstance(old, Recorded) else state


def _count(number: int) -> Int[Array, ""]:
    # One strong integer type from the first call on: a weak one would compile every walk twice.
    return jnp.asarray(number, jnp.int32)


def _is_host_float(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic) and np.issubdtype(leaf.dtype, np.inexact)


def _settled(leaf: Any, host: bool) -> Any:
    if host or not isinstance(leaf, np.ndarray):
        # A weakly typed leaf would change its type in the first step, which a compiled loop refuses.
        return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf
    if jnp.result_type(leaf) != leaf.dtype:
        raise PrecisionError(
            f"an array of {leaf.dtype} would become {jnp.result_type(leaf)}: enable x64 or pass the narrow one."
        )
    return jnp.asarray(leaf)
