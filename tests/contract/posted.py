"""An executor that sends everything as to another process, and computes it here: what cannot travel fails at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any


class Posted:
    """Sends a function and its tasks there, and the results back."""

    def __init__(self):
        self.tasks = 0

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        there = sent(function)
        for task in tasks:
            self.tasks += 1
            yield sent(there(sent(task)))


def sent(value: Any) -> Any:
    return ForkingPickler.loads(ForkingPickler.dumps(value))  # pyright: ignore[reportAttributeAccessIssue]
