"""Recording along a walk: a buffer that travels with the state, so that chunking and resuming cannot change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from thalweg.core.checks import traced
from thalweg.core.errors import InputError


class Trace(eqx.Module):
    """What to record, and every how many steps.

    **Arguments:** `observe`, from the walk's state to a pytree of arrays; `every`, in steps.
    """

    observe: Callable[[Any], PyTree]
    every: int = 1

    def __check_init__(self):
        if self.every < 1:
            raise InputError(f"a trace every {self.every} steps records nothing: give a positive number of steps.")


class Recorded(eqx.Module):
    """A state with the records taken so far; the first record is of the start."""

    state: PyTree
    step: Int[Array, ""]
    records: PyTree


def recorded(trace: Trace, state: PyTree, steps: int, *, host: bool = False) -> Recorded:
    """A fresh recording of a walk of at most `steps` steps that starts at `state`."""
    room, numbers = steps // trace.every + 1, np if host else jnp

    def buffer(first: Any) -> Any:
        empty = numbers.zeros((room, *np.shape(first)), jnp.result_type(first))
        return _put(empty, 0, first)

    count: Any = numbers.asarray(0, np.int32)
    return Recorded(state, count, jax.tree.map(buffer, trace.observe(state)))


def advance_recorded(trace: Trace, advance: Callable[[PyTree], PyTree], recording: Recorded) -> Recorded:
    """One step of `advance`, and a record of it when its turn has come."""
    state, step = advance(recording.state), recording.step + 1
    slot, turn = step // trace.every, step % trace.every == 0

    def keep(kept: Any, new: Any) -> Any:
        if isinstance(kept, np.ndarray):
            return _put(kept, int(slot), new) if turn else kept
        return kept.at[slot].set(jnp.where(turn, new, kept[slot]))

    return Recorded(state, step, jax.tree.map(keep, recording.records, trace.observe(state)))


def taken(trace: Trace, recording: Recorded) -> PyTree:
    """The records that were taken; under a transformation all slots, zero where the walk had ended."""
    if traced(recording.step):
        return recording.records
    count = int(recording.step) // trace.every + 1
    return jax.tree.map(lambda kept: kept[:count], recording.records)


def _put(kept: Any, slot: int, new: Any) -> Any:
    if isinstance(kept, np.ndarray):
        kept[slot] = np.asarray(new)
        return kept
    return kept.at[slot].set(new)
