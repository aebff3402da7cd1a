"""What the page shows of runs: rows, metrics while they are written, details; read from their directories alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from thalweg.core.errors import InputError, ThalwegError
from thalweg.runs import Run, RunInfo, list_runs, runs_root

_POINTS = 400  # of a curve that are sent: more than a page has pixels for is not seen
_WHOLE = 1_000_000  # bytes of a metrics file that are read as they are; of more, lines at even distances
_LINE = 65_536  # bytes of the longest line that is read


def rows(root: Path) -> list[dict[str, Any]]:
    """One line per run, the newest first, with its newest metrics while it runs."""
    return [_row(info) for info in reversed(list_runs(root))]


def _row(info: RunInfo) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(info, name) for name in
                            ("id", "status", "command", "started", "finished", "seconds", "outcome")}  # fmt: skip
    told["report"] = (info.path / "report.html").is_file()
    if info.status == "running":
        told["now"] = _last(info.path / "metrics.jsonl")
        told["steps"] = _steps(info.path)
    return told


def chosen(root: Path, name: str) -> Run:
    """The run that is called `name`, no beginning of a name and no path.

    **Raises:** `InputError` if there is none, or if it cannot be read.
    """
    folder = runs_root(root) / name
    if not name or Path(name).name != name or name.startswith(".") or not folder.is_dir():
        raise InputError(f"there is no run {name!r} in {root}: it may have been removed.")
    return Run.open(folder)


def details(run: Run) -> dict[str, Any]:
    """Options, results that are one number or one word, and what the run was made with."""
    result = run.read_result() if run.result_path.exists() else {}
    result = result if isinstance(result, dict) else {}
    manifest = run.manifest
    made = {name: manifest.get(name) for name in ("started", "finished", "device", "cpu", "python", "platform")}
    return {
        "id": run.id,
        "command": ["thalweg", *run.command] if run.command else [],
        "path": str(run.path.absolute()),
        "config": {key: _word(value) for key, value in run.config.items()},
        "result": {key: value for key, value in result.items() if not isinstance(value, (list, dict))},
        "made": {"seed": run.seed, "dtype": run.dtype, **made, **manifest.get("versions", {})},
    }


def curves(folder: Path) -> dict[str, dict[str, list[Any]]]:
    """Each metric of a run over its steps, thinned to what a page can show; a gap where it is not finite."""
    found: dict[str, dict[str, list[Any]]] = {}
    for row in _read(folder / "metrics.jsonl"):
        for name, value in row.items():
            if name not in ("step", "seconds"):
                curve = found.setdefault(name, {"step": [], "value": []})
                curve["step"].append(row["step"])
                curve["value"].append(value if isinstance(value, (int, float)) else None)
    return {name: {key: _thinned(values) for key, values in curve.items()} for name, curve in found.items()}


def stamp(folder: Path) -> tuple[int, int]:
    """What changes when metrics were written."""
    try:
        seen = (folder / "metrics.jsonl").stat()
    except OSError:
        return 0, 0
    return seen.st_size, seen.st_mtime_ns


def _read(path: Path) -> list[dict[str, Any]]:
    """Rows from the first to the newest; a line that is none is passed over, for the file is being written."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            lines = file.read(size).split(b"\n")[:-1] if size <= _WHOLE else _spread(file, size)
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
            if not found or int(row["step"]) > found[-1]["step"]:
                found.append(row | {"step": int(row["step"])})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
    return found


def _spread(file: BinaryIO, size: int) -> list[bytes]:
    """Lines at even distances in a long file, the first and the last whole one among them."""
    lines = [file.readline(_LINE)]
    for i in range(1, _POINTS):
        file.seek(i * size // _POINTS)
        file.readline(_LINE)  # the rest of the line that the place lies in
        lines.append(file.readline(_LINE))
    file.seek(max(0, size - _LINE))
    return [*lines, file.read(_LINE).rpartition(b"\n")[0].rpartition(b"\n")[2]]


def _last(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            line = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        row = json.loads(line)
    except (OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _steps(folder: Path) -> int | None:
    """How many steps are planned: by the run's own plan, or by its options."""
    try:
        steps = json.loads((folder / "plan.json").read_text("utf-8"))["steps"]
    except (OSError, ValueError, TypeError, KeyError):
        try:
            steps = Run.open(folder).config.get("steps")
        except ThalwegError:
            return None
    return steps if type(steps) is int and steps > 0 else None


def _thinned(values: Sequence[Any]) -> list[Any]:
    if len(values) <= _POINTS:
        return list(values)
    return [values[round(i * (len(values) - 1) / (_POINTS - 1))] for i in range(_POINTS)]


def _word(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
