"""Recording along a walk: a buffer that travels with the state, so that chunking and resuming cannot change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from thalweg.core.checks import traced


class Trace(eqx.Module):
    """What to record, and every how many steps.

    **Arguments:** `observe`, from the walk's state to a pytree of arrays; `every`, in steps.
    """

    observe: Callable[[Any], PyTree]
    every: int = 1


class Recorded(eqx.Module):
    """A state with the records taken so far; the first record is of the start."""

    state: PyTree
    step: Int[Array, ""]
    records: PyTree


def recorded(trace: Trace, state: PyTree, steps: int) -> Recorded:
    """A fresh recording of a walk of at most `steps` steps that starts at `state`."""
    first = trace.observe(state)
    room = steps // trace.every + 1
    records = jax.tree.map(
        lambda leaf: jnp.zeros((room, *jnp.shape(leaf)), jnp.result_type(leaf)).at[0].set(leaf), first
    )
    return Recorded(state, jnp.array(0), records)


def advance_recorded(trace: Trace, advance: Callable[[PyTree], PyTree], recording: Recorded) -> Recorded:
    """One step of `advance`, and a record of it when its turn has come."""
    state, step = advance(recording.state), recording.step + 1
    slot = step // trace.every
    turn = step % trace.every == 0
    records = jax.tree.map(
        lambda kept, new: kept.at[slot].set(jnp.where(turn, new, kept[slot])), recording.records, trace.observe(state)
    )
    return Recorded(state, step, records)


def taken(trace: Trace, recording: Recorded) -> PyTree:
    """The records that were taken; under a transformation all slots, zero where the walk had ended."""
    if traced(recording.step):
        return recording.records
    count = int(recording.step) // trace.every + 1
    return jax.tree.map(lambda kept: kept[:count], recording.records)
