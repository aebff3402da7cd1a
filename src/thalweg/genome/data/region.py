"""Regions of a genome, and genes split by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.sequence import Sequence
from thalweg.genome.data.text import Note, silent

_RANGE = re.compile(r"(.+):([\d,]+)-([\d,]+)")
_CHROMOSOME = re.compile(r"\bchromosome:? *(\w+)", re.IGNORECASE)
_SHAPE = "write chr1 or chr1:24000000-30427671"


class Region(NamedTuple):
    """A chromosome, or [start, end) of it from zero; `end` is None up to its end."""

    chromosome: str
    start: int = 0
    end: int | None = None

    def holds(self, gene: Gene) -> bool:
        """Whether all of a gene lies in it."""
        return self.touches(gene) and gene.start >= self.start and (self.end is None or gene.end <= self.end)

    def touches(self, gene: Gene) -> bool:
        """Whether any base of a gene lies in it."""
        return (
            gene.chromosome == self.chromosome and gene.end > self.start and (self.end is None or gene.start < self.end)
        )


def region(text: str) -> Region:
    """Read `chr1` or `chr1:24000000-30427671` (first and last base, counted from 1).

    **Raises:** `InputError` if it is neither.
    """
    text = text.strip()
    match = _RANGE.fullmatch(text)
    if match is None:
        if not text:
            raise InputError(f"the region is empty: {_SHAPE}.")
        return Region(text)
    first, last = (int(part.replace(",", "") or 0) for part in match.groups()[1:])
    if not 1 <= first <= last:
        raise InputError(f"the region {text!r} does not rise from 1: {_SHAPE}.")
    return Region(match[1], first - 1, last)


def resolved(wanted: Region, sequences: Mapping[str, Sequence], *, note: Note = silent) -> Region:
    """A region of sequences at hand: its chromosome by the name of a sequence, its end at most theirs.

    A name that no sequence has is looked for with or without `chr` in front, and as "chromosome NAME" in the headers.

    **Arguments:** `wanted`; `sequences` from `read_fasta`; `note`, told where another name was taken.

    **Raises:** `InputError` if it is on none of them, on several, or past the end.
    """
    name = named(wanted.chromosome, sequences, note=note)
    bases = sequences[name].codes.size
    if (wanted.end or wanted.start + 1) > bases:
        raise InputError(
            f"the region {wanted.chromosome}:{wanted.start + 1}-{wanted.end or ''} ends past the {bases} bases of "
            f"{name}: choose one within."
        )
    return Region(name, wanted.start, wanted.end)


def named(name: str, sequences: Mapping[str, Sequence], *, note: Note = silent) -> str:
    """The sequence that somebody means by a name, as `resolved` looks for it."""
    if name in sequences:
        return name
    bare = name.lower().removeprefix("chr")
    found = [
        each.name
        for each in sequences.values()
        if each.name.lower().removeprefix("chr") == bare
        or any(number.lower() == bare for number in _CHROMOSOME.findall(each.description))
    ]
    if len(found) != 1:
        known = ", ".join(list(sequences)[:5]) + (" ..." if len(sequences) > 5 else "")
        raise InputError(f"there is no sequence {name!r}: choose one of {known}.")
    note(f"{name} is taken for the sequence {found[0]}.")
    return found[0]


class Split(NamedTuple):
    """Genes apart.

    **Fields:** `training`, `validation` and `held_out`; `border`, those across an end of a region; `paralogs`, those
    taken out because they are too similar to others across the split.
    """

    training: list[Gene]
    validation: list[Gene]
    held_out: list[Gene]
    border: list[Gene]
    paralogs: list[Gene]


def split(found: Iterable[Gene], holdout: Iterable[Region], validation: Iterable[Region] = ()) -> Split:
    """Part genes by position or chromosome; a gene across the end of a region belongs to no part.

    **Arguments:** `found` genes; regions held out for the test; regions for `validation`. Where both overlap, a gene is
    held out.
    """
    holdout, validation = list(holdout), list(validation)
    parts = Split([], [], [], [], [])
    for gene in found:
        parts_by_rule = (
            (parts.held_out, any(each.holds(gene) for each in holdout)),
            (parts.border, any(each.touches(gene) for each in holdout)),
            (parts.validation, any(each.holds(gene) for each in validation)),
            (parts.border, any(each.touches(gene) for each in validation)),
            (parts.training, True),
        )
        next(part for part, belongs in parts_by_rule if belongs).append(gene)
    return parts
