"""Variants from VCF, kept so that every record can be written again as it was."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from thalweg.core.errors import InputError, shown
from thalweg.genome.data.bgzf import write_text
from thalweg.genome.data.text import Note, Source, lines, located, silent

_COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO".split()
_LETTERS = re.compile(r"[ACGTNacgtn]+")
SPLICEAI = "SpliceAI"
SPLICEAI_HEADER = (
    f'##INFO=<ID={SPLICEAI},Number=.,Type=String,Description="Change of splice-site probability by thalweg: delta '
    "scores (DS) and delta positions (DP) for acceptor gain (AG), acceptor loss (AL), donor gain (DG) and donor loss "
    '(DL). Format: ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL">'
)


class Variant(NamedTuple):
    """One record.

    **Fields:** `chromosome`; `position` of the first base of `reference`, from zero (-1 for the telomere, POS 0);
    `alternatives`, as they stand there, none for `.`; its `line` in the file; `raw`, that line.
    """

    chromosome: str
    position: int
    reference: str
    alternatives: tuple[str, ...]
    line: int
    raw: str

    @property
    def fields(self) -> list[str]:
        """The columns of the record as text."""
        return self.raw.split("\t")


class Variants(NamedTuple):
    """A VCF file: its `path`; the lines of its `header`, the last of which names the columns; its `records`."""

    path: Path
    header: tuple[str, ...]
    records: list[Variant]


def read_vcf(source: Source, *, note: Note = silent) -> Variants:
    """All records of a VCF 4 file, plain or packed by gzip or bgzip.

    What a record's alleles are (several, symbolic, missing, at odds with a reference) is not judged here.

    **Raises:** `InputError` in one sentence with the file and line: for a file without the line #CHROM, of another
    version, and for records without its columns, a whole position, or a reference allele.
    """
    path = located(source)
    header: list[str] = []
    records: list[Variant] = []
    columns = 0
    for number, line in enumerate(lines(path), 1):
        if line.startswith("##") and not columns:
            header.append(line)
        elif line.startswith("#CHROM") and not columns:
            columns = _columns(line, path, number)
            header.append(line)
        elif line.strip():
            if not columns:
                raise InputError(f"{path}, line {number}: comes before the line #CHROM: name a VCF file with its "
                                 "header.")  # fmt: skip
            records.append(_record(line, columns, path, number))
    if not columns:
        raise InputError(f"{path}: has no line #CHROM: name a VCF file with its header.")
    version = header[0].partition("##fileformat=VCFv")[2]
    if version and not version.startswith("4"):
        raise InputError(f"{path}, line 1: is of the version {shown(version)}: convert it to VCF 4.")
    if not version:
        note(f"{path}: its first line does not name the format; it is read as VCF 4.2.")
        header.insert(0, "##fileformat=VCFv4.2")
    return Variants(path, tuple(header), records)


def _columns(line: str, path: Path, number: int) -> int:
    names = line.split("\t")
    if names[:8] != _COLUMNS:
        raise InputError(f"{path}, line {number}: does not name the eight columns {' '.join(_COLUMNS)}, parted by "
                         "tabs: correct the header.")  # fmt: skip
    return len(names)


def _record(line: str, columns: int, path: Path, number: int) -> Variant:
    fields = line.split("\t")
    if len(fields) != columns:
        raise InputError(f"{path}, line {number}: has {len(fields)} columns where the header names {columns}: correct "
                         "the record.")  # fmt: skip
    chromosome, position, _, reference, alternatives = fields[:5]
    if not (position.isascii() and position.isdigit() and len(position) < 13):
        raise InputError(f"{path}, line {number}: the position {shown(position)} is no whole number: count from 1.")
    if not chromosome or not reference or not alternatives:
        raise InputError(f"{path}, line {number}: the chromosome, the reference or the alternative is empty: write "
                         "them, or . for no alternative.")  # fmt: skip
    listed = () if alternatives == "." else tuple(alternatives.split(","))
    return Variant(chromosome, int(position) - 1, reference, listed, number, line)


def spelled(allele: str) -> bool:
    """Whether an allele is written in bases (A, C, G, T, N): not symbolic, not missing, not a breakend."""
    return _LETTERS.fullmatch(allele) is not None


def annotated(record: Variant, info: Mapping[str, str | None]) -> str:
    """The line of a record with more in its INFO column; everything else stays as it was.

    **Arguments:** `record`; `info`, a value for each key, None for a flag. A key that the record has is replaced. What
    a value may not hold (blanks, `;`, `=`) is written as %XX, as VCF 4.3 has it; commas part values.
    """
    fields = record.fields
    kept = [item for item in fields[7].split(";") if item not in ("", ".") and item.partition("=")[0] not in info]
    more = [key if value is None else f"{key}={escaped(value)}" for key, value in info.items()]
    fields[7] = ";".join([*kept, *more]) or "."
    return "\t".join(fields)


def escaped(value: str) -> str:
    """A value as INFO may hold it."""
    return re.sub(r"[%;=\s]", lambda match: f"%{ord(match[0]):02X}", value)


def write_vcf(
    path: str | os.PathLike[str],
    variants: Variants,
    records: Iterable[str],
    *,
    info: Iterable[str] = (SPLICEAI_HEADER,),
) -> Path:
    """Write the header and one line for every record, whole or not at all, packed if the name ends in `.gz`.

    **Arguments:** `path`; `variants` as they were read; `records`, the line for each of them, in order, from
    `annotated` or `raw`; `info`, header lines that describe new keys and replace those of the same ID.

    **Raises:** `ValueError` unless there is exactly one line for each record; `ThalwegError` if it cannot be written.
    """
    listed = list(records)
    if len(listed) != len(variants.records):
        raise ValueError(f"{len(listed)} lines for {len(variants.records)} records")
    new = list(info)
    ids = {_id(line) for line in new}
    header = [line for line in variants.header[:-1] if not line.startswith("##INFO=") or _id(line) not in ids]
    return write_text(path, "\n".join([*header, *new, variants.header[-1], *listed]) + "\n")


def _id(line: str) -> str:
    return line.partition("ID=")[2].partition(",")[0]
