"""Pictures of an audit: closure, jumps, drift, dissociation, and what a committee expects of itself."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from thalweg.atoms.data.check import symbol
from thalweg.atoms.tasks.audit import Audit
from thalweg.atoms.tasks.audit_forces import CLOSED, LEGS
from thalweg.atoms.tasks.audit_smoothness import KINDS
from thalweg.atoms.tasks.dissociation import Curve
from thalweg.methods.verlet import Verlet
from thalweg.report import Citations, Page, PlotlyFigure, Prose, Section, Table, plotly_lines
from thalweg.report.figures import PALETTE

RIDDERS = """@article{ridders1982accurate,
  title={Accurate computation of {F}'(x) and {F}'(x) {F}''(x)},
  author={Ridders, C. J. F.},
  journal={Advances in Engineering Software}, volume={4}, pages={75--76}, year={1982}}"""
_BELOW = {"y": -0.22, "yanchor": "top"}  # a legend of many lines would grow into the picture
_DASHES = ("solid", "dash", "dot")
_DEEP = 12.0  # eV: higher walls are cut off in pictures of curves


def closure_figure(found: Audit) -> PlotlyFigure:
    """What the work misses of the climb along the sides of every loop, and around it."""
    lines = {
        leg: np.maximum([loop.mismatch[side] / loop.climb[side] for _, loop in found.loops], 1e-17)
        for side, leg in enumerate(LEGS)
    }
    lines |= {
        "around the loop": np.maximum([loop.closure for _, loop in found.loops], 1e-17),
        "what rounding may do": [max(loop.floor, CLOSED) for _, loop in found.loops],
    }
    frames = np.arange(len(found.loops))
    figure = plotly_lines(frames, lines, x_title="frame", y_title="part of the climb", log=(False, True))
    figure.update_traces(mode="lines+markers")
    figure.update_layout(legend=_BELOW, height=440)
    figure.update_xaxes(dtick=max(1, len(frames) // 12))  # there is no half a frame
    caption = "Work of the forces against the energy: forces that are slopes of one energy miss nothing."
    return PlotlyFigure(figure, caption)


def smoothness_figure(found: Audit) -> PlotlyFigure:
    """The force along each line, with what jumps marked."""
    import plotly.graph_objects as go

    unit = max(np.median([np.abs(one.line[2]).max() for _, one in found.lines]), 1e-12)
    figure = plotly_lines([], {}, x_title="place along the line (A)", y_title="force along the line (eV/A)")
    jumps: list[tuple[float, float]] = []
    for number, (name, one) in enumerate(found.lines):
        t, _, force = one.line
        colour = PALETTE[number % len(PALETTE)]
        line = {"color": colour, "width": 1.5, "dash": _DASHES[number // len(PALETTE) % len(_DASHES)]}
        figure.add_trace(go.Scatter(x=t, y=np.clip(force, -unit, unit), name=readable(name), mode="lines", line=line))
        jumps += [(at, np.clip(np.interp(at, t, force), -unit, unit)) for at in np.unique(one.at[one.found])]
    if jumps:
        at, height = np.array(jumps).T
        cross = {"symbol": "x", "size": 9, "color": "#8c2d19"}
        figure.add_trace(go.Scatter(x=at, y=height, mode="markers", name="a jump", marker=cross))
    figure.update_layout(showlegend=True, legend=_BELOW, height=480)
    return PlotlyFigure(figure, "Forces where atoms leave each other's cutoff; crosses mark jumps, down to rounding.")


def readable(name: str) -> str:
    """What a line is called, with symbols for atomic numbers and files without their folders."""
    if (pair := re.fullmatch(r"a pair of (\d+) and (\d+)", name)) is not None:
        return "-".join(symbol(int(number)) for number in pair.groups())
    return re.sub(r"\S*/", "", name)


def drift_figure(found: Audit) -> PlotlyFigure | None:
    """The conserved energy along each run."""
    runs = [(place, run["series"]) for place, run in found.runs if np.shape(run["series"])[1] > 1]
    if not runs:
        return None
    lines = {place: 1e6 * np.asarray(series[1]) for place, series in runs}
    figure = plotly_lines(runs[0][1][0], lines, x_title="time (ps)", y_title="energy per atom (1e-6 eV)")
    return PlotlyFigure(figure, "Total energy per atom at constant energy, relative to the start.")


def dissociation_figure(curves: list[Curve]) -> PlotlyFigure:
    """Energies over distances, beside labels where there are some."""
    import plotly.graph_objects as go

    figure = plotly_lines([], {}, x_title="distance (A)", y_title="energy (eV)")
    for number, curve in enumerate(curves):
        colour = PALETTE[number % len(PALETTE)]
        shown = curve.energy < _DEEP
        figure.add_trace(go.Scatter(x=curve.distance[shown], y=curve.energy[shown], name=curve.name,
                                    line={"color": colour, "width": 1.5}))  # fmt: skip
        near = curve.labels[:, curve.labels[1] < _DEEP]
        if near.shape[1]:
            figure.add_trace(go.Scatter(x=near[0], y=near[1], mode="markers", name=f"{curve.name}, labels",
                                        marker={"color": colour, "size": 5, "symbol": "circle-open"}))  # fmt: skip
    figure.update_layout(showlegend=True, legend=_BELOW, height=480)
    caption = f"Pairs of atoms, and bonds of the first frame with all that hangs on them; cut off at {_DEEP:g} eV."
    return PlotlyFigure(figure, caption)


def calibration_figure(found: Audit) -> PlotlyFigure | None:
    """Errors of forces over those that the committee expects."""
    if found.uncertainty is None:
        return None
    expected, error = found.uncertainty.groups
    figure = plotly_lines(
        expected, {"measured": error, "as expected": expected}, x_title="expected error of a force (eV/A)",
        y_title="error (eV/A)", log=(True, True),
    )  # fmt: skip
    return PlotlyFigure(figure, "Root mean square errors of groups of atoms of rising expected error.")


def audit_page(found: Audit) -> Page:
    """The report of an audit."""
    result = found.result
    words = {True: "holds", False: "ALARM", None: "cannot be told"}
    rows = [
        (one.name.replace("_", " "), one.value, one.limit, words[one.holds], one.tested, one.source)
        for one in found.verdicts
    ]
    table = Table(("quantity", "worst", "limit", "verdict", "tested", "limit from"), rows)
    said = f"Alarm: {', '.join(found.alarms)}." if found.alarms else "Everything that was asked holds."
    if warnings := found.result.get("warnings"):
        said += f" Warnings: {len(warnings)}, the first: {warnings[0]}"
    notes = [Prose("\n\n".join(found.notes))] if found.notes else []
    sections = [Section("Verdicts", [table, *notes]), Section("Forces and energy", [closure_figure(found)])]
    if found.lines:
        sections.append(Section("Leaving the cutoff", [smoothness_figure(found), _jumps(found)]))
    if (drift := drift_figure(found)) is not None:
        sections.append(Section("Constant energy", [drift]))
    if found.curves:
        warned = [Prose("\n\n".join(result["warnings"]))] if result["warnings"] else []
        table = Table(tuple(found.curves[0].row), [tuple(curve.row.values()) for curve in found.curves])
        sections.append(Section("Dissociation", [dissociation_figure(found.curves), *warned, table]))
    if (calibration := calibration_figure(found)) is not None:
        rows = [(name.replace("_", " "), value) for name, value in result["uncertainty"].items()]
        sections.append(Section("Uncertainty", [calibration, Table(("quantity", "value"), rows)]))
    sections.append(Section("Sources", [Citations([RIDDERS, Verlet.bibtex])]))
    return Page(f"Audit of {result['model']}", said, sections)


def _jumps(found: Audit) -> Table:
    rows: list[Any] = []
    for name, one in found.lines:
        for kind, jump, at, seen in zip(KINDS, one.jumps, one.at, one.found, strict=True):
            rows.append(
                (readable(name), kind, float(jump), float(at) if seen else None, "found" if seen else "none above this")
            )
    return Table(("line", "jump of", "size", "at (A)", ""), rows, "Jumps, or what rounding could have hidden.")
