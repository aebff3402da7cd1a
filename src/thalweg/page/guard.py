"""Who may ask: this machine, by this address, with the token of this server, and no page of somebody else's."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The browser is told to load nothing but what this server gives.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A report has scripts within it and may come from elsewhere: it runs as a page of no origin, and reaches nothing.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",  # the address holds the token
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses every request that does not carry the token as the first part of its path.

    The name in `Host` must be this machine's, or a name of somebody else's that was made to lead here would share the
    page (DNS rebinding). What changes something must come from a page of this server.

    **Arguments:** `app`; `token`; `port`.
    """

    def __init__(self, app: ASGIApp, token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # nothing here speaks websockets
            return
        if refusal := self._refusal(scope):
            return await _answer(send, 403, refusal)
        if scope["path"] == f"/{self.token}":
            return await _answer(send, 307, "See there.", {"location": f"/{self.token}/"})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in given]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self.app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str | None:
        sent: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            sent.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = sent.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return "This page is served to this machine only: open it by the address that `thalweg ui` printed."
        token = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return "The address lacks the token of this server: open the one that `thalweg ui` printed last."
        if scope["method"] not in ("GET", "HEAD") and not self._own(sent):
            return "Only the page itself may do that."
        return None

    def _own(self, sent: dict[str, list[str]]) -> bool:
        origins = {f"http://{host}" for host in self.hosts}
        site = sent.get("sec-fetch-site", ["same-origin"])
        return site == ["same-origin"] and all(origin in origins for origin in sent.get("origin", []))


async def _answer(send: Send, status: int, sentence: str, more: dict[str, str] | None = None) -> None:
    headers = {**_HEADERS, "content-type": "text/plain; charset=utf-8", **(more or {})}
    coded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": coded})
    await send({"type": "http.response.body", "body": sentence.encode() + b"\n"})
