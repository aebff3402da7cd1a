"""From a result to what people read: figures, tables, JSON and one self-contained HTML page."""

from __future__ import annotations

from thalweg.report.blocks import (
    Block,
    Citations,
    Claim,
    Page,
    PaperFigure,
    PlotlyFigure,
    Progress,
    Prose,
    Section,
    Table,
)
from thalweg.report.figures import as_svg, paper_figure, paper_style, plotly_lines, plotly_template, save_figure
from thalweg.report.page import render_page, write_page
from thalweg.report.slider import Marker, Slider
from thalweg.report.tables import jsonable, print_table, to_json
from thalweg.report.viewer import Viewer

__all__ = [
    "Block",
    "Citations",
    "Claim",
    "Marker",
    "Page",
    "PaperFigure",
    "PlotlyFigure",
    "Progress",
    "Prose",
    "Section",
    "Slider",
    "Table",
    "Viewer",
    "as_svg",
    "jsonable",
    "paper_figure",
    "paper_style",
    "plotly_lines",
    "plotly_template",
    "print_table",
    "render_page",
    "save_figure",
    "to_json",
    "write_page",
]
