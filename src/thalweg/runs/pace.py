"""How many steps of a training fit into a given time, found by trying for a few seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Report
from thalweg.core.solution import Outcome

_TRIED = 6.0  # seconds of stepping from which the rate is read


def paced(
    folder: Path,
    trial: Callable[[Hook], object],
    seconds: float,
    *,
    shares: int = 1,
    least: int,
    most: int | None = None,
    note: Callable[[str], object],
) -> int:
    """As many steps as fit into some seconds on this machine.

    The trial and the compilation of the training itself, which takes as long as that of the trial, count too. The plan
    is kept in the run's directory: a run that goes on keeps the schedule that it began with.

    **Arguments:** `folder`, of the run; `trial`, which starts a training with a hook that will stop it; `shares`, the
    trainings that share the time; `least`, fewer steps than which are no training; `most`, more steps than which do
    harm, so that some of the time is left unused.
    """
    place = folder / "plan.json"
    if place.exists():
        return _planned_before(place)
    watch, began = _Watch(), time.perf_counter()
    note("Compiling, and trying for a few seconds how fast steps are.")
    trial(watch)
    tried = time.perf_counter() - began
    left = seconds - tried - max(tried - _TRIED, 0.0)
    steps = int(left * watch.rate / shares)
    if steps < least:
        steps = least
        note(f"Compiling takes most of that time: the training will take longer, for it has at least {least} steps.")
    if most is not None and steps > most:
        steps = max(most, least)
        note("Not all of that time is used: more steps on this little data would learn it by heart.")
    note(f"{watch.rate:.3g} steps per second: {steps:,} steps are planned.")
    write_atomic(place, json.dumps({"steps": steps, "steps_per_second": watch.rate}))
    return steps


def _planned_before(place: Path) -> int:
    try:
        steps = json.loads(place.read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        steps = None
    if type(steps) is not int or not 0 < steps < 10**12:
        raise InputError(
            f"{place}: holds no plan of this run: restore it from a copy, or begin anew with another --out."
        )
    return steps


class _Watch:
    """Reads the rate of steps once they are compiled, and stops the walk."""

    def __init__(self) -> None:
        self.rate = 1.0
        self._first: tuple[int, float] | None = None

    def __call__(self, report: Report) -> Outcome | None:
        now = time.perf_counter()
        if self._first is None:
            self._first = report.step, now
            return None
        step, began = self._first
        if now - began < _TRIED:
            return None
        self.rate = (report.step - step) / (now - began)
        return Outcome.TIME
