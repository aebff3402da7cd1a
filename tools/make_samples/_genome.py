"""What the makers of genome samples share."""

from __future__ import annotations

import gzip
import importlib.metadata
import itertools


def text(package: str, name: str) -> list[str]:
    """Lines of one of a package's files, found without importing it: its import asks a server for read archives."""
    place = importlib.metadata.distribution(package).locate_file(f"{package}/data/{name}")
    with gzip.open(str(place), "rt") as stream:
        return stream.read().splitlines()


def compressed(lines: list[str]) -> bytes:
    """The same bytes at every run: no time stamp, no name."""
    return gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=9, mtime=0)


def introns(features: list[str]) -> set[tuple[int, int, str]]:
    """Distinct introns (first base, last base, strand) between the exons of each transcript."""
    exons: dict[str, list[tuple[int, int, str]]] = {}
    for line in features:
        fields = line.split("\t")
        if fields[2] == "exon":
            parent = dict(pair.split("=", 1) for pair in fields[8].split(";"))["Parent"]
            exons.setdefault(parent, []).append((int(fields[3]), int(fields[4]), fields[6]))
    found = set()
    for places in exons.values():
        places.sort()
        found |= {(left[1] + 1, right[0] - 1, left[2]) for left, right in itertools.pairwise(places)}
    return found
