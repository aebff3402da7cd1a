"""What a room contributes to the tour: chapters that measure their claims while somebody watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from thalweg.report.blocks import Block, Claim

Effort = Literal["quick", "default", "full"]


@dataclass(frozen=True)
class Telling:
    """The circumstances of one telling: how much effort to spend, and where to name the step at hand."""

    effort: Effort
    note: Callable[[str], None]


@dataclass(frozen=True)
class Chapter:
    """One chapter of the tour.

    **Arguments:** `id`, short; `system`, which of the nine (1-9); `title`; `command`, one line that does the same to
    the reader's own data; `seconds`, roughly how long it takes on two cores; `tell`, which yields blocks as they are
    measured, claims among them.
    """

    id: str
    system: int
    title: str
    command: str
    seconds: float
    tell: Callable[[Telling], Iterator[Block]]


class Stopwatch:
    """Seconds since the last reading, so that each claim says what it cost."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """The seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed


def claims_of(blocks: list[Block]) -> list[Claim]:
    """The claims among some blocks."""
    return [block for block in blocks if isinstance(block, Claim)]
