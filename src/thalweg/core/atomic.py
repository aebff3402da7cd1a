"""Files that are either the old one or the whole new one, whatever moment the process or the power dies."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.core.errors import ThalwegError

_TEMPORARY = re.compile(r"^\..+\.(\d+)-[0-9a-f]{8}\.tmp$")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_being_written: set[Path] = set()


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write `content` to `path` so that a reader, or a crash at any moment, meets the old file or the new one.

    **Arguments:** `path`, whose folder is made if it is missing; `content`, the whole file, text as UTF-8.

    **Returns:** the path.

    **Raises:** `ThalwegError` if the place cannot be written; the file that was there is then untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    # Beside the target, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    _being_written.add(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        _being_written.discard(temporary)
    return path


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write arrays by name to an `.npz` file, whole or not at all.

    **Returns:** the path. **Raises:** as `write_atomic`.
    """
    import io

    import numpy as np

    packed, plain = io.BytesIO(), dict[str, Any]({name: np.asarray(array) for name, array in arrays.items()})
    np.savez(packed, **plain)
    return write_atomic(path, packed.getvalue())


def unwritable(path: Path, error: OSError) -> ThalwegError:
    """The error that says in one sentence why `path` cannot be written and what to do."""
    reason = error.strerror or str(error)
    if is_full(error):
        return ThalwegError(f"{path} cannot be written ({reason}): free some space and go on; what was there is whole.")
    return ThalwegError(f"{path} cannot be written ({reason}): choose another place with --out.")


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left, on the disk or for this user or this file."""
    return isinstance(error, OSError) and error.errno in _FULL


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files that processes left in `folder` when they were killed.

    **Returns:** what was removed. **Raises:** `ThalwegError` if that is not allowed.
    """
    removed = []
    try:
        for path in sorted(folder.iterdir()):
            match = _TEMPORARY.match(path.name)
            if match and path not in _being_written and not _alive_elsewhere(int(match[1])):
                path.unlink(missing_ok=True)
                removed.append(path)
    except OSError as error:
        raise unwritable(folder, error) from error
    return removed


def _alive_elsewhere(pid: int) -> bool:
    if pid == os.getpid():  # in a container, a restarted process often has its predecessor's number
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: until its folder is synced, a power cut may undo it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems sync no folders
            raise
    finally:
        os.close(descriptor)
