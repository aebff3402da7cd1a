"""Where the world is let into a walk: hooks between chunks, and executors for whole tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from thalweg.core.solution import Outcome

Task = TypeVar("Task")
Result = TypeVar("Result")


class Report(NamedTuple):
    """What a hook sees at a chunk boundary.

    **Fields:** `step` taken of at most `steps`; the `state` after it (after a bad step: the last good one; a hook that
    keeps a host state beyond its call must copy it); the `outcome` so far; `seconds` since the walk began in this
    process, at the step `first`; `whole`, the state with the records of a trace: what a checkpoint must hold.
    """

    step: int
    steps: int
    state: Any
    outcome: Outcome
    seconds: float
    first: int = 0
    whole: Any = None


@runtime_checkable
class Hook(Protocol):
    """Progress bars, metrics, time limits: called between chunks, returns an outcome to stop the walk, or `None`.

    Any function will do. A hook may also have the methods of `Resumer` and `Closer`.
    """

    def __call__(self, report: Report, /) -> Outcome | None: ...


@runtime_checkable
class Resumer(Protocol):
    """A hook that knows where an earlier walk stopped (a checkpoint)."""

    def restore(self, template: Any) -> tuple[Any, int] | None:
        """The state and step to go on from, built like `template`; `None` to start afresh."""
        ...


@runtime_checkable
class Closer(Protocol):
    """A hook with something left to do when the walk has ended, however it ended."""

    def close(self, report: Report) -> None: ...


@runtime_checkable
class Keeper(Protocol):
    """A hook that can say where the last good state is kept."""

    @property
    def kept(self) -> str | None: ...


@runtime_checkable
class Pacer(Protocol):
    """A hook that has a say in the length of chunks: processes that walk together must take the same steps."""

    def common_steps(self, steps: int, /) -> int:
        """The steps of the next chunk, where this process alone would take `steps`."""
        ...


@runtime_checkable
class Store(Protocol):
    """Where the finished parts of a long task are kept under their names; a part is there whole, or not at all."""

    def get(self, name: str, /) -> dict[str, np.ndarray] | None:
        """The arrays that were put under `name`, or `None`."""
        ...

    def put(self, name: str, arrays: Mapping[str, np.ndarray], /) -> None:
        """Keep some arrays under `name`; the name is a hash of what they were computed from."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Where independent tasks run: this process, a pool, a cluster. Results come in the order of the tasks."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]: ...


@runtime_checkable
class Arriving(Protocol):
    """An executor that hands over each result as soon as it is there, so that it can be kept at once."""

    def arrivals(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[tuple[int, Result]]:
        """Each task's place and result, in any order; closing the iterator drops the tasks that have not begun."""
        ...


def arriving(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Iterator[tuple[int, Result]]:
    """The results with the places of their tasks: as they arrive if the executor can tell, otherwise in order."""
    results: Any = (
        executor.arrivals(function, tasks) if isinstance(executor, Arriving) else executor.map(function, tasks)
    )
    try:
        yield from results if isinstance(executor, Arriving) else enumerate(results)
    finally:
        if hasattr(results, "close"):
            results.close()


class Serial:
    """The executor that runs every task here and now."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        return map(function, tasks)
