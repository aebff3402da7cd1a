"""Independent pieces of compiled work, spread over the cores by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """`[function(item) for item in items]`, side by side where there are several items and cores.

    The function must let go of the interpreter's lock, and the pieces must not touch each other's arrays: then the
    results do not depend on the number of threads.
    """
    workers = min(len(items), usable_cores())
    if workers <= 1:
        return [function(item) for item in items]
    # A pool of its own for each call, some 0.1 ms: a pool that is kept would be dead in a forked process.
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))
