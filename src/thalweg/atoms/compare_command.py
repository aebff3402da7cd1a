"""`thalweg atoms compare`: coordinates, distances and orbitals, learnt beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, Running, common, spread


def _sizes(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    try:
        return None if value is None else tuple(int(one) for one in value.split(","))
    except ValueError:
        raise click.BadParameter("give whole numbers with commas, as in 50,100,200") from None


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return () if value == "none" else tuple(name.strip() for name in value.split(",") if name.strip())


@click.command()
@click.argument("data")
@click.option("--frames", "sizes", callback=_sizes,
              help="Numbers of frames to learn from.  [default: 50,100,200,500,1000, up to all]")  # fmt: skip
@click.option("--models", callback=_names, default="naive,unturned,radial,gto,bessel", show_default=True,
              help="naive is shown turned frames, unturned is not; bessel is the control of gto.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each kind.")
@click.option("--steps", type=click.IntRange(1), help="Of each training.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help="Plan the steps of each training for so much time.  [default: 2, without --steps]")  # fmt: skip
@click.option("--tune", "tuned", callback=_names, default="naive,unturned", show_default=True,
              help="Models whose rate, width and batch are chosen on held-out frames, or none.")  # fmt: skip
@click.option("--test", help="Frames to test on.  [default: those that say split=test, or else a fifth]")
@click.option("--valid", help="Frames to hold out for the tuning.  [default: a twentieth of DATA, at most 100]")
@click.option("--isolated", help="Frames of one atom each, for the energies of isolated atoms.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TOML file with tables [shape] and [recipe], for all models.")  # fmt: skip
@click.option("--example/--no-example", default=True, show_default=True, help="First one atom in a field of others.")
@click.option("--energy-key", help="Where energies are found; by default REF_energy, energy or free_energy.")
@click.option("--forces-key", help="Where forces are found; by default REF_forces or forces.")
@common
@spread
def compare(console: Console, data: str, config: Path | None, **options: Any) -> None:
    """Compare networks that see coordinates, distances or orbitals, over frames, steps and seconds.

    First one atom in the field of others, and two clouds of atoms that distances cannot tell apart. Then every model
    is trained on more and more frames of DATA, all with the same budget, and measured on test frames as they are and
    turned at random. The networks of coordinates are tuned for each number of frames, each trial with a quarter of the
    budget. What is finished is kept; a killed run goes on where it was.

    \b
    Example:
      thalweg atoms compare train.xyz --test test.xyz --isolated atoms.xyz --minutes 5
      thalweg atoms compare ethanol --frames 50,100,200 --seeds 1 --steps 2000 --json
      thalweg atoms compare frames.xyz --models naive,radial --no-example --minutes 1
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.figures.compare import compare_page
    from thalweg.atoms.tasks.compare import Effort, compared, posed, sizes_for
    from thalweg.atoms.tasks.compare_result import numbers, verdict
    from thalweg.atoms.tasks.plan import settings
    from thalweg.atoms.tasks.training import material

    if options["steps"] is None and options["minutes"] is None:
        options["minutes"] = 2.0
    read = [data, *(options[name] for name in ("test", "valid", "isolated") if options[name])]
    inputs = [file for name in read for file in files(name)] + ([] if config is None else [config])
    told = {"data": data, "config": None if config is None else str(config), **options}
    with console.run(told, inputs, dtype="float32") as run:
        keys = {"energy_key": options["energy_key"], "forces_key": options["forces_key"]}
        shape, recipe = settings(config)
        given = material(data, valid=options["valid"], isolated=options["isolated"], seed=console.seed,
                         note=console.note, **keys)  # fmt: skip
        of = posed(given, options["models"], shape, recipe, test=options["test"], **keys)
        effort = Effort(sizes_for(of, options["sizes"]), options["seeds"], options["steps"], options["minutes"],
                        tuned=options["tuned"])  # fmt: skip
        example = _example(console, run) if options["example"] else None
        jobs = compared(of, effort, seed=console.seed, world=run.world())
        found = numbers(of, effort, jobs)
        result = {
            "data": data, "frames": len(given.frames), "held_out": len(given.valid), "test_frames": len(of.test),
            "sizes": list(effort.sizes), "seeds": effort.seeds, "steps": effort.steps, "minutes": effort.minutes,
            "models": found, "verdict": verdict(found, jobs, effort),
        }  # fmt: skip
        if example is not None:
            result |= {"one_atom": example[0].result, "same_distances": example[1]}
        run.finish(result, compare_page(result, jobs, example))


def _example(console: Console, run: Running) -> Any:
    from thalweg.atoms.tasks.one_atom import one_atom
    from thalweg.atoms.tasks.same_distances import counterexamples
    from thalweg.runs import Points

    field = one_atom(
        seed=console.seed,
        done=Points(run.directory.path / "parts"),
        hooks=run.hooks("one atom in a field", keep=None),
    )
    return field, counterexamples()
