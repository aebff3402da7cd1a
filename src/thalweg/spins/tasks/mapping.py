"""One energy in four statements: Ising glass, Boltzmann machine, QUBO and max-cut."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import KINDS, Kind, Problem, problem
from thalweg.spins.data.read import read, write
from thalweg.spins.data.statement import Statement, stated


def as_ising(posed: Problem) -> Statement:
    """`E(s) = offset - sum_(i < j) J_ij s_i s_j - sum_i h_i s_i`: J in `quadratic`, h in `linear`."""
    return stated(posed, "ising")


def as_boltzmann(posed: Problem) -> Statement:
    """`E(v) = offset - sum_(i < j) W_ij v_i v_j - sum_i b_i v_i`: W in `quadratic`, b in `linear`.

    With `s = 2 v - 1`: `W = 4 J`, `b_i = 2 h_i - 2 sum_j J_ij`, and the constant `sum h - sum J`.

    **Source:** Ackley, Hinton & Sejnowski, Cognitive Science 9, 147 (1985).
    """
    return stated(posed, "boltzmann")


def as_qubo(posed: Problem) -> Statement:
    """`E(x) = offset + sum_(i < j) Q_ij x_i x_j + sum_i Q_ii x_i`: `Q = -W` and, on the diagonal, `-b`."""
    return stated(posed, "qubo")


def as_maxcut(posed: Problem) -> Statement:
    """`E(s) = offset + sum_(i < j) w_ij s_i s_j`: `w = -J`, with one more vertex, the last, for the fields.

    The cut is `(sum w - E + offset) / 2`. On the side of the last vertex are the spins that are +1.

    **Source:** Barahona, Grötschel, Jünger & Reinelt, Operations Research 36, 493 (1988).
    """
    return stated(fields_as_vertex(posed), "maxcut")


def mapped(posed: Problem, to: Kind) -> Problem:
    """The same energy stated as another kind: nothing but a max-cut of a problem with fields changes the spins.

    **Raises:** `InputError` for an unknown kind.
    """
    _refuse_unknown(to)
    return dataclasses.replace(fields_as_vertex(posed) if to == "maxcut" else posed, kind=to)


def fields_as_vertex(posed: Problem) -> Problem:
    """The problem with its fields as couplings to one more spin, the last, which is +1; the same if it has none.

    Turning all spins leaves the new energy as it is: multiply by the last spin to read a configuration.
    """
    if not posed.field.any():
        return posed
    size, coupled = posed.size, np.flatnonzero(posed.field)
    first, second = np.append(posed.first, coupled), np.append(posed.second, np.full(coupled.size, size))
    coupling, field = np.append(posed.coupling, posed.field[coupled]), np.zeros(size + 1, posed.field.dtype)
    labels = None if posed.labels is None else (*posed.labels, "field")
    return _like(posed, first, second, coupling, field, labels)


def vertex_as_field(posed: Problem, vertex: int = -1) -> Problem:
    """The problem with one spin held at +1, so that its couplings become fields: the way back.

    **Arguments:** `vertex`, counted from zero, or from the end if negative.

    **Raises:** `InputError` for a vertex that there is not, or the only one.
    """
    size = posed.size
    if not -size <= vertex < size or size == 1:
        raise InputError(f"{posed.source}: there is no vertex {vertex} to hold among {size}: count from zero.")
    held = vertex % size
    kept = np.delete(np.arange(size), held)
    place = np.cumsum(np.arange(size) != held) - 1
    touching = (posed.first == held) | (posed.second == held)
    others = np.where(posed.first == held, posed.second, posed.first)[touching]
    field = posed.field[kept].copy()
    np.add.at(field, place[others], posed.coupling[touching])
    ends = place[posed.first[~touching]], place[posed.second[~touching]]
    labels = None if posed.labels is None else tuple(posed.labels[index] for index in kept)
    constant = posed.offset - posed.field[held].item()
    found = _like(posed, *ends, posed.coupling[~touching], field, labels)
    return dataclasses.replace(found, offset=constant, kind="ising" if posed.kind == "maxcut" else posed.kind)


def map_file(
    path: str | os.PathLike[str], to: Kind, kind: Kind | None = None, out: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Write the problem of one file as another kind.

    **Arguments:** `path`, in any format that `read` knows; `kind`, as for `read`; `out`, the file to write, by default
    `NAME.KIND.txt` in the working folder.

    **Returns:** `offset`, what the energy is above the sums that are written (both over `denominator`, so that all of
    the file is integers where `exact`); `denominator`, `written`, `spins`, `pairs`, `from`, `to`, `exact`, and
    `added_vertex`, the one (counted from one) that carries the fields of a max-cut, or `None`.

    **Raises:** `InputError` as `read` and `write` do.
    """
    _refuse_unknown(to)
    posed = read(path, kind=kind)
    found = mapped(posed, to)
    name = Path(path).name.removesuffix(".gz").rsplit(".", 1)[0] or "problem"
    written = write(found, Path(f"{name}.{to}.txt") if out is None else out, to)
    numbers = stated(found, to)
    whole = numbers.exact and numbers.offset % numbers.denominator == 0
    return {
        "offset": numbers.offset // numbers.denominator if whole else numbers.offset / numbers.denominator,
        "denominator": numbers.denominator,
        "written": str(written),
        "spins": numbers.size,
        "pairs": int(numbers.first.size),
        "from": posed.kind,
        "to": to,
        "exact": posed.exact,
        "added_vertex": numbers.size if numbers.size > posed.size else None,
    }


def _like(posed: Problem, first, second, coupling, field, labels) -> Problem:
    """A problem that differs in its couplings only."""
    names = {"kind": posed.kind, "labels": labels, "source": posed.source}
    ends = np.asarray(first, np.int64), np.asarray(second, np.int64)
    return problem(*ends, coupling, field, offset=posed.offset, denominator=posed.denominator, **names)


def _refuse_unknown(to: str) -> None:
    if to not in KINDS:
        raise InputError(f"map: the kind {to!r} is unknown: give one of {', '.join(KINDS)}.")
