"""A small made genome with its annotation in both formats, and files with random damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

# One draw of damage: places with what happens there (replace, delete, insert) and the bytes, and where to cut.
damages = st.tuples(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 2), st.binary(min_size=1, max_size=3)), max_size=4),
    st.one_of(st.none(), st.integers(0, 4000)),
)


def damaged(content: bytes, damage: tuple[list[tuple[int, int, bytes]], int | None]) -> bytes:
    """A file with some bytes replaced, taken out or put in, and perhaps cut short."""
    changes, cut = damage
    text = bytearray(content)
    for place, kind, new in changes:
        place %= max(len(text), 1)
        text[place : place + (0 if kind == 2 else len(new))] = b"" if kind == 1 else new
    return bytes(text if cut is None else text[: cut % (len(text) + 1)])


class Toy(NamedTuple):
    """A transcript to write: exons are [start, end) from zero, rising."""

    gene: str
    name: str
    strand: int
    exons: tuple[tuple[int, int], ...]
    coding: bool = True
    chromosome: str = "toy"


GENES = (
    Toy("forward", "forward.1", 1, ((100, 200), (300, 400), (500, 650))),
    Toy("forward", "forward.2", 1, ((100, 200), (310, 400), (500, 640))),
    Toy("backward", "backward.1", -1, ((700, 800), (900, 1000))),
    Toy("single", "single.1", 1, ((1050, 1150),)),
    Toy("silent", "silent.1", 1, ((20, 40), (60, 80)), coding=False),
)


def bases(genes: Iterable[Toy] = GENES, length: int = 1200, seed: int = 0) -> str:
    """Random bases with GT and AG where the introns of these transcripts begin and end in their sense."""
    letters = np.random.default_rng(seed).choice(list("ACGT"), length)
    for gene in genes:
        for (_, left), (right, _) in zip(gene.exons[:-1], gene.exons[1:], strict=True):
            letters[left : left + 2] = list("GT" if gene.strand > 0 else "CT")
            letters[right - 2 : right] = list("AG" if gene.strand > 0 else "AC")
    return "".join(letters)


def fasta(text: str, name: str = "toy", width: int = 60) -> str:
    return f">{name}\n" + "".join(f"{text[at : at + width]}\n" for at in range(0, len(text), width))


def gff3(genes: Iterable[Toy] = GENES) -> str:
    lines = ["##gff-version 3"]
    listed = list(genes)
    for gene in dict.fromkeys(each.gene for each in listed):
        of_gene = [each for each in listed if each.gene == gene]
        ends = min(each.exons[0][0] for each in of_gene), max(each.exons[-1][1] for each in of_gene)
        lines.append(_line(of_gene[0], "gene", ends, f"ID=gene-{gene};Name={gene.upper()}"))
        for each in of_gene:
            kind = "mRNA" if each.coding else "lnc_RNA"
            ends = each.exons[0][0], each.exons[-1][1]
            lines.append(_line(each, kind, ends, f"ID={each.name};Parent=gene-{gene}"))
            for exon in each.exons:
                lines.append(_line(each, "exon", exon, f"Parent={each.name}"))
            if each.coding:
                lines += [_line(each, "CDS", exon, f"ID=cds-{each.name};Parent={each.name}") for exon in each.exons]
    return "\n".join(lines) + "\n"


def gtf(genes: Iterable[Toy] = GENES, kinds: tuple[str, ...] = ("exon", "CDS")) -> str:
    lines = []
    for each in genes:
        text = f'gene_id "{each.gene}"; transcript_id "{each.name}"; gene_name "{each.gene.upper()}";'
        for kind in kinds:
            if kind == "exon" or each.coding:
                lines += [_line(each, kind, exon, text) for exon in each.exons]
    return "\n".join(lines) + "\n"


def _line(gene: Toy, kind: str, ends: tuple[int, int], text: str) -> str:
    sign = "+" if gene.strand > 0 else "-"
    return "\t".join([gene.chromosome, "made", kind, str(ends[0] + 1), str(ends[1]), ".", sign, ".", text])


def put(folder: Path, name: str, content: Any) -> Path:
    """Write text or bytes."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one_sentence(error: Exception, path: Path) -> None:
    """Check that an error names the file, in one line."""
    assert str(path) in str(error)
    assert "\n" not in str(error)
