"""A `Page` as one HTML file that opens offline and asks nothing of any other machine."""

from __future__ import annotations

import base64
import csv
import datetime
import importlib.resources
import io
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.report.blocks import Block, Citations, Claim, Page, PaperFigure, PlotlyFigure, Prose, Section, Table
from thalweg.report.citations import references
from thalweg.report.slider import Slider, slider_data
from thalweg.report.tables import is_number, number
from thalweg.report.viewer import Viewer, viewer_data

if TYPE_CHECKING:
    from jinja2 import Environment

RELOAD_SECONDS = 3
_GAUGE_REACH = 2.5  # how many tolerances the gauge shows on either side


def write_page(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write `page` to `path` as one self-contained file; whoever reads it meanwhile sees the old one or the new one.

    **Returns:** the path. **Raises:** `InputError` if the place cannot be written or a block cannot be shown.
    """
    return write_atomic(path, render_page(page).encode("utf-8"))


def render_page(page: Page) -> str:
    """The page as HTML text."""
    blocks = [block for section in page.sections for block in section.blocks]
    claims = [block for block in blocks if isinstance(block, Claim)]
    has_plotly = any(isinstance(block, PlotlyFigure) for block in blocks)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            sections=[_section(section, i) for i, section in enumerate(page.sections)],
            claims=claims,
            held=sum(bool(claim.holds) for claim in claims),
            plotly=_plotly_script() if has_plotly else "",
            has_slider=any(isinstance(block, Slider) for block in blocks),
            has_viewer=any(isinstance(block, Viewer) for block in blocks),
            reload_seconds=RELOAD_SECONDS,
            written=int(time.time()),
            written_text=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        )
    )


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thalweg.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = _asset
    environment.filters.update(number=number, duration=duration, provenance=_provenance, in_script=_in_script)
    return environment


def _asset(name: str) -> Any:
    """A style sheet or script as it is: its braces are not the template language's."""
    from markupsafe import Markup

    folder = "templates" if "-min" not in name else "vendored"
    return Markup((importlib.resources.files("thalweg.report") / folder / name).read_text("utf-8"))


def _plotly_script() -> Any:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _in_script(value: Any) -> Any:
    """JSON for a script element: with these escapes no text in it can close the element or open a comment."""
    from markupsafe import Markup

    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _section(section: Section, index: int) -> dict[str, Any]:
    claims = [block for block in section.blocks if isinstance(block, Claim)]
    return {
        "title": section.title,
        "anchor": f"s{index + 1}-" + (re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"),
        "status": section.status,
        "blocks": [_view(block) for block in section.blocks],
        "claims": claims,
    }


def _view(block: Block) -> dict[str, Any]:
    view = _VIEWS.get(type(block))
    if view is None:
        raise InputError(f"A page cannot show a {type(block).__name__}: give one of the blocks of thalweg.report.")
    return {"kind": type(block).__name__, "block": block} | view(block)


def _prose(block: Prose) -> dict[str, Any]:
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", block.text) if part.strip()]
    # Odd pieces lie between backticks.
    return {"paragraphs": [part.split("`") for part in paragraphs]}


def _table(block: Table) -> dict[str, Any]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([block.columns, *block.rows])
    numeric = [
        bool(block.rows) and all(is_number(row[i]) or row[i] is None for row in block.rows)
        for i in range(len(block.columns))
    ]
    return {"numeric": numeric, "csv": _data_uri("text/csv;charset=utf-8", text.getvalue())}


def _plotly(block: PlotlyFigure) -> dict[str, Any]:
    return {"json": block.figure.to_json()}


def _paper(block: PaperFigure) -> dict[str, Any]:
    # As an image, not as elements of the page: an SVG's style sheet and ids would reach everything around it.
    return {"uri": _data_uri("image/svg+xml", block.svg)}


def _claim(block: Claim) -> dict[str, Any]:
    return {"gauge": _gauge(block)}


def _slider(block: Slider) -> dict[str, Any]:
    return {"data": slider_data(block)}


def _viewer(block: Viewer) -> dict[str, Any]:
    return {"data": viewer_data(block)}


def _citations(block: Citations) -> dict[str, Any]:
    found = references(block.bibtex)
    return {"references": found, "bibtex": "\n\n".join(reference.bibtex for reference in found)}


_VIEWS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Prose: _prose,
    Table: _table,
    PlotlyFigure: _plotly,
    PaperFigure: _paper,
    Claim: _claim,
    Slider: _slider,
    Viewer: _viewer,
    Citations: _citations,
}


def _gauge(claim: Claim) -> float | None:
    """Where the measured value lies between -1 and 1 on a scale centred on the expected one; None without a scale."""
    values = (claim.measured, claim.expected, claim.tolerance)
    if any(not is_number(value) or not math.isfinite(value) for value in values) or not claim.tolerance > 0:  # type: ignore[operator]
        return None
    offset = float((claim.measured - claim.expected) / claim.tolerance)  # type: ignore[operator]
    # A claim with a rule of its own (one-sided, say) must not sit beside a picture that says otherwise.
    if (abs(offset) <= 1) != bool(claim.holds):
        return None
    return max(-1.0, min(1.0, offset / _GAUGE_REACH))


def _data_uri(media_type: str, text: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(text.encode('utf-8')).decode('ascii')}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _provenance(value: Any) -> Iterator[tuple[str, str]]:
    """Rows of a manifest, nested mappings flattened to dotted names."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from ((f"{name}.{rest}", text) for rest, text in _provenance(inner))
        elif isinstance(inner, (list, tuple)):
            yield str(name), ", ".join(map(str, inner))
        else:
            yield str(name), "\u2013" if inner is None else str(inner)
