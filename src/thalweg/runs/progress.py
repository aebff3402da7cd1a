"""How far a walk is, for whoever waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.core.hooks import Report


class Progress:
    """Shows on standard error how far a walk is.

    At a terminal a bar with steps per second and the time left, elsewhere a plain line now and then.

    **Arguments:** `description`; `total` steps, by default the walk's own; `read`, from a state to what to show beside
    the bar; `quiet`, show nothing; `seconds`, the time limit of a walk that has no other end, which is then the
    length of the bar.
    """

    LINE_SECONDS = 30.0

    def __init__(
        self,
        description: str,
        total: int | None = None,
        read: Callable[[Any], Mapping[str, Any]] | None = None,
        *,
        quiet: bool = False,
        seconds: float | None = None,
    ):
        self.description, self.total, self.read, self.quiet = description, total, read, quiet
        self.seconds = seconds
        self._bar: Any = None
        self._task: Any = None
        self._start: tuple[int, float] | None = None
        self._line_at = 0.0

    def __call__(self, report: Report) -> None:
        if self.quiet:
            return
        if self._start is None:
            self._start = (report.step, report.seconds)
        if self._bar is None and sys.stderr.isatty():
            self._bar, self._task = _bar(self.description, self._length(report), self._here(report))
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self._here(report), speed=self._speed(report), seen=self._seen(report)
            )
        elif report.seconds - self._line_at >= self.LINE_SECONDS:
            self._line_at = report.seconds
            self._print(report)

    def close(self, report: Report) -> None:
        """Take the bar away and leave one line."""
        self.stop()
        if not self.quiet:
            self._print(report)

    def stop(self) -> None:
        """Take the bar away; an interrupted process does so when it exits."""
        if self._bar is not None:
            import atexit

            self._bar.stop()
            atexit.unregister(self._bar.stop)
            self._bar = None

    def _print(self, report: Report) -> None:
        unit = "steps" if self.seconds is None else "s"
        parts = [f"{self._here(report)} of {self._length(report)} {unit}", self._speed(report), self._seen(report)]
        print(f"{self.description}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)

    def _here(self, report: Report) -> int:
        return report.step if self.seconds is None else int(min(report.seconds, self._length(report)))

    def _length(self, report: Report) -> int:
        return (self.total or report.steps) if self.seconds is None else max(1, round(self.seconds))

    def _speed(self, report: Report) -> str:
        # From the first report on, which leaves compilation and the steps of an earlier process out.
        step, seconds = self._start or (report.step, report.seconds)
        if report.seconds <= seconds:
            return ""
        return f"{(report.step - step) / (report.seconds - seconds):.3g} steps/s"

    def _seen(self, report: Report) -> str:
        found = self.read(report.state) if self.read else {}
        return ", ".join(f"{name} {float(value):.6g}" for name, value in found.items())


def _bar(description: str, total: int, begun: int) -> tuple[Any, Any]:
    import atexit

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[speed]}", TimeRemainingColumn())
    plain = [TextColumn(column, markup=False) if isinstance(column, str) else column for column in columns]
    plain.append(TextColumn("{task.fields[seen]}", markup=False))
    bar = Bar(*plain, console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total, completed=begun, speed="", seen="")
    bar.start()
    atexit.register(bar.stop)  # it gives the cursor back if the walk ends in an exception
    return bar, task
