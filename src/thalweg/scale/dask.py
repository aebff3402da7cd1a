"""A Dask cluster as an executor for independent tasks: other machines, a batch system, workers that come and go."""

from __future__ import annotations

import functools
import os
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from thalweg.core.errors import InputError, ThalwegError, require
from thalweg.scale.pool import in_order
from thalweg.scale.settings import computing_as, differing, settings, versions

Task = TypeVar("Task")
Result = TypeVar("Result")

_SMALL = 50_000  # bytes
_AGAIN = "call again to go on from what was kept"


class DaskPool:
    """Runs tasks on the workers of a Dask cluster, to which it connects for each `map`.

    Precision and all settings of JAX that change bits travel with every task. A task whose worker dies is run again
    elsewhere, up to three times (Dask's `allowed-failures`). Workers need the same versions as this process, but no
    shared folder: results come back here. Workers that join later get tasks as well.

    **Arguments:** `cluster`, the address of a scheduler (`tcp://host:8786`), the path of its scheduler file, or a
    cluster object, such as a `SLURMCluster` of dask-jobqueue; `timeout`, seconds to wait for the scheduler.

    **Raises:** `MissingExtra` without Dask.
    """

    def __init__(self, cluster: Any, timeout: float = 10.0):
        require("distributed", extra="dask")
        self.cluster, self.timeout = cluster, timeout

    def check(self) -> int:
        """Connect, compare versions, and return the number of workers that are there now.

        **Raises:** `InputError` for a scheduler that does not answer or workers with other versions.
        """
        with self._client() as client:
            found = client.run(versions, on_error="return")
            for worker, theirs in found.items():
                if isinstance(theirs, BaseException):
                    raise _cannot_import(f"the worker {worker}", theirs)
                if words := differing(versions(), theirs):
                    raise InputError(_other_versions(f"the worker {worker}", words))
            return len(found)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        """The results in the order of the tasks; closing the iterator drops the tasks that have not begun.

        **Raises:** `InputError` if the scheduler does not answer, versions differ, or the function cannot travel;
        `ThalwegError` if the scheduler is lost, or if a task ended the worker every time.
        """
        return in_order(self.arrivals(function, tasks))

    def arrivals(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[tuple[int, Result]]:
        """As `map`, each result with the place of its task as soon as it is there."""
        packed = [_packed(task) for task in tasks]
        held = _packed((settings(), versions(), _packed(function)))
        return self._results(held, packed) if packed else iter(())

    def _results(self, packed: bytes, tasks: list[bytes]) -> Iterator[tuple[int, Any]]:
        from distributed import as_completed
        from distributed.protocol.pickle import loads

        with self._client() as client, _explained(self):
            token = uuid.uuid4().hex
            with _quietly():
                held = _handed_out(client, packed, token)
                futures = client.map(
                    functools.partial(_work, token), tasks, held=held, key=f"thalweg-{token}", pure=False, retries=0
                )
            places = {future.key: place for place, future in enumerate(futures)}
            try:
                for future in as_completed(futures, loop=client.loop):
                    yield places[future.key], loads(future.result())
                    future.release()
            finally:
                with suppress(Exception):  # the scheduler may be gone
                    client.cancel(futures)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from distributed import Client

        file = {"scheduler_file": self.cluster} if _is_file(self.cluster) else {"address": self.cluster}
        try:
            with _quietly():
                client = Client(**file, timeout=self.timeout, set_as_default=False)
        except Exception as error:  # the kinds differ: no such host, a refused connection, a timeout, another protocol
            raise InputError(
                f"dask: no scheduler answers at {self.place} within {self.timeout:g} s ({_line(error)}): start one "
                "with `dask scheduler`, or correct the address."
            ) from error
        try:
            yield client
        finally:
            with suppress(Exception):
                client.close(timeout=2)

    @property
    def place(self) -> str:
        """Where the scheduler is, in words."""
        return str(getattr(self.cluster, "scheduler_address", self.cluster))


def _handed_out(client: Any, function: bytes, token: str) -> Any:
    """A small function goes with every task; a large one once to each worker, and is made again if all of them die."""
    if len(function) < _SMALL:
        return function
    held = client.submit(_hold, function, key=f"thalweg-function-{token}", pure=False)
    client.replicate(held)  # Dask would rather let tasks wait for the one worker that has it
    return held


def _is_file(cluster: Any) -> bool:
    return isinstance(cluster, str | os.PathLike) and Path(cluster).is_file()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Dask's warnings of other versions, which are checked as an error, and of large functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _explained(pool: DaskPool) -> Iterator[None]:
    """Dask's own failures as sentences; what a task raises stays what it is."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise ThalwegError(
            f"dask: a task ended its worker {error.allowed_failures + 1} times (memory ran out, or it crashed): "
            f"{_AGAIN}, with smaller batches or more memory for each worker."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ThalwegError(f"dask: the scheduler at {pool.place} was lost: start it, and {_AGAIN}.") from error
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "thalweg":
            raise
        raise _cannot_import("a worker", error) from error


def _cannot_import(who: str, error: BaseException) -> InputError:
    return InputError(f"dask: {who} cannot import thalweg ({_line(error)}): install the same versions there as here.")


def _other_versions(who: str, words: str) -> str:
    return f"dask: {who} has other versions, with which results would differ: {words}: install the same in both places."


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__


def _packed(value: Any) -> bytes:
    """As Dask sends it: by the names of functions, or with their code where those are of a shell or notebook."""
    from distributed.protocol.pickle import dumps

    try:
        return bytes(dumps(value))
    except Exception as error:  # the kinds differ: a lock, an open file, a generator
        raise InputError(
            f"dask: a function or a task cannot travel to another process ({_line(error)}): leave out of it what "
            "belongs to this process alone, such as open files and locks."
        ) from error


# In the worker -------------------------------------------------------------------------------------------------------

_KEPT = 2  # functions that a worker remembers: it may serve several programs, one after another
_lock = threading.Lock()
_functions: dict[str, tuple[Mapping[str, Any], Callable]] = {}


def _hold(function: bytes) -> bytes:
    return function


def _work(token: str, task: bytes, *, held: bytes) -> bytes:
    """One task, computed as the process that sent it would."""
    from distributed.protocol.pickle import dumps, loads

    wanted, function = _unpacked(token, held)
    with computing_as(wanted):
        return bytes(dumps(function(loads(task))))


def _unpacked(token: str, held: bytes) -> tuple[Mapping[str, Any], Callable]:
    with _lock:
        if token not in _functions:
            wanted, function = _opened(held)
            for old in list(_functions)[: 1 - _KEPT]:
                del _functions[old]
            _functions[token] = wanted, function
        return _functions[token]


def _opened(held: bytes) -> tuple[Mapping[str, Any], Callable]:
    """The settings of the sender and its function, whose arrays keep their precision.

    **Raises:** `InputError` where versions or the platform differ, or the function cannot be imported here.
    """
    from distributed import get_worker
    from distributed.protocol.pickle import loads

    # As many threads as Dask counts on: read when the client of the CPU starts, and settings are unpacked by JAX.
    os.environ.setdefault("NPROC", str(get_worker().state.nthreads))
    wanted, theirs, function = loads(held)
    if words := differing(theirs, versions()):
        raise InputError(_other_versions("a worker", words))
    _prepare(wanted["jax_platforms"])
    try:
        with computing_as(wanted):
            return wanted, loads(function)
    except (AttributeError, ImportError) as error:
        raise InputError(
            f"dask: a function cannot be imported on a worker ({_line(error)}): install the module that it is in there "
            "too, or send the file with `Client.upload_file`."
        ) from error


def _prepare(platforms: str | None) -> None:
    """Start JAX on the platform that was asked for."""
    if not platforms:
        return
    import jax

    jax.config.update("jax_platforms", platforms)
    found, first = jax.default_backend(), platforms.split(",")[0]
    if found != first and not (first in ("cuda", "rocm") and found == "gpu"):
        raise InputError(f"dask: a worker computes on the {found}, not on the {first} as asked: start others.")
