"""The figures of a report, one by one."""

from __future__ import annotations

import base64
import html
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_FIGURE = re.compile(r'<figure class="(plotly|paper|slider|viewer)">(.*?)</figure>', re.DOTALL)
_CAPTION = re.compile(r"<figcaption>(.*?)</figcaption>", re.DOTALL)
_TITLE = re.compile(r"<h3>(.*?)</h3>", re.DOTALL)
_IMAGE = re.compile(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"')
_LARGEST = 64_000_000  # bytes of a report that is looked through


class Figure(NamedTuple):
    """One figure as the report has it: its `kind`, its `title` in one line, and its `markup`."""

    kind: str
    title: str
    markup: str

    @property
    def svg(self) -> bytes | None:
        """The picture, where it is one."""
        found = _IMAGE.search(self.markup) if self.kind == "paper" else None
        return base64.b64decode(found[1]) if found else None


def figures(report: Path) -> list[Figure]:
    """The figures in the file `report`, in order; none if it cannot be read."""
    try:
        stat = report.stat()
        return _figures(report, stat.st_mtime_ns, stat.st_size) if stat.st_size <= _LARGEST else []
    except (OSError, ValueError):
        return []


@lru_cache(maxsize=16)
def _figures(report: Path, stamp: int, size: int) -> list[Figure]:
    # Plotly's own program lies behind the last figure; its text holds none.
    text = report.read_text(encoding="utf-8", errors="replace").partition('<script id="plotly-js">')[0]
    return [
        Figure(kind, _title(inner) or f"Figure {number}", f'<figure class="{kind}">{inner}</figure>')
        for number, (kind, inner) in enumerate(_FIGURE.findall(text), start=1)
    ]


def _title(inner: str) -> str:
    found = _TITLE.search(inner) or _CAPTION.search(inner)
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", "", found[1])).split()) if found else ""
    # The first sentence names the figure; what follows explains it.
    return re.split(r"(?<=[a-z0-9)])[.:;] ", text)[0].rstrip(".")
