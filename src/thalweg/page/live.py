"""What changes while somebody looks, as server-sent events."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from thalweg.core.errors import ThalwegError
from thalweg.page.actions import Desk
from thalweg.page.curves import Curve, Points
from thalweg.page.views import place, row, run_view
from thalweg.runs import RunInfo, list_runs

EVERY_SECONDS = 0.5
_HEARTBEAT = 15.0  # seconds of silence after which a comment tells that the server lives
SHOWN = 500  # runs in the list

Event = tuple[str, Any]
Render = Callable[[str, dict[str, Any]], str]


class Watch(Protocol):
    """Something that is looked at again and again."""

    def look(self) -> list[Event]:
        """What is new since the last look."""
        ...


class ListWatch:
    """The list of the runs in `root`; `render` makes the markup of a row."""

    def __init__(self, root: Path, desk: Desk, render: Render):
        self._root, self._desk, self._render = root, desk, render
        self._shown: dict[str, str] = {}
        self._status: dict[str, str] = {}

    def look(self) -> list[Event]:
        rows = listed(self._root, self._desk)
        fresh = {each["id"]: self._render("row", each) for each in rows}
        changed = {name: text for name, text in fresh.items() if self._shown.get(name) != text}
        gone = [name for name in self._shown if name not in fresh]
        told = [self._said(each) for each in rows if self._status and self._status.get(each["id"]) != each["status"]]
        told += [f"{name} was removed." for name in gone if name in self._status]
        self._shown = fresh
        self._status = {each["id"]: each["status"] for each in rows}
        if not (changed or gone):
            return []
        return [("rows", {"changed": changed, "gone": gone, "order": list(fresh), "said": " ".join(told)})]

    def _said(self, each: dict[str, Any]) -> str:
        return f"{each['title']} {each['id']}: {each['status']}."


class RunWatch:
    """One run: its parts, rendered where they changed, and its curves.

    **Arguments:** `parts`, the names of those that are shown.
    """

    def __init__(self, root: Path, name: str, desk: Desk, render: Render, parts: tuple[str, ...]):
        self._root, self._name, self._desk, self._render, self._parts = root, name, desk, render, parts
        self._curve = Curve(root / name / "metrics.jsonl")
        self._shown: dict[str, str] = {}
        self._status: str | None = None
        self._gone = False

    def look(self) -> list[Event]:
        try:
            view = run_view(self._root, self._name, self._desk)
        except ThalwegError as error:
            told = [] if self._gone else [("gone", {"id": self._name, "said": f"The run is gone: {error}"})]
            self._gone = True
            return told
        self._gone = False
        return [*self._changed(view), *self._drawn(self._curve.look())]

    def _changed(self, view: dict[str, Any]) -> list[Event]:
        fresh = {part: self._render(part, view) for part in self._parts}
        changed = {part: text for part, text in fresh.items() if self._shown.get(part) != text}
        said = "" if self._status in (None, view["status"]) else f"The run is {view['status']}."
        self._shown, self._status = fresh, view["status"]
        return [("parts", {"id": self._name, "parts": changed, "said": said})] if changed else []

    def _drawn(self, points: Points | None) -> list[Event]:
        return [] if points is None else [("curve", {"id": self._name, **points._asdict()})]


def listed(root: Path, desk: Desk) -> list[dict[str, Any]]:
    """The newest runs, the newest first."""
    return [row(info, desk) for info in newest(root)]


def newest(root: Path) -> list[RunInfo]:
    """The newest runs in `root`; those that run come first."""
    found = list_runs(root)[::-1]
    found.sort(key=lambda info: info.status != "running")
    return found[:SHOWN]


async def events(watches: list[Watch], closing: Callable[[], bool]) -> AsyncIterator[str]:
    """The text of a stream of server-sent events, until the server closes."""
    yield "retry: 1000\n\n"
    spoke = time.monotonic()
    while not closing():
        for watch in watches:
            for name, data in await asyncio.to_thread(functools.partial(_looked, watch)):
                spoke = time.monotonic()
                yield f"event: {name}\ndata: {json.dumps(data, allow_nan=False, separators=(',', ':'))}\n\n"
        if time.monotonic() - spoke > _HEARTBEAT:
            spoke = time.monotonic()
            yield ": here\n\n"
        await asyncio.sleep(EVERY_SECONDS)


def _looked(watch: Watch) -> list[Event]:
    try:
        return watch.look()
    except OSError as error:
        return [("trouble", {"said": f"The runs cannot be read ({error.strerror}): the page tries again."})]
