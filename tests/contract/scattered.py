"""Functions that tests send to the workers of a cluster, and a driver of a sweep that a test kills."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from contract import sweepable

from thalweg.core.errors import InputError
from thalweg.runs.points import Points
from thalweg.scale import executor_for
from thalweg.verbs.sweep import sweep


def process(task: float) -> int:
    """The process that did it, after so many seconds."""
    time.sleep(task)
    return os.getpid()


def dies_once(marker: Path, task: int) -> int:
    """The square, but its process is killed the first time that anybody comes here."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task**2


def dies(task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuses(task: int) -> None:
    raise InputError(f"task {task}: refused.")


def leaves_a_mark(folder: Path, task: int) -> int:
    time.sleep(0.2)
    (folder / str(task)).touch()
    return task


def waits_for_the_last(folder: Path, task: int) -> int:
    """Task 0 ends after task 1."""
    until = time.monotonic() + 60
    while task == 0 and not (folder / "done").exists() and time.monotonic() < until:
        time.sleep(0.01)
    (folder / "done").touch()
    return task


def busy_cores(task: int) -> float:
    """How many cores a product of matrices keeps busy."""
    x = jnp.ones((512, 512))
    product = jax.jit(lambda x: jnp.tanh(x @ x / 512))
    jax.block_until_ready(product(x))
    busy, began = time.process_time(), time.perf_counter()
    for _ in range(50):
        x = product(x)
    jax.block_until_ready(x)
    return (time.process_time() - busy) / (time.perf_counter() - began)


def third(array: jax.Array, task: int) -> tuple[np.ndarray, str, bool]:
    """A third of an array that came along, its dtype, and whether the process as a whole is in double precision."""
    found = array / 3
    return np.asarray(found), str(found.dtype), bool(jnp.zeros(()).dtype == np.float64)


def go(folder: Path, where: str | None, on_chunk=()) -> xarray.Dataset:
    return sweep(
        sweepable.Tilted,
        sweepable.VALUES,
        sweepable.solve,
        sweepable.start,
        observe=sweepable.seen,
        key=jax.random.key(3),
        seeds=4,
        batch=8,
        done=Points(folder),
        on_chunk=on_chunk,
        executor=executor_for(where),
    )


if __name__ == "__main__":  # the driver: it rests after every batch, so that a kill meets it in between
    go(Path(sys.argv[1]), sys.argv[2], lambda report: time.sleep(0.2))
