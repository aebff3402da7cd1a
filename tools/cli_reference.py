"""Writes docs/reference/cli.md from the commands themselves; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
WIDTH = 100
HEAD = """\
# Command line

<!-- Made by tools/cli_reference.py from the commands themselves. Do not edit. -->
"""


def commands(main: click.Command, name: str = "thalweg") -> Iterator[tuple[click.Command, click.Context]]:
    """The command `main` and all below it, each with the context in which a user meets it."""
    root = click.Context(
        main, info_name=name, **(main.context_settings | {"terminal_width": WIDTH, "max_content_width": WIDTH})
    )
    yield from _below(main, root)


def _below(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _below(child, child.context_class(child, info_name=name, parent=context))


def page(main: click.Command) -> str:
    """The Markdown page: one section with the help text per command."""
    sections = [
        f"## `{context.command_path}`\n\n```text\n{_help(each, context)}\n```\n" for each, context in commands(main)
    ]
    return "\n".join([HEAD, *sections])


def _help(command: click.Command, context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in command.get_help(context).rstrip().splitlines())


def run(check: bool) -> int:
    """Write the page, or with `check` compare only; returns the exit status."""
    from thalweg.cli import main

    text = page(main)
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if check:
        if text != current:
            print("docs/reference/cli.md is not up to date: run python tools/cli_reference.py", file=sys.stderr)
        return int(text != current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: python tools/cli_reference.py [--check]")
    sys.exit(run(check=bool(sys.argv[1:])))
