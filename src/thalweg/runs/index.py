"""Which runs there are: a sqlite table that is only a cache of the run directories."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from thalweg.core.errors import InputError, ThalwegError
from thalweg.runs.directory import CONFIG, MANIFEST, Run, runs_root

INDEX = ".index.sqlite"
_SHOWN = 8


class RunInfo(NamedTuple):
    """One line of the list of runs.

    **Fields:** `id`, the directory's name; `status`: `running`, `done`, `failed`, `cancelled`, `interrupted` (its
    process was killed) or `broken` (a file of it is damaged); `command`; `started` and `finished` in UTC; `seconds`
    of work; `outcome`, a sentence, for a broken run the reason; `path`.
    """

    id: str
    status: str
    command: str
    started: str
    finished: str | None
    seconds: float
    outcome: str | None
    path: Path


_COLUMNS = "id stamp status command started finished seconds outcome".split()


def list_runs(root: str | Path | None = None) -> list[RunInfo]:
    """The runs in `root`, by default in `runs_root()`, oldest first; damaged ones too."""
    folder = runs_root(root)
    if not folder.is_dir():
        return []
    for _ in range(2):
        try:
            with closing(sqlite3.connect(folder / INDEX, timeout=5.0)) as index, index:
                return _sorted(_listed(folder, index))
        except sqlite3.Error:
            # Damaged, of another version, or not writable: it is a cache, so it is thrown away.
            with suppress(OSError):
                (folder / INDEX).unlink(missing_ok=True)
    return _sorted([_look(path) for path in _directories(folder)])


def find(root: str | Path | None, id_prefix: str) -> Run:
    """The run in `root` whose id begins with `id_prefix`.

    **Raises:** `InputError` with the candidates if there is none or more than one.
    """
    folder = runs_root(root)
    names = [path.name for path in _directories(folder)]
    matches = [name for name in names if name == id_prefix] or [name for name in names if name.startswith(id_prefix)]
    if len(matches) == 1:
        return Run.open(folder / matches[0])
    if not names:
        raise InputError(f"there are no runs in {folder}: start one, or set THALWEG_RUNS to where they are.")
    shown = sorted(matches or names)[-_SHOWN:]
    more = ", ..." if len(matches or names) > _SHOWN else ""
    said = f"{len(matches)} runs in {folder} begin" if matches else f"no run in {folder} begins"
    raise InputError(f"{said} with {id_prefix!r}: choose one of {', '.join(shown)}{more}")


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and ((path / CONFIG).is_file() or (path / MANIFEST).is_file())
    )


def _listed(folder: Path, index: sqlite3.Connection) -> list[RunInfo]:
    index.execute("PRAGMA synchronous = OFF")
    index.execute(f"CREATE TABLE IF NOT EXISTS runs ({', '.join(_COLUMNS)}, PRIMARY KEY (id))")
    known = {row[0]: row for row in index.execute(f"SELECT {', '.join(_COLUMNS)} FROM runs")}
    found = []
    for path in _directories(folder):
        stamp = _stamp(path)
        row = known.pop(path.name, None)
        if row is not None and row[1] == stamp:
            info = RunInfo(row[0], *row[2:], path=path)
        else:
            info = _look(path)
            fresh = (info.id, stamp, *info[1:-1])
            # What may change without a trace in the files (its process dies) is asked anew each time.
            if info.status not in {"running", "interrupted"}:
                marks = ", ".join("?" for _ in _COLUMNS)
                index.execute(f"INSERT OR REPLACE INTO runs VALUES ({marks})", fresh)
        found.append(info)
    index.executemany("DELETE FROM runs WHERE id = ?", [(name,) for name in known])
    return found


def _stamp(path: Path) -> str:
    """What changes whenever a file that the list shows is replaced."""
    stamps = []
    for name in (MANIFEST, CONFIG):
        try:
            stat = (path / name).stat()
            stamps.append(f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}")
        except OSError:
            stamps.append("-")
    return " ".join(stamps)


def _look(path: Path) -> RunInfo:
    try:
        run = Run.open(path)
        seen = run.manifest
        command = " ".join(str(word) for word in run.command)
        return RunInfo(
            path.name,
            run.status,
            command,
            seen["started"],
            seen.get("finished"),
            float(seen["seconds"]),
            seen.get("outcome"),
            path,
        )
    except ThalwegError as error:
        return RunInfo(path.name, "broken", "", "", None, 0.0, str(error), path)


def _sorted(found: list[RunInfo]) -> list[RunInfo]:
    return sorted(found, key=lambda info: (info.started, info.id))
