"""The page's addresses: every one below a secret token, for this machine alone."""

from __future__ import annotations

import asyncio
import hmac
import importlib.resources
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from thalweg.core.errors import InputError, ThalwegError
from thalweg.page.actions import Cancelled, Resumed
from thalweg.page.live import chosen, curves, details, rows, stamp

_PAUSE = 0.7  # seconds between looks at the directories
_OWN = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report is one file with its scripts inside: in a sandbox it has no origin, so that nothing in it acts as the page.
_REPORT = (
    "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
_FILES = {
    "": ("thalweg.page", "page.html", "text/html"),
    "page.css": ("thalweg.page", "page.css", "text/css"),
    "page.js": ("thalweg.page", "page.js", "text/javascript"),
    "report.css": ("thalweg.report", "report.css", "text/css"),
    "plot.js": ("thalweg.report", "plot.js", "text/javascript"),
}


def application(root: Path, token: str, port: int, closing: Callable[[], bool] = lambda: False) -> Starlette:
    """The page over the runs in `root`, below `/token/`, for requests that name this machine and this port.

    **Arguments:** `root`, of the runs; `token`, without which nothing is told; `port`, that the page is served on;
    `closing`, whether the server is about to end.
    """
    resumed, cancelled = Resumed(), Cancelled()

    async def events(request: Request) -> Response:
        watched = [name for name in request.query_params.get("runs", "").split(",") if name]

        async def gone() -> bool:
            return closing() or await request.is_disconnected()

        return StreamingResponse(told_of(root, watched, resumed, gone), media_type="text/event-stream")

    async def one(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(lambda: details(chosen(root, request.path_params["run"]))))

    async def report(request: Request) -> Response:
        run = chosen(root, request.path_params["run"])
        if not run.report_path.is_file():
            raise InputError(f"{run.id} has no report yet: it is written when the run is done.")
        return FileResponse(run.report_path, media_type="text/html", headers={"Content-Security-Policy": _REPORT})

    async def stop(request: Request) -> Response:
        return JSONResponse({"said": cancelled.ask(chosen(root, request.path_params["run"]))})

    async def go_on(request: Request) -> Response:
        await run_in_threadpool(resumed.begin, chosen(root, request.path_params["run"]))
        return JSONResponse({"said": "Going on from the last checkpoint."})

    routes = [Route(f"/{{token}}/{name}", _file(*place)) for name, place in _FILES.items()]
    routes += [
        Route("/{token}/events", events),
        Route("/{token}/runs/{run}", one),
        Route("/{token}/runs/{run}/report", report),
        Route("/{token}/runs/{run}/cancel", stop, methods=["POST"]),
        Route("/{token}/runs/{run}/resume", go_on, methods=["POST"]),
    ]
    for route in routes:
        route.app = _Guarded(route.app, token, port)
    return Starlette(routes=routes, exception_handlers={ThalwegError: _said})


async def told_of(
    root: Path, watched: list[str], resumed: Resumed, gone: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """The rows whenever they change, and the curves of the runs that are looked at whenever these are written."""
    before: Any = None
    stamps: dict[str, Any] = {}
    while not await gone():
        try:
            now: dict[str, Any] = {"runs": await run_in_threadpool(rows, root), "said": resumed.said()}
        except (ThalwegError, OSError) as error:
            now = {"runs": [], "said": {}, "error": str(error)}
        if now != before:
            before = now
            yield _event("runs", now)
        for name in watched:
            try:
                folder = chosen(root, name).path
            except ThalwegError as error:
                if stamps.get(name) != str(error):
                    stamps[name] = str(error)
                    yield _event("gone", {"run": name, "error": str(error)})
                continue
            seen = stamp(folder)
            if stamps.get(name) != seen:
                stamps[name] = seen
                yield _event("metrics", {"run": name, "curves": await run_in_threadpool(curves, folder)})
        await asyncio.sleep(_PAUSE)


class _Guarded:
    """Lets through what has the token and was asked of this machine by name: another site's page has neither."""

    def __init__(self, app: Any, token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope)
        given, origin = request.path_params.get("token", ""), request.headers.get("origin")
        ours = request.headers.get("host") in self.hosts
        ours &= origin is None or origin in {f"http://{host}" for host in self.hosts}
        if not (ours and hmac.compare_digest(given.encode(), self.token.encode())):
            refusal = PlainTextResponse("The address lacks the token that `thalweg ui` printed.\n", 403)
            await refusal(scope, receive, send)
            return

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = {name.lower() for name, _ in message["headers"]}
                more = {b"content-security-policy": _OWN, b"referrer-policy": "no-referrer",
                        b"cache-control": "no-store", b"x-content-type-options": "nosniff"}  # fmt: skip
                message["headers"] += [(name, value.encode()) for name, value in more.items() if name not in told]
            await send(message)

        await self.app(scope, receive, sealed)


def _file(package: str, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response((importlib.resources.files(package) / "templates" / name).read_bytes(), media_type=kind)

    return answer


async def _said(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404 if request.method == "GET" else 409)


def _event(kind: str, told: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(told)}\n\n"
