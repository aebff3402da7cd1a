"""What a run was made with and how it ended: versions, machine, inputs, times."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thalweg.core.atomic import is_full
from thalweg.core.errors import InputError, ThalwegError, WalkError

STATUSES = ("running", "done", "failed", "cancelled")

_PACKAGES = (
    "thalweg jax jaxlib jax-cuda12-plugin jax-cuda13-plugin numpy scipy equinox optax optimistix diffrax quadax "
    "safetensors numba"
).split()


def now() -> str:
    """This moment in UTC, as ISO text that sorts."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fresh_manifest(run_id: str, inputs: list[dict[str, Any]], device: str | None) -> dict[str, Any]:
    """The manifest of a run that begins now."""
    return {
        "id": run_id,
        "status": "running",
        "outcome": None,
        "started": now(),
        "resumed": [],
        "finished": None,
        "seconds": 0.0,
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device,
        "inputs": inputs,
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in the file `path`.

    **Raises:** `InputError` if it is missing, is no JSON, or lacks what every manifest has.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the run cannot be listed; move its folder away.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): restore it from a copy or move its folder away.") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{path} holds no table: restore it from a copy or move its folder away.")
    for key, kind in {"status": str, "started": str, "seconds": int | float, "inputs": list, "resumed": list}.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{path} has no usable {key!r}: restore it from a copy or move its folder away.")
    if not all(isinstance(entry, dict) for entry in manifest["inputs"]):
        raise InputError(f"{path} has no usable 'inputs': restore it from a copy or move its folder away.")
    if manifest["status"] not in STATUSES:
        raise InputError(f"{path} has the status {manifest['status']!r}, which is none of {', '.join(STATUSES)}.")
    return manifest


def versions() -> dict[str, str]:
    """The installed versions of what computes, read from metadata: nothing is imported."""
    from importlib import metadata

    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def loaded_device() -> str | None:
    """The device that JAX computes on, if this process has loaded JAX; asking does not load it."""
    if "jax" not in sys.modules:
        return None
    try:
        device = sys.modules["jax"].devices()[0]
    except RuntimeError:  # a plug-in without its hardware: whatever this run computed, it was not with JAX
        return None
    return f"{device.platform}: {device.device_kind}"


def hashed_inputs(paths: Sequence[str | os.PathLike[str]]) -> list[dict[str, Any]]:
    """Each input file with its size in bytes and its SHA-256.

    **Raises:** `InputError` for a file that cannot be read.
    """
    return [_hashed(Path(path)) for path in paths]


def _hashed(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": str(path), "bytes": file.tell(), "sha256": digest}
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name the files in it.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its name and permissions.") from error


def check_inputs(folder: Path, manifest: dict[str, Any], files: list[dict[str, Any]]) -> None:
    """Refuse to go on in `folder` with other input files than the run began with.

    **Raises:** `InputError` naming the first file that differs.
    """
    known = [(entry.get("sha256"), entry.get("path")) for entry in manifest["inputs"]]
    if len(known) != len(files):
        for _, path in known:
            if path and not Path(path).exists():
                raise InputError(f"{path}, with which the run in {folder} began, is gone: put it back.")
        raise InputError(f"{folder} holds a run with {len(known)} input files, not {len(files)}: choose another --out.")
    for (digest, path), file in zip(known, files, strict=True):
        if digest != file["sha256"]:
            raise InputError(
                f"{file['path']} is not the file that the run in {folder} began with ({path} as it was then): "
                "restore it, or choose another --out."
            )


def as_json(value: Any, name: str) -> str:
    """`value` as JSON text for a file.

    **Raises:** `InputError` for what JSON cannot hold, NaN and infinity included.
    """
    try:
        return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be written as JSON ({error}): give finite numbers, text or lists.") from error


def status_of(error: BaseException) -> str:
    """The status of a run that an exception ended."""
    if isinstance(error, SystemExit) and error.code in (0, None):
        return "done"
    if isinstance(error, WalkError):
        from thalweg.core.solution import Outcome

        return "cancelled" if Outcome.CANCELLED.value in error.sentence else "failed"
    return "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"


def said(error: BaseException) -> str:
    """The outcome of a run that an exception ended, in one line."""
    if isinstance(error, ThalwegError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "Stopped at once on request."
    if is_full(error):
        return "The disk is full: free some space and go on."
    return f"{type(error).__name__}: {error}".splitlines()[0]
