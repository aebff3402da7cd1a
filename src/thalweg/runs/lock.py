"""One process at a time in a run directory: a lock that dies with its holder."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from thalweg.core.atomic import unwritable
from thalweg.core.errors import ThalwegError

LOCK = ".lock"
_BUSY = {errno.EAGAIN, errno.EACCES}
_PATIENCE = 0.2  # seconds: someone who only asks whether the lock is held holds it for microseconds


def _flock() -> Any:
    try:
        import fcntl
    except ModuleNotFoundError:
        raise ThalwegError(
            "run directories need POSIX file locks, which this system lacks: use Linux or macOS."
        ) from None
    return fcntl


def take(folder: Path) -> int:
    """Take the lock of `folder` for this process.

    **Returns:** the descriptor that holds it, for `release`.

    **Raises:** `ThalwegError` if another process holds it, or if the file system has no locks.
    """
    fcntl = _flock()
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        except OSError as error:
            if error.errno in _BUSY and time.monotonic() < deadline:
                time.sleep(_PATIENCE / 10)
                continue
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno in _BUSY:
                raise ThalwegError(
                    f"{folder} is in use by process {holder or 'unknown'}: wait for it or choose another --out."
                ) from None
            raise ThalwegError(
                f"{path} cannot be locked ({error.strerror}): choose a place with --out whose file system has locks."
            ) from error


def release(descriptor: int) -> None:
    """Give the lock back; the file stays, since removing a lock file lets two processes in."""
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


def held(folder: Path) -> bool:
    """Whether some process holds the lock of `folder`."""
    fcntl = _flock()
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _BUSY
    finally:
        os.close(descriptor)
    return False


def holder(folder: Path) -> int | None:
    """The process that holds the lock of `folder`, or `None` if no process that can be told does."""
    if not held(folder):
        return None
    try:
        process = int((folder / LOCK).read_text("ascii"))
    except (OSError, ValueError):
        return None
    return process if process > 1 and _opened(process, folder / LOCK) else None


def _opened(process: int, path: Path) -> bool:
    """Whether a process has a file open; where the system does not say, the lock's own word is taken."""
    files = Path(f"/proc/{process}/fd")
    if not Path("/proc/self/fd").is_dir():
        return True
    try:
        return any(os.path.realpath(link) == os.path.realpath(path) for link in files.iterdir())
    except OSError:
        return False
