"""What every command shares: its common options, its run directory, and the one answer that it prints."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thalweg.core.errors import InputError

if TYPE_CHECKING:
    from thalweg.core.hooks import Executor, Hook
    from thalweg.methods.parts import World
    from thalweg.report import Page
    from thalweg.runs import Cancel, Run
    from thalweg.session import Device

WORDS = "thalweg.words"  # the key under which the program leaves the words of its command line in a click context
_OURS = ("seed", "seconds", "compile_seconds", "out")
_PROVENANCE = ("started", "versions", "python", "platform", "cpu", "cores")


@dataclasses.dataclass
class Console:
    """What a command gets as its first argument: the common options, and how to run and to answer.

    **Fields:** `json`, one JSON object on standard output and nothing else; `out`, the directory that was asked for;
    `seed`; `quiet`; `device`, as asked for; `exit_code`, with which the command ends once its answer is printed;
    `executor`, where independent tasks run (see `spread`), `None` for this process.
    """

    json: bool = False
    out: Path | None = None
    seed: int = 0
    quiet: bool = False
    device: Device | None = None
    exit_code: int = 0
    executor: Executor | None = None
    _text: str | None = None

    def note(self, sentence: str) -> None:
        """Tell the user something on standard error, unless they want quiet."""
        if not self.quiet:
            click.echo(sentence, err=True)

    def answer(self, result: Mapping[str, Any], text: str, *, save: bool = True) -> None:
        """What a command that computes nothing prints at its end.

        **Arguments:** `result`, for `--json`; `text`, the same for people; `save`, also as `result.json` in `--out`.
        """
        written = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False)
        if self.out is not None and save:
            from thalweg.core.atomic import write_atomic

            write_atomic(self.out / "result.json", written + "\n")
        self._text = written if self.json else text

    @contextmanager
    def run(
        self,
        config: Mapping[str, Any],
        inputs: Sequence[str | os.PathLike[str]] = (),
        *,
        dtype: Any = None,
        free: Sequence[str] = ("seconds",),
    ) -> Iterator[Running]:
        """Work in a run directory: a new one, or `--out`, and then on with what was done there.

        **Arguments:**

        - `config`: the resolved options.
        - `inputs`: the files that are read, or folders of them; in the record their paths are absolute, so that the
          run can be gone on with from anywhere.
        - `dtype`: as computed with.
        - `free`: options that may differ when a run is gone on with.

        **Raises:** what `Run.create` raises. An error inside leaves the run `failed`, with its sentence.
        """
        from thalweg.runs import Cancel, Run

        known = {str(path): str(Path(path).absolute()) for path in inputs}
        run = Run.create(
            self.out,
            {name: _absolute(value, known) for name, value in config.items()},
            command=_words(known),
            inputs=[file for path in known.values() for file in _files(Path(path))],
            seed=self.seed,
            dtype=dtype,
            free=free,
        )
        with run, Cancel(quiet=self.quiet) as cancel:
            running = Running(self, run, cancel)
            try:
                yield running
            except BaseException:
                if run.state_path.exists() or (run.path / "parts").is_dir():
                    self.note(f"What was done is kept: thalweg runs resume {run.path}")
                raise
            if not running.finished:
                raise RuntimeError("the command left its run without `finish`")


class Running:
    """A run under way.

    **Fields:** `directory`, its `Run`; `finished`, whether it has been told its result.
    """

    def __init__(self, console: Console, directory: Run, cancel: Cancel):
        from thalweg.session import CompileClock

        self.directory, self.finished = directory, False
        self._console, self._cancel = console, cancel
        self._began, self._clock = time.perf_counter(), CompileClock()

    def hooks(
        self,
        description: str,
        steps: int | None = None,
        seconds: float | None = None,
        read: Callable[[Any], Mapping[str, Any]] | None = None,
        *,
        keep: str | None = "state",
        every: float = 30.0,
    ) -> tuple[Hook, ...]:
        """The hooks of one walk: progress, metrics, checkpoint, cancelling, and a time limit if there is one.

        **Arguments:** `description`, for the progress bar; `steps`, its length, by default the walk's, or the time
        limit of a walk without `steps`; `seconds`, the time limit, without what is compiled meanwhile; `read`, from a
        state to the scalars to show and to keep in `metrics.jsonl`; `keep`, the name of the checkpoint: a name of its
        own for each further walk of a command (which then has no metrics), `None` for a walk so short that it is
        rather done again; `every`, seconds between checkpoints.
        """
        from thalweg.runs import Checkpoint, Metrics, Progress, TimeLimit
        from thalweg.session import CompileClock

        length = seconds if steps is None else None
        hooks: list[Any] = [] if self._console.quiet else [Progress(description, steps, read, seconds=length)]
        if read is not None and keep == "state":
            hooks.append(Metrics(self.directory, read))
        if keep is not None:
            hooks.append(Checkpoint(self.directory.path / f"{keep}.safetensors", every_seconds=every))
        hooks.append(self._cancel)
        clock = CompileClock()
        return (*hooks, *([] if seconds is None else [TimeLimit(seconds, lambda: clock.seconds)]))

    def world(self) -> World:
        """What keeps the parts of a task in `parts/`, and shows the metrics of the walks inside them."""
        from thalweg.methods.parts import World
        from thalweg.runs import Points

        folder = self.directory.path
        return World(
            done=Points(folder / "parts"),
            parts=lambda words: self.hooks(words, keep=None),
            walk=lambda words, name, steps: self.hooks(words, steps, read=_metrics, keep=name),
            forget=lambda name: (folder / f"{name}.safetensors").unlink(missing_ok=True),
            executor=self._console.executor,
        )

    def finish(
        self, result: Mapping[str, Any], page: Page | None = None, *, outcome: str = "Done.", ok: bool = True
    ) -> None:
        """Write `result.json` and `report.html`, and make the result the answer of the command.

        **Arguments:** `result`: numbers, text, lists, arrays, tables; `page`, the report; `outcome`, how it ended in
        a sentence; `ok`, whether the command succeeded: otherwise the run is `failed` and the exit code 1.

        **Raises:** `InputError` for a result that JSON cannot hold.
        """
        from thalweg.report import jsonable, write_page

        if taken := set(result) & set(_OURS):
            raise InputError(f"the result has its own {min(taken)!r}, which every result has already: rename it.")
        run = self.directory
        full = jsonable(result) | {
            "seed": self._console.seed,
            "seconds": round(time.perf_counter() - self._began, 3),
            "compile_seconds": round(self._clock.seconds, 3),
            "out": str(run.path),
        }
        if page is not None:
            provenance = dict(page.provenance) or self._provenance()
            write_page(dataclasses.replace(page, provenance=provenance), run.report_path)
        run.finish(outcome, status="done" if ok else "failed", result=full)
        self.finished = True
        self._console.exit_code = 0 if ok else 1
        written = json.dumps(full, allow_nan=False, ensure_ascii=False)
        self._console._text = written if self._console.json else _for_people(full, run, page is not None)

    def _provenance(self) -> dict[str, Any]:
        run = self.directory
        told = {"command": " ".join(["thalweg", *run.command]), "seed": run.seed, "dtype": run.dtype}
        return told | {name: run.manifest[name] for name in _PROVENANCE if name in run.manifest}


def _metrics(walk: Any) -> dict[str, float]:
    walk = getattr(walk, "state", walk)  # beneath the records
    return {name: float(value) for name, value in walk.metrics.items()}


def common(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that computes the common options and a `Console`, and start JAX as asked before its body."""
    device = click.option(
        "--device",
        type=click.Choice(["cpu", "gpu"]),
        help="Compute there, or fail where that is missing; by default on what JAX finds.",
    )
    return _with_options(function, "Seed of all random keys.", starts=True, more=[device])


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose work falls into independent tasks the option --where; to be put under `common`.

    It is no part of the configuration of a run: a run may be gone on with somewhere else.
    """

    @functools.wraps(function)
    def command(console: Console, *args: Any, where: str | None, **options: Any) -> None:
        from thalweg.scale import executor_for

        console.executor = executor_for(where)
        function(console, *args, **options)

    return click.option(
        "--where",
        metavar="PLACE",
        help="Where independent tasks run: local (a process per core), local:N or dask:ADDRESS; by default here.",
    )(command)


def looking(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that computes nothing the common options and a `Console`; JAX is not loaded."""
    return _with_options(function, "Taken by every command; this one draws no random numbers.", starts=False)


def _with_options(function: Callable[..., None], seed_help: str, *, starts: bool, more: Sequence[Any] = ()):
    @functools.wraps(function)
    def command(*args: Any, as_json: bool, out: Path | None, seed: int, quiet: bool, **options: Any) -> None:
        device = options.pop("device") if starts else None
        console = Console(as_json, out, seed, quiet, device)
        with ExitStack() as stack:
            if as_json:
                stack.enter_context(_nothing_else_on_stdout())
            if starts:
                from thalweg import session

                stack.enter_context(session.start(device, note=console.note))
            try:
                function(console, *args, **options)
            except click.exceptions.Exit as exit:
                console.exit_code = exit.exit_code
        if console._text is not None:
            click.echo(console._text)
        if console.exit_code:
            click.get_current_context().exit(console.exit_code)

    shared = [
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
        click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Directory for what is written."),
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help=seed_help),
        click.option("--quiet", is_flag=True, help="No progress and no notes on standard error."),
    ]
    for option in reversed([*shared, *more]):
        command = option(command)
    return command


@contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """Send to standard error what anything prints meanwhile, compiled libraries included."""
    with ExitStack() as stack:
        try:
            descriptor = sys.stdout.fileno()
        except (OSError, ValueError):  # standard output is not a file: a test's buffer
            descriptor = None
        if descriptor == 1:
            sys.stdout.flush()
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def _words(known: Mapping[str, str]) -> list[str] | None:
    """The words of this command line, with absolute paths for its inputs."""
    context = click.get_current_context(silent=True)
    if context is None or WORDS not in context.meta:
        return None
    words, depth = context.meta[WORDS], len(context.command_path.split()) - 1

    def absolute(word: str) -> str:
        name, equals, value = word.partition("=")
        return f"{name}={known[value]}" if equals and value in known else known.get(word, word)

    return [*words[:depth], *map(absolute, words[depth:])]


def _absolute(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_absolute(each, known) for each in value]
    return known.get(str(value), value) if isinstance(value, (str, os.PathLike)) else value


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _for_people(full: Mapping[str, Any], run: Run, has_page: bool) -> str:
    from thalweg.report.tables import number

    def flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for inner, each in value.items():
                yield from flat(f"{name}.{inner}", each)
        elif isinstance(value, list):
            yield name, f"{len(value)} values, in {run.result_path.name}"
        else:
            yield name, number(value)

    rows = [row for name, value in full.items() for row in flat(name, value)]
    return columns([*rows, *([("report", str(run.report_path))] if has_page else [])])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns; the last one is as wide as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
