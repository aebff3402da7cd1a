"""DNA sequences from FASTA as base codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from thalweg.core.errors import InputError
from thalweg.genome.data.text import Note, Source, lines, located, silent

BASES = "ACGT"
UNKNOWN = 4
_AMBIGUOUS = "NRYSWKMBDHV"
_REFUSED = 127
# Blank space within lines is dropped by `_BLANK`; every byte that is no base becomes `_REFUSED`.
_BLANK = b" \t\r\n"
_TABLE = bytes(
    BASES.index(letter) if letter in BASES else 3 if letter == "U" else UNKNOWN if letter in _AMBIGUOUS else _REFUSED
    for letter in (chr(byte).upper() if byte < 128 else "\0" for byte in range(256))
)


class Sequence(NamedTuple):
    """One named sequence.

    **Fields:** `name`, the first word of its header; `codes`, 0 to 3 for A, C, G, T on the plus strand and 4 for
    everything else; `place` for messages; `description`, the rest of its header.
    """

    name: str
    codes: Int8[np.ndarray, " bases"]
    place: str
    description: str = ""


def read_fasta(source: Source, *, note: Note = silent) -> dict[str, Sequence]:
    """Every sequence of a FASTA file, plain or packed by gzip or bgzip, in its order.

    Lower case (soft-masked) is read as the same bases, U as T, and N and the other IUPAC codes as unknown.

    **Arguments:** `source`, a file or a sample, `cress` or `fly`; `note`, told how many bases were lower case, U or
    unknown.

    **Raises:** `InputError` in one sentence with the file and line: for a file that is empty, has no header, names a
    sequence twice, or holds letters that are no bases (as a protein does).
    """
    path = located(source, "sequence")
    found: dict[str, Sequence] = {}
    counts = {"lower": 0, "uracil": 0, "N": 0, "other": 0}
    header, at, parts = None, 0, []
    number = 0
    for number, line in enumerate(lines(path), 1):
        if line.startswith(">"):
            if header is not None:
                _keep(found, header, parts, f"{path}, line {at}", counts)
            header, at, parts = line, number, []
        elif header is not None:
            parts.append(line)
        elif line.strip():
            raise InputError(f"{path}, line {number}: comes before the first header: begin a FASTA file with >NAME.")
    if header is None:
        raise InputError(f"{path}: holds no sequence: name a FASTA file with >NAME and bases below it.")
    _keep(found, header, parts, f"{path}, line {at}", counts)
    _tell(str(path), counts, sum(sequence.codes.size for sequence in found.values()), note)
    return found


def _keep(found: dict[str, Sequence], header: str, parts: list[str], place: str, counts: dict[str, int]) -> None:
    name, _, description = header[1:].strip().partition(" ")
    if not name:
        raise InputError(f"{place}: the header names no sequence: write >NAME.")
    if name in found:
        raise InputError(f"{place}: {name!r} is already the name of {found[name].place}: rename one of them.")
    raw = "".join(parts).encode("utf-8", "surrogateescape").translate(None, _BLANK)
    codes = np.frombuffer(raw.translate(_TABLE), np.int8)
    if not codes.size:
        raise InputError(f"{place}: {name!r} has no bases: give it some or take it out.")
    if (codes == _REFUSED).any():
        raise _refused(parts, place)
    letters = np.frombuffer(raw, np.uint8)
    other = int(np.count_nonzero(codes == UNKNOWN))
    unread = raw.count(b"N") + raw.count(b"n")
    if other - unread > codes.size / 2:
        raise InputError(f"{place}: {name!r} is mostly of letters other than A, C, G, T, N, as a protein is: "
                         "name a file of DNA.")  # fmt: skip
    counts["lower"] += int(np.count_nonzero(letters >= ord("a")))
    counts["uracil"] += raw.count(b"U") + raw.count(b"u")
    counts["N"] += unread
    counts["other"] += other - unread
    found[name] = Sequence(name, codes, place, description)


def _refused(parts: Iterable[str], place: str) -> InputError:
    path, _, first = place.rpartition(", line ")
    for number, line in enumerate(parts, int(first) + 1):
        for letter in line.strip():
            code = _TABLE[ord(letter)] if ord(letter) < 128 else _REFUSED
            if code == _REFUSED and letter not in " \t":
                what = "a letter of proteins, not of DNA" if letter.upper() in "EFILPQXJOZ*" else "no base"
                return InputError(f"{path}, line {number}: {letter!r} is {what}: name a file of DNA without gaps.")
    raise AssertionError("a refused letter was found before")


def _tell(path: str, counts: dict[str, int], bases: int, note: Note) -> None:
    if counts["lower"]:
        note(f"{path}: {counts['lower']} of {bases} bases are lower case (soft-masked) and are read as bases.")
    if counts["uracil"]:
        note(f"{path}: {counts['uracil']} U are read as T.")
    if counts["N"] or counts["other"]:
        note(f"{path}: {counts['N']} N and {counts['other']} other IUPAC codes of {bases} bases are read as unknown.")


def reverse_complement(codes: Int8[np.ndarray, " bases"]) -> Int8[np.ndarray, " bases"]:
    """The opposite strand, read in its own direction; unknown bases stay unknown."""
    turned = codes[::-1]
    return np.where(turned < UNKNOWN, 3 - turned, turned).astype(np.int8)


def to_text(codes: Int8[np.ndarray, " bases"]) -> str:
    """Base codes as letters, N for the unknown."""
    return codes.astype(np.uint8).tobytes().translate(b"ACGTN" + bytes(251)).decode("ascii")


def to_codes(text: str) -> Int8[np.ndarray, " bases"]:
    """Letters as base codes; what is not A, C, G, T or U becomes unknown."""
    codes = np.frombuffer(text.encode("ascii", "replace").translate(_TABLE), np.int8)
    return np.where(codes == _REFUSED, np.int8(UNKNOWN), codes)
