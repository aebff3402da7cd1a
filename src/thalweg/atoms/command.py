"""`thalweg atoms`: potentials for atoms, from labelled frames to molecular dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.atoms.compare_command import compare
from thalweg.atoms.walk_command import barrier, md, relax
from thalweg.console import Console, common, spread


@click.group()
def atoms() -> None:
    """Train potentials on energies and forces, run dynamics on them, and audit them.

    Frames come from an extended XYZ file or another that ASE reads, a folder in the npy layout of DeePMD-kit, a data
    set (`thalweg data list`), or a sample: `ethanol`, `water`. After a file, @3, @:50 or @::10 picks frames, from zero.
    Units are eV and A.
    """
    from thalweg.core.errors import require

    require("ase", extra="atoms")


@atoms.command()
@click.argument("file")
@click.option("--method", type=click.Choice(["gfn2", "pbe"]), default="gfn2", show_default=True,
              help="GFN2-xTB (tblite), or PBE (PySCF), the latter for molecules only.")  # fmt: skip
@click.option("--basis", default="def2-svp", show_default=True, help="Basis set of PBE.")
@click.option("--charge", type=int, help="In e; by default what a frame's info says, or else 0.")
@click.option("--multiplicity", type=click.IntRange(1),
              help="2S + 1; by default what a frame's info says, or else the least possible.")  # fmt: skip
@click.option("--rattled", type=click.IntRange(0), default=0, show_default=True,
              help="Displaced copies of each frame to label with it.")  # fmt: skip
@click.option("--amplitude", type=float, default=0.05, show_default=True,
              help="Standard deviation of their displacements, in A.")  # fmt: skip
@click.option("--skip-failed", is_flag=True, help="List frames that cannot be labelled, and leave them out.")
@click.option("--type-map", help="Symbols of DeePMD-kit's types, as in O,H, where the folder does not say them.")
@common
@spread
def label(console: Console, file: str, rattled: int, amplitude: float, skip_failed: bool,
          type_map: str | None, **options: Any) -> None:  # fmt: skip
    """Compute energies and forces of frames with a reference method, and write them to labelled.xyz.

    \b
    Example:
      thalweg atoms label ethanol --method gfn2 --json
      thalweg atoms label molecule.xyz --rattled 50 --out first
      thalweg atoms label frames.xyz --method pbe --where local:4 --out labels
      thalweg atoms label trajectory.xyz@::10 --method gfn2 --charge 1 --skip-failed
    """
    from thalweg.atoms.data.rattle import rattled as displaced
    from thalweg.atoms.data.read import files, read
    from thalweg.atoms.data.write import write
    from thalweg.atoms.figures.label import label_page
    from thalweg.atoms.tasks.label import labelling
    from thalweg.runs import Points

    config = {"file": file, "type_map": type_map, "rattled": rattled, "amplitude": amplitude, **options,
              "skip_failed": skip_failed}  # fmt: skip
    with console.run(config, files(file), free=("skip_failed",)) as run:
        frames = read(file, type_map=type_map.split(",") if type_map else None, note=console.note)
        if rattled:
            frames = displaced(frames, rattled, amplitude, console.seed)
        found = labelling(
            frames,
            skip_failed=skip_failed,
            done=Points(run.directory.path / "blocks"),
            hooks=run.hooks("blocks of frames", keep=None),
            executor=console.executor,
            note=console.note,
            **options,
        )
        written = write(run.directory.path / "labelled.xyz", found.frames) if found.frames else None
        result = {
            "frames": len(frames),
            "labelled": len(found.frames),
            "failed": len(found.failed),
            "failures": found.failed,
            "method": options["method"],
            "file": None if written is None else str(written),
        }
        page = label_page(found.frames, found.failed, options["method"])
        run.finish(result, page, ok=bool(found.frames), outcome="Done." if written else "No frame could be labelled.")


def _reading(function: Any) -> Any:
    """The options of every command that reads labelled frames."""
    options = [
        click.option("--energy-key", help="Where energies are found; by default REF_energy, energy or free_energy."),
        click.option("--forces-key", help="Where forces are found; by default REF_forces or forces."),
        click.option("--type-map", help="Symbols of DeePMD-kit's types, as in O,H, where its folder has none."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@atoms.command()
@click.argument("data")
@click.option("--valid", help="Frames to hold out; by default a twentieth of DATA, at most 100.")
@click.option("--isolated", help="Frames of one atom each, for the energies of isolated atoms.")
@click.option("--model", "kind", type=click.Choice(["gto", "radial", "naive"]), default="gto", show_default=True,
              help="Orbitals of all degrees, of distances only, or plain coordinates.")  # fmt: skip
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TOML file with tables [shape] and [recipe].")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="By default 100,000, or as many as --minutes allows.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Plan the steps for so much time.")
@click.option("--frames", "count", type=click.IntRange(1), help="Learn from so many of the frames, drawn at random.")
@click.option("--members", type=click.IntRange(1), default=1, show_default=True, help="Networks of a committee.")
@click.option("--radial", type=click.Choice(["gaussian", "bessel"]), help="Radial functions.")
@click.option("--units", type=click.Choice(["check", "trust"]), default="check", show_default=True,
              help="What to do with energies and forces that contradict each other.")  # fmt: skip
@_reading
@common
def train(console: Console, data: str, config: Path | None, minutes: float | None, **options: Any) -> None:
    """Train a potential on the energies and forces of DATA.

    Writes potential.safetensors, which every other command reads, and its card. The defaults need no tuning; with
    --minutes the schedule is made for that time. A killed run goes on where it was.

    \b
    Example:
      thalweg atoms train frames.xyz --out potential
      thalweg atoms train ethanol --minutes 5 --json
      thalweg atoms train train.xyz --isolated atoms.xyz --members 4 --steps 50000
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.figures.train import train_page
    from thalweg.atoms.tasks.evaluate import predict
    from thalweg.atoms.tasks.plan import planned, settings
    from thalweg.atoms.tasks.training import kept, material, trained_potential
    from thalweg.runs import read_metrics

    names = [data, *(options[name] for name in ("valid", "isolated") if options[name])]
    shape, recipe = settings(config, radial=options["radial"], steps=options["steps"])
    told = {"data": data, "config": None if config is None else str(config), "minutes": minutes, **options}
    inputs = [file for name in names for file in files(name)] + ([] if config is None else [config])
    with console.run(told, inputs, dtype="float32") as run:
        folder, keys = run.directory.path, _keys(options)
        given = material(data, valid=options["valid"], isolated=options["isolated"], count=options["count"],
                         seed=console.seed, units=options["units"], note=console.note, **keys)  # fmt: skip
        if minutes is not None and options["steps"] is None:
            recipe = planned(folder, given, options["kind"], shape, recipe, 60 * minutes, members=options["members"],
                             note=console.note)  # fmt: skip
        found = trained_potential(
            given, kind=options["kind"], shape=shape, recipe=recipe, members=options["members"], seed=console.seed,
            hooks=lambda words, name: run.hooks(words, recipe.steps, read=_shown, keep=name),
        )  # fmt: skip
        place = kept(folder, found, options["kind"], shape)
        metrics = read_metrics(run.directory.metrics_path) if run.directory.metrics_path.exists() else []
        result = {**found.card["held_out"], "model": options["kind"], "steps": recipe.steps,
                  "parameters": found.card["parameters"], "frames": len(given.frames),
                  "isolated_atoms_eV": found.card["isolated_atoms_eV"], "file": str(place)}  # fmt: skip
        run.finish(result, train_page(found, given.valid, predict(found, given.valid), metrics))


@atoms.command()
@click.argument("model")
@click.argument("test")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True,
              help="Precision of the network.")  # fmt: skip
@_reading
@common
def evaluate(console: Console, model: str, test: str, dtype: str, **options: Any) -> None:
    """Measure the errors of MODEL on the labelled frames of TEST.

    MODEL is the directory of a training, a potential.safetensors, or `ethanol`, which comes with the package.

    \b
    Example:
      thalweg atoms evaluate potential test.xyz --json
      thalweg atoms evaluate ethanol my_ethanol.xyz
    """
    from thalweg.atoms.data.check import labelled
    from thalweg.atoms.data.read import files, read
    from thalweg.atoms.data.reference import split_isolated
    from thalweg.atoms.figures.train import evaluate_page
    from thalweg.atoms.tasks.evaluate import errors, predict
    from thalweg.atoms.tasks.trained import load_trained, located

    config = {"model": model, "test": test, "dtype": dtype, **options}
    with console.run(config, [*located(model), *files(test)], dtype=dtype) as run:
        trained = load_trained(model)
        frames = split_isolated(read(test, note=console.note, **_keys(options)))[0]
        labelled(frames)
        found = predict(trained, frames, dtype=dtype)
        result = errors(frames, found)
        run.finish(result, evaluate_page(trained.name, frames, found, result))


def _keys(options: dict[str, Any]) -> dict[str, Any]:
    types = options["type_map"]
    return {"energy_key": options["energy_key"], "forces_key": options["forces_key"],
            "type_map": types.split(",") if types else None}  # fmt: skip


def _shown(walk: Any) -> dict[str, Any]:
    return {name: float(value) for name, value in walk.metrics.items()}


@atoms.command()
@click.argument("model")
@click.argument("test", required=False)
@click.option("--frames", type=click.IntRange(1), default=4, show_default=True, help="Frames of TEST that are tested.")
@click.option("--picoseconds", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
              help="Length of the runs at constant energy.")  # fmt: skip
@click.option("--runs", type=click.IntRange(0), default=1, show_default=True, help="Runs at constant energy.")
@click.option("--gradients", type=click.IntRange(32), default=64, show_default=True,
              help="Per side of a loop, before its mismatch is followed down to rounding.")  # fmt: skip
@click.option("--cutoff", type=click.FloatRange(0, min_open=True),
              help="Of a calculator, in A; without it, it is looked for between 2 and 12 A.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True,
              help="What a trained potential computes in.")  # fmt: skip
@click.option("--curves/--no-curves", default=True, show_default=True, help="Draw pairs and stretched bonds.")
@_reading
@common
def audit(console: Console, model: str, test: str | None, **options: Any) -> None:
    """Test what a potential must keep: symmetries, forces that are slopes, smoothness, and energy in dynamics.

    MODEL is a trained potential, or anybody's ASE calculator as package.module:calculator or file.py:calculator, which
    may also name a class or a function that makes one. TEST holds frames, by default those of the model. Calculators
    that predict forces by themselves are found out by their work around closed loops. The exit code is 0 also where
    something does not hold; `alarm` says so.

    \b
    Example:
      thalweg atoms audit potential test.xyz --json
      thalweg atoms audit ethanol
      thalweg atoms audit mycalculator.py:make frames.xyz --picoseconds 10
    """
    from thalweg.atoms.data.read import files
    from thalweg.atoms.figures.audit import audit_page
    from thalweg.atoms.tasks.audit import audit as measure
    from thalweg.atoms.tasks.audit import pose
    from thalweg.atoms.tasks.audit_parts import Effort
    from thalweg.atoms.tasks.trained import located
    from thalweg.runs import Points

    place = Path(model.rpartition(":")[0])
    of_model = located(model) if ":" not in model or Path(model).exists() else [place] if place.is_file() else []
    inputs = [*of_model, *(files(test) if test is not None else [])]
    with console.run({"model": model, "test": test, **options}, inputs, dtype="float64", free=()) as run:
        posed = pose(model, test, frames=options["frames"], cutoff=options["cutoff"], dtype=options["dtype"],
                     note=console.note, **_keys(options))  # fmt: skip
        effort = Effort(options["frames"], options["gradients"], options["picoseconds"], options["runs"],
                        options["curves"])  # fmt: skip
        found = measure(
            posed, effort, seed=console.seed, done=Points(run.directory.path / "parts"),
            hooks=run.hooks("parts of the audit", keep=None),
            walk_hooks=lambda number: run.hooks("dynamics", keep=f"dynamics_{number}"),
        )  # fmt: skip
        run.finish(found.result, audit_page(found))


for one in (compare, md, relax, barrier):
    atoms.add_command(one)
