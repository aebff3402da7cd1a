"""A command group that loads nothing before it is used, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from thalweg.console import WORDS
from thalweg.core.atomic import is_full
from thalweg.core.errors import ThalwegError, WalkError

STOPPED = 130  # what shells say of a command that was interrupted


class Program(click.Group):
    """A group whose commands are named beforehand and imported when they are run.

    **Arguments:** `lazy`, from a name to the place of the command (`module:attribute`) and its help in one line;
    `announced`, the entry point group under which other packages add theirs.
    """

    def __init__(self, name: str, lazy: Mapping[str, tuple[str, str]], announced: str | None = None, **settings: Any):
        click.Group.__init__(self, name, **settings)
        self._places: dict[str, str] = {}
        self._announced = announced
        for each, (place, help_line) in lazy.items():
            self._promise(each, place, help_line)

    def _promise(self, name: str, place: str, help_line: str) -> None:
        self._places[name] = place
        self.commands[name] = click.Command(name, short_help=help_line)

    def _look_around(self) -> None:
        """Promise what other packages announce; that reads their metadata and imports nothing of theirs."""
        group, self._announced = self._announced, None
        if group is None or not _mentioned(group):
            return
        from importlib.metadata import entry_points

        for point in entry_points(group=group):
            if point.name not in self.commands:
                origin = point.dist.name if point.dist else "another package"
                self._promise(point.name, point.value, f"(from {origin})")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order in which they were given."""
        self._look_around()
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported now."""
        if cmd_name not in self.commands:
            self._look_around()
        if cmd_name in self._places:
            command = _load(cmd_name, self._places[cmd_name])
            # The list of commands must not change once one of them is loaded.
            command.short_help = self.commands[cmd_name].short_help
            self.commands[cmd_name] = command
            del self._places[cmd_name]
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, self.commands[name].get_short_help_str(limit=200)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """A context that knows the words of the command line."""
        words = list(args)
        context = click.Group.make_context(self, info_name, args, parent, **extra)
        context.meta[WORDS] = words
        return context

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program: every error a sentence and an exit code; without `standalone_mode`, an exception."""
        words = sys.argv[1:] if args is None else list(args)
        prog_name = prog_name or self.name
        run = functools.partial(click.Group.main, self, words, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        options = words[: words.index("--")] if "--" in words else words
        sys.exit(guarded(run, as_json="--json" in options))


def _mentioned(group: str) -> bool:
    """Whether an installed package announces anything: a look at the files, since `importlib.metadata` takes 50 ms."""
    for folder in sys.path:
        try:
            entries = [
                entry.path for entry in os.scandir(folder or ".") if entry.name.endswith((".dist-info", ".egg-info"))
            ]
        except OSError:
            continue
        for path in entries:
            try:
                with open(os.path.join(path, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
                    if group in file.read():
                        return True
            except OSError:
                continue
    return False


def _load(name: str, place: str) -> click.Command:
    module, _, attribute = place.partition(":")
    try:
        command = getattr(import_module(module), attribute or "main")
    except Exception as error:
        if module.startswith("thalweg."):
            raise
        raise ThalwegError(
            f"the command {name} is made by {module}, which cannot be loaded ({error}): update or remove that package."
        ) from error
    if not isinstance(command, click.Command):
        raise ThalwegError(f"the command {name} is {place}, which is no click command: update or remove that package.")
    return command


def guarded(run: Callable[[], Any], *, as_json: bool = False) -> int:
    """Run a command and turn however it ends into a sentence on standard error and an exit code.

    **Arguments:** `run`, which returns an exit code or anything else; `as_json`, whether standard output gets the
    sentence too, as the one JSON object that was asked for.
    """
    try:
        code = run()
        code = code if type(code) is int else 0
    except click.ClickException as error:
        error.show()
        code = _failed(error.format_message(), error, as_json, error.exit_code, show=False)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("Stopped.", err=True)
        code = _failed("Stopped.", error, as_json, STOPPED, show=False)
    except ThalwegError as error:
        code = _failed(str(error), error, as_json, STOPPED if _was_cancelled(error) else 1)
    except Exception as error:
        code = _failed(_explained(error), error, as_json, 1)
    return _flushed(code)


def _failed(sentence: str, error: BaseException, as_json: bool, code: int, *, show: bool = True) -> int:
    if os.environ.get("THALWEG_DEBUG"):
        traceback.print_exception(error)
    sentence = " ".join(sentence.split())
    if show:
        click.echo(f"Error: {sentence}", err=True)
    if as_json:
        click.echo(json.dumps({"error": sentence, "type": type(error).__name__}, ensure_ascii=False))
    return code


def _was_cancelled(error: ThalwegError) -> bool:
    if not isinstance(error, WalkError):
        return False
    from thalweg.core.solution import Outcome

    return Outcome.CANCELLED.value in error.sentence


def _explained(error: Exception) -> str:
    """What an exception that is not ours means to a user."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "the memory is not enough: choose a smaller batch or system, or a machine with more."
    if isinstance(error, OSError) and is_full(error):
        return f"the disk is full ({error.filename or error.strerror}): free some space and go on."
    if isinstance(error, RuntimeError) and "nable to initialize backend" in text:
        return f"JAX cannot start ({text.rstrip('.')}): unset JAX_PLATFORMS, or see `thalweg doctor`."
    what = f"{type(error).__name__}: {text.rstrip('.')}" if text else type(error).__name__
    return f"this is a defect of thalweg ({what}): run it again with THALWEG_DEBUG=1 and report the traceback."


def _flushed(code: int) -> int:
    """Write out what is buffered now: a reader who has gone is no error worth a message from the interpreter."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
