"""Stopping a run and going on with one, as the shell would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from thalweg.core.errors import InputError
from thalweg.runs import Run
from thalweg.runs.lock import holder

_PROGRAM = "from thalweg.cli import main; main()"


class Cancelled:
    """The processes that this page asked to stop; each is asked once, since a second signal would end it at once."""

    def __init__(self) -> None:
        self._asked: set[tuple[Path, int]] = set()

    def ask(self, run: Run) -> str:
        """Ask the process of a run to stop at its next chunk of steps.

        **Returns:** what was done, in a sentence. **Raises:** `InputError` if no process, or none of ours, holds the
        run's lock, or if the signal would kill it.
        """
        process = holder(run.path)
        if process is None:
            raise InputError(f"{run.id} is not running: there is nothing to cancel.")
        if (run.path, process) in self._asked:
            return "It was asked already: it stops at the end of its chunk of steps."
        if not _listens(process):
            raise InputError(f"{run.id} does not listen to a request to stop, which would kill it: stop it by hand.")
        try:
            os.kill(process, signal.SIGTERM)
        except (ProcessLookupError, PermissionError) as error:
            raise InputError(f"{run.id} cannot be cancelled (process {process}: {error.strerror}).") from error
        self._asked.add((run.path, process))
        return "Stopping at the next chunk of steps."


def _listens(process: int) -> bool:
    """Whether a process handles SIGTERM; where the system does not say, that is believed."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return True


class Resumed:
    """The runs that this page went on with: processes of their own, which outlive it."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._said: dict[str, str] = {}

    def begin(self, run: Run) -> None:
        """Go on with a run that was stopped.

        **Raises:** `InputError` if it is running or done, or was not started by a command.
        """
        if run.id in self._started and self._started[run.id][0].poll() is None:
            raise InputError(f"{run.id} is going on already.")
        if run.status in ("running", "done"):
            raise InputError(f"{run.id} is {run.status}: only a run that was stopped can go on.")
        if not run.command:
            raise InputError(f"{run.path} was not started by a command: go on with it from Python, with Run.create.")
        words = [sys.executable, "-c", _PROGRAM, "runs", "resume", str(run.path.absolute()), "--quiet"]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the process writes to it until it ends
        # A session of its own: Ctrl-C in the terminal of the page is not meant for the run.
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        self.said()  # closes what an earlier attempt left
        self._said.pop(run.id, None)
        self._started[run.id] = process, errors

    def said(self) -> dict[str, str]:
        """What runs said that could not go on, by their names."""
        for name, (process, errors) in list(self._started.items()):
            code = process.poll()
            if code is None:
                continue
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            errors.close()
            del self._started[name]
            if code not in (0, 130):  # 130: cancelled, which its row says
                self._said[name] = lines[-1] if lines else f"The run ended with exit code {code}."
        return dict(self._said)
