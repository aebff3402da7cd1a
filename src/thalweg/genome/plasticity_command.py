"""`thalweg genome plasticity`: whether methylation tells which connections to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common, spread


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(sorted(float(one) for one in value.split(",")))
    except ValueError:
        raise click.BadParameter("give numbers with commas, as in 0.25,0.5,0.95") from None


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@click.option("--fasta", required=True, help="Sequences of the first species, FASTA, or a sample: cress, fly.")
@click.option("--annotation", required=True, help="Their genes, GFF3 or GTF, or the same sample.")
@click.option("--methylation", required=True, metavar="FILE",
              help="Of the first species: bedMethyl, Bismark, or BED of 7 columns.")  # fmt: skip
@click.option("--first-base", type=click.IntRange(0, 1),
              help="The number of the first base in a Bismark coverage file that does not tell.")  # fmt: skip
@click.option("--sites", metavar="REGION", help="Methylation counts only there, as where --fasta ends before it.")
@click.option("--to-fasta", required=True, help="Sequences of the second species.")
@click.option("--to-annotation", required=True, help="Their genes.")
@click.option("--retain", metavar="REGION",
              help="Of the first species, held out.  [default: half of what methylation covers]")  # fmt: skip
@click.option("--gain", metavar="REGION",
              help="Of the second species, held out.  [default: the last fifth of a sequence]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(2), default=10, show_default=True, help="Networks, each in every arm.")
@click.option("--arms", callback=_names, help="By default methylation,uniform,permuted,random,l2sp,ewc,plain.")
@click.option("--strengths", callback=_numbers, help="Of the maps, beta.  [default: 0.25,0.5,0.75,0.95]")
@click.option("--penalties", callback=_numbers,
              help="Of l2sp and ewc, as many.  [default: 0.001 to 1, evenly in the logarithm]")  # fmt: skip
@click.option("--ranked", is_flag=True, help="Replace maps by their ranks from 0 to 1: exploratory.")
@click.option("--strata", is_flag=True, help="Permute levels only among genes with as many introns.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TOML file with tables [shape] and [recipe].")  # fmt: skip
@click.option("--pretrain-steps", type=click.IntRange(1), help="Of each pretraining.")
@click.option("--pretrain-minutes", type=click.FloatRange(0, min_open=True),
              help="Plan the steps of each pretraining for so much time.  [default: 10, without steps]")  # fmt: skip
@click.option("--tune-steps", type=click.IntRange(1), default=2000, show_default=True, help="Of each fine-tuning.")
@common
@spread
def plasticity(console: Console, fasta: str, annotation: str, methylation: str, to_fasta: str, to_annotation: str,
               config: Path | None, **options: Any) -> None:  # fmt: skip
    """Run the experiment on learning rates that methylation modulates, fixed beforehand, with its controls.

    A network learns the first species, then the second one, while each connection moves by 1 - beta m of the step of
    the plain optimiser; m is the share of its gradient energy that came from methylated bases. What is retained of the
    first species is compared with what is gained of the second one, in every arm, paired by seed. The verdict is
    supported, opposed, null or uninformative, by rules that no result can change. There are 25 fine-tunings for each
    seed with all arms; finished ones are kept, and a killed run goes on where it was.

    \b
    Example:
      thalweg genome plasticity --fasta a.fa --annotation a.gtf --methylation m.gz --to-fasta b.fa --to-annotation b.gtf
      thalweg genome plasticity --fasta cress --annotation cress --methylation m.bed --to-fasta fly --to-annotation fly
    """
    from thalweg.genome.data.text import located
    from thalweg.genome.figures.plasticity import plasticity_page
    from thalweg.genome.tasks.plan import settings
    from thalweg.genome.tasks.plasticity.analysis import analysed
    from thalweg.genome.tasks.plasticity.experiment import run as run_plan
    from thalweg.genome.tasks.plasticity.pair import pair
    from thalweg.genome.tasks.plasticity.planning import laboratory, plan_of

    shape, recipe = settings(config, steps=options["pretrain_steps"])
    inputs = [located(fasta, "sequence"), located(annotation, "annotation"), located(methylation),
              located(to_fasta, "sequence"), located(to_annotation, "annotation")]  # fmt: skip
    inputs += [] if config is None else [config]
    told = {"fasta": fasta, "annotation": annotation, "methylation": methylation, "to_fasta": to_fasta,
            "to_annotation": to_annotation, "config": None if config is None else str(config), **options}  # fmt: skip
    told |= {name: None if told[name] is None else list(told[name]) for name in ("arms", "strengths", "penalties")}
    with console.run(told, inputs, dtype="float32") as run:
        plan = plan_of(options["seeds"], options["arms"], options["strengths"], options["penalties"],
                       ranked=options["ranked"], seed=console.seed)  # fmt: skip
        regions = {name: options[name] for name in ("first_base", "sites", "retain", "gain")}
        both = pair((fasta, annotation), methylation, (to_fasta, to_annotation), note=console.note, **regions)
        minutes = None if options["pretrain_steps"] else options["pretrain_minutes"] or 10.0
        lab = laboratory(both.two, shape, recipe, tune_steps=options["tune_steps"], minutes=minutes,
                         folder=run.directory.path, note=console.note)  # fmt: skip
        if options["strata"]:
            plan = plan._replace(strata=tuple(lab.introns().tolist()))
        found = analysed(run_plan(lab, plan, run.world()))
        result = {**both.told, "pretrain_steps": lab.pretraining.steps, "tune_steps": lab.tuning.steps,
                  "strata": options["strata"], **found}  # fmt: skip
        run.finish(result, plasticity_page(result))
