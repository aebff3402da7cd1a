"""`thalweg ui`: serve the local page on this machine alone until Ctrl-C."""

from __future__ import annotations

import json
import secrets
import socket
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from thalweg.core.errors import InputError

HOST = "127.0.0.1"


@click.command()
@click.option("--runs", "root", type=click.Path(file_okay=False, path_type=Path),
              help="Directory of runs; by default ./runs, or where THALWEG_RUNS says.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free one.")
@click.option("--open/--no-open", "shown", default=True, help="Open the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON object and nothing else.")
@click.option("--quiet", is_flag=True, help="No notes on standard error.")
def command(root: Path | None, port: int, shown: bool, as_json: bool, quiet: bool) -> None:
    """Serve a page over the runs: live progress, reports, comparison, cancelling, going on.

    Only this machine can reach it, and only with the token in its address. Ctrl-C ends it; runs go on.

    \b
    Example:
      thalweg ui
      thalweg ui --runs results --port 8123 --no-open
    """
    try:
        import uvicorn

        from thalweg.page.server import application
    except ModuleNotFoundError as error:
        raise InputError(f"thalweg ui needs {error.name}, which is not installed: pip install 'thalweg[ui]'.") from None
    from thalweg.runs import runs_root

    folder = runs_root(root)
    if root is not None and not folder.is_dir():
        raise InputError(f"{folder} is no directory of runs: name the one that holds them with --runs.")
    with _listening(port) as listening:
        taken, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        address = f"http://{HOST}:{taken}/{token}/"
        click.echo(json.dumps({"address": address, "runs": str(folder.absolute())}) if as_json else address)
        if not quiet:
            click.echo(f"Showing the runs in {folder.absolute()}. Ctrl-C ends the page; runs go on.", err=True)
        if shown:
            webbrowser.open(address)
        # Pages that still listen for events see the end within one look, so that nothing has to be cut off.
        site = application(folder, token, taken, lambda: server.should_exit)
        server = uvicorn.Server(uvicorn.Config(site, log_level="error", timeout_graceful_shutdown=5))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise InputError(f"port {port} cannot be listened on ({error.strerror}): choose another --port.") from error
    return listening
