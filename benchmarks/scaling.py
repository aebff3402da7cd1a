"""What it costs to hand independent tasks to processes and to a Dask cluster, and what that means for 1,000 workers.

Measured: the start of the workers; the processor time of driver and scheduler for a task that does nothing, which is
the part that no worker shares; and the efficiency of tasks that compute, from one worker to as many as there are cores.
Extrapolated by the model in `modelled`, whose assumptions are written into the result.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from _machine import described, write_result
from distributed import LocalCluster

from thalweg.scale import DaskPool, ProcessPool
from thalweg.scale.settings import usable_cores

ASSUMPTIONS = [
    "tasks are independent, as batches of a sweep, seeds and origins are; a chain or a training is one task",
    "the scheduler and the driver share one core and spend the same time on every task, however many workers there are",
    "every worker starts once, at the same time as the others, and compiles once as long as here",
    "times of tasks scatter as here, and independently: the last of N workers ends later by "
    "sd sqrt(2 ln N) sqrt(tasks of each)",
    "results are as small as here (kilobytes), so that the network and the disk of the driver do not count",
    "nobody dies, and no queue of a batch system is waited for",
]


def nothing(task: int) -> int:
    return task


def works(size: int, repeats: int, task: int) -> float:
    """A task of one core: products of matrices, compiled once in each process."""
    import jax
    import jax.numpy as jnp

    began = time.perf_counter()
    x = jnp.eye(size) + 1e-3 * task
    step = _compiled()
    for _ in range(repeats):
        x = step(x)
    jax.block_until_ready(x)
    return time.perf_counter() - began


@functools.cache
def _compiled() -> Callable:
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda x: jnp.tanh(x @ x / x.shape[0]))


def cluster(workers: int) -> LocalCluster:
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")


def overhead(count: int) -> dict[str, float]:
    """Seconds for a task that does nothing: on the clock, and of the processor that driver and scheduler share."""
    with cluster(1) as one:
        pool = DaskPool(one.scheduler_address)
        list(pool.map(nothing, range(10)))
        began, busy = time.perf_counter(), time.process_time()
        list(pool.map(nothing, range(count)))
        return {
            "tasks": count,
            "wall_ms": round(1e3 * (time.perf_counter() - began) / count, 3),
            "driver_and_scheduler_cpu_ms": round(1e3 * (time.process_time() - busy) / count, 3),
        }


def started(engine: str, workers: int, tasks: int, work: Callable) -> dict[str, Any]:
    """Wall-clock seconds of as many tasks for every worker, once the workers are there and have compiled."""
    began = time.perf_counter()
    if engine == "local":
        # A process pool starts its processes for each map: the first result tells when they are there.
        ends, found = [], []
        for _, seconds in ProcessPool(workers).arrivals(work, range((1 + tasks) * workers)):
            ends.append(time.perf_counter())
            found.append(seconds)
        first = ends[workers - 1]
        wall, start, found = ends[-1] - first, first - began, found[workers:]
    else:
        with cluster(workers) as many:
            pool = DaskPool(many.scheduler_address)
            list(pool.map(work, range(2 * workers)))
            start, again = time.perf_counter() - began, time.perf_counter()
            found = list(pool.map(work, range(tasks * workers)))
            wall = time.perf_counter() - again
    return {
        "engine": engine,
        "workers": workers,
        "tasks": len(found),
        "start_and_compile_seconds": round(start, 2),
        "wall_seconds": round(wall, 3),
        "task_seconds_mean": round(float(np.mean(found)), 4),
        "task_seconds_sd": round(float(np.std(found)), 4),
        "tasks_per_second": round(len(found) / wall, 3),
        # Apart from what cores take from each other: caches, clocks, hyper-threads.
        "kept_busy": round(float(np.sum(found)) / (workers * wall), 3),
    }


def modelled(workers: int, task: float, each: int, start: float, serial: float, spread: float) -> dict[str, Any]:
    """Efficiency of N workers with tasks of t seconds, `each` of them: useful seconds over all seconds of all workers.

    The time is `start + max(each t (1 + spread sqrt(2 ln N / each)), N each serial) + serial`: the slowest worker, or
    the one core through which every task passes, whichever is later.
    """
    late = 1 + spread * math.sqrt(2 * math.log(max(workers, 1)) / each)
    wall = start + max(each * task * late, workers * each * serial) + serial
    return {
        "workers": workers,
        "task_seconds": task,
        "tasks_per_worker": each,
        "efficiency": round(each * task / wall, 3),
        "scheduler_busy": round(min(1.0, workers * serial / task), 3),
    }


def main() -> None:
    """Measure and write `results/scaling.json`."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--most", type=int, default=usable_cores(), help="workers, at most")
    options.add_argument("--tasks", type=int, default=12, help="of each worker")
    options.add_argument("--repeats", type=int, default=2500, help="products of matrices in a task, some 0.4 ms each")
    given = options.parse_args()
    work = functools.partial(works, 256, given.repeats)
    costs = [overhead(count) for count in (200, 1000)]
    counts = sorted({1, *(2**power for power in range(1, 10) if 2**power < given.most), given.most})
    runs = [started(engine, count, given.tasks, work) for engine in ("local", "dask") for count in counts]
    for run in runs:
        alone = next(one for one in runs if one["engine"] == run["engine"] and one["workers"] == 1)
        run["cores"] = min(run["workers"], usable_cores())  # more workers than cores are no faster, however well fed
        run["efficiency"] = round(run["tasks_per_second"] / (run["cores"] * alone["tasks_per_second"]), 3)
    last = runs[-1]
    serial = costs[-1]["driver_and_scheduler_cpu_ms"] / 1e3
    spread = last["task_seconds_sd"] / last["task_seconds_mean"]
    start = last["start_and_compile_seconds"]
    write_result(
        "scaling",
        described()
        | {
            "usable_cores": usable_cores(),
            "dask": metadata.version("distributed"),
            "overhead_of_an_empty_task": costs,
            "runs": runs,
            "model": {
                "formula": "each t / (start + max(each t (1 + spread sqrt(2 ln N / each)), N each serial) + serial)",
                "serial_seconds": serial,
                "spread": round(spread, 4),
                "start_seconds": start,
                "assumptions": ASSUMPTIONS,
                "extrapolated": [
                    modelled(workers, task, each, start, serial, spread)
                    for workers in (1, 10, 100, 1000)
                    for task, each in ((1.0, 10), (10.0, 10), (60.0, 10), (600.0, 10))
                ],
                "least_task_seconds_for_1000_workers": round(1000 * serial, 2),
            },
        },
    )


if __name__ == "__main__":
    main()
