"""Extended XYZ text, frame by frame: ASE reads each, and what is wrong is said with its frame and line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from thalweg.core.blocks import read_at_most
from thalweg.core.errors import InputError, require

if TYPE_CHECKING:
    from ase import Atoms

_MOST_BYTES = 2**33  # of an unpacked file: a small damaged archive must not fill the memory
_VOIGT = re.compile(r"""\b(stress|virial)\s*=\s*["'{\[]\s*(\S+(?:\s+\S+){5})\s*["'}\]]""")
_PLAIN = "species:S:1:pos:R:3"


class Chunk(NamedTuple):
    """The lines of one frame, its number from zero, and the number of its first line from one."""

    lines: list[str]
    number: int
    line: int


def text_of(path: Path) -> str:
    """The text in a file, unpacked if its suffix says that it is packed.

    **Raises:** `InputError` for a file that is missing, empty, damaged or no text.
    """
    import lzma
    import zlib

    require("ase", extra="atoms")
    from ase.io.formats import open_with_compression

    try:
        with open_with_compression(str(path), "rb") as file:
            content = read_at_most(file, _MOST_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read ({reason}): is it a whole, readable file?") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: holds more than {_MOST_BYTES} bytes: split it into several files.")
    try:
        text = content.decode("utf-8-sig")  # type: ignore[union-attr]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no text: is this an extended XYZ file, and whole?") from None
    if not text.strip():
        raise InputError(f"{path}: is empty: name a file with frames.")
    return text.replace("\r\n", "\n")


def chunks(text: str, name: str) -> list[Chunk]:
    """The frames of a text, cut at the numbers of atoms.

    **Raises:** `InputError` with frame and line where no number of atoms stands where one must, or lines are missing.
    """
    lines, at, found = text.split("\n"), 0, []
    while at < len(lines):
        if not lines[at].strip():  # ASE would take this for the end and leave out what follows
            at += 1
            continue
        place = f"{name}, frame {len(found)}, line {at + 1}"
        count = _count(lines[at], place, len(found))
        end = at + 2 + count
        present = len(lines) - at - (lines[-1] == "")
        if present < 2 + count:
            raise InputError(
                f"{place}: the frame should have {count} atoms, but the file ends after {max(present - 2, 0)}: it is "
                "cut off or the number is wrong, so fetch it again or remove the frame."
            )
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):  # cell vectors, which ASE reads too
            end += 1
        found.append(Chunk(lines[at:end], len(found), at + 1))
        at = end
    return found


def _count(line: str, place: str, before: int) -> int:
    try:
        count = int(line)
    except ValueError:
        count = -1
    if count > 0:
        return count
    if count == 0:
        raise InputError(f"{place}: the frame has no atoms: remove it.")
    hint = f"check the number of atoms of frame {before - 1}" if before else "is this an extended XYZ file?"
    raise InputError(f"{place}: {line.strip()[:40]!r} stands where the number of atoms should: {hint}.")


def atoms_of(selected: Sequence[Chunk], name: str) -> Iterator[tuple[Atoms, str]]:
    """ASE's atoms for each chunk, and its place for messages.

    **Raises:** `InputError` naming file, frame and, where it can be told, the line.
    """
    for chunk in selected:
        place = f"{name}, frame {chunk.number}"
        yield _atoms(chunk, place), place


def _atoms(chunk: Chunk, place: str) -> Atoms:
    require("ase", extra="atoms")
    from ase.io.extxyz import read_xyz

    def parsed(comment: str) -> dict[str, Any]:
        return _header(comment, chunk, place)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return next(iter(read_xyz(StringIO("\n".join(chunk.lines)), 0, parsed)))
        except InputError:
            raise
        except KeyError as error:
            raise InputError(f"{place}: {error.args[0]!r} is no element: correct the symbol.") from None
        except Exception as error:  # ASE raises whatever the damaged word makes Python raise
            raise InputError(f"{_line_of(error, chunk, place)}: mend it or fetch the file again.") from None


def _header(comment: str, chunk: Chunk, place: str) -> dict[str, Any]:
    """What a comment line says, after looking at what ASE would pass over in silence."""
    from ase.io.extxyz import key_val_str_to_dict

    info = key_val_str_to_dict(_VOIGT.sub(_full, comment))
    where = f"{place}, line {chunk.line + 1}"
    stated = info.get("Properties", _PLAIN)
    fields = str(stated).split(":")
    if len(fields) % 3 or not all(size.isdigit() and 0 < len(size) < 4 for size in fields[2::3]):
        raise InputError(f"{where}: Properties={str(stated)[:60]!r} is not of the form name:type:columns: mend it.")
    held = {name: (kind, int(size)) for name, kind, size in zip(fields[::3], fields[1::3], fields[2::3], strict=True)}
    if held.get("pos") != ("R", 3) or not ({("S", 1)} & {held.get("species")} or held.get("Z") == ("I", 1)):
        raise InputError(f"{where}: Properties must hold species:S:1 (or Z:I:1) and pos:R:3, but are {stated!r}.")
    columns = sum(int(size) for size in fields[2::3])
    for row in range(2, 2 + int(chunk.lines[0])):
        words = len(chunk.lines[row].split())
        if words < columns or (words > columns and "Properties" in info):
            raise InputError(f"{place}, line {chunk.line + row}: has {words} columns where {columns} are stated: the "
                             "number of atoms or Properties are wrong, or the file is damaged.")  # fmt: skip
    pbc = info.get("pbc", False)
    flags = list(pbc) if isinstance(pbc, (list, tuple)) or getattr(pbc, "ndim", 0) == 1 else [pbc]
    if len(flags) not in (1, 3) or any(str(flag) not in ("True", "False", "0", "1") for flag in flags):
        raise InputError(f'{where}: pbc is {str(pbc)[:40]!r}: state three of T and F, as in pbc="T T F".')
    if "Lattice" in info and getattr(info["Lattice"], "shape", None) != (3, 3):
        raise InputError(f"{where}: Lattice must be nine numbers, the three vectors of the cell: mend it.")
    return info


def _full(found: re.Match[str]) -> str:
    """Six numbers in Voigt's order as the nine that ASE wants under these keys."""
    xx, yy, zz, yz, xz, xy = found[2].split()
    return f'{found[1]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'


def _line_of(error: Exception, chunk: Chunk, place: str) -> str:
    """Where ASE stumbled: the row with a word that is no number, if it is one of those, or else its reason."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    word = reason.rpartition("could not convert string to float: ")[2].strip("'\"") if "convert" in reason else None
    if word:
        for row, line in enumerate(chunk.lines[1:], 1):
            if word in line.split():
                return f"{place}, line {chunk.line + row}: {word[:40]!r} is no number"
    return f"{place}: cannot be read ({reason})"
