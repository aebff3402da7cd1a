"""The numbers of a `metrics.jsonl` while it grows, thinned so that a file of any size is quick."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

WHOLE = 512 * 1024  # bytes that are read as they are; of more, lines at even distances
_END = 64 * 1024  # bytes at the end that are always read
_LONGEST = 64 * 1024  # bytes of one line
_MOST_NAMES = 24

Row = tuple[int, tuple[float | None, ...]]


class Points(NamedTuple):
    """What is new: `names` of the metrics and rows of a step and its values; `reset` if all before is void."""

    reset: bool
    names: tuple[str, ...]
    rows: list[Row]


class Curve:
    """Follows one `metrics.jsonl`.

    **Arguments:** `path`, which need not exist yet; `most`, how many rows the first look gives at most.
    """

    def __init__(self, path: Path, most: int = 800):
        self.path, self.most = path, most
        self._names: tuple[str, ...] = ()
        self._file: tuple[int, int] | None = None  # which file it was, told by device and inode
        self._offset, self._step = 0, -1

    def look(self) -> Points | None:
        """What came since the last look; `None` if nothing did."""
        try:
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                return self._new(file, (stat.st_dev, stat.st_ino), stat.st_size)
        except OSError:
            return self._forgotten()

    def _forgotten(self) -> Points | None:
        known, self._file = self._file, None
        self._names, self._offset, self._step = (), 0, -1
        return Points(True, (), []) if known else None

    def _new(self, file: BinaryIO, which: tuple[int, int], size: int) -> Points | None:
        # A run that is gone on with replaces the file by a shorter one.
        fresh = which != self._file or size < self._offset
        if fresh:
            self._file, self._offset, self._step = which, 0, -1
        if size == self._offset and not fresh:
            return None
        found, end = _rows(file, self._offset, size, self.most)
        if not fresh and any(set(row) - {"step", "seconds", *self._names} for row in found):
            return self._again(file, which, size)
        self._offset = end
        rows = []
        if fresh:
            self._names = _names(found)
        for row in found:
            if row["step"] > self._step:
                self._step = row["step"]
                rows.append((row["step"], tuple(_finite(row.get(name)) for name in self._names)))
        return Points(fresh, self._names, rows) if rows or fresh else None

    def _again(self, file: BinaryIO, which: tuple[int, int], size: int) -> Points | None:
        if len(self._names) >= _MOST_NAMES:
            self._offset = size
            return None
        self._file = None
        return self._new(file, which, size)


def _rows(file: BinaryIO, begin: int, size: int, most: int) -> tuple[list[dict[str, Any]], int]:
    """Some rows between two places, in order, and where the last whole line ends."""
    if size - begin <= WHOLE:
        lines, end = _lines(file, begin, size)
        return _thinned(_parsed(lines), most), end
    last = size - _END
    spread = [_line_after(file, begin + i * (last - begin) // most, begin) for i in range(most)]
    tail, end = _lines(file, last, size)
    return _parsed([*spread, *_thinned(tail[1:], most // 8)]), end  # the first line of the tail is cut


def _lines(file: BinaryIO, begin: int, end: int) -> tuple[list[bytes], int]:
    file.seek(begin)
    whole, newline, rest = file.read(end - begin).rpartition(b"\n")
    return (whole.split(b"\n"), end - len(rest)) if newline else ([], begin)


def _line_after(file: BinaryIO, place: int, begin: int) -> bytes:
    file.seek(place)
    if place > begin:
        file.readline(_LONGEST)
    return file.readline(_LONGEST)


def _thinned(rows: list[Any], most: int) -> list[Any]:
    if len(rows) <= most:
        return rows
    kept = [rows[i * len(rows) // most] for i in range(most)]
    return kept if kept[-1] is rows[-1] else [*kept, rows[-1]]


def _parsed(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The lines that are metrics; a line of anything else spoils no picture."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("step")) is int and 0 <= row["step"] < 2**53:
            rows.append(row)
    return rows


def _names(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    named = {name: None for row in rows for name in row if name not in ("step", "seconds")}
    return tuple(named)[:_MOST_NAMES]


def _finite(value: Any) -> float | None:
    """A number that can be drawn; `"nan"` and `"inf"` are written as texts and leave a gap."""
    try:
        number = float(value) if isinstance(value, bool | int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
