"""Text files of genomics: plain or gzip, by the name of a sample, a data set or a path."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from thalweg.core.errors import InputError

Note: TypeAlias = Callable[[str], object]
Source: TypeAlias = "str | os.PathLike[str]"
SAMPLES = {"cress": "cress_chr1_start", "fly": "fly_chr4_locus"}
_SUFFIX = {"sequence": ".fa.gz", "annotation": ".gff3.gz"}
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
_BLOCK = 1 << 20


def located(source: Source, holds: Literal["sequence", "annotation", "table"] = "table") -> Path:
    """Where a source lies: a file on disk goes before a sample (`cress`, `fly`) or a public data set of this room.

    **Raises:** `InputError` if there is no such file, or a folder.
    """
    from thalweg import datasets, samples

    name = os.fspath(source)
    path = Path(name).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        raise InputError(f"{name!r} is no name of a file: name an existing one.") from None
    if path.is_dir():
        raise InputError(f"{path}: is a folder: name a file in it.")
    sample = SAMPLES.get(name, name)
    if holds in _SUFFIX and sample in SAMPLES.values():
        return samples.path(sample + _SUFFIX[holds])
    public = name.partition("/")[0]
    if public in datasets.names() and datasets.catalogue()[public].room == "genome":
        return datasets.locate(name)
    raise InputError(f"{path}: there is no such file: name an existing one.")


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their ends, unpacked if it is gzip (also of several members, as from bgzip).

    Line ends may be those of any system; bytes that are no UTF-8 pass through as surrogate escapes.

    **Raises:** `InputError` for a packed file that is damaged or cut short, and for one that is not text.
    """
    count, rest = 0, b""
    try:
        for block in _blocks(path):
            whole, end, tail = block.rpartition(b"\n")
            if not end:
                rest += block
                continue
            found = _split(rest + whole)
            yield from found
            count, rest = count + len(found), tail
        if rest:
            yield from _split(rest)
    except EOFError:
        raise InputError(
            f"{path}: the packed file is cut short after line {count}: copy or download it anew."
        ) from None
    except zlib.error:
        raise InputError(f"{path}: the packed file is damaged after line {count}: copy or download it anew.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): check the file.") from None


def _split(block: bytes) -> list[str]:
    if b"\r" in block:
        block = block.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return block.decode("utf-8", "surrogateescape").split("\n")


def _blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, some megabytes at a time, unpacked if need be."""
    with open(path, "rb") as file:
        start = file.read(6)
        file.seek(0)
        for magic, name in _PACKED.items():
            if start.startswith(magic):
                raise InputError(f"{path}: is packed by {name}: unpack it, or pack it with gzip or bgzip.")
        blocks = _unpacked(file) if start.startswith(b"\x1f\x8b") else iter(lambda: file.read(_BLOCK), b"")
        for number, block in enumerate(blocks):
            if number == 0 and b"\0" in block[:4096]:
                raise InputError(f"{path}: is a binary file: name a text file, plain or packed by gzip.")
            yield block.removeprefix(b"\xef\xbb\xbf") if number == 0 else block


def _unpacked(file) -> Iterator[bytes]:
    """What gzip.GzipFile gives, in a third of its time, for that reads 8 kB at a time."""
    packed, raw, begun = zlib.decompressobj(wbits=31), b"", False
    while True:
        raw = raw or file.read(_BLOCK)
        if not raw:
            if begun:
                raise EOFError
            return
        begun = True
        if block := packed.decompress(raw):
            yield block
        raw = b""
        if packed.eof:
            # Another member may follow, or zeros that fill a tape's last block.
            raw = packed.unused_data.lstrip(b"\0")
            packed, begun = zlib.decompressobj(wbits=31), False


def silent(sentence: str) -> None:
    """A note that nobody hears."""
