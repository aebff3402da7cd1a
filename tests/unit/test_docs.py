"""The documentation against the program: the generated reference, help texts and examples."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import cli_reference
import click


def examples(command: click.Command) -> list[str]:
    """The lines of a help text that begin with `thalweg`: what a reader would copy."""
    text = "\n".join(filter(None, [command.help, command.epilog]))
    return [line.strip().removeprefix("$ ") for line in text.splitlines() if re.match(r"\s*(\$ )?thalweg ", line)]


def complaints(main: click.Command) -> list[str]:
    """Commands and options without help, and commands whose example is missing or names an unknown option."""
    found = []
    for command, context in cli_reference.commands(main):
        path = context.command_path
        if not command.help:
            found.append(f"{path} has no help")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.help:
                found.append(f"{path} {parameter.opts[0]} has no help")
        if isinstance(command, click.Group):
            continue
        shown = [line for line in examples(command) if line.startswith(path)]
        if not shown:
            found.append(f"{path} has no example")
        known = {opt for parameter in command.params for opt in [*parameter.opts, *parameter.secondary_opts]} | {
            "--help"
        }
        for line in shown:
            used = {word.split("=")[0] for word in shlex.split(line, comments=True) if word.startswith("--")}
            found += [f"{path} has no option {option}, which its example uses" for option in sorted(used - known)]
    return found


def test_the_command_line_reference_is_up_to_date():
    # In a process of its own, as a reader runs it: other tests put commands and settings into this one.
    checked = subprocess.run([sys.executable, cli_reference.__file__, "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_command_has_help_and_an_example():
    from thalweg.cli import main

    assert complaints(main) == []


@click.command()
@click.option("--deep")
def _bare(deep: str) -> None: ...


@click.command(help="Does it.\n\n\b\nExample:\n  thalweg wrong --deeper 3")
@click.option("--deep", help="How deep.")
def _wrong(deep: str) -> None: ...


@click.command(help="Does it.\n\n\b\nExample:\n  thalweg good --deep 3")
@click.option("--deep", help="How deep.")
def _good(deep: str) -> None: ...


def test_commands_without_help_or_example_are_found():
    program = click.Group("thalweg", {"bare": _bare, "wrong": _wrong, "good": _good}, help="A program.")
    assert complaints(program) == [
        "thalweg bare has no help",
        "thalweg bare --deep has no help",
        "thalweg bare has no example",
        "thalweg wrong has no option --deeper, which its example uses",
    ]


def test_the_reference_holds_every_command():
    text = cli_reference.page(click.Group("thalweg", {"good": _good}, help="A program."))
    assert "## `thalweg good`" in text
    assert "thalweg good --deep 3" in text
    assert "How deep." in text
