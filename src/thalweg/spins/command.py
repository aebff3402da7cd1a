"""`thalweg spins`: spin glasses and Boltzmann machines, one energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common, looking, spread

_KINDS = ("maxcut", "ising", "qubo", "boltzmann")
_file = click.argument("file", type=click.Path(path_type=Path))
_kind = click.option("--kind", type=click.Choice(_KINDS), help="What the numbers are, where FILE does not say it.")


@click.group()
def spins() -> None:
    """Ground states, equilibrium samples, learnt couplings and critical temperatures.

    FILE is a graph in rudy's format (Gset, .mc), .qubo, a dimod BQM (.bqm, .coo, .json), .graphml, .gml, or a matrix
    (.npy, .npz, .mtx, .csv). Without a word of its own, text and graphs are max-cut weights and matrices are Ising
    couplings; --kind says otherwise.
    """


@spins.command()
@_file
@_kind
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="Time limit of the search, compilation left out.")  # fmt: skip
@click.option("--target", type=float, help="Energy at which to stop; for a graph a positive number is a cut.")
@click.option("--method", default="auto", show_default=True,
              help="auto, annealing, exchange, memetic, meanfield, exhaustive or chromatic.")  # fmt: skip
@click.option("--units", type=click.IntRange(0), help="Units of work instead of seconds: replays what a run reports.")
@click.option("--report", type=click.Choice(["tts"]), help="Measure the time to the target instead, over --runs.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Runs of --report tts.")
@common
def solve(console: Console, file: Path, kind: Any, seconds: float, target: float | None, method: str,
          units: int | None, report: str | None, runs: int) -> None:  # fmt: skip
    """Search the ground state of FILE, and certify what is found.

    Writes the spins to spins.txt in the run's directory. A killed search goes on with `thalweg runs resume`.

    \b
    Example:
      thalweg spins solve G22 --seconds 60 --json
      thalweg spins solve glass.txt --kind ising --target -198
      thalweg spins solve G11 --target 564 --report tts --runs 20
    """
    from thalweg.spins.data.read import read
    from thalweg.spins.tasks import solve as task

    config = {"file": str(file), "kind": kind, "target": target, "method": method, "units": units}
    config |= {"report": report, "runs": runs, "seconds": seconds}
    with console.run(config, [file], free=("seconds",)) as run:
        of = read(file, kind=kind)
        if report == "tts":
            return _times(console, run, of, target, runs, seconds, method)
        limit = None if units is not None else seconds
        read_off = lambda state: {"best energy": task.best_energy(state) + task.shift(of)}  # noqa: E731
        hooks = run.hooks("searching", units, limit, read_off, every=1.0)
        found = task.solve(of, target=target, method=method, seed=console.seed, units=units, hooks=hooks)
        from thalweg.spins.data.states import write_spins
        from thalweg.spins.figures import solve_page

        place = write_spins(run.directory.path / "spins.txt", found.signs, note=f"energy={found.result['energy']}")
        run.finish(found.result | {"spins_file": str(place)}, solve_page(found))


def _times(console: Console, run: Any, of: Any, target: float | None, runs: int, seconds: float, method: str) -> None:
    from thalweg.core.errors import InputError
    from thalweg.runs import Points
    from thalweg.spins.figures import times_page
    from thalweg.spins.tasks import solve as task

    if target is None:
        raise InputError("solve: --report tts measures the time to a target: give --target.")
    found = task.time_to_solution(
        of,
        target=target,
        runs=runs,
        seconds=seconds,
        method=method,
        seed=console.seed,
        done=Points(run.directory.path / "runs"),
        hooks=run.hooks("runs to the target", runs, keep=None),
    )
    run.finish(found.result | {"method": method, "target": target}, times_page(found, target))


@spins.command("map")
@_file
@_kind
@click.option("--to", type=click.Choice(_KINDS), required=True, help="What to state the same energy as.")
@click.option(
    "--write", type=click.Path(path_type=Path), help="The file to write; by default NAME.KIND.txt in --out or here."
)
@looking
def map_(console: Console, file: Path, kind: Any, to: Any, write: Path | None) -> None:
    """State the energy of FILE as another model, exact to the constant offset, and write it.

    \b
    Example:
      thalweg spins map glass.txt --kind ising --to boltzmann --json
      thalweg spins map G11 --to qubo --write G11.qubo
    """
    from thalweg.spins.tasks.mapping import map_file

    if write is None and console.out is not None:
        console.out.mkdir(parents=True, exist_ok=True)
        write = console.out / f"{file.name.removesuffix('.gz').partition('.')[0]}.{to}.txt"
    answer = map_file(file, to, kind=kind, out=write)
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in answer.items()]
    console.answer(answer, "\n".join(lines), save=False)


@spins.command()
@_file
@_kind
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="In units of the energy.")  # fmt: skip
@click.option("--method", default="auto", show_default=True,
              help="auto, sweeps, heat_bath, tempering, swendsen_wang or wolff.")  # fmt: skip
@click.option("--steps", type=click.IntRange(4), default=2000, show_default=True, help="Steps of each chain.")
@click.option("--warmup", type=click.IntRange(0), help="Steps before them; by default a fifth as many.")
@click.option("--chains", type=click.IntRange(1), default=4, show_default=True, help="Independent chains.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Keep one draw in so many.")
@common
def sample(console: Console, file: Path, kind: Any, **options: Any) -> None:
    """Draw spins of FILE from the Boltzmann law, with what the draws are worth.

    Writes them to samples.npz (samples [all draws, n], which `learn` reads, with energy and chain of each) in the run's
    directory. Up to 20 spins the exact mean energy stands beside the measured one.

    \b
    Example:
      thalweg spins sample glass.txt --kind ising --temperature 0.5 --json
    """
    from thalweg.spins.data.read import read
    from thalweg.spins.figures import sample_page
    from thalweg.spins.tasks.sample import draw

    with console.run({"file": str(file), "kind": kind, **options}, [file], free=()) as run:
        found = draw(read(file, kind=kind), **options, seed=console.seed, hooks=run.hooks("sampling"))
        place = found.save(run.directory.path / "samples.npz")
        run.finish(found.result | {"samples_file": str(place)}, sample_page(found))


@spins.command()
@click.argument("samples", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(["rbm", "boltzmann", "inverse"]), default="rbm", show_default=True,
              help="Restricted, fully visible, or the couplings of an Ising glass.")  # fmt: skip
@click.option("--method", help="pcd (default), cd, tempered, exact or pseudolikelihood, as the model allows.")
@click.option("--hidden", type=click.IntRange(1), default=16, show_default=True, help="Hidden units of an rbm.")
@click.option("--valid", type=click.Path(path_type=Path), help="Held-out samples, told apart in the answer.")
@click.option("--updates", type=click.IntRange(1), default=6000, show_default=True, help="Of the parameters.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the samples, instead of --updates.")
@click.option("--l2", type=click.FloatRange(0), default=0.0, show_default=True, help="Half the penalty on couplings^2.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Time limit of the training.")
@click.option("--log-z", type=click.Choice(["auto", "exact", "annealed", "tempered", "none"]), default="auto",
              show_default=True, help="How the constant of the likelihood is computed.")  # fmt: skip
@common
def learn(
    console: Console, samples: Path, valid: Path | None, seconds: float | None, log_z: Any, **options: Any
) -> None:
    """Learn a Boltzmann machine, or the couplings of an Ising glass, from SAMPLES.

    SAMPLES is an array [samples, n] of 0 and 1, or of -1 and +1, in .npy, .npz or .csv. Writes the machine to
    machine.safetensors and its couplings to couplings.txt, which `solve` and `sample` read.

    \b
    Example:
      thalweg spins learn digits.npy --hidden 16 --valid held_out.npy --json
      thalweg spins learn spins.csv --model inverse
    """
    from thalweg.spins.data.read import write
    from thalweg.spins.data.samples import read_samples
    from thalweg.spins.figures import learn_page
    from thalweg.spins.tasks.learn import Settings
    from thalweg.spins.tasks.learn import learn as run_learn
    from thalweg.spins.tasks.machine_file import save_machine

    model, method = options.pop("model"), options.pop("method")
    names = {"samples": str(samples), "valid": None if valid is None else str(valid), "seconds": seconds}
    config = {**names, "model": model, "method": method, "log_z": log_z, **options}
    with console.run(config, [samples, *([] if valid is None else [valid])], dtype="float32") as run:
        given, held = read_samples(samples), None if valid is None else read_samples(valid)
        hooks = run.hooks("learning", seconds=seconds)
        found = run_learn(given, model=model, method=method, valid=held, settings=Settings(**options), log_z=log_z,
                          seed=console.seed, on_chunk=hooks)  # fmt: skip
        place = save_machine(run.directory.path / "machine.safetensors", found.machine)
        write(found.problem, run.directory.path / "couplings.txt")
        result = {name: value for name, value in found.result.items() if name != "seed"}
        run.finish(result | {"model_file": str(place)}, learn_page(found))


@spins.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_kind
@click.option("--lattice", help="square, triangular or cubic, instead of FILES.")
@click.option("--sizes", default="8,16,32,64", show_default=True, help="Lengths of --lattice.")
@click.option("--dimension", type=click.IntRange(1), default=2, show_default=True,
              help="Of the FILES: the length is that root of the number of spins.")  # fmt: skip
@click.option("--temperatures", help="LOW..HIGH to look between; by default found.")
@click.option("--draws", type=click.IntRange(100), default=6000, show_default=True, help="Per chain, of eight.")
@click.option("--power", type=float, help="Exponent 1/nu + omega of the correction; by default known or 1.")
@common
@spread
def critical(console: Console, files: tuple[Path, ...], kind: Any, lattice: str | None, sizes: str, dimension: int,
             temperatures: str | None, draws: int, power: float | None) -> None:  # fmt: skip
    """Find the critical temperature of a lattice, or of your own couplings at several sizes.

    FILES are the same system at two or more sizes; their couplings may have any signs that can all be satisfied at
    once. Binder cumulants, by cluster updates and reweighting, with bootstrap intervals.

    \b
    Example:
      thalweg spins critical --lattice square --json
      thalweg spins critical small.txt middle.txt large.txt --kind ising --dimension 2
    """
    from thalweg.runs import Points
    from thalweg.spins.figures import critical_page
    from thalweg.spins.tasks.family import family, study

    config = {"files": [str(file) for file in files], "kind": kind, "lattice": lattice, "sizes": sizes}
    config |= {"dimension": dimension, "temperatures": temperatures, "draws": draws, "power": power}
    with console.run(config, list(files), free=()) as run:
        of = family(files, kind=kind, lattice=lattice, sizes=sizes, dimension=dimension, power=power)
        done, hooks = Points(run.directory.path / "parts"), run.hooks("temperatures and sizes", keep=None)
        found = study(of, temperatures=temperatures, draws=draws, seed=console.seed, done=done, hooks=hooks,
                      executor=console.executor)  # fmt: skip
        run.finish(found.result, critical_page(found))
