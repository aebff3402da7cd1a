"""One run, one directory: what was asked, with what it was computed, and what came out."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from thalweg.core.atomic import remove_stale, unwritable, write_atomic
from thalweg.core.errors import InputError, ThalwegError
from thalweg.runs.config import config_hash
from thalweg.runs.lock import LOCK, held, release, take
from thalweg.runs.manifest import (
    STATUSES,
    as_json,
    check_inputs,
    fresh_manifest,
    hashed_inputs,
    loaded_device,
    now,
    read_manifest,
    said,
    status_of,
)
from thalweg.runs.record import check_same, identity, make_record, read_record

CONFIG, MANIFEST = "config.toml", "manifest.json"
_OURS = {LOCK, CONFIG, MANIFEST}


def runs_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where runs are kept: `root`, else the folder that THALWEG_RUNS names, else `runs` here."""
    return Path(root if root is not None else os.environ.get("THALWEG_RUNS") or "runs").expanduser()


class Run:
    """One run directory.

    `with Run.create(...) as run` holds its lock, marks it as running, and on leaving writes how it ended: an exception
    makes it `failed`, or `cancelled` if it was a request to stop. `Run.open` looks at one and changes nothing.

    **Fields:** `path`; `config`, the options; `command`, the words that resume it; `seed`; `dtype`; `manifest`;
    `was`, the status that it was found with (`None` for a new one), so that finished work need not be done again.
    """

    def __init__(self, path: Path, record: dict[str, Any], manifest: dict[str, Any], was: str | None):
        self.path, self.manifest, self.was = path, manifest, was
        self._record = record
        self._lock: int | None = None
        self._began = time.monotonic()
        self._finished = False

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        config: Mapping[str, Any],
        *,
        command: Sequence[str] | None = None,
        inputs: Sequence[str | os.PathLike[str]] = (),
        seed: int | None = None,
        dtype: Any = None,
        device: str | None = None,
        free: Sequence[str] = (),
    ) -> Run:
        """Begin a run, or go on with the one that is in `path`.

        **Arguments:**

        - `path`: its directory; by default a new one under `runs_root()`.
        - `config`: the resolved options, numbers, text, lists and tables.
        - `command`: the words after `thalweg` that started it.
        - `inputs`: the files that it reads.
        - `seed`, `dtype`: as computed with. `device`: by default what JAX says at the end.
        - `free`: options that may differ when a run is gone on with, because they say how long and not what
          (`seconds`, `max_steps`).

        **Raises:** `InputError` if the directory holds something else, or a run with another configuration or other
        inputs; `ThalwegError` if another process is at it or it cannot be written.
        """
        record = make_record(config, command, seed, dtype)
        files = hashed_inputs(inputs)
        folder = _fresh_folder(command) if path is None else Path(path)
        _make(folder)
        lock = take(folder)
        try:
            remove_stale(folder)
            if (folder / CONFIG).exists():
                found = cls.open(folder)
                check_same(folder, found._record, record, free)
                check_inputs(folder, found.manifest, files)
                run = cls(folder, record, found.manifest, found.manifest["status"])
            else:
                run = cls(folder, record, fresh_manifest(folder.resolve().name, files, device), None)
                run._write()
        except BaseException:
            release(lock)
            raise
        run._lock = lock
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Look at the run in `path`; nothing is locked or written.

        **Raises:** `InputError` if there is none, or if one of its files is damaged.
        """
        folder = Path(path)
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder} holds no run (there is no {CONFIG}): list the runs with `thalweg runs list`.")
        record, manifest = read_record(folder / CONFIG), read_manifest(folder / MANIFEST)
        return cls(folder, record, manifest, manifest["status"])

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.resolve().name

    @property
    def config(self) -> dict[str, Any]:
        """The resolved options."""
        return self._record["options"]

    @property
    def command(self) -> list[str]:
        """The words after `thalweg` that started it, and that resume it."""
        return self._record.get("command", [])

    @property
    def seed(self) -> int | None:
        """The seed of its random keys."""
        return self._record.get("seed")

    @property
    def dtype(self) -> str | None:
        """The floating-point width that it computes with."""
        return self._record.get("dtype")

    @property
    def hash(self) -> str:
        """The hash of options, seed and dtype."""
        return config_hash(identity(self._record))

    @property
    def status(self) -> str:
        """`running`, `done`, `failed` or `cancelled`; `interrupted` where the process was killed."""
        status = self.manifest["status"]
        return "interrupted" if status == "running" and self._lock is None and not held(self.path) else status

    @property
    def locked(self) -> bool:
        """Whether this object holds the directory, so that it may write there."""
        return self._lock is not None

    @property
    def state_path(self) -> Path:
        """Its checkpoint."""
        return self.path / "state.safetensors"

    @property
    def metrics_path(self) -> Path:
        """One JSON object per line, written while it runs."""
        return self.path / "metrics.jsonl"

    @property
    def result_path(self) -> Path:
        """What came out, as JSON."""
        return self.path / "result.json"

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    def __enter__(self) -> Run:
        if self._lock is None:
            self._lock = take(self.path)
            remove_stale(self.path)
        self._began, self._finished = time.monotonic(), False
        if self.was is not None:
            self.manifest = self.manifest | {"status": "running", "outcome": None, "finished": None}
            self.manifest["resumed"] = [*self.manifest["resumed"], now()]
            self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None:
                with suppress(ThalwegError):  # a full disk must not hide why the run failed
                    self.finish(said(error), status=status_of(error))
            elif not self._finished:
                self.finish("Done.")
        finally:
            self.close()

    def finish(self, outcome: str, *, status: str = "done", result: Mapping[str, Any] | None = None) -> None:
        """Write how the run ended.

        **Arguments:** `outcome`, one sentence; `status`, one of `done`, `failed`, `cancelled`; `result`, what becomes
        `result.json`: numbers, text, lists and tables.

        **Raises:** `InputError` for a result that JSON cannot hold; `ThalwegError` if nothing can be written.
        """
        if status not in STATUSES[1:]:
            raise InputError(f"a run ends as one of {', '.join(STATUSES[1:])}, not as {status!r}.")
        if result is not None:
            write_atomic(self.result_path, as_json(result, "the result"))
        seconds = time.monotonic() - self._began
        self._began = time.monotonic()
        self.manifest = self.manifest | {
            "status": status,
            "outcome": outcome,
            "finished": now(),
            "seconds": round(self.manifest["seconds"] + seconds, 3),
            "device": self.manifest.get("device") or loaded_device(),
        }
        write_atomic(self.path / MANIFEST, as_json(self.manifest, MANIFEST))
        self._finished = True

    def read_result(self) -> dict[str, Any]:
        """What came out, from `result.json`.

        **Raises:** `InputError` if there is none or if it is damaged.
        """
        try:
            return json.loads(self.result_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.result_path} cannot be read ({error}): run it again.") from error

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            release(self._lock)
            self._lock = None

    def _write(self) -> None:
        # The manifest first: a directory is a run from the moment that it has a configuration.
        write_atomic(self.path / MANIFEST, as_json(self.manifest, MANIFEST))
        write_atomic(self.path / CONFIG, tomli_w.dumps(self._record))


def _fresh_folder(command: Sequence[str] | None) -> Path:
    words = [word for word in (command or [])[:2] if re.fullmatch(r"[a-z][a-z0-9-]*", word)] or ["run"]
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return runs_root() / f"{stamp}-{'-'.join(words)}-{uuid.uuid4().hex[:4]}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
    except OSError as error:
        raise unwritable(folder, error) from error
    if CONFIG not in names and names - _OURS:
        raise InputError(
            f"{folder} holds {min(names - _OURS)} and no run: choose a new or an empty folder with --out, "
            "so that nothing of yours is overwritten."
        )
