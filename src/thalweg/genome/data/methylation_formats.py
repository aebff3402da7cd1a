"""The columns of files that list cytosines: bedMethyl, Bismark's two, and plain BED."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thalweg.core.errors import InputError, shown

CONTEXTS = ("CG", "CHG", "CHH")
_CONTEXT_CODES = {"CG": 0, "CpG": 0, "CHG": 1, "CHH": 2}
_STRANDS = {"+": 1, "-": -1, ".": 0}
Row = tuple[int, list[str]]


class Columns(NamedTuple):
    """Sites of a part of a file; `wanted` is False for other modifications than 5-methylcytosine."""

    chromosome: np.ndarray
    position: np.ndarray
    strand: np.ndarray
    context: np.ndarray
    depth: np.ndarray
    fraction: np.ndarray
    wanted: np.ndarray
    line: np.ndarray


class Form(NamedTuple):
    """How a kind of file is read: its `name`, how many columns it has, and where they are (None: not there)."""

    name: str
    columns: int
    start: int
    offset: int
    strand: int | None
    context: int | None
    percent: int | None
    depth: int | None
    counts: tuple[int, int] | None
    modification: int | None = None

    def read(self, rows: Sequence[Row], numbers: dict[str, int], path: Path) -> Columns:
        """The sites of some rows; new chromosomes are added to `numbers`."""
        for line, fields in rows:
            if len(fields) != self.columns:
                raise InputError(f"{path}, line {line}: has {len(fields)} columns where others have {self.columns} "
                                 f"({self.name}): correct the line.")  # fmt: skip
        line = np.array([number for number, _ in rows])
        columns = list(zip(*(fields for _, fields in rows), strict=True))
        position = _numbers(columns[self.start], line, path, int) - self.offset
        _refuse(position < 0, columns[self.start], line, path, "is before the first base: write positions from it on")
        if self.strand != 2:
            short = _numbers(columns[2], line, path, int) <= position
            _refuse(short, columns[2], line, path, "ends a site before its base: write the end behind it")
        depth, fraction = self._measured(columns, line, path)
        strand = _coded(columns, self.strand, _STRANDS, 0, line, path, "strand")
        return Columns(
            chromosome=np.array([numbers.setdefault(name, len(numbers)) for name in columns[0]]),
            position=position,
            strand=strand,
            context=self._contexts(columns, line, path),
            depth=depth,
            fraction=fraction,
            wanted=self._wanted(columns),
            line=line,
        )

    def _measured(self, columns: Sequence[Sequence[str]], line: np.ndarray, path: Path):
        fraction = None
        if self.percent is not None:
            percent = _numbers(columns[self.percent], line, path, float)
            inside = (percent >= 0) & (percent <= 100)
            _refuse(~inside, columns[self.percent], line, path, "is no percentage from 0 to 100: correct it")
            fraction = percent / 100
        if self.counts is None:
            assert self.depth is not None
            assert fraction is not None
            depth = _numbers(columns[self.depth], line, path, int)
            _refuse(depth < 0, columns[self.depth], line, path, "is no number of reads: write 0 or more")
            return depth, fraction
        methylated, unmethylated = (_numbers(columns[at], line, path, int) for at in self.counts)
        for at, count in zip(self.counts, (methylated, unmethylated), strict=True):
            _refuse(count < 0, columns[at], line, path, "is no number of reads: write 0 or more")
        depth = methylated + unmethylated
        return depth, methylated / np.maximum(depth, 1)

    def _contexts(self, columns: Sequence[Sequence[str]], line: np.ndarray, path: Path) -> np.ndarray:
        if self.modification is not None:  # modkit writes "m,CG,0" where it was given motifs
            motifs = (name.split(",")[1:2] for name in columns[self.modification])
            found = [_CONTEXT_CODES.get(motif[0], len(CONTEXTS)) if motif else len(CONTEXTS) for motif in motifs]
            return np.array(found, np.int8)
        return _coded(columns, self.context, _CONTEXT_CODES, len(CONTEXTS), line, path, "context")

    def _wanted(self, columns: Sequence[Sequence[str]]) -> np.ndarray:
        if self.modification is None or self.columns < 18:  # ENCODE names its items as it likes
            return np.ones(len(columns[0]), bool)
        return np.array([name.split(",")[0] in ("m", "5mC", "27551") for name in columns[self.modification]])


def form_of(rows: Sequence[Row], path: Path, first: int | None) -> Form:
    """Which kind of file this is, by its first rows.

    **Raises:** `InputError` if it is none that is known, or if its positions could mean two things.
    """
    line, fields = rows[0]
    count = len(fields)
    if count == 7 and fields[2] in _STRANDS:
        return Form("Bismark's cytosine report", 7, 1, 1, 2, 5, None, None, (3, 4))
    if count == 7 and fields[3] in _CONTEXT_CODES and fields[5] in _STRANDS:
        return Form("BED with context, depth, strand and percent", 7, 1, 0, 5, 3, 6, 4, None)
    if count == 6:
        offset = _first_base(rows, path, first)
        return Form("Bismark's coverage", 6, 1, offset, None, None, 3, None, (4, 5))
    if count in (11, 18) and fields[5] in _STRANDS:
        return Form("bedMethyl", count, 1, 0, 5, None, 10, 9, None, 3)
    raise InputError(
        f"{path}, line {line}: its {count} columns are none of bedMethyl (11 or 18), Bismark's coverage (6) or "
        "cytosine report (7), or BED with context, depth, strand and percent (7): convert it to one of them."
    )


def _first_base(rows: Sequence[Row], path: Path, first: int | None) -> int:
    if first not in (None, 0, 1):
        raise InputError(f"the number of the first base is {first}: choose 0 or 1.")
    if first is not None:
        return first
    for line, fields in rows:
        if len(fields) == 6 and fields[1] != fields[2]:
            raise InputError(f"{path}, line {line}: a site from {fields[1]} to {fields[2]} may be one base counted "
                             "from 0 or two counted from 1: say which of 0 and 1 the first base is.")  # fmt: skip
    return 1


def _numbers(texts: Sequence[str], line: np.ndarray, path: Path, kind: type[int] | type[float]) -> np.ndarray:
    try:
        return np.fromiter(map(kind, texts), np.int64 if kind is int else np.float64, len(texts))
    except (ValueError, OverflowError):
        at = next(at for at, text in enumerate(texts) if not _fits(text, kind))
    what = "whole number" if kind is int else "number"
    raise InputError(f"{path}, line {line[at]}: {shown(texts[at])} is no {what}: correct it.")


def _fits(text: str, kind: type[int] | type[float]) -> bool:
    try:
        return abs(kind(text)) < 2**63 or kind is float
    except ValueError:
        return False


def _refuse(wrong: np.ndarray, texts: Sequence[str], line: np.ndarray, path: Path, what: str) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"{path}, line {line[at]}: {shown(texts[at])} {what}.")


def _coded(columns, at: int | None, codes: dict[str, int], absent: int, line, path: Path, what: str) -> np.ndarray:
    if at is None:
        return np.full(len(columns[0]), absent, np.int8)
    found = [codes.get(text) for text in columns[at]]
    if None in found:
        row = found.index(None)
        raise InputError(f"{path}, line {line[row]}: the {what} {shown(columns[at][row])} is none of {', '.join(codes)}"
                         ": correct it.")  # fmt: skip
    return np.array(found, np.int8)
