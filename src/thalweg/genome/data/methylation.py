"""Methylation of cytosines from bedMethyl, Bismark and plain BED, and its level in genes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.core.errors import InputError
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.methylation_formats import CONTEXTS, Columns, Form, form_of
from thalweg.genome.data.region import named
from thalweg.genome.data.sequence import UNKNOWN, Sequence
from thalweg.genome.data.text import Note, Source, lines, located, silent

_ROWS = 20_000
_HEADS = ("#", "track", "browser")
_UNSAID = len(CONTEXTS)


class Methylation(NamedTuple):
    """Covered cytosines, by chromosome and rising position.

    **Fields:** names of `chromosomes`; for each site the number of its `chromosome` among them, its `position` on the
    plus strand from zero, `strand` (1, -1, or 0 where it is not said), `context` (0 CG, 1 CHG, 2 CHH, 3 not said),
    `depth` in reads, and methylated `fraction` of them, 0 to 1; `place` for messages.
    """

    chromosomes: tuple[str, ...]
    chromosome: Int[np.ndarray, " sites"]
    position: Int[np.ndarray, " sites"]
    strand: Int8[np.ndarray, " sites"]
    context: Int8[np.ndarray, " sites"]
    depth: Int[np.ndarray, " sites"]
    fraction: Float[np.ndarray, " sites"]
    place: str


def read_methylation(source: Source, *, first: int | None = None, note: Note = silent) -> Methylation:
    """Cytosines from bedMethyl, Bismark or plain BED, told apart by their columns.

    These are bedMethyl as from ENCODE (11 columns) and modkit (18), Bismark's coverage (6) and cytosine report (7),
    and BED with context, depth, strand and percent (7), each plain or packed by gzip. Sites may come in any order,
    since each line is complete in itself: they are sorted, and `note` says so. Sites without a read are left out, and
    so are other modifications than 5-methylcytosine.

    **Arguments:** `source`; `first`, the number of the first base (0 or 1) in a Bismark coverage file whose ends are
    starts plus one, which may be one base from zero or both cytosines of a CpG from one; `note`.

    **Raises:** `InputError` in one sentence with the file and line: for another number of columns, values that are no
    numbers, percent outside 0 to 100, and a site that is listed twice.
    """
    path = located(source)
    numbers: dict[str, int] = {}
    parts: list[Columns] = []
    form: Form | None = None
    numbered = enumerate(lines(path), 1)
    while block := list(islice(numbered, _ROWS)):
        rows = [(number, line.split()) for number, line in block if line.strip() and not line.startswith(_HEADS)]
        if rows:
            form = form or form_of(rows, path, first)
            parts.append(form.read(rows, numbers, path))
    if not parts:
        raise InputError(f"{path}: holds no sites: name a bedMethyl or Bismark file with some.")
    whole = Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return _sorted(_covered(whole, path, note), tuple(numbers), path, note)


def _covered(whole: Columns, path: Path, note: Note) -> Columns:
    kept = (whole.depth > 0) & whole.wanted
    others, bare = int((~whole.wanted).sum()), int(((whole.depth == 0) & whole.wanted).sum())
    if others:
        note(f"{path}: {others} lines of other modifications than 5-methylcytosine are left out.")
    if bare:
        note(f"{path}: {bare} sites without a read are left out.")
    if not kept.any():
        raise InputError(f"{path}: none of its sites has a read: name a file with some.")
    return Columns(*(column[kept] for column in whole))


def _sorted(whole: Columns, chromosomes: tuple[str, ...], path: Path, note: Note) -> Methylation:
    order = np.lexsort((whole.strand, whole.position, whole.chromosome))
    if (np.diff(order) < 0).any():
        note(f"{path}: its sites are not sorted by chromosome and position; they were sorted.")
    whole = Columns(*(column[order] for column in whole))
    same = (np.diff(whole.chromosome) == 0) & (np.diff(whole.position) == 0) & (np.diff(whole.strand) == 0)
    if same.any():
        at = int(np.argmax(same))
        before, after = sorted((int(whole.line[at]), int(whole.line[at + 1])))
        raise InputError(f"{path}, line {after}: the site of line {before} is listed again: keep one of them.")
    return Methylation(
        chromosomes,
        whole.chromosome,
        whole.position,
        whole.strand,
        whole.context,
        whole.depth,
        whole.fraction,
        str(path),
    )


def on_sequences(methylation: Methylation, sequences: Mapping[str, Sequence], *, note: Note = silent) -> Methylation:
    """Methylation with the chromosome names of sequences, and contexts read off them where the file says none.

    **Arguments:** `methylation`; `sequences` from `read_fasta`; `note`, told which names were taken for which.

    **Raises:** `InputError` for a chromosome that is not there, a site past its end or, where contexts are read, on a
    base that is no cytosine of its strand.
    """
    names = tuple(named(name, sequences, note=note) for name in methylation.chromosomes)
    strand, context = methylation.strand.copy(), methylation.context.copy()
    for number, name in enumerate(names):
        codes = sequences[name].codes
        here = np.flatnonzero(methylation.chromosome == number)
        position = methylation.position[here]
        if position.size and position[-1] >= codes.size:
            raise InputError(f"{methylation.place}: a site at base {position[-1] + 1} is past the {codes.size} bases "
                             f"of {name}: name the sequence it was measured on.")  # fmt: skip
        silent_here = here[context[here] == _UNSAID]
        if silent_here.size:
            strand[silent_here], context[silent_here] = _read_off(methylation, silent_here, codes, name)
    return methylation._replace(chromosomes=names, strand=strand, context=context)


def _read_off(methylation: Methylation, here, codes, name: str):
    position = methylation.position[here]
    padded = np.concatenate([np.full(2, UNKNOWN, np.int8), codes, np.full(2, UNKNOWN, np.int8)])
    strand = np.where(codes[position] == 1, 1, np.where(codes[position] == 2, -1, 0))
    said = methylation.strand[here]
    wrong = (strand == 0) | ((said != 0) & (said != strand))
    if wrong.any():
        raise InputError(f"{methylation.place}: the site at base {position[np.argmax(wrong)] + 1} of {name} is no "
                         "cytosine of its strand: name the sequence it was measured on.")  # fmt: skip
    # On the minus strand, the base that follows C in its sense is one to the left, and G there is C here.
    next_one, next_two = padded[position + 2 + strand], padded[position + 2 + 2 * strand]
    guanine = np.where(strand > 0, 2, 1)
    context = np.where(next_one == guanine, 0, np.where(next_two == guanine, 1, 2))
    unknown = (next_one == UNKNOWN) | ((next_one != guanine) & (next_two == UNKNOWN))
    return strand, np.where(unknown, _UNSAID, context)


class GeneLevels(NamedTuple):
    """Genes with enough covered sites: their methylated `level`, 0 to 1, and how many `sites` it is the mean of."""

    genes: list[Gene]
    level: Float[np.ndarray, " genes"]
    sites: Int[np.ndarray, " genes"]


def gene_levels(
    methylation: Methylation, found: Iterable[Gene], *, context: str = "CG", covered: int = 10, depth: int = 3
) -> GeneLevels:
    """The mean methylated fraction over the sites of a context, on both strands, in each gene with enough of them.

    **Arguments:** `methylation`; `found` genes; `context`, CG, CHG or CHH; `covered`, the fewest sites a gene needs;
    `depth`, the fewest reads that make a site covered.

    **Returns:** only the genes with that many; none has an invented level.

    **Raises:** `InputError` if no gene lies on a chromosome of the methylation or no site has the context.
    """
    found = list(found)
    if context not in CONTEXTS:
        raise InputError(f"the context is {context!r}: choose one of {', '.join(CONTEXTS)}.")
    wanted = methylation.context == CONTEXTS.index(context)
    if not wanted.any():
        raise InputError(f"{methylation.place}: no site is said to be {context}: read contexts off the sequence first.")
    if not {gene.chromosome for gene in found} & set(methylation.chromosomes):
        names = found[0].chromosome if found else "none"
        raise InputError(f"{methylation.place}: its chromosomes ({', '.join(methylation.chromosomes[:3])}) are not "
                         f"those of the genes ({names}): rename one of them.")  # fmt: skip
    kept, level, sites = [], [], []
    tables = dict(_tables(methylation, wanted & (methylation.depth >= depth)))
    for gene in found:
        if gene.chromosome not in tables:
            continue
        position, total = tables[gene.chromosome]
        left, right = np.searchsorted(position, (gene.start, gene.end))
        if right - left >= max(covered, 1):
            kept.append(gene)
            level.append((total[right] - total[left]) / (right - left))
            sites.append(right - left)
    return GeneLevels(kept, np.array(level, float), np.array(sites, int))


def _tables(methylation: Methylation, wanted) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Positions and running sums of fractions, for each chromosome."""
    for number, name in enumerate(methylation.chromosomes):
        here = wanted & (methylation.chromosome == number)
        fraction = methylation.fraction[here].astype(float)
        yield name, (methylation.position[here], np.concatenate([[0.0], np.cumsum(fraction)]))
