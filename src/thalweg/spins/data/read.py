"""Problems from files of every format, and back."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.spins.data import arrays, bqm, graphs, qubo, rudy
from thalweg.spins.data.problem import KINDS, Kind, Problem
from thalweg.spins.data.statement import Statement, stated
from thalweg.spins.data.text import contents

_MAGIC = {
    bqm.MAGIC: ".bqm",
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"%%MatrixMarket": ".mtx",
    b"<?xml": ".graphml",
    b"<graphml": ".graphml",
    b"{": ".json",
    b"p qubo": ".qubo",
    b"c thalweg qubo": ".qubo",
    b"# vartype": ".coo",
}
_MATRICES = (".npy", ".npz", ".mtx", ".csv")
_GRAPHS = (".graphml", ".gml")
_OTHERS = (*_MATRICES, *_GRAPHS, ".bqm", ".coo", ".json")


def read(path: str | os.PathLike[str], *, kind: Kind | None = None) -> Problem:
    """The problem in a file; its format is told by what it begins with, or else by its suffix.

    Formats: rudy text (any other suffix), `.qubo` of qbsolv, dimod's `.bqm`, `.coo` and `.json`, `.graphml`, `.gml`,
    and matrices in `.npy`, `.npz` (sparse), `.mtx`, `.csv`; each also packed by gzip.

    **Arguments:** `kind`, what the numbers are where the file does not say it: by default `maxcut` weights in rudy
    text and graphs and the J of an `ising` glass in matrices.

    **Raises:** `InputError` in one sentence with the file, the line, what was expected and what was found.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise InputError(f"{path}: the kind {kind!r} is unknown: give one of {', '.join(KINDS)}.")
    content = contents(path)
    suffix = format_of(path, content)
    if suffix in _MATRICES:
        return arrays.parse(path, content, suffix, kind)
    if suffix in _GRAPHS:
        return graphs.parse(path, content, suffix, kind)
    parsers = {".bqm": bqm.parse_binary, ".coo": bqm.parse_coo, ".json": bqm.parse_json, ".qubo": qubo.parse}
    return parsers.get(suffix, rudy.parse)(path, content, kind)


def format_of(path: Path, content: bytes = b"") -> str:
    """The suffix of the format of a file, by its first bytes or else by its name; `.gz` is passed over."""
    start = content[:400].removeprefix(b"\xef\xbb\xbf").lstrip()
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return next((suffix for magic, suffix in _MAGIC.items() if start.startswith(magic)), (suffixes or [""])[-1])


def write(problem: Problem | Statement, path: str | os.PathLike[str], kind: Kind | None = None) -> Path:
    """Write a problem as rudy text, or as `.qubo` text if the path ends so, exact to its offset.

    A file that is not a plain graph says in its first line, a comment, what it is, and is read back as that.

    **Arguments:** `kind`, what to write; by default what the problem was stated as, and `qubo` for `.qubo`. A `path`
    that ends in `.gz` is packed.

    **Returns:** the path.

    **Raises:** `InputError` for a suffix of another format or a max-cut with fields; `ThalwegError` if the place
    cannot be written.
    """
    path = Path(path)
    suffix = format_of(path)
    if suffix in _OTHERS:
        raise InputError(f"{path}: problems are written as text: choose a name in .txt, .mc or .qubo.")
    kind = kind or ("qubo" if suffix == ".qubo" else problem.kind)
    if suffix == ".qubo" and kind != "qubo":
        raise InputError(f"{path}: a .qubo file holds a QUBO, not {kind}: choose a name in .txt.")
    if isinstance(problem, Statement):
        problem = problem.problem()
    found = stated(problem, kind)
    content = (qubo.composed(found) if suffix == ".qubo" else rudy.composed(found)).encode()
    return write_atomic(path, gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content)
