"""`thalweg genome`: a recurrent splice-site finder, from a genome to scored variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common
from thalweg.genome.memory_command import memory
from thalweg.genome.plasticity_command import plasticity
from thalweg.genome.scan_command import scan, variants


@click.group()
def genome() -> None:
    """Learn where introns are cut, by back-propagation through time, and find it in other sequences.

    Sequences come as FASTA, annotations as GFF3 or GTF, plain or packed by gzip; `cress` and `fly` name the samples,
    stretches of Arabidopsis and Drosophila with their genes. RUN is the directory of a training, or
    `arabidopsis`, a network that comes with the package.
    """


def _genome(function: Any) -> Any:
    """The two files of nearly every command."""
    options = [
        click.option("--fasta", required=True, help="Sequences, FASTA, or a sample: cress, fly."),
        click.option("--annotation", required=True, help="Their genes, GFF3 or GTF, or the same sample."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@genome.command()
@_genome
@click.option("--holdout", multiple=True, metavar="REGION",
              help="Kept for the test: chr1 or chr1:24000000-30427671. May be repeated.")  # fmt: skip
@click.option("--validation", multiple=True, metavar="REGION",
              help="To watch and choose by; by default the last genes of what is learnt from.")  # fmt: skip
@click.option("--isoforms", type=click.Choice(["longest", "all"]), default="longest", show_default=True,
              help="Label a gene by its longest transcript, or by all.")  # fmt: skip
@click.option("--paralogs", is_flag=True, help="Keep genes that resemble held-out ones.")
@click.option("--init", metavar="RUN", help="Start from a trained network, as for a new species.")
@click.option("--cell", type=click.Choice(["mingru", "gru", "lstm"]), help="The recurrence; by default mingru.")
@click.option("--bptt", type=click.IntRange(0),
              help="Bases through which errors go back, the state before them carried; 0: all of a crop.")  # fmt: skip
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TOML file with tables [shape] and [recipe].")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="By default 20,000, or as many as --minutes allows.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Plan the steps for so much time.")
@common
def train(console: Console, fasta: str, annotation: str, config: Path | None, minutes: float | None,
          init: str | None, **options: Any) -> None:  # fmt: skip
    """Train a splice-site finder on a genome and its annotation.

    Writes splice_network.safetensors, which every other command reads, and its card. Genes are parted by position or
    chromosome; those that resemble held-out ones are left out. A killed run goes on where it was.

    \b
    Example:
      thalweg genome train --fasta cress --annotation cress --minutes 3 --json
      thalweg genome train --fasta g.fa.gz --annotation g.gff3.gz --holdout chr1:24000000-30427671 --out finder
      thalweg genome train --fasta new.fa --annotation new.gtf --init finder --minutes 10
    """
    from thalweg.genome.data.text import located as file_of
    from thalweg.genome.figures.train import train_page
    from thalweg.genome.tasks.evaluate import figures, predict
    from thalweg.genome.tasks.plan import planned, settings
    from thalweg.genome.tasks.trained import load_trained, located
    from thalweg.genome.tasks.training import kept, material, trained_network
    from thalweg.runs import read_metrics

    options |= {name: list(options[name]) for name in ("holdout", "validation")}
    shape, recipe = settings(config, cell=options["cell"], bptt=options["bptt"], steps=options["steps"])
    begin = None if init is None else load_trained(init)
    inputs = [file_of(fasta, "sequence"), file_of(annotation, "annotation")]
    inputs += [] if init is None else located(init)
    inputs += [] if config is None else [config]
    told = {"fasta": fasta, "annotation": annotation, "config": None if config is None else str(config),
            "minutes": minutes, "init": init, **options}  # fmt: skip
    with console.run(told, inputs, dtype="float32") as run:
        folder = run.directory.path
        given = material(fasta, annotation, holdout=options["holdout"], validation=options["validation"],
                         isoforms=options["isoforms"], paralogs=options["paralogs"], note=console.note)  # fmt: skip
        if minutes is not None and options["steps"] is None:
            recipe = planned(folder, given, shape, recipe, 60 * minutes, init=begin, note=console.note)
        found = trained_network(
            given, shape=shape, recipe=recipe, seed=console.seed, init=begin,
            hooks=lambda words, name, read: run.hooks(words, recipe.steps, read=read, keep=name),
        )  # fmt: skip
        place = kept(folder, found)
        metrics = read_metrics(run.directory.metrics_path) if run.directory.metrics_path.exists() else []
        seen = predict(found.net, given.validation)
        measured = figures(seen, seed=console.seed)
        told = {key: value for key, value in measured.items() if key != "reliability"}
        result = {**told, "steps": recipe.steps, "parameters": found.card["parameters"],
                  "training_genes": len(given.training), "file": str(place)}  # fmt: skip
        run.finish(result, train_page(found, given.validation, seen, measured, metrics))


@genome.command()
@click.argument("run")
@_genome
@click.option("--region", required=True, help="Genes to look at: chr1 or chr1:24000000-30427671.")
@click.option("--isoforms", type=click.Choice(["longest", "all"]), default="longest", show_default=True,
              help="Sites of the longest transcript of a gene, or of all.")  # fmt: skip
@click.option("--both-strands", is_flag=True, help="Also score every base of both strands, genes or not.")
@common
def evaluate(console: Console, run: str, fasta: str, annotation: str, region: str, isoforms: Any,
             both_strands: bool) -> None:  # fmt: skip
    """Measure how well RUN finds the sites of a region: its genes, each on its strand.

    Figures come with intervals over genes, and once more with the sites of other transcripts left out.

    \b
    Example:
      thalweg genome evaluate finder --fasta g.fa.gz --annotation g.gff3.gz --region chr1:24000000-30427671 --json
      thalweg genome evaluate finder --fasta fly --annotation fly --region fly_chr4_locus --both-strands
    """
    from thalweg.core.errors import InputError
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes, placed
    from thalweg.genome.data.labels import labelled
    from thalweg.genome.data.region import region as read_region
    from thalweg.genome.data.region import resolved
    from thalweg.genome.data.sequence import read_fasta
    from thalweg.genome.data.text import located as file_of
    from thalweg.genome.figures.train import evaluate_page
    from thalweg.genome.tasks.evaluate import figures, predict
    from thalweg.genome.tasks.strands import both_strands as on_both
    from thalweg.genome.tasks.trained import load_trained, located

    told = {"run": run, "fasta": fasta, "annotation": annotation, "region": region, "isoforms": isoforms,
            "both_strands": both_strands}  # fmt: skip
    inputs = [*located(run), file_of(fasta, "sequence"), file_of(annotation, "annotation")]
    with console.run(told, inputs, dtype="float32") as going:
        trained = load_trained(run)
        sequences = read_fasta(fasta, note=console.note)
        every = placed(sequences, genes(read_annotation(annotation, note=console.note), isoforms, note=console.note),
                       note=console.note)  # fmt: skip
        where = resolved(read_region(region), sequences, note=console.note)
        inside = [gene for gene in every if where.holds(gene)]
        if not inside:
            raise InputError(f"{annotation}: no gene lies in {region}: name a larger region.")
        wanted = labelled(sequences, inside, note=console.note)
        seen = predict(trained.net, wanted)
        measured = figures(seen, seed=console.seed)
        result = {key: value for key, value in measured.items() if key != "reliability"}
        strands = None
        if both_strands:
            console.note("Reading both strands of the whole region.")
            strands = on_both(trained.net, sequences, every, where, seed=console.seed)
            result["both_strands"] = strands
        going.finish(result, evaluate_page(trained.name, wanted, seen, measured, strands))


for one in (scan, variants, memory, plasticity):
    genome.add_command(one)
