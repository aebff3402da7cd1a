"""Text of numbers in columns: a fast way through whole files, and the line of a fault where there is one."""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Int, Shaped

from thalweg.core.blocks import read_at_most
from thalweg.core.errors import InputError

MOST_SPINS = 10**8
_MOST_BYTES = 2**33  # of an unpacked file: a small damaged archive must not fill the memory
_BLOCK = 2**16  # words that are read at once
_WHOLE = 2**53  # float64, which the kernels compute in, is exact up to here
_INTEGER = re.compile(rb"[+-]?\d+")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Page(NamedTuple):
    """A text without its comments: the bytes, where its words begin, and the line of each word, counted from one."""

    path: Path
    content: bytes
    starts: Int[np.ndarray, " words"]
    lines: Int[np.ndarray, " words"]


class Rows(NamedTuple):
    """Numbers in columns, `int64` if all of them are written as integers and `float64` otherwise, and their lines."""

    numbers: Shaped[np.ndarray, "rows columns"]
    lines: Int[np.ndarray, " rows"]

    @property
    def whole(self) -> bool:
        """Whether all are written as integers."""
        return self.numbers.dtype == np.int64


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is a gzip archive.

    **Raises:** `InputError` for a file that is missing, empty, damaged, or larger than the memory should hold.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            content = read_at_most(file, _MOST_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file: give the path of one with couplings or spins.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}): is it a whole, readable file?") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: holds more than {_MOST_BYTES} bytes: give a smaller problem.")
    if not content.strip():
        raise InputError(f"{path}: the file is empty: expected couplings or spins.")
    return content


def one_line(error: BaseException, most: int = 200) -> str:
    """What another library has to say, in one printable line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said.encode("ascii", "backslashreplace").decode("ascii")[:most]


def page(path: Path, content: bytes, comments: bytes = b"#%c") -> Page:
    """The words of a text; lines that begin with one of `comments` are left out.

    **Raises:** `InputError` for bytes that are no text.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: expected text, found a zero byte: is this a binary file?")
    starts, lines = _words(content)
    raw = np.frombuffer(content, np.uint8)
    leading = np.diff(lines, prepend=0) > 0
    marked = lines[leading & np.isin(raw[starts], np.frombuffer(comments, np.uint8))]
    if marked.size:
        ends = np.append(np.flatnonzero(raw == 10), raw.size)
        blanked = bytearray(content)
        for line in marked.tolist():
            begin = 0 if line == 1 else int(ends[line - 2]) + 1
            blanked[begin : ends[line - 1]] = b" " * (int(ends[line - 1]) - begin)
        kept = ~np.isin(lines, marked)
        content, starts, lines = bytes(blanked), starts[kept], lines[kept]
    if not starts.size:
        raise InputError(f"{path}: there are only comments in the file: expected couplings or spins.")
    return Page(path, content, starts, lines)


def _words(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    raw = np.frombuffer(content, np.uint8)
    blank = (raw == 32) | ((raw >= 9) & (raw <= 13))
    starts = np.flatnonzero(~blank & np.append(True, blank[:-1]))
    return starts, np.searchsorted(np.flatnonzero(raw == 10), starts) + 1


def fault(path: Path, line: int, expected: str, found: object) -> NoReturn:
    """Refuse a line.

    **Raises:** `InputError`, always.
    """
    raise InputError(f"{path}, line {line}: expected {expected}, found {found}: mend the file.")


def header(text: Page) -> tuple[list[str], int, Page]:
    """The words of the first line, its number, and the rest of the page."""
    line = int(text.lines[0])
    count = int(np.searchsorted(text.lines, line, side="right"))
    words = [_shown(_word(text, place)) for place in range(min(count, 8))]
    return words, line, text._replace(starts=text.starts[count:], lines=text.lines[count:])


def rows(text: Page, columns: tuple[int, ...] | None = None, expected: str = "numbers") -> Rows:
    """The numbers of a page, which has the same number of columns in all lines.

    **Arguments:** `columns`, how many there may be, or `None` for any number; `expected`, for messages.

    **Raises:** `InputError` with the line of a word that is no number, or of a missing or additional column.
    """
    if not text.starts.size:
        return Rows(np.zeros((0, max(columns or (0,))), np.int64), np.zeros(0, np.int64))
    fresh = np.flatnonzero(np.diff(text.lines, prepend=0))
    counts = np.diff(np.append(fresh, text.starts.size))
    wrong = np.flatnonzero((counts != counts[0]) | (False if columns is None else ~np.isin(counts, columns or ())))
    numbers = _numbers(text)
    if wrong.size:
        row = int(wrong[0])
        usual = f"{counts[0]} columns as in line {text.lines[0]}" if row else expected
        fault(text.path, int(text.lines[fresh[row]]), usual, f"{counts[row]} columns")
    return Rows(numbers.reshape(counts.size, -1), text.lines[fresh])


def _numbers(text: Page) -> np.ndarray:
    decimal = any(mark in text.content[text.starts[0] :] for mark in (b".", b"e", b"E"))
    edges = [*range(0, text.starts.size, _BLOCK), text.starts.size]
    return np.concatenate([_block(text, decimal, *pair) for pair in itertools.pairwise(edges)])


def _block(text: Page, decimal: bool, begin: int, end: int) -> np.ndarray:
    """Some of the words as numbers, all at once; what that refuses is looked at word by word."""
    stop = text.starts[end] if end < text.starts.size else len(text.content)
    try:
        content = text.content[text.starts[begin] : stop]
        numbers = np.fromstring(content, np.float64 if decimal else np.int64, sep=" ")
    except ValueError:
        return _slow_block(text, decimal, begin, end)
    # Too long an integer comes as the largest of 64 bits, too large a decimal as infinity, and a sign on its own is
    # given to the next number.
    usable = np.isfinite(numbers) if decimal else (numbers > -_WHOLE) & (numbers < _WHOLE)
    return numbers if numbers.size == end - begin and usable.all() else _slow_block(text, decimal, begin, end)


def _slow_block(text: Page, decimal: bool, begin: int, end: int) -> np.ndarray:
    pattern, kind = (_NUMBER, float) if decimal else (_INTEGER, int)
    numbers = []
    for place in range(begin, end):
        word, line = _word(text, place), int(text.lines[place])
        if not pattern.fullmatch(word):
            fault(text.path, line, "a finite number", repr(_shown(word)))
        if len(word) > 400:  # longer than any double, and than Python's patience with integers
            fault(text.path, line, "a number", f"one of {len(word)} characters")
        number = kind(word)
        if decimal and not np.isfinite(number):
            fault(text.path, line, "a finite number", _shown(word))
        if not decimal and abs(number) >= _WHOLE:
            fault(text.path, line, "integers below 2^53 (or decimals)", _shown(word))
        numbers.append(number)
    return np.array(numbers, np.float64 if decimal else np.int64)


def _word(text: Page, place: int) -> bytes:
    start = int(text.starts[place])
    return text.content[start : start + 1000].split(None, 1)[0]


def _shown(word: bytes) -> str:
    return word[:40].decode("ascii", "backslashreplace") + ("..." if len(word) > 40 else "")


def whole_number(path: Path, line: int, word: str, expected: str, most: int) -> int:
    """A count from the header of a file.

    **Raises:** `InputError` for anything but a whole number from 0 to `most`.
    """
    if not (word.isascii() and word.isdigit()) or len(word) > 18:
        fault(path, line, expected, repr(word))
    if int(word) > most:
        fault(path, line, f"{expected} (at most {most})", word)
    return int(word)
