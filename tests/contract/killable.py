"""A walk that may be killed at any moment, and a server that starts it without importing JAX anew each time."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.methods.drive import Walk, drive
from thalweg.runs import Checkpoint, Metrics, Run

CONFIG = {"rate": 0.01, "size": 50_000}


class State(eqx.Module):
    x: jax.Array
    low: jax.Array  # bfloat16, a chaotic map: one lost bit shows after a few steps
    key: jax.Array
    words: jax.Array


def start() -> State:
    x = np.linspace(-1.0, 1.0, int(CONFIG["size"]), dtype=np.float32)  # by NumPy: each of JAX's operations compiles
    low = np.linspace(0.1, 0.9, 5, dtype=jnp.bfloat16)
    return State(
        jnp.asarray(x),
        jnp.asarray(low),
        jax.random.key(3),
        jnp.asarray(np.arange(1, 5, dtype=np.uint32)),
    )


def advance(state: State) -> State:
    """One step down a double well, shaken by a 32-bit xorshift: nothing in it is slow to compile."""
    words = state.words ^ (state.words << 13)
    words = words ^ (words >> 17)
    words = words ^ (words << 5)
    kick = 0.1 * (words[0] / 2.0**32) - 0.05
    x = state.x - CONFIG["rate"] * (4 * state.x**3 - 2 * state.x) + kick.astype(state.x.dtype)
    low = (3.7 * state.low * (1 - state.low)).astype(jnp.bfloat16)
    return State(x, low, jax.random.wrap_key_data(jax.random.key_data(state.key) ^ words[:2]), words)


def seen(state: State) -> dict[str, Any]:
    return {"first": state.x[0], "word": state.words[1]}


def go(folder: Path, steps: int, every: int, chunk: int) -> Walk:
    with Run.create(folder, CONFIG, command=["spins", "solve"], seed=3, dtype="float32") as run:
        hooks = (Metrics(run, seen), Checkpoint(run, every_seconds=None, every_steps=every))
        return drive(advance, start(), steps, chunk=chunk, hooks=hooks)


def serve() -> None:
    """For each line on standard input run `go` in a fork: print its pid, and how it ended."""
    for line in sys.stdin:
        folder, steps, every, chunk = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                go(Path(folder), steps, every, chunk)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
