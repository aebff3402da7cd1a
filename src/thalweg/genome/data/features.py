"""The lines of GFF3 and GTF: what belongs to which transcript, and to which gene that belongs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from thalweg.core.errors import InputError, shown
from thalweg.genome.data.text import lines

# Lines of these kinds give a transcript its exons; `CDS` and what follows only where there is no `exon`.
PIECES = frozenset(
    "exon CDS start_codon stop_codon five_prime_UTR three_prime_UTR five_prime_utr three_prime_utr UTR 5UTR "
    "3UTR".split()
)
_FAR = 1 << 40  # no chromosome is that long, and twice it still is a machine's whole number
_PARENT = re.compile(r"(?:^|;)\s*Parent=([^;]*)")
_VALUE = r'(?:"([^"]*)"|([^\s";]+))'
_TRANSCRIPT = re.compile(rf"(?:^|;)\s*transcript_id[ =]{_VALUE}")
_GENE = re.compile(rf"(?:^|;)\s*gene_id[ =]{_VALUE}")
_SYMBOL = re.compile(rf"(?:^|;)\s*(?:gene_name|gene)[ =]{_VALUE}")
_IDENTITY = re.compile(r"(?:^|;)\s*ID=([^;]*)")
_TRANS = re.compile(r'(?:^|;)\s*exception[ =]"?trans-splicing')


class Part(NamedTuple):
    """A line that gives a transcript an exon or a part of one: [start, end) from zero, `sign` as it stands there."""

    kind: str
    chromosome: str
    start: int
    end: int
    sign: str
    line: int


class Owner(NamedTuple):
    """A line that others may name as their parent."""

    kind: str
    name: str
    parent: str
    symbol: str


class Features(NamedTuple):
    """What a file holds: `parts` by their parent's key, `owners` by their own, and the keys `trans`-spliced."""

    parts: dict[str, list[Part]]
    owners: dict[str, Owner]
    trans: set[str]


def read_features(path: Path) -> Features:
    """The lines of an annotation, checked one by one.

    **Raises:** `InputError` in one sentence with the file and line.
    """
    found = Features({}, {}, set())
    gtf: bool | None = None
    for number, line in enumerate(lines(path), 1):
        if line.startswith(("#", ">")):
            if line.startswith(("##FASTA", ">")):
                break
            continue
        if not line.strip():
            continue
        fields = line.split("\t")
        start, end = _coordinates(fields, path, number)
        kind, text = fields[2], fields[8]
        if kind in PIECES:
            if gtf is None:
                gtf = _is_gtf(text, path, number)
            part = Part(kind, fields[0], start - 1, end, fields[6], number)
            for key in _gtf_keys(found, part, text, path) if gtf else _gff3_keys(part, text, path):
                found.parts.setdefault(key, []).append(part)
                if "trans-splicing" in text and _TRANS.search(text):
                    found.trans.add(key)
        elif not gtf and (identity := _IDENTITY.search(text)):
            _own(found, identity[1], kind, text)
    return found


def _coordinates(fields: list[str], path: Path, number: int) -> tuple[int, int]:
    if len(fields) != 9:
        hint = ", parted by tabs" if len(fields) == 1 else ""
        raise InputError(f"{path}, line {number}: has {len(fields)} columns, not the nine of GFF3 and GTF{hint}: "
                         "correct the line.")  # fmt: skip
    try:
        start, end = int(fields[3]), int(fields[4])
    except ValueError:
        raise InputError(f"{path}, line {number}: {shown(fields[3])} to {shown(fields[4])} are no whole numbers: write "
                         "the first and the last base, counted from 1.") from None  # fmt: skip
    if not 1 <= start <= end < _FAR:
        raise InputError(f"{path}, line {number}: {start} to {end} is no stretch of bases counted from 1: write the "
                         "smaller end first.")  # fmt: skip
    return start, end


def _is_gtf(text: str, path: Path, number: int) -> bool:
    if _PARENT.search(text) or _IDENTITY.search(text):
        return False
    if _TRANSCRIPT.search(text) or _GENE.search(text):
        return True
    raise InputError(f"{path}, line {number}: its last column holds neither Parent= as in GFF3 nor transcript_id as in "
                     "GTF: convert the file to one of them.")  # fmt: skip


def _gff3_keys(part: Part, text: str, path: Path) -> list[str]:
    parent = _PARENT.search(text)
    if parent is None or not parent[1].strip():
        raise InputError(f"{path}, line {part.line}: this {part.kind} has no Parent: name its transcript.")
    return [key.strip() for key in parent[1].split(",")]


def _gtf_keys(found: Features, part: Part, text: str, path: Path) -> list[str]:
    transcript, gene = _value(_TRANSCRIPT, text), _value(_GENE, text)
    if not transcript:
        raise InputError(f"{path}, line {part.line}: this {part.kind} has no transcript_id: name its transcript.")
    # RefSeq calls the transcripts of many genes "unknown_transcript_1".
    key, above = f"{gene}\t{transcript}", f"{gene or transcript}\t"
    if key not in found.owners:
        found.owners[key] = Owner("transcript", transcript, above, "")
        found.owners.setdefault(
            above, Owner("gene", gene or transcript, "", _value(_SYMBOL, text) or gene or transcript)
        )
    return [key]


def _value(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return (match[1] or match[2] or "") if match else ""


def _own(found: Features, key: str, kind: str, text: str) -> None:
    parent = _PARENT.search(text)
    above = parent[1].partition(",")[0].strip() if parent else ""
    key = key.strip()
    symbol = _symbol(text) if not above or kind.endswith("gene") else ""
    found.owners.setdefault(key, Owner(kind, unquote(key), above, symbol or unquote(key)))
    if "trans-splicing" in text and _TRANS.search(text):
        found.trans.add(key)


def _symbol(text: str) -> str:
    attributes = dict(pair.strip().split("=", 1) for pair in text.split(";") if "=" in pair)
    names = (attributes.get(name, "") for name in ("gene_name", "gene", "Name", "locus_tag"))
    return unquote(next((name for name in names if name), ""))
