"""`thalweg genome scan` and `variants`: what a trained network says of sequences, and of changes in them."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common


@click.command()
@click.argument("run")
@click.option("--fasta", required=True, help="Sequences, FASTA, or a sample: cress, fly.")
@click.option("--annotation", help="Known genes, GFF3 or GTF, to compare with.")
@click.option("--region", help="Only there: chr1 or chr1:24000000-30427671.")
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True,
              help="The least probability of a site in the BED files.")  # fmt: skip
@click.option("--tracks/--no-tracks", default=True, show_default=True, help="Write bedGraph tracks of probabilities.")
@common
def scan(console: Console, run: str, fasta: str, annotation: str | None, region: str | None, threshold: float,
         tracks: bool) -> None:  # fmt: skip
    """Find donors and acceptors on both strands of sequences, without an annotation.

    Writes donors.bed and acceptors.bed, and for each and each strand a bedGraph track. A sequence may have any length;
    a killed scan goes on where it was.

    \b
    Example:
      thalweg genome scan finder --fasta genome.fa.gz --json
      thalweg genome scan finder --fasta fly --annotation fly --threshold 0.2 --out tracks
    """
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes, placed
    from thalweg.genome.data.region import region as read_region
    from thalweg.genome.data.region import resolved
    from thalweg.genome.data.sequence import read_fasta
    from thalweg.genome.data.text import located as file_of
    from thalweg.genome.figures.scan import scan_page
    from thalweg.genome.tasks.scan import scan as scan_all
    from thalweg.genome.tasks.scan_genes import scan_genes
    from thalweg.genome.tasks.trained import load_trained, located
    from thalweg.runs import Points

    told = {"run": run, "fasta": fasta, "annotation": annotation, "region": region, "threshold": threshold,
            "tracks": tracks}  # fmt: skip
    inputs = [*located(run), file_of(fasta, "sequence")]
    inputs += [] if annotation is None else [file_of(annotation, "annotation")]
    with console.run(told, inputs, dtype="float32", free=("tracks",)) as going:
        net, sequences = load_trained(run).net, read_fasta(fasta, note=console.note)
        known: list[Any] = []
        if annotation is not None:
            known = placed(sequences, genes(read_annotation(annotation, note=console.note), note=console.note),
                           note=console.note)  # fmt: skip
        where = None if region is None else resolved(read_region(region), sequences, note=console.note)
        done = Points(going.directory.path / "parts")
        found = scan_all(net, sequences, region=where, threshold=threshold, done=done,
                         hooks=going.hooks("parts of the scan", keep=None), note=console.note)  # fmt: skip
        beside = None
        if known:
            beside = scan_genes(net, sequences, known, found, region=where, done=done,
                                hooks=going.hooks("groups of genes", keep=None))  # fmt: skip
        written = found.write(going.directory.path, tracks=tracks)
        result = {**found.result, **({} if beside is None else beside.result), "files": [str(path) for path in written]}
        going.finish(result, scan_page(found, known, beside))


@click.command()
@click.argument("run")
@click.option("--fasta", required=True, help="The sequences that the variants were called on.")
@click.option("--annotation", required=True, help="Their genes, GFF3 or GTF.")
@click.option("--vcf", required=True, metavar="FILE", help="The variants, VCF, plain or packed by gzip.")
@click.option("--distance", type=click.IntRange(1), default=50, show_default=True,
              help="Bases on either side of a variant where its effect is looked for.")  # fmt: skip
@click.option("--mask", is_flag=True, help="Drop gains at annotated sites, and losses elsewhere.")
@click.option("--context", type=click.IntRange(0), help="Bases read around that.  [default: 384]")
@click.option("--isoforms", type=click.Choice(["longest", "all"]), default="longest", show_default=True,
              help="What counts as annotated for --mask.")  # fmt: skip
@common
def variants(console: Console, run: str, fasta: str, annotation: str, vcf: str, isoforms: Any, context: int | None,
             **options: Any) -> None:  # fmt: skip
    """Score how the variants of a VCF file change splicing, with SpliceAI's INFO field.

    Writes scored.vcf with a record for every record, in order; what could not be scored says why in the INFO key
    SpliceAI_SKIPPED. A killed run goes on where it was.

    \b
    Example:
      thalweg genome variants finder --fasta g.fa.gz --annotation g.gff3.gz --vcf variants.vcf.gz --json
      thalweg genome variants finder --fasta g.fa --annotation g.gtf --vcf variants.vcf --distance 500 --mask
    """
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes, placed
    from thalweg.genome.data.sequence import read_fasta
    from thalweg.genome.data.text import located as file_of
    from thalweg.genome.data.vcf import read_vcf
    from thalweg.genome.figures.variants import variants_page
    from thalweg.genome.tasks.trained import load_trained, located
    from thalweg.genome.tasks.variant_window import CONTEXT
    from thalweg.genome.tasks.variants import variants as score
    from thalweg.runs import Points

    context = CONTEXT if context is None else context
    told = {"run": run, "fasta": fasta, "annotation": annotation, "vcf": vcf, "isoforms": isoforms, "context": context,
            **options}  # fmt: skip
    inputs = [*located(run), file_of(fasta, "sequence"), file_of(annotation, "annotation"), file_of(vcf)]
    with console.run(told, inputs, dtype="float32") as going:
        net, sequences = load_trained(run).net, read_fasta(fasta, note=console.note)
        known = placed(sequences, genes(read_annotation(annotation, note=console.note), isoforms, note=console.note),
                       note=console.note)  # fmt: skip
        found = score(net, sequences, known, read_vcf(file_of(vcf)), context=context, note=console.note,
                      done=Points(going.directory.path / "parts"),
                      hooks=going.hooks("parts of the variants", keep=None), **options)  # fmt: skip
        written = found.write(going.directory.path / "scored.vcf")
        going.finish({**found.result, "context": context, "file": str(written)}, variants_page(found))
