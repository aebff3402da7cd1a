"""Binary quadratic models of dimod, in memory and in its three file formats, read without dimod and without pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.spins.data.arrays import plain_numbers
from thalweg.spins.data.problem import Kind, Problem
from thalweg.spins.data.statement import Statement, stated
from thalweg.spins.data.text import MOST_SPINS, fault, one_line, page, rows

MAGIC = b"DIMODBQM"
_KINDS: dict[str, Kind] = {"SPIN": "ising", "BINARY": "qubo"}
_DTYPES = ("float64", "float32", "int64", "int32", "int16", "int8")
_VARTYPE = re.compile(rb"^[ \t\f]*#.*?vartype[:=][ \t]*([-_.a-zA-Z0-9]+)", re.MULTILINE)


def from_bqm(bqm: Any) -> Problem:
    """A problem from a `dimod.BinaryQuadraticModel`, with its labels and its offset.

    Biases that are all whole numbers become integers.

    **Raises:** `InputError` for another object, no variables, or a bias that is not finite.
    """
    vartype = getattr(getattr(bqm, "vartype", None), "name", None)
    if vartype not in _KINDS or not hasattr(bqm, "to_numpy_vectors"):
        raise InputError(f"from_bqm: a {type(bqm).__name__}: pass a dimod.BinaryQuadraticModel.")
    labels = list(bqm.variables)
    linear, (first, second, quadratic), offset = bqm.to_numpy_vectors(variable_order=labels)
    # A BQM of Python's own numbers comes in arrays of objects.
    linear, quadratic = (np.array(part.tolist() if part.dtype == object else part) for part in (linear, quadratic))
    return _posed("the BQM", linear, first, second, quadratic, offset, vartype, labels)


def to_bqm(problem: Problem, vartype: str | None = None) -> Any:
    """The problem as a `dimod.BinaryQuadraticModel` with its labels and its offset.

    **Arguments:** `vartype`, `SPIN` or `BINARY`; by default what the problem was stated in.

    **Raises:** `InputError` for another vartype; `MissingExtra` without dimod.
    """
    dimod = require("dimod", extra="spins")
    if vartype is None:
        vartype = "BINARY" if problem.kind in ("qubo", "boltzmann") else "SPIN"
    if vartype not in _KINDS:
        raise InputError(f"to_bqm: the vartype is {vartype!r}: give 'SPIN' or 'BINARY'.")
    found = stated(problem, _KINDS[vartype])
    linear, quadratic = (found.sign * part / found.denominator for part in (found.linear, found.quadratic))
    labels = list(range(found.size)) if found.labels is None else list(found.labels)
    pairs = found.first, found.second, quadratic
    offset = found.offset / found.denominator
    return dimod.BinaryQuadraticModel.from_numpy_vectors(linear, pairs, offset, vartype, variable_order=labels)


def _posed(
    source: str,
    linear: Any,
    first: Any,
    second: Any,
    quadratic: Any,
    offset: Any,
    vartype: str,
    labels: Sequence | None,
) -> Problem:
    kind = _KINDS[vartype]
    linear, quadratic, offset = plain_numbers(source, linear, quadratic, [offset])
    sign = -1 if kind == "ising" else 1  # a BQM adds what the Ising energy subtracts
    if labels is not None:
        if len(labels) != linear.size or len(set(labels)) != linear.size:
            raise InputError(f"{source}: {linear.size} variables and other labels: give each variable one of its own.")
        labels = None if list(labels) == list(range(linear.size)) else tuple(labels)
    ends = np.asarray(first, np.int64), np.asarray(second, np.int64)
    constant = offset.tolist()[0]
    return Statement(kind, *ends, sign * quadratic, sign * linear, constant, labels=labels, source=source).problem()


def _checked(path: Path, vartype: Any, kind: Kind | None) -> str:
    if vartype not in _KINDS:
        raise InputError(f"{path}: the vartype is {str(vartype)[:40]!r}: expected SPIN or BINARY.")
    if kind not in (None, _KINDS[vartype]):
        raise InputError(f"{path}: the file says that it is {vartype}, which is not {kind}: leave the kind out.")
    return vartype


def parse_coo(path: Path, content: bytes, kind: Kind | None = None) -> Problem:
    """The problem of dimod's `.coo` text: `i j bias`, counted from zero, under `# vartype=SPIN` or `BINARY`.

    **Arguments:** `kind`, `ising` or `qubo` where the file has no such line.

    **Raises:** `InputError` with the line of a fault (dimod itself leaves lines out that it does not understand).
    """
    found = [mark.decode() for mark in _VARTYPE.findall(content)]
    vartype = found[0] if found else {"ising": "SPIN", "qubo": "BINARY"}.get(kind or "")
    if vartype is None:
        raise InputError(f"{path}, line 1: expected `# vartype=SPIN` or BINARY: add it, or state the kind.")
    text = page(path, content)
    table = rows(text, (3,), "`i i bias` or `i j bias`")
    ends = table.numbers[:, :2]
    wrong = np.flatnonzero(((ends < 0) | (ends >= 2**53) | (ends % 1 != 0)).any(axis=1))
    if wrong.size:
        shown = " ".join(f"{end:g}" for end in ends[wrong[0]].tolist())
        fault(path, int(table.lines[wrong[0]]), "variables counted from zero", shown)
    names, places = np.unique(ends.astype(np.int64), return_inverse=True)
    first, second = places.reshape(ends.shape).T
    single, values = first == second, table.numbers[:, 2]
    linear = np.zeros(names.size, values.dtype)
    np.add.at(linear, first[single], values[single])
    pairs = first[~single], second[~single], values[~single]
    return _posed(str(path), linear, *pairs, 0, _checked(path, vartype, kind), names.tolist())


def parse_json(path: Path, content: bytes, kind: Kind | None = None) -> Problem:
    """The problem of the JSON that `json.dump(bqm.to_serializable(), file)` writes.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({one_line(error)}).") from None
    keys = ("linear_biases", "quadratic_head", "quadratic_tail", "quadratic_biases")
    if not isinstance(found, dict) or any(not isinstance(found.get(key), list) for key in keys):
        raise InputError(f"{path}: expected the JSON of bqm.to_serializable(), with lists {', '.join(keys)}.")
    vartype = _checked(path, found.get("variable_type"), kind)
    size = len(found["linear_biases"])
    labels = _labels(path, found.get("variable_labels", list(range(size))))
    linear, quadratic = (_listed(path, found[key], key) for key in ("linear_biases", "quadratic_biases"))
    first, second = (_listed(path, found[key], key) for key in ("quadratic_head", "quadratic_tail"))
    offset = _listed(path, [found.get("offset", 0)], "offset")[0]
    _refuse_ends(path, first, second, size)
    if not first.size == second.size == quadratic.size:
        raise InputError(f"{path}: {first.size} heads, {second.size} tails, {quadratic.size} biases: expected as many.")
    return _posed(str(path), linear, first, second, quadratic, offset, vartype, labels)


def _listed(path: Path, numbers: list, name: str) -> np.ndarray:
    wrong = next((each for each in numbers if isinstance(each, bool) or not isinstance(each, int | float)), None)
    if wrong is not None or None in numbers:
        raise InputError(f"{path}: {name} holds {str(wrong)[:40]!r}: expected numbers only.")
    try:
        return np.array(numbers, np.float64)
    except OverflowError:
        raise InputError(f"{path}: {name} holds an integer beyond all floats: expected finite numbers.") from None


def _refuse_ends(path: Path, first: np.ndarray, second: np.ndarray, size: int) -> None:
    for end in (first, second):
        if end.size and not (np.isfinite(end).all() and (end % 1 == 0).all() and 0 <= end.min() <= end.max() < size):
            raise InputError(f"{path}: a pair leaves the {size} variables: is the file damaged?")


def _labels(path: Path, found: Any) -> list:
    def frozen(label: Any, depth: int = 0) -> Any:
        if isinstance(label, list) and depth < 20:
            return tuple(frozen(part, depth + 1) for part in label)
        if not isinstance(label, str | int | float):
            raise InputError(f"{path}: a variable has the label {str(label)[:40]!r}: expected text or numbers.")
        return label

    if not isinstance(found, list):
        raise InputError(f"{path}: the labels of the variables are no list: is the file damaged?")
    return [frozen(label) for label in found]


def parse_binary(path: Path, content: bytes, kind: Kind | None = None) -> Problem:
    """The problem of dimod's own binary file (`bqm.to_file`), versions 1 and 2.

    Read here, because dimod 0.12 believes the counts and indices of a damaged file and ends the process.

    **Raises:** `InputError` with the file and what is wrong in it.
    """
    try:
        return _decoded(path, content, kind)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a BQM file ({one_line(error)}): is it damaged?") from None


def _decoded(path: Path, content: bytes, kind: Kind | None) -> Problem:
    if content[:8] != MAGIC or not 1 <= content[8] <= 2:
        raise InputError(f"{path}: expected a file of dimod's BQM.to_file, version 1 or 2: is it damaged?")
    end = 14 + int.from_bytes(content[10:14], "little")
    head = json.loads(content[14:end].decode("ascii").rstrip("\0 \n"))
    vartype = _checked(path, head["vartype"], kind)
    size, count = (each if type(each) is int else -1 for each in head["shape"])
    kinds = [head["dtype"], head["itype"], head["ntype"]]
    if not (0 <= size <= MOST_SPINS and count >= 0) or any(each not in _DTYPES for each in kinds):
        raise InputError(f"{path}: {size} variables, {count} pairs, {kinds}: is the header damaged?")
    bias, index, start = (np.dtype(each).newbyteorder("<") for each in kinds)
    singles = np.dtype([("start", start), ("bias", bias)])
    entries = np.dtype([("other", index), ("bias", bias)])
    places = np.cumsum([end, bias.itemsize, size * singles.itemsize, 2 * count * entries.itemsize]).tolist()
    if places[-1] > len(content):
        raise InputError(f"{path}: {len(content)} bytes, but the header promises {places[-1]}: is the file whole?")
    offset = np.frombuffer(content, bias, 1, places[0])[0]
    linear = np.frombuffer(content, singles, size, places[1])
    pairs = np.frombuffer(content, entries, 2 * count, places[2])
    degrees = np.diff(np.append(linear["start"].astype(np.int64), 2 * count))
    if size and (linear["start"][0] != 0 or (degrees < 0).any()):
        raise InputError(f"{path}: the rows of the pairs overlap: is the file damaged?")
    row, other = np.repeat(np.arange(size), degrees), pairs["other"].astype(np.int64)
    _refuse_ends(path, other, other, size)
    once = other < row
    if once.sum() != count:
        raise InputError(f"{path}: {once.sum()} pairs below the diagonal, not {count}: is the file damaged?")
    labels = _labels(path, head["variables"]) if content[8] == 1 and head["variables"] else None
    if content[8] == 2 and head["variables"]:
        labels = _labels(path, _section(path, content[places[3] :]))
    return _posed(str(path), linear["bias"], other[once], row[once], pairs["bias"][once], offset, vartype, labels)


def _section(path: Path, content: bytes) -> Any:
    length = int.from_bytes(content[4:8], "little")
    if content[:4] != b"VARS" or len(content) < 8 + length:
        raise InputError(f"{path}: the labels of the variables are missing: is the file whole?")
    return json.loads(content[8 : 8 + length].decode("ascii"))
