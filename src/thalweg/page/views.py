"""What the templates show of runs: plain values, read from the run directories anew each time."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from thalweg.core.errors import InputError, ThalwegError
from thalweg.page.actions import RESUMABLE, Desk
from thalweg.page.figures import figures
from thalweg.runs import Run, RunInfo, read_progress, runs_root

_OURS = ("config.toml", "manifest.json", "progress.json")
_LARGEST = 4_000_000  # bytes of a result.json that is shown
_LONGEST = 160  # characters of one value
_COMPARED = 6  # as many as there are colours


def place(root: Path, name: str) -> Path:
    """The directory of the run `name` in `root`.

    **Raises:** `InputError` if there is none.
    """
    folder = root / name
    plain = bool(name) and not name.startswith(".") and "/" not in name and "\\" not in name and "\0" not in name
    if not plain or not ((folder / "config.toml").is_file() or (folder / "manifest.json").is_file()):
        raise InputError(f"there is no run {name[:80]!r} in {root}: it may have been moved or removed.")
    return folder


def row(info: RunInfo, desk: Desk) -> dict[str, Any]:
    """One line of the list."""
    live = info.status == "running"
    words = info.command.split()
    return {
        "id": info.id,
        "link": quote(info.id),
        "title": title(words) or info.id,
        "rest": " ".join(words[len(title(words).split()) :]),
        "status": _status(info.path, info.status, desk),
        "started": moment(info.started),
        "seconds": _elapsed(info.seconds, _last_start(info.path)) if live else info.seconds,
        "progress": progress(info.path) if live else None,
        "outcome": info.outcome or "",
    }


def run_view(root: Path, name: str, desk: Desk) -> dict[str, Any]:
    """All that the page of one run shows; of a broken one, why it is.

    **Raises:** `InputError` if there is no such run.
    """
    folder = place(root, name)
    told: dict[str, Any] = {"id": name, "link": quote(name), "path": str(folder.absolute()), "broken": None}
    try:
        run = Run.open(folder)
    except ThalwegError as error:
        place(root, name)  # removed while it was read, it is not broken but gone
        return told | {"broken": str(error), "title": name, "status": "broken"}
    manifest, status, words = run.manifest, run.status, [str(word) for word in run.command]
    live = status == "running"
    shown = _status(folder, status, desk)
    result, complaint = _result(run), desk.complaint(folder)
    return told | {
        "title": title(words) or name,
        "command": " ".join(["thalweg", *words]) if words else "",
        "status": shown,
        "outcome": manifest.get("outcome") or _untold(status),
        "started": moment(manifest["started"]),
        "resumed": [moment(str(at)) for at in manifest["resumed"]],
        "finished": moment(manifest.get("finished") or ""),
        "seconds": _elapsed(float(manifest["seconds"]), _began(manifest)) if live else float(manifest["seconds"]),
        "live": live,
        "progress": progress(folder, _began(manifest)) if live else None,
        "can_cancel": live and shown == "running",
        "can_resume": status in RESUMABLE and bool(words) and shown not in ("resuming",),
        "complaint": complaint,
        "sentence": _sentence(complaint) if complaint else "",
        "report": run.report_path.is_file(),
        "figures": [(number, each.kind, each.title) for number, each in enumerate(figures(run.report_path), start=1)],
        "result": scalars(result),
        "options": {name: spelled(value) for name, value in run.config.items()},
        "made": _made(run),
        "files": files(folder),
    }


def compared(root: Path, names: list[str]) -> dict[str, Any]:
    """Several runs side by side: the options and results that differ, and those that do not.

    **Raises:** `InputError` if one is missing or broken, or if they are too few or too many.
    """
    names = list(dict.fromkeys(names))
    if not 2 <= len(names) <= _COMPARED:
        raise InputError(f"{len(names)} runs were chosen: choose two to {_COMPARED} to compare them.")
    opened = [Run.open(place(root, name)) for name in names]
    options = [_options(run) for run in opened]
    results = [{key: value for key, value in scalars(_result(run)).items() if key != "out"} for run in opened]
    different, same = _split(options)
    runs = [
        {"id": name, "link": quote(name), "title": title([str(word) for word in run.command]) or name}
        | {"status": run.status, "started": moment(run.manifest["started"])}
        for name, run in zip(names, opened, strict=True)
    ]
    return {"runs": runs, "different": different, "same": same, "results": _split(results, always=True)[0]}


def scalars(result: dict[str, Any]) -> dict[str, str]:
    """The single values of a result, spelled."""
    return {name: spelled(value) for name, value in result.items() if not isinstance(value, dict | list)}


def spelled(value: Any) -> str:
    """A value as a reader spells it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "\u2013"}[value]
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "\u2212")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\u2026"


def title(words: list[str]) -> str:
    """What a command is called: its first words before any option or file."""
    named = [word for word in words[:2] if word.replace("-", "").isalpha() and not word.startswith("-")]
    return " ".join(named)


def moment(written: str) -> dict[str, str] | None:
    """A time of a manifest as the reader's clock shows it."""
    try:
        at = datetime.datetime.fromisoformat(written).astimezone()
    except ValueError:
        return None
    day = "today" if at.date() == datetime.date.today() else f"{at.day} {at:%b %Y}"
    return {"written": written, "text": f"{day}, {at:%H:%M}"}


def progress(folder: Path, began: float | None = None) -> dict[str, Any] | None:
    """How far a running run is; what an earlier process left is not news."""
    told = read_progress(folder)
    if told is None or told["at"] < (began or _last_start(folder)):
        return None
    here, length, speed = told["here"], told["length"], told.get("speed")
    counted = told.get("unit") == "steps"
    left = (length - here) / speed if counted and isinstance(speed, float) and speed > 0 else length - here
    seen = {str(name): spelled(value) for name, value in list(told["seen"].items())[:8]}
    share = max(0.0, min(1.0, here / length)) if length > 0 else 0.0
    known = not counted or isinstance(speed, float)
    return {
        "what": told["what"][:_LONGEST],
        "share": round(share, 4),
        "here": f"{here:,} of {length:,} steps" if counted else f"{here:.0f} of {length:.0f} s",
        "left": max(0.0, left) if known else None,
        "speed": f"{speed:,.3g} steps/s" if isinstance(speed, float) and speed > 0 else "",
        "seen": seen,
    }


def files(folder: Path) -> list[tuple[str, str, str]]:
    """The files of a run that a reader may want: name, link and size."""
    from thalweg.datasets import size

    found = []
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not path.name.startswith(".") and path.is_file() and within(folder, path):
            found.append((path.name, quote(path.name), size(path.stat().st_size)))
    return found


def within(folder: Path, path: Path) -> bool:
    """Whether a file lies in the folder itself, and no link leads out of it."""
    return path.resolve().parent == folder.resolve()


def root_of(named: Path | None) -> Path:
    """The folder of the runs, as the other commands find it."""
    return runs_root(named).absolute()


def _status(folder: Path, status: str, desk: Desk) -> str:
    if status == "running":
        return "stopping" if desk.stopping(folder) else status
    return "resuming" if status in RESUMABLE and desk.resuming(folder) else status


def _untold(status: str) -> str:
    return "Its process was killed before it could say how it ended." if status == "interrupted" else ""


def _began(manifest: dict[str, Any]) -> float:
    """When the process that runs now began, in seconds of the epoch."""
    try:
        return datetime.datetime.fromisoformat(str([manifest["started"], *manifest["resumed"]][-1])).timestamp()
    except ValueError:
        return 0.0


def _last_start(folder: Path) -> float:
    try:
        return _began(Run.open(folder).manifest)
    except ThalwegError:
        return 0.0


def _elapsed(before: float, began: float) -> float:
    return before + max(0.0, time.time() - began) if began else before


def _result(run: Run) -> dict[str, Any]:
    try:
        found = run.read_result() if run.result_path.stat().st_size <= _LARGEST else {}
    except (OSError, ThalwegError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _sentence(complaint: str) -> str:
    told = [line for line in complaint.splitlines() if line.startswith("Error: ")]
    return told[-1].removeprefix("Error: ") if told else complaint.splitlines()[-1]


def _made(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    kept = ("device", "cpu", "cores", "platform", "python", "versions")
    told: dict[str, Any] = {"seed": run.seed, "dtype": run.dtype}
    told |= {name: manifest[name] for name in kept if manifest.get(name) is not None}
    inputs = [str(entry.get("path")) for entry in manifest["inputs"]]
    return told | ({"inputs": inputs} if inputs else {})


def _options(run: Run) -> dict[str, str]:
    told = {"command": title([str(word) for word in run.command]) or "\u2013", "seed": run.seed, "dtype": run.dtype}
    versions = run.manifest.get("versions")
    more = {"thalweg": versions.get("thalweg")} if isinstance(versions, dict) else {}
    more |= {"device": run.manifest.get("device")}
    return {name: spelled(value) for name, value in (told | run.config | more).items()}


def _split(tables: list[dict[str, str]], *, always: bool = False) -> tuple[list[Any], list[Any]]:
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = [(name, [table.get(name, "\u2013") for table in tables]) for name in names]
    different = [each for each in rows if always or len(set(each[1])) > 1]
    return different, [(name, values[0]) for name, values in rows if len(set(values)) == 1]
