"""What stops a walk and lets it go on: checkpoints, time limits and cancelling."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.atomic import remove_stale
from thalweg.core.errors import InputError
from thalweg.runs.checkpoint import constants, load_state, save_state
from thalweg.runs.directory import Run

if TYPE_CHECKING:
    from thalweg.core.hooks import Report
    from thalweg.core.solution import Outcome

_GOOD = {"WALKING", "DONE", "STEPS", "TIME", "CANCELLED"}


class Checkpoint:
    """Keeps the last good state of a walk in a file, and goes on from it.

    Saved at the first chunk boundary after every so many seconds or steps, and at the end; never after a fault, so
    that the file stays the last good state.

    **Arguments:** `place`, a run, or the path of the file or of its folder; `every_seconds` and `every_steps`, either
    may be `None`.
    """

    def __init__(
        self, place: Run | str | os.PathLike[str], every_seconds: float | None = 30.0, every_steps: int | None = None
    ):
        if isinstance(place, Run) and not place.locked:
            raise InputError(
                f"the run in {place.path} is only looked at: enter it with `with run:` before it is written."
            )
        path = place.state_path if isinstance(place, Run) else Path(place)
        self.path = path / "state.safetensors" if path.is_dir() else path
        if every_seconds is not None and not every_seconds >= 0:
            raise InputError(f"a checkpoint every {every_seconds} seconds makes no sense: give a number of at least 0.")
        if every_steps is not None and every_steps < 1:
            raise InputError(f"a checkpoint every {every_steps} steps makes no sense: give a number of at least 1.")
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()
        self._began_at = 0
        self._constants: dict[str, str] | None = None

    @property
    def kept(self) -> str | None:
        """Where the last good state is, in words; `None` while there is none."""
        return None if self._saved_step is None else f"{self.path} at step {self._saved_step}"

    def restore(self, template: Any) -> tuple[Any, int] | None:
        """The state and step in the file, built like `template`; `None` if there is no file.

        **Raises:** `InputError` if the file is damaged or belongs to another walk.
        """
        self._constants = constants(template)
        self._saved_at = time.monotonic()
        if self.path.parent.is_dir():
            remove_stale(self.path.parent)
        if not self.path.exists():
            return None
        state, step = load_state(self.path, template)
        self._saved_step = self._began_at = step
        return state, step

    def __call__(self, report: Report) -> None:
        last = self._began_at if self._saved_step is None else self._saved_step
        by_step = self.every_steps is not None and report.step - last >= self.every_steps
        by_clock = self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        if by_step or by_clock:
            self._save(report)

    def close(self, report: Report) -> None:
        """Save the end of the walk, unless it is a fault."""
        self._save(report)

    def _save(self, report: Report) -> None:
        if report.outcome.name not in _GOOD or report.step == self._saved_step:
            return
        found = constants(_whole(report))
        if self._constants is not None and found != self._constants:
            name = next(name for name in sorted(found) if found[name] != self._constants.get(name))
            raise InputError(f"{name} changes in the walk but is no array, so it cannot be restored: make it an array.")
        save_state(self.path, _whole(report), report.step, {"outcome": report.outcome.name})
        self._saved_step, self._saved_at = report.step, time.monotonic()


class TimeLimit:
    """Stops a walk at the first chunk boundary after so many seconds, compilation included.

    **Arguments:** `seconds`, of this process; `spared`, seconds that do not count, such as those of a `CompileClock`.
    """

    def __init__(self, seconds: float, spared: Callable[[], float] = float):
        if not seconds >= 0:
            raise InputError(f"a time limit of {seconds} seconds makes no sense: give a number of at least 0.")
        self.seconds, self.spared = seconds, spared

    def __call__(self, report: Report) -> Outcome | None:
        from thalweg.core.solution import Outcome

        return Outcome.TIME if report.seconds - self.spared() >= self.seconds else None


class Cancel:
    """Turns Ctrl-C and SIGTERM into a stop at the next chunk boundary; a second one raises `KeyboardInterrupt`.

    `with Cancel() as cancel:` and pass `cancel` as a hook. Signals reach only the main thread of a process: elsewhere
    `request()` alone asks for the stop.
    """

    def __init__(self, *, quiet: bool = False):
        self.quiet = quiet
        self._asked = False
        self._before: dict[int, Any] = {}

    def request(self) -> None:
        """Ask for the stop."""
        self._asked = True

    def __enter__(self) -> Cancel:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def __call__(self, report: Report) -> Outcome | None:
        from thalweg.core.solution import Outcome

        return Outcome.CANCELLED if self._asked else None

    def _handle(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self.request()
        if not self.quiet:
            os.write(2, b"\nStopping at the next chunk of steps; once more stops at once.\n")


def _whole(report: Report) -> Any:
    return report.state if report.whole is None else report.whole
