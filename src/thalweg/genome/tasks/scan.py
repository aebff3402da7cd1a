"""Find splice sites on both strands of whole sequences."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int8

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.genome.data.labels import ACCEPTOR, DONOR
from thalweg.genome.data.region import Region
from thalweg.genome.data.sequence import UNKNOWN, reverse_complement
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.text import Note, silent
from thalweg.genome.data.tracks import Sites, Values, write_bed, write_bedgraph
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.streaming import CHUNK, HELD, probabilities
from thalweg.genome.tasks.identity import fingerprint
from thalweg.genome.tasks.scan_passes import Passes
from thalweg.methods.parts import in_parts, part_name

KINDS = {"donor": DONOR, "acceptor": ACCEPTOR}
FLOOR = 0.01  # the least chance that a track shows
GAP = 1000  # unknown bases in a row that part a sequence in two
AROUND = 2**14  # bases on either side of a region that are read and not reported
_BLOCK = 2**20  # bases of a track that are laid out at once


class Piece(NamedTuple):
    """A stretch of a sequence that is read on one strand: [`start`, `stop`), of which [`low`, `high`) is reported."""

    sequence: str
    strand: int
    start: int
    stop: int
    low: int
    high: int


class Scan(NamedTuple):
    """What was found.

    **Fields:** `pieces`; for each, by `donor` and `acceptor`, positions on the plus strand, rising, and chances of all
    bases with at least the lower of threshold and floor; `threshold`; `result`, the figures.
    """

    pieces: list[Piece]
    found: list[dict[str, tuple[np.ndarray, np.ndarray]]]
    threshold: float
    result: dict[str, Any]

    def sites(self, name: str) -> Iterator[Sites]:
        """The `donor` or `acceptor` sites with at least the threshold."""
        for piece, each in zip(self.pieces, self.found, strict=True):
            positions, chances = each[name]
            kept = chances >= self.threshold
            kinds = np.full(np.count_nonzero(kept), KINDS[name], np.int8)
            yield Sites(piece.sequence, piece.strand, positions[kept], kinds, chances[kept])

    def values(self, name: str, strand: int) -> Iterator[Values]:
        """The chances on one strand, block by block, zero where they are below the floor."""
        for piece, each in zip(self.pieces, self.found, strict=True):
            if piece.strand != strand:
                continue
            positions, chances = each[name]
            for start in range(piece.low, piece.high, _BLOCK):
                first, last = np.searchsorted(positions, (start, min(start + _BLOCK, piece.high)))
                block = np.zeros(min(_BLOCK, piece.high - start), np.float32)
                block[positions[first:last] - start] = chances[first:last]
                yield Values(piece.sequence, start, block)

    def write(self, folder: Path, *, tracks: bool = True) -> list[Path]:
        """Write `donors.bed`, `acceptors.bed`, and for each kind and strand a track, as `donors.plus.bedgraph`."""
        written = [write_bed(folder / f"{name}s.bed", self.sites(name)) for name in KINDS]
        for name in KINDS if tracks else ():
            for word, strand in (("plus", 1), ("minus", -1)):
                path = folder / f"{name}s.{word}.bedgraph"
                written.append(write_bedgraph(path, self.values(name, strand), floor=FLOOR, strand=strand))
        return written


def scan(
    net: SpliceNetwork,
    sequences: Mapping[str, Bases],
    *,
    region: Region | None = None,
    threshold: float = 0.5,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    note: Note = silent,
) -> Scan:
    """The donors and acceptors of sequences, on both strands, without an annotation.

    A sequence is read from end to end, whatever its length, in memory that hardly grows with it. Runs of at least 1000
    unknown bases, which stand for gaps of any length, part it: what lies on either side is read on its own.

    **Arguments:** `sequences`; `region`, as from `resolved`: only it is reported, and 16,384 bases around it are read
    too; `threshold`, the least chance of a reported site; `done`, where finished parts are kept: a call with the same
    network and sequences goes on from them; `hooks`, called after each part; `note`, told of gaps.

    **Returns:** `donors`, `acceptors` and the `bases` that were read, each once; `gap_bases`; `kbp_per_cpu_second` on
    one strand, of what was computed in this call.

    **Raises:** `InputError` for a threshold outside 0 to 1, or where nothing is left to read; `WalkError` where a hook
    stopped it.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"scan: the threshold is {threshold}: choose a chance above 0 and at most 1.")
    pieces = [piece for one in sequences.values() for piece in _pieces(one, region)]
    if not pieces:
        raise InputError("scan: there is no base but unknown ones: choose another region or file.")
    bases = sum(piece.high - piece.low for piece in pieces) // 2
    wanted = sum(_span(one, region) for one in sequences.values())
    if wanted > bases:
        note(f"{wanted - bases} bases in runs of at least {GAP} unknown ones are left out.")
    work = _Work(net, sequences, min(threshold, FLOOR), done)
    parts = {name: part for number, piece in enumerate(pieces) for name, part in work.parts(number, piece)}
    kept = in_parts(list(parts), lambda name: work.compute(*parts[name]), done=work, hooks=hooks, task="scan")
    found = [_together(pieces[number], [kept[name] for name, part in parts.items() if part[0] == number])
             for number in range(len(pieces))]  # fmt: skip
    result = {f"{name}s": int(sum(np.count_nonzero(each[name][1] >= threshold) for each in found)) for name in KINDS}
    result |= {
        "bases": bases,
        "gap_bases": wanted - bases,
        "threshold": threshold,
        "kbp_per_cpu_second": work.bases / 1e3 / work.cpu_seconds if work.cpu_seconds else None,
    }
    return Scan(pieces, found, threshold, result)


def _span(sequence: Bases, region: Region | None) -> int:
    if region is None:
        return sequence.codes.size
    if region.chromosome != sequence.name:
        return 0
    return (region.end or sequence.codes.size) - region.start


def _pieces(sequence: Bases, region: Region | None) -> Iterator[Piece]:
    """What is read of a sequence between gaps, on both strands."""
    if not _span(sequence, region):
        return
    size = sequence.codes.size
    low, high = (0, size) if region is None else (region.start, region.end or size)
    first, last = max(low - AROUND, 0), min(high + AROUND, size)
    for start, stop in _between_gaps(sequence.codes[first:last] == UNKNOWN):
        start, stop = start + first, stop + first
        if max(start, low) < min(stop, high):
            yield from (
                Piece(sequence.name, strand, start, stop, max(start, low), min(stop, high)) for strand in (1, -1)
            )


def _between_gaps(unknown: Bool[np.ndarray, " bases"]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(unknown, prepend=False, append=False)).reshape(-1, 2)  # of runs of unknown bases
    long = edges[(edges[:, 1] - edges[:, 0] >= GAP)]
    starts, stops = np.concatenate([[0], long[:, 1]]), np.concatenate([long[:, 0], [unknown.size]])
    return [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)
            if not unknown[start:stop].all()]  # fmt: skip


Part = tuple[int, int | None, int]  # the number of the piece, the pass (None where one is enough), the tile


class _Work:
    """Computes parts, and is the store that keeps them: later passes start from what earlier ones left."""

    def __init__(self, net: SpliceNetwork, sequences: Mapping[str, Bases], floor: float, done: Store | None):
        self.bases, self.cpu_seconds = 0, 0.0
        self._net, self._sequences, self._floor, self._done = net, sequences, floor, done
        self._network = fingerprint(net).hex()
        self._pieces: dict[int, Piece] = {}
        self._names: dict[Part, str] = {}
        self._parts: dict[str, Part] = {}
        self._left: dict[Part, Mapping[str, np.ndarray]] = {}
        self._reading: tuple[int, Passes] | None = None

    def parts(self, number: int, piece: Piece) -> Iterator[tuple[str, Part]]:
        """The names of a piece's parts, which say all that they follow from, and the parts."""
        self._pieces[number] = piece
        codes = hashlib.sha256(self._sequences[piece.sequence].codes[piece.start : piece.stop].tobytes()).hexdigest()
        places = piece._replace(sequence="")._asdict()
        size = piece.stop - piece.start
        several = [(None, 0)] if size <= HELD else Passes.turns(self._net, size, CHUNK, HELD // CHUNK)
        for turn, tile in several:
            name = part_name("scan", net=self._network, codes=codes, floor=self._floor, turn=turn, tile=tile,
                             chunk=CHUNK, held=HELD, **places)  # fmt: skip
            self._names[number, turn, tile], self._parts[name] = name, (number, turn, tile)
            yield name, (number, turn, tile)

    def compute(self, number: int, turn: int | None, tile: int) -> dict[str, np.ndarray]:
        """What is found in a part; the states that it leaves are kept aside."""
        began = time.process_time()
        if turn is None:
            found = self._found(number, 0, probabilities(self._net, self._codes(number), held=HELD))
            self.bases += self._pieces[number].stop - self._pieces[number].start
        else:
            passes = self._passes(number)
            if turn < len(self._net.blocks):
                found = passes.states(turn, tile, lambda *part: self._left[number, *part])
            else:
                start, chances, states = passes.chances(tile, lambda *part: self._left[number, *part])
                found = self._found(number, start, chances) | states
                self.bases += len(chances)
        self.cpu_seconds += time.process_time() - began
        if self._done is not None:
            self._done.put(self._names[number, turn, tile], found)
        return self._aside((number, turn, tile), found)

    def _passes(self, number: int) -> Passes:
        if self._reading is None or self._reading[0] != number:
            self._reading = number, Passes(self._net, self._codes(number), CHUNK, HELD // CHUNK)
        return self._reading[1]

    def _aside(self, part: Part, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What was found in a part, without the states, which are kept until the next piece is read."""
        states = {name: array for name, array in arrays.items() if name.startswith("state_")}
        self._left = {other: kept for other, kept in self._left.items() if other[0] == part[0]} | {part: states}
        return {name: array for name, array in arrays.items() if name not in states}

    def _codes(self, number: int) -> Int8[np.ndarray, " bases"]:
        piece = self._pieces[number]
        codes = self._sequences[piece.sequence].codes[piece.start : piece.stop]
        return codes if piece.strand > 0 else reverse_complement(codes)

    def _found(self, number: int, start: int, chances: np.ndarray) -> dict[str, np.ndarray]:
        """Positions on the plus strand, rising, and chances of sites that reach the floor."""
        piece, found = self._pieces[number], {}
        for name, kind in KINDS.items():
            at = np.flatnonzero(chances[:, kind] >= self._floor)
            chance = chances[at, kind]
            positions = piece.start + start + at if piece.strand > 0 else piece.stop - 1 - start - at
            kept = (positions >= piece.low) & (positions < piece.high)
            order = np.argsort(positions[kept])
            found |= {f"{name}_at": positions[kept][order].astype(np.int64), name: chance[kept][order]}
        return found

    def get(self, name: str, /) -> dict[str, np.ndarray] | None:
        """What was found in a part that was kept."""
        kept = None if self._done is None else self._done.get(name)
        return None if kept is None else self._aside(self._parts[name], kept)

    def put(self, name: str, arrays: Mapping[str, np.ndarray], /) -> None:
        """Nothing: a part was kept with its states when it was computed."""


def _together(piece: Piece, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The finds of all parts of a piece, rising."""
    found = {}
    for name in KINDS:
        some = [part for part in parts if name in part]
        positions, chances = (np.concatenate([part[key] for part in some]) for key in (f"{name}_at", name))
        order = np.argsort(positions)
        found[name] = positions[order], chances[order]
    return found
