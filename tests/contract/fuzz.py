"""Damage to files as it happens, drawn by hypothesis, and the watch over the parser that then reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from thalweg.core.errors import ThalwegError

CORPUS = Path(__file__).parents[1] / "data" / "fuzz"
_HEADROOM = 2**30  # bytes that a reader may take beside what the process has: the files here have at most some kB
_SECONDS = 20  # of the processor's time for one small file; a reader that needs more hangs
_NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
_JUNK = (
    b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"-0", b"1.5", b"oops", b"",
    b"2147483648", b"4294967296", b"9223372036854775808", b"999999999999", b"1" + 400 * b"0", b"9" * 5000,
    b"1e308", b"1e-320", b"0x10", b"1_000", "\u0661".encode(), "\u00b2".encode(), b"null", b"true", b"[[", b"{}", b'"',
)  # fmt: skip


class Way(NamedTuple):
    """How to get at the part of a file that is damaged: `open` it, and `close` the file over another content."""

    open: Callable[[bytes], bytes]
    close: Callable[[bytes, bytes], bytes]


PLAIN = Way(lambda content: content, lambda content, inner: inner)
GZIP = Way(gzip.decompress, lambda content, inner: gzip.compress(inner, 1, mtime=0))


def member(name: str) -> Way:
    """One member of a zip archive, whose checksum is then right again."""

    def read(content: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(name)

    def close(content: bytes, inner: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(packed, "w") as other:
            for each in archive.namelist():
                other.writestr(zipfile.ZipInfo(each), inner if each == name else archive.read(each))
        return packed.getvalue()

    return Way(read, close)


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def sealed(key: str) -> Way:
    """One text of a checkpoint's metadata, under a hash that is right again: what no accident makes."""

    def close(content: bytes, inner: bytes) -> bytes:
        from safetensors import deserialize

        from thalweg.runs.checkpoint import _digest

        header, arrays = _header(content)
        told = header["__metadata__"] | {key: inner.decode("utf-8", "replace")}
        told["sha256"] = _digest({name: tensor["data"] for name, tensor in deserialize(content)}, told)
        written = json.dumps(header | {"__metadata__": told}).encode()
        return len(written).to_bytes(8, "little") + written + arrays

    return Way(lambda content: _header(content)[0]["__metadata__"][key].encode(), close)


class Parser(NamedTuple):
    """A reader with a sound file for it.

    **Fields:** `name`, also of its folder in the corpus; `make`, which writes the file into an empty folder and says
    where; `read`, from that path to anything; `ways` to damage it.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    ways: tuple[Way, ...] = (PLAIN,)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with one to three damages, seldom none at all of it left."""
    return st.lists(_damages(len(content)), min_size=1, max_size=3).map(lambda damages: _apply(content, damages))


def _damages(length: int) -> st.SearchStrategy[tuple]:
    place = st.integers(0, max(length - 1, 0))
    return st.one_of(
        st.tuples(st.just("cut"), place),
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=6)),
        st.tuples(st.just("remove"), place, st.integers(1, 60)),
        *[
            st.tuples(st.just(kind), st.integers(0, 10**6), st.integers(0, 10**6))
            for kind in ("double", "swap", "lose")
        ],
        *[st.tuples(st.just("number"), st.integers(0, 10**6), st.sampled_from(_JUNK))] * 4,
        st.tuples(st.just("word"), st.integers(0, 10**6), st.integers(0, 10**6)),
        st.tuples(st.sampled_from(["windows", "mac", "mark", "utf16", "latin", "zeros", "end", "many"])),
        st.tuples(st.just("rubbish"), st.binary(max_size=40)),
    )


def _apply(content: bytes, damages: list[tuple]) -> bytes:
    for kind, *given in damages:
        if kind in _WHOLE:
            content = _WHOLE[kind](content)
        elif kind in ("double", "swap", "lose"):
            content = _lines(content, kind, *given)
        elif kind in ("number", "word"):
            content = _words(content, kind, *given)
        elif kind == "rubbish":
            content = given[0]
        else:
            content = _bytes(content, kind, min(given[0], len(content)), *given[1:])
    return content


def _bytes(content: bytes, kind: str, place: int, more: Any = None) -> bytes:
    if kind == "cut":
        return content[:place]
    if kind == "insert":
        return content[:place] + more + content[place:]
    if kind == "remove":
        return content[:place] + content[place + more :]
    return content[:place] + bytes(byte ^ more for byte in content[place : place + 1]) + content[place + 1 :]


def _lines(content: bytes, kind: str, one: int, other: int) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    one, other = one % len(lines), other % len(lines)
    if kind == "swap":
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines[: one + 1] + lines[one:] if kind == "double" else
                    lines[:one] + lines[one + 1 :] if kind == "lose" else lines)  # fmt: skip


def _words(content: bytes, kind: str, one: int, more: Any) -> bytes:
    found = list((_NUMBER if kind == "number" else re.compile(rb"[^\s,;:=\"<>\[\]{}]+")).finditer(content))
    if not found:
        return content
    start, end = found[one % len(found)].span()
    new = more if kind == "number" else found[more % len(found)].group()
    return content[:start] + new + content[end:]


_WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "windows": lambda content: content.replace(b"\n", b"\r\n"),
    "mac": lambda content: content.replace(b"\n", b"\r"),
    "mark": lambda content: b"\xef\xbb\xbf" + content,
    "utf16": lambda content: content.decode("latin-1").encode("utf-16"),
    "latin": lambda content: content + "Zürich".encode("latin-1"),
    "zeros": lambda content: content + bytes(9),
    "end": lambda content: content.rstrip(),
    "many": lambda content: 3 * content,
}


class Hang(BaseException):
    """A reader took too long."""


@contextmanager
def watched() -> Iterator[None]:
    """Little memory and little time of the processor for what is done inside."""

    def stop(number: int, frame: Any) -> None:
        raise Hang(f"more than {_SECONDS} s of the processor")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _HEADROOM, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def complaint(parser: Parser, path: Path, content: bytes) -> str | None:
    """What is wrong with how the parser takes this content: nothing where it reads it, or refuses it in one sentence.

    The file at `path` holds what it held before in the end.
    """
    sound = path.read_bytes()
    path.write_bytes(content)
    try:
        with watched():
            parser.read(path)
    except ThalwegError as error:
        sentence = str(error)
        if "\n" in sentence or len(sentence) > 1200:
            return f"no single sentence: {sentence!r:.1500}"
        # Where a file is one of a folder, the sentence may name the folder, or the files beside it.
        named = any(place in sentence for place in (path.stem.split(".")[0], *map(str, list(path.parents)[:2])))
        return None if named else f"no file: {sentence}"
    except (Exception, Hang) as error:
        return f"{type(error).__name__}: {error!s:.300}"
    finally:
        path.write_bytes(sound)
    return None


def keep(parser: Parser, content: bytes) -> Path:
    """Add an input that failed to the corpus."""
    path = CORPUS / parser.name / hashlib.sha256(content).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
