"""The command line: what there is, and the commands that look after data and runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thalweg.console import Console, columns, looking
from thalweg.core.errors import InputError
from thalweg.program import Program

if TYPE_CHECKING:
    from thalweg.datasets import Dataset
    from thalweg.runs import Run, RunInfo

_COMMANDS = {
    "tour": ("thalweg.tour:command", "The claims so far, measured on real input, as one page."),
    "doctor": ("thalweg.doctor:command", "What this installation can do, what is missing and how to get it."),
    "data": ("thalweg.cli:data", "Public data sets by name, with checksums."),
    "runs": ("thalweg.cli:runs", "What was run: list, show, resume."),
    "ui": ("thalweg.page.command:command", "A page over the runs on this machine: live, compare, cancel, go on."),
    "spins": ("thalweg.spins.command:spins", "Ground states, samples, learnt couplings, critical temperatures."),
    "atoms": ("thalweg.atoms.command:atoms", "Potentials from energies and forces, their dynamics and their audit."),
    "learning": (
        "thalweg.learning.command:learning",
        "Symmetry breaking, phase transitions and landscapes of training.",
    ),
    "robust": ("thalweg.robust.command:robust", "Attack classifiers, and measure the work that it takes."),
    "genome": ("thalweg.genome.command:genome", "Splice sites by a recurrent network, scans, scored variants."),
    "portfolio": ("thalweg.portfolio.command:portfolio", "Forecast financed emissions, with intervals and stress."),
}

main = Program(
    "thalweg",
    _COMMANDS,
    announced="thalweg.rooms",
    help="Walks on differentiable landscapes: energies, forces, and six sciences on top.",
    epilog="Start with `thalweg tour --quick`; `thalweg COMMAND --help` says more.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(package_name="thalweg", prog_name="thalweg")(main)


@click.group()
def data() -> None:
    """Public data sets by name, with checksums.

    THALWEG_DATA names a local mirror: files are then taken from there and nothing is downloaded.
    """


@data.command("list")
@looking
def data_list(console: Console) -> None:
    """List the data sets: whose, how large, and whether they are here.

    \b
    Example:
      thalweg data list
    """
    from thalweg import datasets

    known = list(datasets.catalogue().values())
    rows = [(each.name, each.room, datasets.size(each.bytes), datasets.where(each), each.what) for each in known]
    console.answer(
        {"mirror": _text(datasets.mirror()), "home": str(datasets.home()), "datasets": list(map(_described, known))},
        columns([("name", "room", "size", "where", "what"), *rows]),
    )


def _described(dataset: Dataset) -> dict[str, Any]:
    from thalweg import datasets

    told = {"name": dataset.name, "room": dataset.room, "what": dataset.what, "bytes": dataset.bytes}
    told |= {"licence": dataset.licence, "source": dataset.source, "where": datasets.where(dataset)}
    files = [
        {"path": f.path, "bytes": f.bytes, "sha256": f.accepted[0], "addresses": f.addresses} for f in dataset.files
    ]
    return told | {"mirror_only": dataset.mirror_only, "files": files}


@data.command("get")
@click.argument("name")
@looking
def data_get(console: Console, name: str) -> None:
    """Fetch the data set NAME, or one file of it as SET/FILE, compare its checksums and print where it lies.

    With --out the files are copied below that directory.

    \b
    Example:
      thalweg data get ethanol
      thalweg data get gset/G1 --out graphs
    """
    from thalweg import datasets

    paths = [str(path) for path in datasets.get(name, into=console.out, note=console.note)]
    dataset = datasets.catalogue()[name.partition("/")[0]]
    console.note(f"{dataset.what}. Licence: {dataset.licence}. Source: {dataset.source}.")
    told = {"name": dataset.name, "licence": dataset.licence, "source": dataset.source}
    console.answer(told | {"paths": paths}, "\n".join(paths), save=False)


@click.group()
def runs() -> None:
    """What was run: list, show, resume.

    Runs are kept in ./runs, or where THALWEG_RUNS says.
    """


@runs.command("list")
@looking
def runs_list(console: Console) -> None:
    """List the runs, oldest first.

    \b
    Example:
      thalweg runs list
    """
    from thalweg.runs import list_runs, runs_root

    found = list_runs()
    head = ("id", "status", "seconds", "command", "outcome")
    rows = [(each.id, each.status, f"{each.seconds:.1f}", each.command, each.outcome or "") for each in found]
    console.answer(
        {"root": str(runs_root()), "runs": list(map(_listed, found))},
        columns([head, *rows]) if rows else f"There are no runs in {runs_root()}.",
    )


def _listed(info: RunInfo) -> dict[str, Any]:
    return {key: _text(value) if isinstance(value, Path) else value for key, value in info._asdict().items()}


@runs.command("show")
@click.argument("run", metavar="ID")
@looking
def runs_show(console: Console, run: str) -> None:
    """Show the run ID: its options, what it was made with, how it ended and what came out.

    ID is the beginning of a run's name, or the path of its directory.

    \b
    Example:
      thalweg runs show 2026
    """
    found = _found(run)
    told: dict[str, Any] = {"id": found.id, "path": str(found.path), "command": found.command}
    told |= {"seed": found.seed, "dtype": found.dtype, "config": found.config}
    told |= {"manifest": found.manifest | {"status": found.status}}
    told |= {"result": found.read_result() if found.result_path.exists() else None}
    summary = {
        "run": str(found.path.absolute()),
        "status": found.status,
        "outcome": found.manifest.get("outcome"),
        "command": " ".join(["thalweg", *found.command]) if found.command else None,
        "seed": found.seed,
        "started": found.manifest["started"],
        "seconds": found.manifest["seconds"],
        "device": found.manifest.get("device"),
        "report": _text(found.report_path) if found.report_path.exists() else None,
    }
    summary |= {f"option {name}": value for name, value in found.config.items()}
    summary |= {f"result {name}": value for name, value in (told["result"] or {}).items() if _short(value)}
    console.answer(told, columns([(key, str(value)) for key, value in summary.items() if value is not None]))


@runs.command("resume")
@click.argument("run", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress and no notes on standard error.")
@click.pass_context
def runs_resume(context: click.Context, run: str, as_json: bool, quiet: bool) -> None:
    """Go on with the run ID from its last checkpoint, with the command that began it.

    ID is the beginning of a run's name, or the path of its directory.

    \b
    Example:
      thalweg runs resume 2026
    """
    found = _found(run)
    if not found.command:
        raise InputError(f"{found.path} was not started by a command: go on with it from Python, with Run.create.")
    program = context.find_root().command
    words = _resuming(found.command, found.path.absolute(), [*["--json"] * as_json, *["--quiet"] * quiet])
    code = program.main(words, prog_name="thalweg", standalone_mode=False)
    if type(code) is int:
        context.exit(code)


def _resuming(words: list[str], folder: Path, flags: list[str]) -> list[str]:
    """The command line that goes on in `folder`: the words that began it, with `--out` and the flags of now."""
    cut = words.index("--") if "--" in words else len(words)
    options, arguments = words[:cut], words[cut:]
    kept, skip = [], False
    for word in options:
        if not (skip or word in ("--out", "--json", "--quiet") or word.startswith("--out=")):
            kept.append(word)
        skip = word == "--out" and not skip
    return [*kept, "--out", str(folder), *flags, *arguments]


def _found(run: str) -> Run:
    from thalweg.runs import Run, find

    # A path is told from the beginning of a name by the configuration that lies there.
    return Run.open(run) if (Path(run) / "config.toml").is_file() else find(None, run)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _short(value: Any) -> bool:
    return not isinstance(value, (list, dict))
