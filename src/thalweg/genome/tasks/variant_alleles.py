"""Which variants can be scored in which genes, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.region import named
from thalweg.genome.data.sequence import UNKNOWN, to_codes
from thalweg.genome.data.sequence import Sequence as Bases
from thalweg.genome.data.text import Note, silent
from thalweg.genome.data.vcf import Variant

LONGEST = 10_000  # bases of an alternative that is read
REASONS = {
    "no_sequence": "no sequence has the name of its chromosome",
    "past_the_end": "its reference lies before the first base of its chromosome or past the last",
    "reference_not_bases": "its reference holds other letters than A, C, G and T",
    "reference_differs": "its reference is not what the sequence has there",
    "reference_too_long": "its reference is longer than twice the distance",
    "unknown_bases": "the sequence has unknown bases within the distance",
    "outside_genes": "no gene overlaps it",
    "no_alternative": "it has no alternative",
    "symbolic": "the alternative is symbolic, as <DEL> is",
    "spanning_deletion": "the alternative is *, a deletion that another record describes",
    "breakend": "the alternative is a breakend",
    "alternative_not_bases": "the alternative holds other letters than A, C, G and T",
    "same_as_reference": "the alternative is the reference",
    "alternative_too_long": f"the alternative is longer than {LONGEST} bases",
}


class Task(NamedTuple):
    """One alternative to score in one gene: numbers of the record, of its alternative and of the gene; its sequence."""

    record: int
    alternative: int
    gene: int
    sequence: str


class Skipped(NamedTuple):
    """One alternative, as it is written, that is not scored, and the key of `REASONS`."""

    record: int
    allele: str
    reason: str


def judged(
    records: Sequence[Variant],
    sequences: Mapping[str, Bases],
    genes: Sequence[Gene],
    distance: int,
    *,
    note: Note = silent,
) -> tuple[list[Task], list[Skipped]]:
    """What is to be scored, record by record and alternative by alternative, and what is not.

    **Arguments:** `records`; `sequences`; `genes` that lie on them, as from `placed`; `distance`, how far from a
    variant its effect is looked for; `note`, told where a chromosome was found under another name.
    """
    tasks: list[Task] = []
    skipped: list[Skipped] = []
    names = _names(records, sequences, note)
    overlapping = _Overlapping(genes)
    for number, record in enumerate(records):
        name = names[record.chromosome]
        whole = "no_sequence" if name is None else _of_reference(record, sequences[name], distance)
        over = [] if name is None or whole else list(overlapping(name, record))
        if not whole and not over:
            whole = "outside_genes"
        if not record.alternatives:
            skipped.append(Skipped(number, ".", "no_alternative"))
        for place, allele in enumerate(record.alternatives):
            reason = _of_alternative(allele, record.reference) or whole
            if reason:
                skipped.append(Skipped(number, allele, reason))
            else:
                assert name is not None
                tasks += [Task(number, place, gene, name) for gene in over]
    return tasks, skipped


def _names(records: Iterable[Variant], sequences: Mapping[str, Bases], note: Note) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for record in records:
        if record.chromosome not in found:
            try:
                found[record.chromosome] = named(record.chromosome, sequences, note=note)
            except InputError:
                found[record.chromosome] = None
    return found


def _of_reference(record: Variant, sequence: Bases, distance: int) -> str:
    start, stop = record.position, record.position + len(record.reference)
    if start < 0 or stop > sequence.codes.size:
        return "past_the_end"
    codes, here = to_codes(record.reference), sequence.codes[start:stop]
    if (codes == UNKNOWN).any():
        return "reference_not_bases"
    if ((here != codes) & (here != UNKNOWN)).any():
        return "reference_differs"
    if len(record.reference) > 2 * distance:
        return "reference_too_long"
    around = sequence.codes[max(start - distance, 0) : stop + distance]
    return "unknown_bases" if (around == UNKNOWN).any() else ""


def _of_alternative(allele: str, reference: str) -> str:
    if allele in ("", "."):
        return "no_alternative"
    if "[" in allele or "]" in allele or allele[0] == "." or allele[-1] == ".":
        return "breakend"
    if allele == "*":
        return "spanning_deletion"
    if "<" in allele:
        return "symbolic"
    if not set(allele.upper()) <= set("ACGT"):
        return "alternative_not_bases"
    if allele.upper() == reference.upper():
        return "same_as_reference"
    return "alternative_too_long" if len(allele) > LONGEST else ""


class _Overlapping:
    """The numbers of the genes that a record's reference overlaps, in the order of their starts."""

    def __init__(self, genes: Sequence[Gene]):
        self._genes = genes
        self._of: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for name in dict.fromkeys(gene.chromosome for gene in genes):
            numbers = [number for number, gene in enumerate(genes) if gene.chromosome == name]
            numbers.sort(key=lambda number: (genes[number].start, genes[number].end))
            starts = np.array([genes[number].start for number in numbers])
            reach = np.maximum.accumulate([genes[number].end for number in numbers])
            self._of[name] = np.array(numbers), starts, reach

    def __call__(self, name: str, record: Variant) -> Iterator[int]:
        if name not in self._of:
            return
        numbers, starts, reach = self._of[name]
        first = np.searchsorted(reach, record.position, "right")
        last = np.searchsorted(starts, record.position + len(record.reference), "left")
        for number in numbers[first:last].tolist():
            if self._genes[number].end > record.position:
                yield number
