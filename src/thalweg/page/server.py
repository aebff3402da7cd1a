"""The server of the local page: what is at which address."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from thalweg.core.errors import InputError, ThalwegError
from thalweg.page import live
from thalweg.page.actions import Desk
from thalweg.page.figures import figures
from thalweg.page.guard import REPORT_POLICY, Guard
from thalweg.page.views import compared, place, run_view, within
from thalweg.report.page import asset, environment

if TYPE_CHECKING:
    from starlette.requests import Request

HOST = "127.0.0.1"
PARTS = ("state", "actions", "report", "result", "options", "files")
_STATIC = {
    "page.css": ("text/css", ("report.css", "local.css")),
    "page.js": ("text/javascript", ("page.js", "plot.js", "curves.js", "local.js")),
}


class Site:
    """The pages over the runs in one folder.

    **Arguments:** `root`, the folder; `token`, the first part of every address; `closing`, whether the server is about
    to end.
    """

    def __init__(self, root: Path, token: str, closing: Callable[[], bool] = lambda: False):
        self.root, self.base, self.closing = root, f"/{token}", closing
        self.desk = Desk()
        self._templates = environment("thalweg.page")
        self._templates.globals.update(base=self.base, parts=PARTS)

    def app(self, port: int) -> Guard:
        """The application, behind its guard."""
        get, post = partial(Route, methods=["GET"]), partial(Route, methods=["POST"])
        routes = [
            get("/", self._page(self._runs)),
            get("/compare", self._page(self._compare)),
            get("/events", self._events),
            get("/static/{name}", self._static),
            get("/runs/{run}", self._page(self._run)),
            get("/runs/{run}/report", self._page(self._report)),
            get("/runs/{run}/figures/{number:int}", self._page(self._figure)),
            get("/runs/{run}/figures/{number:int}.svg", self._page(self._picture)),
            get("/runs/{run}/files/{file}", self._page(self._file)),
            post("/runs/{run}/cancel", self._action(self.desk.cancel)),
            post("/runs/{run}/resume", self._action(self.desk.resume)),
        ]
        missing: Any = {404: self._missing}
        return Guard(Starlette(routes=[Mount(self.base, routes=routes)], exception_handlers=missing), self.base[1:], port)

    def part(self, name: str, view: dict[str, Any]) -> str:
        """The markup of one part of a page."""
        return str(getattr(self._templates.get_template("parts.html.j2").module, name)(view)).strip()

    def _page(self, make: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An address whose answer is made in a thread, and whose errors are a page with one sentence."""

        async def answer(request: Request) -> Response:
            try:
                return await run_in_threadpool(make, request)
            except ThalwegError as error:
                return self._said(str(error))
            except OSError as error:
                return self._said(f"{error.filename or self.root} cannot be read ({error.strerror}).")

        return answer

    def _action(self, act: Callable[[Path], str]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                folder = place(self.root, request.path_params["run"])
                return JSONResponse({"said": await run_in_threadpool(act, folder)})
            except ThalwegError as error:
                return JSONResponse({"error": str(error)}, 409)

        return answer

    def _rendered(self, template: str, status: int = 200, **view: Any) -> Response:
        return Response(self._templates.get_template(template).render(**view), status, media_type="text/html")

    def _said(self, sentence: str, status: int = 404) -> Response:
        return self._rendered("said.html.j2", status, sentence=sentence)

    async def _missing(self, request: Request, error: Exception) -> Response:
        return self._said("there is nothing at this address: go back to the runs.")

    def _runs(self, request: Request) -> Response:
        return self._rendered("runs.html.j2", rows=live.listed(self.root, self.desk), root=self.root, most=live.SHOWN)

    def _run(self, request: Request) -> Response:
        return self._rendered("run.html.j2", view=run_view(self.root, request.path_params["run"], self.desk))

    def _compare(self, request: Request) -> Response:
        return self._rendered("compare.html.j2", view=compared(self.root, request.query_params.getlist("run")))

    def _report(self, request: Request) -> Response:
        path = self._inside(request, "report.html")
        return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    def _figure(self, request: Request) -> Response:
        number, found = self._one_figure(request)
        made = self._rendered("figure.html.j2", figure=found, plotly=plotly() if found.kind == "plotly" else "",
                              title=found.title, run=request.path_params["run"], number=number)  # fmt: skip
        made.headers["content-security-policy"] = REPORT_POLICY
        return made

    def _picture(self, request: Request) -> Response:
        svg = self._one_figure(request)[1].svg
        if svg is None:
            raise InputError("this figure is no picture: open it in the report.")
        return Response(svg, media_type="image/svg+xml", headers={"content-security-policy": REPORT_POLICY})

    def _one_figure(self, request: Request) -> tuple[int, Any]:
        number, found = request.path_params["number"], figures(self._inside(request, "report.html"))
        if not 1 <= number <= len(found):
            raise InputError(f"the report has {len(found)} figures, and no figure {number}: go back to the run.")
        return number, found[number - 1]

    def _file(self, request: Request) -> Response:
        path = self._inside(request, request.path_params["file"])
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    def _inside(self, request: Request, name: str) -> Path:
        folder = place(self.root, request.path_params["run"])
        path = folder / name
        hidden = name.startswith(".") or "/" in name or "\\" in name or "\0" in name
        if hidden or not path.is_file() or not within(folder, path):
            raise InputError(f"the run {folder.name} has no file {name[:80]!r}: go back to the run.")
        return path

    async def _events(self, request: Request) -> Response:
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        shown = ("chip",) if len(names) > 1 else PARTS
        watches: list[live.Watch] = [live.RunWatch(self.root, name, self.desk, self.part, shown) for name in names[:6]]
        try:
            for name in names:
                place(self.root, name)
        except ThalwegError:
            watches = []
        stream = live.events(watches or [live.ListWatch(self.root, self.desk, self.part)], self.closing)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _static(self, request: Request) -> Response:
        kind, names = _STATIC.get(request.path_params["name"], ("", ()))
        if not names:
            return self._said("there is nothing at this address: go back to the runs.")
        return Response("\n".join(str(self._source(name)) for name in names), media_type=kind)

    def _source(self, name: str) -> str:
        loader: Any = self._templates.loader
        return loader.get_source(self._templates, name)[0]


@lru_cache(maxsize=1)
def plotly() -> Any:
    """Plotly's own program."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def listen(port: int | None, usual: int) -> socket.socket:
    """A socket of this machine only.

    **Arguments:** `port`; `None` for the `usual` one, or any free one if that is taken; 0 for any free one.

    **Raises:** `InputError` if the port cannot be had.
    """
    wanted = usual if port is None else port
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, wanted))
    except OSError as error:
        bound.close()
        if port is None:
            return listen(0, usual)
        raise InputError(
            f"port {wanted} of {HOST} cannot be had ({error.strerror}): choose another with --port, or leave it out."
        ) from None
    return bound


def serve(root: Path, bound: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; `ready` gets its address once it answers."""
    import uvicorn

    token, port = secrets.token_urlsafe(24), bound.getsockname()[1]
    site = Site(root, token, lambda: server.should_exit)
    config = uvicorn.Config(site.app(port), log_config=None, lifespan="off", ws="none", http="h11", access_log=False,
                            server_header=False, timeout_graceful_shutdown=2)  # fmt: skip
    server = uvicorn.Server(config)
    bound.listen(64)  # so that whoever is told the address now finds it
    ready(f"http://{HOST}:{port}/{token}/")
    try:
        server.run(sockets=[bound])
    except KeyboardInterrupt:
        return
    finally:
        bound.close()
