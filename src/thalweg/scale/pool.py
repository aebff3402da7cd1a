"""A pool of processes on this machine, as an executor for independent tasks."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from thalweg.core.errors import InputError, ThalwegError
from thalweg.scale.settings import settings, usable_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

_CACHE = "jax_compilation_cache_dir"


class ProcessPool:
    """Runs tasks in processes of their own, which start for each `map` and end with it.

    JAX's settings travel along: precision, platform and whatever else changes bits. A process compiles for itself, so
    a pool pays where a batch takes longer than the start (some seconds).

    **Arguments:** `workers`, how many processes, by default one per `threads` cores; `threads`, how many cores each
    may use (on a CPU).
    """

    def __init__(self, workers: int | None = None, threads: int = 1):
        if threads < 1 or (workers is not None and workers < 1):
            raise InputError(f"ProcessPool: workers is {workers} and threads {threads}, but each must be at least 1.")
        self.workers = max(1, usable_cores() // threads) if workers is None else workers
        self.threads = threads

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        """The results in the order of the tasks; closing the iterator drops the tasks that have not begun.

        **Raises:** `InputError` if the function cannot travel; `ThalwegError` if a process died.
        """
        return in_order(self.arrivals(function, tasks))

    def arrivals(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[tuple[int, Result]]:
        """As `map`, each result with the place of its task as soon as it is there."""
        tasks = list(tasks)
        return self._results(_packed(function), tasks) if tasks else iter(())

    def _results(self, function: bytes, tasks: list[Any]) -> Iterator[tuple[int, Any]]:
        pool = ProcessPoolExecutor(
            min(self.workers, len(tasks)),
            mp_context=multiprocessing.get_context("spawn"),  # a fork of a process whose JAX has started hangs
            initializer=_settle,
            initargs=(settings(_CACHE), self.threads, function),
        )
        try:
            places = {pool.submit(_call, task): place for place, task in enumerate(tasks)}
            for future in as_completed(places):
                yield places[future], future.result()
        except BrokenProcessPool as error:
            raise ThalwegError(
                "a process of the pool died (it was killed, or memory ran out): call again to go on from what was "
                "kept, with fewer workers or smaller batches if it happens again."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def in_order(arrivals: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    """The results in the order of their tasks; closing it closes the arrivals."""
    early: dict[int, Result] = {}
    due = 0
    try:
        for place, result in arrivals:
            early[place] = result
            while due in early:
                yield early.pop(due)
                due += 1
    finally:
        if hasattr(arrivals, "close"):
            arrivals.close()  # type: ignore[attr-defined]


def _packed(function: Callable) -> bytes:
    """The function as multiprocessing sends it: by the names of the functions in it, with the arrays that they hold."""
    try:
        packed = bytes(ForkingPickler.dumps(function))
    except Exception as error:  # the kinds differ: an attribute, a type, a lock
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"ProcessPool: a function cannot travel to another process ({reason}): define it by `def` at the top of a "
            "module, not as a lambda or inside another function."
        ) from error
    if b"__main__" in packed and not hasattr(sys.modules["__main__"], "__file__"):
        raise InputError(
            "ProcessPool: a function typed into a shell or notebook has no file to be imported from: "
            "put it into a module."
        )
    return packed


# In the worker -------------------------------------------------------------------------------------------------------

_packages: list[bytes] = []
_functions: list[Callable] = []


def _settle(settings: dict[str, Any], threads: int, function: bytes) -> None:
    """Make the new process compute as its parent does, and die with it."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Read when the client of the CPU starts, which importing JAX does not do.
    os.environ.update({"NPROC": str(threads), "OMP_NUM_THREADS": str(threads)})
    import jax

    for name, value in settings.items():
        jax.config.update(name, value)
    _packages.append(function)  # unpacked with the first task, because a complaint from here would not be heard


def _die_with_parent() -> None:
    # A worker waits for tasks forever if its parent is killed with SIGKILL.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _call(task: Any) -> Any:
    if not _functions:
        try:
            _functions.append(ForkingPickler.loads(_packages[0]))  # pyright: ignore[reportAttributeAccessIssue]
        except (AttributeError, ImportError) as error:
            raise InputError(
                f"ProcessPool: a function cannot be imported in another process ({error}): define it by `def` at the "
                "top of a module that can be imported."
            ) from error
    return _functions[0](task)
