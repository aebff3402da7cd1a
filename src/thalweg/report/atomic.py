"""Files that are either the old one or the whole new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from thalweg.core.errors import InputError


def write_atomic(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path` so that a reader, or a crash at any moment, meets the old file or the new one.

    **Arguments:** `path`, whose folder is made if it is missing; `content`, the whole file.

    **Returns:** the path. **Raises:** `InputError` if the place cannot be written.
    """
    path = Path(path)
    # Beside the target, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written ({reason}): choose another place with --out.") from error
    finally:
        with contextlib.suppress(OSError):  # gone after a success; never there if its folder could not be made
            temporary.unlink()
    return path
