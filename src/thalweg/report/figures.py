"""House style for figures: Plotly on the page, Matplotlib on paper."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyGraph
    from plotly.graph_objs.layout import Template

# Okabe & Ito, "Color universal design" (2008), without its yellow, which is lost on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif'

WIDTHS = {"single": 89.0, "double": 183.0}  # millimetres: the column widths that most journals ask for
_MILLIMETRES = 25.4  # per inch
_DPI = 300
# Without dates and program versions, the same figure is the same file.
_UNDATED = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
_PAPER: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # Matplotlib ships it: the same text has the same extent on every machine
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "thalweg",
}


def paper_style() -> AbstractContextManager[None]:
    """The paper style as a context: Matplotlib reads some sizes (legends, annotations) only when they are drawn."""
    import matplotlib
    from cycler import cycler

    style: dict[Any, Any] = _PAPER | {"axes.prop_cycle": cycler(color=PALETTE) * cycler(linewidth=[1.1])}
    return matplotlib.rc_context(style)


def paper_figure(width: Literal["single", "double"] = "single", height_ratio: float = 0.68) -> tuple[Figure, Axes]:
    """A figure of one or two journal columns with one pair of axes, outside pyplot's global state.

    **Arguments:** `width`: `"single"` 89 mm or `"double"` 183 mm; `height_ratio`: height over width.

    **Raises:** `InputError` for any other width.
    """
    from matplotlib.figure import Figure

    if width not in WIDTHS:
        raise InputError(f"A paper figure is single or double columns wide, not {width!r}.")
    inches = WIDTHS[width] / _MILLIMETRES
    with paper_style():
        figure = Figure(figsize=(inches, inches * height_ratio), dpi=_DPI, layout="constrained")
        return figure, figure.subplots()


def _drawn(figure: Figure, suffix: str) -> bytes:
    buffer = io.BytesIO()
    with paper_style():
        figure.savefig(buffer, format=suffix[1:], dpi=_DPI, metadata=_UNDATED[suffix])
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` as SVG, PDF or PNG (300 dpi), whichever `path` ends in; the same figure gives the same bytes.

    **Raises:** `InputError` for another ending or a place that cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _UNDATED:
        raise InputError(f"{path}: figures are saved as .svg, .pdf or .png.")
    return write_atomic(path, _drawn(figure, suffix))


def as_svg(figure: Figure) -> str:
    """The figure as the text of an SVG; the same figure gives the same text."""
    return _drawn(figure, ".svg").decode("utf-8")


def plotly_template() -> Template:
    """The house style for Plotly: transparent, so that the page's light or dark theme shows through."""
    import plotly.graph_objects as go

    axis = {
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 10},
    }
    return go.layout.Template(
        layout={
            "colorway": list(PALETTE),
            "font": {"family": SANS, "size": 13},
            "title": {"font": {"size": 15}, "x": 0, "xref": "paper"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis,
            "colorscale": {"sequential": "Viridis", "diverging": "RdBu"},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
            "margin": {"l": 56, "r": 16, "t": 48, "b": 48},
            "hovermode": "closest",
            "height": 380,
        }
    )


def plotly_lines(
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    *,
    x_title: str,
    y_title: str,
    log: tuple[bool, bool] = (False, False),
) -> PlotlyGraph:
    """Lines over one abscissa in house style, told apart by dash as well as by colour.

    **Arguments:** `x` `[points]`; `lines`: name to `[points]`; titles with units; `log`: logarithmic x, y.
    """
    import plotly.graph_objects as go

    dashes = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
    figure = go.Figure(layout={"template": plotly_template(), "showlegend": len(lines) > 1})
    for i, (name, y) in enumerate(lines.items()):
        line = {"dash": dashes[i % len(dashes)], "width": 2}
        figure.add_scatter(x=np.asarray(x), y=np.asarray(y), name=name, mode="lines", line=line)
    kinds = ["log" if wanted else "linear" for wanted in log]
    figure.update_xaxes(title_text=x_title, type=kinds[0])
    figure.update_yaxes(title_text=y_title, type=kinds[1])
    return figure
