"""Two species from their files: which genes are learnt from, measured, held out, and learnt from afterwards."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import Gene, genes, placed
from thalweg.genome.data.labels import labelled
from thalweg.genome.data.methylation import GeneLevels, Methylation, gene_levels, on_sequences, read_methylation
from thalweg.genome.data.paralogs import without_paralogs
from thalweg.genome.data.region import Region, region, resolved, split
from thalweg.genome.data.sequence import Sequence, read_fasta
from thalweg.genome.data.text import Note, silent
from thalweg.genome.tasks.plasticity.species import METHYLATED, UNMETHYLATED, Genes, Two

_GAINED = 5  # the last one of so many equal parts of the second species is held out


class Pair(NamedTuple):
    """The genes of both species, and where they come from in words and numbers (`told`)."""

    two: Two
    told: dict[str, Any]


def pair(
    first: tuple[str, str],
    methylation: str,
    second: tuple[str, str],
    *,
    first_base: int | None = None,
    sites: str | None = None,
    retain: str | None = None,
    gain: str | None = None,
    note: Note | None = None,
) -> Pair:
    """Read two species and part their genes.

    **Arguments:** FASTA and annotation of the `first` and the `second`; the `methylation` of the first, and
    `first_base`, of a Bismark file (see `read_methylation`); `sites`, the region whose sites count, where only a
    stretch of the first species is given: by default all; `retain`, the region of the first one in which retention
    is scored: by default the first half, by position, of what the methylation covers of the sequence with most covered
    genes; `gain`, the held-out region of the second one: by default the last fifth of the sequence with most genes.

    **Raises:** `InputError` for files that do not fit each other, and where a part is left without genes.
    """
    told = note or silent
    sequences, found = _read(*first, told)
    levels = known_levels(
        read_methylation(methylation, first=first_base, note=told), sequences, found, sites, note=told
    )
    if not levels.genes:
        raise InputError(f"{methylation}: no gene of {first[1]} has ten covered CGs: name the methylation of a region "
                         "with more genes, or deeper sequencing.")  # fmt: skip
    kept = _first_half(levels) if retain is None else resolved(region(retain), sequences, note=told)
    parts = without_paralogs(sequences, split(found, [kept]), note=told)
    known = {gene.name: level for gene, level in zip(levels.genes, levels.level, strict=True)}
    measured, retained = ([gene for gene in some if gene.name in known] for some in (parts.training, parts.held_out))
    others, theirs = _read(*second, told)
    away = _last_part(theirs, others) if gain is None else resolved(region(gain), others, note=told)
    apart = without_paralogs(others, split(theirs, [away]), note=told)
    for some, words, file in (
        (retained, f"with known methylation lies in {_words(kept)}, where retention is scored", methylation),
        (measured, f"with known methylation is left outside of {_words(kept)} to measure maps in", methylation),
        (apart.held_out, f"lies in {_words(away)}, where the gain is scored", second[1]),
        (apart.training, f"is left outside of {_words(away)} to learn from", second[1]),
    ):
        if not some:
            raise InputError(f"{file}: no gene {words}: choose the regions with --retain and --gain.")
    two = Two(
        labelled(sequences, parts.training, note=told), _marked(sequences, measured, known),
        _marked(sequences, retained, known), labelled(others, apart.training, note=told),
        labelled(others, apart.held_out),
    )  # fmt: skip
    return Pair(two, _told(two, kept, away))


def known_levels(
    methylation: Methylation,
    sequences: dict[str, Sequence],
    found: list[Gene],
    sites: str | None = None,
    *,
    note: Note = silent,
) -> GeneLevels:
    """The CG methylation of genes (see `gene_levels`), from the sites in a region, or from all.

    **Raises:** `InputError` for sites that do not fit the sequences.
    """
    if sites is not None:
        where = region(sites)
        number = methylation.chromosomes.index(where.chromosome) if where.chromosome in methylation.chromosomes else -1
        end = np.iinfo(np.int64).max if where.end is None else where.end
        kept = (methylation.chromosome == number) & (methylation.position >= where.start) & (methylation.position < end)
        if not kept.any():
            raise InputError(f"{methylation.place}: no site lies in {sites}: name a region by its chromosomes "
                             f"({', '.join(methylation.chromosomes[:3])}).")  # fmt: skip
        columns = ("chromosome", "position", "strand", "context", "depth", "fraction")
        methylation = methylation._replace(**{name: getattr(methylation, name)[kept] for name in columns})
    return gene_levels(on_sequences(methylation, sequences, note=note), found)


def _read(fasta: str, annotation: str, note: Note) -> tuple[dict[str, Sequence], list[Gene]]:
    sequences = read_fasta(fasta, note=note)
    return sequences, placed(sequences, genes(read_annotation(annotation, note=note), note=note), note=note)


def _marked(sequences: dict[str, Sequence], some: list[Gene], known: dict[str, float]) -> Genes:
    return Genes(labelled(sequences, some), np.array([known[gene.name] for gene in some]))


def _first_half(levels: GeneLevels) -> Region:
    """From the first to the middle one of the bases that covered genes span, of the sequence with most of them."""
    here = _most(levels.genes)
    start, end = min(gene.start for gene in here), max(gene.end for gene in here)
    return Region(here[0].chromosome, start, (start + end) // 2)


def _last_part(found: list[Gene], sequences: dict[str, Sequence]) -> Region:
    name = _most(found)[0].chromosome
    bases = sequences[name].codes.size
    return Region(name, bases - bases // _GAINED, bases)


def _most(found: Many[Gene]) -> list[Gene]:
    names = [gene.chromosome for gene in found]
    most = max(dict.fromkeys(names), key=names.count)
    return [gene for gene in found if gene.chromosome == most]


def _words(where: Region) -> str:
    return f"{where.chromosome}:{where.start + 1}-{where.end}"


def _told(two: Two, kept: Region, away: Region) -> dict[str, Any]:
    levels = np.asarray(two.retained.levels)
    return {
        "retain": _words(kept),
        "gain": _words(away),
        "genes": {
            "learnt": len(two.learnt),
            "measured": len(two.measured.genes),
            "retained": len(two.retained.genes),
            "retained_methylated": int((levels > METHYLATED).sum()),
            "retained_unmethylated": int((levels < UNMETHYLATED).sum()),
            "second": len(two.second),
            "gained": len(two.gained),
        },
        "level": float(np.mean(two.measured.levels)),
    }
