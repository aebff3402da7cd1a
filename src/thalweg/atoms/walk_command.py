"""`thalweg atoms md`, `relax` and `barrier`: walks on a trained potential."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common


@click.command()
@click.argument("model")
@click.argument("start", required=False)
@click.option("--ensemble", type=click.Choice(["nve", "nvt", "npt"]), default="nve", show_default=True,
              help="What is constant beside the number of atoms.")  # fmt: skip
@click.option("--temperature", type=float, default=300.0, show_default=True, help="In K: of start and bath.")
@click.option("--pressure", type=float, default=1.0, show_default=True, help="In bar, for npt.")
@click.option("--timestep", type=float, default=0.5, show_default=True, help="In fs.")
@click.option("--steps", type=click.IntRange(0), default=10_000, show_default=True, help="Time steps in all.")
@click.option("--friction", type=float, default=1.0, show_default=True, help="Of the bath, in 1/ps.")
@click.option("--replicas", type=click.IntRange(1), default=1, show_default=True, help="Copies that move at once.")
@click.option("--every", type=click.IntRange(1), default=20, show_default=True, help="Steps between two frames.")
@click.option("--dtype", type=click.Choice(["mixed", "float64", "float32"]), default="mixed", show_default=True,
              help="mixed: positions and sums in float64, the network in float32.")  # fmt: skip
@click.option("--stop-at-uncertainty", type=click.FloatRange(0, min_open=True),
              help="Expected error of a force in eV/A at which a committee stops.")  # fmt: skip
@common
def md(console: Console, model: str, start: str | None, **options: Any) -> None:
    """Run molecular dynamics, and write its frames to trajectory.xyz.

    START is a file of frames, of which the first counts (frames.xyz@7 names another), and may be left out for the
    potential that comes with the package. Its momenta are used if it has some. A run that was interrupted, or that is
    asked for more steps, goes on to the same bits. With --stop-at-uncertainty it ends where the members of a committee
    (train --members) disagree, and writes frames to label to unknown.xyz.

    \b
    Example:
      thalweg atoms md ethanol
      thalweg atoms md potential start.xyz --ensemble nvt --temperature 350 --steps 200000 --out run
      thalweg atoms md potential start.xyz --ensemble nvt --stop-at-uncertainty 0.2 --json
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.figures.dynamics import md_page
    from thalweg.atoms.tasks.md import Settings, dynamics
    from thalweg.atoms.tasks.md_start import first_frame
    from thalweg.atoms.tasks.trained import load_trained, located

    settings = Settings(**options)
    inputs = [*located(model), *(files(start) if start is not None else [])]
    with console.run({"model": model, "start": start, **options}, inputs, free=("steps",)) as run:
        trained = load_trained(model)
        frame = first_frame(trained, start, console.note)
        found = dynamics(trained, frame, settings, run.directory.path, seed=console.seed, note=console.note,
                         hooks=run.hooks("dynamics", read=_moving, keep=None))  # fmt: skip
        if found.result["ended"] != "steps":
            console.note(found.sentence)
            console.note("\n".join(found.result.get("next", [])))
        run.finish(found.result, md_page(found, settings), outcome=found.sentence, ok=found.ok)


def _moving(walk: Any) -> dict[str, Any]:
    return {"potential_eV": float(walk.value), "kinetic_eV": float(walk.kinetic)}


@click.command()
@click.argument("model")
@click.argument("start", required=False)
@click.option("--fmax", type=float, default=0.01, show_default=True, help="Norm of all forces to end at, in eV/A.")
@click.option("--cell", is_flag=True, help="Let the cell yield too.")
@click.option("--method", type=click.Choice(["lbfgs", "fire"]), default="lbfgs", show_default=True, help="Of descent.")
@click.option("--frequencies", is_flag=True, help="Harmonic frequencies of the minimum, too.")
@common
def relax(console: Console, model: str, start: str | None, frequencies: bool, **options: Any) -> None:
    """Relax the atoms of a frame to where no force acts, and write them to relaxed.xyz.

    \b
    Example:
      thalweg atoms relax ethanol --frequencies --json
      thalweg atoms relax potential crystal.cif --cell --fmax 0.001
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.data.write import write
    from thalweg.atoms.figures.relax import relax_page
    from thalweg.atoms.tasks.md_start import first_frame
    from thalweg.atoms.tasks.relax import relaxed
    from thalweg.atoms.tasks.trained import load_trained, located
    from thalweg.atoms.tasks.vibrations import vibrations

    config = {"model": model, "start": start, "frequencies": frequencies, **options}
    inputs = [*located(model), *(files(start) if start is not None else [])]
    with console.run(config, inputs, dtype="float64", free=()) as run:
        trained = load_trained(model)
        frame = first_frame(trained, start, console.note)
        found = relaxed(trained, frame, **options, hooks=run.hooks("relaxing"))
        result = {
            "energy_eV": found.frame.energy,
            "gained_eV": found.before - (found.frame.energy or 0.0),
            "largest_force_eV_A": found.largest,
            "steps": found.steps,
            "file": str(write(run.directory.path / "relaxed.xyz", [found.frame])),
        }
        moving = vibrations(trained, found.frame) if frequencies else None
        if moving is not None:
            result |= {"frequencies_per_cm": moving.wavenumbers.tolist(), "imaginary": moving.imaginary}
        page = relax_page(found, result, moving, options["fmax"])
        run.finish(result, page, outcome=found.sentence, ok=found.done)


@click.command()
@click.argument("model")
@click.argument("a")
@click.argument("b")
@click.option("--images", type=click.IntRange(3), default=11, show_default=True, help="Along the path, ends included.")
@click.option("--max-steps", type=click.IntRange(1), default=2000, show_default=True, help="Of the band.")
@common
def barrier(console: Console, model: str, a: str, b: str, **options: Any) -> None:
    """Find the path of least energy between two frames of the same atoms, its saddle and its imaginary mode.

    Writes path.xyz, and saddle.xyz with the mode as a column.

    \b
    Example:
      thalweg atoms barrier potential anti.xyz gauche.xyz --json
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.data.write import write
    from thalweg.atoms.figures.barrier import barrier_page
    from thalweg.atoms.tasks.barrier import barrier as measure
    from thalweg.atoms.tasks.md_start import first_frame
    from thalweg.atoms.tasks.trained import load_trained, located

    with console.run({"model": model, "a": a, "b": b, **options}, [*located(model), *files(a), *files(b)],
                     dtype="float64", free=()) as run:  # fmt: skip
        trained = load_trained(model)
        ends = [first_frame(trained, end, console.note) for end in (a, b)]
        found = measure(trained, *ends, **options, hooks=lambda name: run.hooks(f"relaxing: {name}", keep=name))
        written = write(run.directory.path / "path.xyz", found.path)
        result = found.result | {"path": str(written), "saddle": None}
        if found.saddle is not None:
            result["saddle"] = str(write(run.directory.path / "saddle.xyz", [found.saddle]))
        run.finish(result, barrier_page(found), outcome=found.sentence, ok=found.ok)
