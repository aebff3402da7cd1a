"""What the page may do to a run: ask its process to stop, and go on with one that stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from thalweg.core.errors import InputError, ThalwegError
from thalweg.runs import Run
from thalweg.runs.lock import LOCK, held

RESUMABLE = ("cancelled", "interrupted", "failed")
_SHOWN = 4000  # bytes of the output of a resume that failed
_PROC = Path("/proc")
_BY_HAND = "press Ctrl-C where it runs."


@dataclass
class Resumed:
    """A run that this page went on with: its process, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def told(self) -> str:
        """The end of what it wrote."""
        with suppress(OSError, ValueError):
            size = self.output.seek(0, os.SEEK_END)
            self.output.seek(max(0, size - _SHOWN))
            return self.output.read().decode("utf-8", "replace").strip()
        return ""


class Desk:
    """Takes requests to stop and to resume, and remembers them while the server lives."""

    def __init__(self) -> None:
        self._asked: dict[Path, int] = {}
        self._resumed: dict[Path, Resumed] = {}

    def cancel(self, folder: Path) -> str:
        """Ask the process of the run in `folder` to stop at the end of its chunk.

        **Returns:** what was done, in a sentence. **Raises:** `ThalwegError` if there is no such process, or if it is
        not certain that it is the run's and would stop cleanly.
        """
        run = Run.open(folder)
        if run.status != "running":
            raise InputError(f"{run.id} is not running, it is {run.status}: there is nothing to stop.")
        pid = holder(folder)
        if self._asked.get(folder) == pid:
            # A second signal would stop it at once, without the chunk that it is in.
            return f"{run.id} was asked to stop already: it stops at the end of its chunk of steps."
        _signal(folder, pid)
        self._asked[folder] = pid
        return f"{run.id} was asked to stop: it does so at the end of its chunk of steps."

    def stopping(self, folder: Path) -> bool:
        """Whether the process that runs now was asked to stop."""
        with suppress(ThalwegError):
            return folder in self._asked and self._asked[folder] == holder(folder)
        return False

    def resume(self, folder: Path) -> str:
        """Go on with the run in `folder` in a process of its own, which outlives this server.

        **Returns:** what was done, in a sentence. **Raises:** `ThalwegError` if the run cannot be gone on with.
        """
        run = Run.open(folder)
        if self.resuming(folder):
            return f"{run.id} is being resumed already."
        if run.status not in RESUMABLE:
            raise InputError(f"{run.id} is {run.status}: only a run that stopped before its end can be resumed.")
        if not run.command:
            raise InputError(f"{run.id} was not started by a command: go on with it from Python, with Run.create.")
        if before := self._resumed.pop(folder, None):
            before.output.close()
        output = tempfile.TemporaryFile()  # noqa: SIM115: it lives as long as the process
        words = [sys.executable, "-c", "from thalweg.cli import main; main()", "runs", "resume", str(folder.absolute())]
        try:
            # In a session of its own: Ctrl-C in the terminal of the server is not meant for it.
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            output.close()
            raise ThalwegError(f"{run.id} cannot be resumed ({error.strerror}): try it in a terminal.") from error
        self._asked.pop(folder, None)
        self._resumed[folder] = Resumed(process, output)
        return f"{run.id} goes on from its last checkpoint."

    def resuming(self, folder: Path) -> bool:
        """Whether a process that was started here is still at it."""
        known = self._resumed.get(folder)
        return known is not None and known.process.poll() is None

    def complaint(self, folder: Path) -> str | None:
        """What the last resume wrote, if it failed and was not stopped on request."""
        known = self._resumed.get(folder)
        if known is None or known.process.poll() in (None, 0, 130):
            return None
        return known.told() or f"The process ended with {known.process.returncode} and said nothing."


def holder(folder: Path) -> int:
    """The process that holds the lock of a run.

    **Raises:** `ThalwegError` if there is none, or if the number in the lock is not that of the process that holds it.
    """
    lock = folder / LOCK
    try:
        pid = int(lock.read_text(encoding="ascii"))
    except (OSError, ValueError):
        pid = 0
    if pid < 1 or not held(folder):
        raise ThalwegError(f"no process holds {lock}: the run has ended.")
    if pid == os.getpid():
        raise ThalwegError(f"{lock} is held by this server itself: stop the run in Python, with Cancel.request().")
    if not _has_open(pid, lock):
        raise ThalwegError(f"{lock} names process {pid}, which is another program: {_BY_HAND}")
    return pid


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has this very file open: the number of a process that died may be another's now."""
    if not (_PROC / "self").exists():
        lsof = shutil.which("lsof")
        if lsof is None:
            raise ThalwegError(f"this system does not tell which process runs: {_BY_HAND}")
        found = subprocess.run([lsof, "-t", "--", str(path)], capture_output=True, text=True, check=False)
        return str(pid) in found.stdout.split()
    wanted = path.stat()
    with suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False


def _signal(folder: Path, pid: int) -> None:
    gone = f"process {pid} ended meanwhile: there is nothing to stop."
    try:
        # A handle first, then the check, then the signal: meanwhile the number cannot become another's.
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        try:
            holder(folder)
            if not _listens(pid):
                raise ThalwegError(f"process {pid} does not listen to a request to stop, which would kill it: wait.")
            if handle is None:
                os.kill(pid, signal.SIGTERM)
            else:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
        finally:
            if handle is not None:
                os.close(handle)
    except ProcessLookupError:
        raise ThalwegError(gone) from None
    except PermissionError:
        raise ThalwegError(f"process {pid} belongs to another user, who alone can stop it: {_BY_HAND}") from None


def _listens(pid: int) -> bool:
    """Whether a process handles SIGTERM; where the system does not say, that is believed."""
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return True
