"""Numbers that are read off a walk while it runs, one JSON object per line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.atomic import unwritable, write_atomic
from thalweg.core.errors import InputError
from thalweg.runs.checkpoint import saved_step
from thalweg.runs.directory import Run

if TYPE_CHECKING:
    from thalweg.core.hooks import Report


class Metrics:
    """Appends one JSON object per chunk to the run's `metrics.jsonl`: step, seconds and what `read` finds in the state.

    Gone on with from a checkpoint, it first drops the lines past that step, which will be written again. Name it before
    the `Checkpoint` among the hooks: then no kill can come between a state and its line. JSON has no NaN and no
    infinity: they are written as the texts `"nan"`, `"inf"` and `"-inf"`.

    **Arguments:** `run`; `read`, from a state to a mapping of names to scalars.
    """

    def __init__(self, run: Run, read: Callable[[Any], Mapping[str, Any]]):
        self.path, self.read = run.metrics_path, read
        # Asked now: by the first report a `Checkpoint` may have written a later one.
        self._resumed = saved_step(run.state_path) or 0
        self._begun = False

    def __call__(self, report: Report) -> None:
        row: dict[str, Any] = {"step": report.step, "seconds": round(report.seconds, 3)}
        for name, value in self.read(report.state).items():
            if name in row:
                raise InputError(f"a metric is called {name!r}, which every line has already: rename it.")
            row[name] = _scalar(name, value)
        if not self._begun:
            self._begun = True
            _drop_after(self.path, min(self._resumed, report.step - 1))
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line that a kill cut short is left out.

    **Raises:** `InputError` for any other line that is no JSON object.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is empty or cut short
        try:
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"])})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError(f"{path}, line {number}, is no metrics line: delete that line.") from error
    return rows


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [json.dumps(row, allow_nan=False) + "\n" for row in read_metrics(path) if row["step"] <= step]
    write_atomic(path, "".join(kept))


def _scalar(name: str, value: Any) -> Any:
    import numpy as np

    array = np.asarray(value)
    if array.shape != () or not (array.dtype.kind in "biu" or np.can_cast(array.dtype, np.float64, "same_kind")):
        raise InputError(f"the metric {name!r} is {array.dtype}{list(array.shape)}, not one number: reduce it first.")
    number = array.item() if array.dtype.kind in "biu" else float(array)
    return number if math.isfinite(number) else str(number)
