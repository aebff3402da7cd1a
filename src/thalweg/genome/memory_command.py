"""`thalweg genome memory`: how far back the error travels, and whether it is used."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, Running, common, spread


def _whole_numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int]:
    try:
        return [] if value is None else [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter("write whole numbers with commas between them, such as 10,50,200,1000.") from None


@click.command()
@click.argument("run")
@click.option("--fasta", required=True, help="Sequences, FASTA, or a sample: cress, fly.")
@click.option("--annotation", required=True, help="Their genes, GFF3 or GTF, or the same sample.")
@click.option("--region", required=True, help="Held-out genes to look at: chr1 or chr1:24000000-30427671.")
@click.option("--genes", type=click.IntRange(2), help="At most so many genes, from all over the region.")
@click.option("--sites", type=click.IntRange(8), default=256, show_default=True,
              help="Donors, and as many acceptors, whose slopes are taken and whose flanks are shuffled.")  # fmt: skip
@click.option("--horizons", callback=_whole_numbers, metavar="10,50,200,1000",
              help="Also train networks whose errors go back so many bases, and one without memory.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=3.0, show_default=True,
              help="Plan the steps of each training for so much time.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of each training, instead.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each kind.")
@click.option("--carried", is_flag=True, help="Also train as `genome train --bptt` does with each horizon.")
@common
@spread
def memory(console: Console, run: str, **options: Any) -> None:
    """Measure how far back the errors of RUN travel, and whether what lies there is used.

    The slope of the score of every site by each base around it, over the distance; and top-k where all but the nearest
    bases are shuffled. With --horizons networks of the same shape are trained on all genes outside of the region: with
    errors that stop after so many bases, and without memory. Finished parts are kept; a killed run goes on.

    \b
    Keys of --json: lag (donor, acceptor: upstream, downstream, beyond, within, zero_share; floor), shuffled_flanks
    (distances; donor, acceptor: topk, lost, exact), and with --horizons trained (name, kind, horizon, steps,
    seconds; donor, acceptor: topk, interval, seeds, lost, lost_interval).

    \b
    Example:
      thalweg genome memory finder --fasta g.fa.gz --annotation g.gff3.gz --region chr1:24000000-30427671 --json
      thalweg genome memory finder --fasta cress --annotation cress --region chr1 --sites 64
      thalweg genome memory finder --fasta g.fa --annotation g.gff3 --region chr5 --horizons 10,100,1000 --minutes 5
    """
    from thalweg.genome.data.text import located as file_of
    from thalweg.genome.figures.memory import memory_page
    from thalweg.genome.tasks.horizon import horizons
    from thalweg.genome.tasks.lag import lag_figures, site_slopes
    from thalweg.genome.tasks.shuffled_flanks import shuffled_flanks
    from thalweg.genome.tasks.trained import load_trained, located

    fasta, annotation = options["fasta"], options["annotation"]
    inputs = [*located(run), file_of(fasta, "sequence"), file_of(annotation, "annotation")]
    with console.run({"run": run, **options}, inputs, dtype="float32") as going:
        trained, world = load_trained(run), going.world()
        given, wanted = _genes(console, options)
        _warn(console, trained.card, options["region"])
        some = {"seed": console.seed, "sites": options["sites"], "world": world}
        lag = lag_figures(site_slopes(trained.net, wanted, **some), seed=console.seed)
        result: dict[str, Any] = {"lag": lag, "shuffled_flanks": shuffled_flanks(trained.net, wanted, **some)}
        if given is not None:
            effort = _effort(console, going, given, trained.shape, options)
            result["trained"] = horizons(given.training, wanted, trained.shape, effort, seed=console.seed, world=world)
        result["genes"] = len(wanted)
        going.finish(result, memory_page(trained.name, result, margin=trained.net.margin))


def _genes(console: Console, options: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What to train on, if anything is trained, and the genes of the region."""
    from thalweg.core.errors import InputError
    from thalweg.genome.data.annotation import read_annotation
    from thalweg.genome.data.genes import genes, placed
    from thalweg.genome.data.labels import labelled
    from thalweg.genome.data.region import region, resolved
    from thalweg.genome.data.sequence import read_fasta
    from thalweg.genome.tasks.training import material

    fasta, annotation, name = options["fasta"], options["annotation"], options["region"]
    if options["horizons"]:
        given = material(fasta, annotation, holdout=[name], note=console.note)
        wanted = given.held_out
    else:
        given, sequences = None, read_fasta(fasta, note=console.note)
        every = placed(sequences, genes(read_annotation(annotation, note=console.note), note=console.note),
                       note=console.note)  # fmt: skip
        where = resolved(region(name), sequences, note=console.note)
        wanted = labelled(sequences, [gene for gene in every if where.holds(gene)], note=console.note)
    if len(wanted) < 2:
        raise InputError(f"{annotation}: {len(wanted)} genes lie in {name}, too few: name a larger region.")
    return given, wanted[:: -(-len(wanted) // (options["genes"] or len(wanted)))]


def _warn(console: Console, card: dict[str, Any], name: str) -> None:
    """Say so where the network may have learnt from the genes that it is measured on."""
    from thalweg.genome.data.region import region

    own = region(name)
    for text in card.get("holdout", []):
        kept = region(text)
        inside = kept.start <= own.start and (kept.end is None or (own.end is not None and own.end <= kept.end))
        if kept.chromosome == own.chromosome and inside:
            return
    console.note(f"The network's card does not say that {name} was held out: it may have learnt from these genes.")


def _effort(console: Console, going: Running, given: Any, shape: Any, options: dict[str, Any]) -> Any:
    from thalweg.genome.tasks.horizon import effort
    from thalweg.genome.tasks.plan import planned
    from thalweg.genome.tasks.train import Recipe

    recipe = Recipe() if options["steps"] is None else Recipe(steps=options["steps"])
    told = effort(options["horizons"], recipe, seeds=options["seeds"], carried=options["carried"])
    if options["steps"] is None:
        folder, seconds = going.directory.path, 60 * options["minutes"]
        told = told._replace(recipe=planned(folder, given, shape, told.recipe, seconds, note=console.note))
    console.note(f"{len(told.arms)} kinds of training from {told.seeds} seeds, {told.recipe.steps:,} steps each.")
    return told
