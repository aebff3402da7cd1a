"""Tracks for genome browsers: sites as BED, probabilities as bedGraph."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.genome.data.bgzf import write_text
from thalweg.genome.data.labels import ACCEPTOR, DONOR

_NAMES = {DONOR: "donor", ACCEPTOR: "acceptor"}


class Sites(NamedTuple):
    """Predicted sites on one strand of one chromosome: positions on the plus strand from zero, kinds, probabilities."""

    chromosome: str
    strand: int
    positions: Int[np.ndarray, " sites"]
    kinds: Int8[np.ndarray, " sites"]
    probabilities: Float[np.ndarray, " sites"]


class Values(NamedTuple):
    """One value for each base of a stretch that begins at `start`, from zero on the plus strand."""

    chromosome: str
    start: int
    values: Float[np.ndarray, " bases"]


def write_bed(path: str | os.PathLike[str], found: Iterable[Sites]) -> Path:
    """Write sites as BED6: one base each, named donor or acceptor, score 0 to 1000, with their strand.

    Chromosomes come in the order in which they are first met, sites by position; whole or not at all, packed in blocks
    if the name ends in `.gz`.

    **Raises:** `ValueError` for a probability outside 0 to 1; `ThalwegError` if it cannot be written.
    """
    rows: dict[str, list[tuple[int, int, int, int]]] = {}
    for each in found:
        _check(each.probabilities)
        scores = np.rint(1000 * np.asarray(each.probabilities, float)).astype(int)
        columns = (each.positions.tolist(), each.kinds.tolist(), scores.tolist())
        rows.setdefault(each.chromosome, []).extend(
            (position, -each.strand, kind, score) for position, kind, score in zip(*columns, strict=True)
        )
    text = "".join(
        f"{chromosome}\t{position}\t{position + 1}\t{_NAMES[kind]}\t{score}\t{'+' if turned < 0 else '-'}\n"
        for chromosome, found_here in rows.items()
        for position, turned, kind, score in sorted(found_here)
    )
    return write_text(path, text)


def write_bedgraph(
    path: str | os.PathLike[str], found: Iterable[Values], *, floor: float = 0.01, decimals: int = 3, strand: int = 1
) -> Path:
    """Write values as bedGraph: runs of bases with the same rounded value make one line, those below `floor` none.

    bedGraph knows no strand and no overlap: write one file for each strand and kind of site. With `strand` -1 the
    values are written below zero, as browsers show them.

    **Arguments:** `found`, stretches that do not overlap, those of a chromosome together and rising; a run goes on
    across the end of one into the next.

    **Raises:** `ValueError` for a value outside 0 to 1 or stretches that overlap; `ThalwegError` if it cannot be
    written.
    """
    grouped: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for each in found:
        _check(each.values)
        before = grouped.setdefault(each.chromosome, [])
        runs = _runs(each, floor, decimals)
        if before and before[-1][1].size and runs[0].size and runs[0][0] < before[-1][1][-1]:
            raise ValueError(f"stretches of {each.chromosome} overlap at {int(runs[0][0])}")
        before.append(runs)
    text = []
    for chromosome, parts in grouped.items():
        starts, ends, values = _joined(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        rows = zip(starts.tolist(), ends.tolist(), (strand * values / 10**decimals).tolist(), strict=True)
        text += [f"{chromosome}\t{start}\t{end}\t{value:.{decimals}f}\n" for start, end, value in rows]
    return write_text(path, "".join(text))


def _runs(each: Values, floor: float, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and rounded values (as whole numbers) of runs at or above the floor."""
    rounded = np.rint(np.asarray(each.values, float) * 10**decimals).astype(np.int64)
    rounded[np.asarray(each.values) < floor] = 0
    change = np.flatnonzero(np.diff(rounded)) + 1
    starts = np.concatenate([[0], change]) if rounded.size else np.zeros(0, int)
    ends = np.concatenate([change, [rounded.size]]) if rounded.size else np.zeros(0, int)
    kept = rounded[starts] > 0
    return starts[kept] + each.start, ends[kept] + each.start, rounded[starts[kept]]


def _joined(starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs that touch and have the same value become one."""
    apart = np.ones(starts.size, bool)
    apart[1:] = (starts[1:] != ends[:-1]) | (values[1:] != values[:-1])
    first = np.flatnonzero(apart)
    last = np.concatenate([first[1:] - 1, [starts.size - 1]]) if starts.size else first
    return starts[first], ends[last], values[first]


def _check(values: np.ndarray) -> None:
    # A comparison with NaN is false, so that NaN is refused as well.
    if not np.all((np.asarray(values) >= 0) & (np.asarray(values) <= 1)):
        raise ValueError("a probability is not within 0 and 1")
