"""`thalweg ui`: the local page over the runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

USUAL_PORT = 8420


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Of 127.0.0.1; 0 for any free one.  [default: 8420]")
@click.option("--runs", "root", type=click.Path(file_okay=False, path_type=Path),
              help="Folder of the runs; by default ./runs, or where THALWEG_RUNS says.")  # fmt: skip
@click.option("--open/--no-open", "opens", default=None,
              help="Open the page in a browser; by default where there is a terminal.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON object and nothing else.")
@click.option("--quiet", is_flag=True, help="No notes on standard error.")
def command(port: int | None, root: Path | None, opens: bool | None, as_json: bool, quiet: bool) -> None:
    """Serve a page over the runs to this machine: live curves, reports, comparisons, stop and resume.

    The address holds a token of this start; nobody without it is answered, and nothing is loaded from elsewhere. Ctrl-C
    ends the page, and no run.

    \b
    Example:
      thalweg ui
      thalweg ui --runs results --port 0 --no-open --json
    """
    from thalweg.core.errors import require

    require("starlette", extra="ui")
    require("uvicorn", extra="ui")
    from thalweg.page.server import listen, serve
    from thalweg.page.views import root_of

    folder = root_of(root)

    def ready(address: str) -> None:
        told = {"address": address, "runs": str(folder), "pid": os.getpid()}
        click.echo(json.dumps(told, ensure_ascii=False) if as_json else address)
        if not quiet:
            click.echo(f"The runs in {folder}, for this machine only. Ctrl-C ends the page, and no run.", err=True)
        if opens or (opens is None and sys.stdout.isatty() and not as_json):
            click.launch(address)

    serve(folder, listen(port, USUAL_PORT), ready)
