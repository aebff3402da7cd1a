"""Couplings as lines of two vertices and a number (rudy, Gset, `.mc`), counted from one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import KINDS, Kind, Problem
from thalweg.spins.data.statement import Statement
from thalweg.spins.data.text import MOST_SPINS, Page, Rows, fault, header, page, rows, whole_number

_MOST_LINES = 10**10
_MARK = re.compile(rb"\s*[#c] thalweg (\w+) offset=(\S+) denominator=([1-9]\d{0,17})\s*")
_NUMBER = re.compile(rb"[+-]?\d{1,300}|[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")


def parse(path: Path, content: bytes, kind: Kind | None = None) -> Problem:
    """The problem of a text `n m` and `m` lines `i j number`.

    **Arguments:** `kind`, what the numbers are where the file does not say so: `maxcut` weights by default (1 where
    they are missing), else J, W or Q; lines `i i number` are then h, b or the diagonal of Q.

    **Raises:** `InputError` with the file, the line, what was expected and what was found.
    """
    mark = marked(path, content, kind)
    kind, offset, denominator = mark or (kind or "maxcut", 0, 1)
    words, line, rest = header(page(path, content))
    expected = "the header `n m`, how many vertices and edges there are"
    if len(words) != 2:
        fault(path, line, expected, " ".join(words))
    size = whole_number(path, line, words[0], expected, MOST_SPINS)
    count = whole_number(path, line, words[1], expected, _MOST_LINES)
    table = rows(rest, (2, 3) if kind == "maxcut" else (3,), "two vertices and a number")
    if len(table.lines) != count:
        fault(path, line, f"{count} lines below, as the header says", len(table.lines))
    return statement(rest, table, size, 1, kind, offset, denominator).problem()


def statement(
    text: Page, table: Rows, size: int, base: int, kind: Kind, offset: int | float = 0, denominator: int = 1
) -> Statement:
    """Rows `i j number` of `size` vertices counted from `base`, as the statement that `kind` says.

    **Raises:** `InputError` with the line of a vertex that there is not.
    """
    if size == 0:
        raise InputError(f"{text.path}: there are no vertices: give at least one.")
    ends, last = table.numbers[:, :2] - base, size - 1 + base
    wrong = np.flatnonzero(((ends < 0) | (ends >= size) | (ends % 1 != 0)).any(axis=1))
    if wrong.size:
        row = int(wrong[0])
        found = " ".join(f"{end:g}" for end in table.numbers[row, :2].tolist())
        fault(text.path, int(table.lines[row]), f"vertices from {base} to {last}", found)
    first, second = ends.T.astype(np.int64)
    weights = table.numbers[:, 2] if table.numbers.shape[1] == 3 else np.ones(len(ends), np.int64)
    linear, single = np.zeros(size, weights.dtype), first == second
    if kind != "maxcut":
        np.add.at(linear, first[single], weights[single])
        first, second, weights = first[~single], second[~single], weights[~single]
    return Statement(kind, first, second, weights, linear, offset, denominator, source=str(text.path))


def marked(path: Path, content: bytes, kind: Kind | None) -> tuple[Kind, int | float, int] | None:
    """Kind, offset and denominator from the first line of a file that we wrote, or nothing from others.

    **Raises:** `InputError` for a first line that only looks like ours, or names another kind than `kind`.
    """
    line = content[:400].removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    if not re.match(rb"\s*[#c] thalweg\b", line):
        return None
    found = _MARK.fullmatch(line)
    if not found or found[1].decode() not in KINDS or not _NUMBER.fullmatch(found[2]):
        shown = repr(line.strip()[:60].decode("ascii", "backslashreplace"))
        fault(path, 1, f"`thalweg KIND offset=NUMBER denominator=INTEGER` with one of {', '.join(KINDS)}", shown)
    offset = int(found[2]) if re.fullmatch(rb"[+-]?\d+", found[2]) else float(found[2])
    if not np.isfinite(float(offset)):
        fault(path, 1, "a finite offset", found[2].decode())
    named: Kind = next(each for each in KINDS if each == found[1].decode())
    if kind not in (None, named):
        raise InputError(f"{path}, line 1: the file says that it is {named}, not {kind}: leave the kind out.")
    return named, offset, int(found[3])


def composed(stated: Statement) -> str:
    """The text of a statement; one that is no plain graph says in its first line what it is."""
    lines = numbered(stated, 1)
    plain = stated.kind == "maxcut" and stated.denominator == 1 and stated.offset == 0
    first = "" if plain else f"# {mark(stated)}\n"
    return f"{first}{stated.size} {len(lines)}\n" + "".join(lines)


def mark(stated: Statement) -> str:
    """The words by which a file that we wrote is read back as what it is."""
    return f"thalweg {stated.kind} offset={stated.offset!r} denominator={stated.denominator}"


def numbered(stated: Statement, base: int) -> list[str]:
    """Lines `i i number` for what is linear, then `i j number` for the pairs; decimals in full."""
    single = np.flatnonzero(stated.linear)
    diagonal = zip((single + base).tolist(), (single + base).tolist(), stated.linear[single].tolist(), strict=True)
    ends = (stated.first + base).tolist(), (stated.second + base).tolist()
    pairs = zip(*ends, stated.quadratic.tolist(), strict=True)
    return [f"{i} {j} {number!r}\n" for part in (diagonal, pairs) for i, j, number in part]
