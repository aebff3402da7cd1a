"""Pictures of a comparison: learning curves over frames, steps and seconds, and the error by rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.atoms.figures.one_atom import curve, example_sections
from thalweg.atoms.figures.train import ORBITALS, PRODUCTS
from thalweg.atoms.tasks.compare import Job
from thalweg.atoms.tasks.compare_result import course
from thalweg.atoms.tasks.compare_training import WATCHED
from thalweg.methods.soap import BIBTEX
from thalweg.report import Citations, Page, PlotlyFigure, Prose, Section, Table, plotly_lines
from thalweg.report.figures import PALETTE

_NAMES = {"force_mae_meV_A": "forces (meV/A)", "energy_mae_meV": "energies (meV)"}
_STORY = (
    "Every model is trained by the same optimiser with the same budget, on the same frames for each seed. The "
    "networks of coordinates are tuned for each number of frames (rate, width and batch, on held-out frames, each "
    "trial with a quarter of the budget) unless the table says otherwise; the others keep the defaults of the room. "
    "The naive network is shown every frame turned at random, in each batch anew. Test frames took no part in any "
    "choice."
)


def compare_page(result: dict[str, Any], jobs: Sequence[Job], example: Any = None) -> Page:
    """The report of a comparison, the chapter's own example first."""
    said = result["verdict"]["sentences"]
    sections = [] if example is None else example_sections(*example)
    models = result["models"]
    most = max(result["sizes"])
    curves = [learning_figure(models, "force_mae_meV_A"), learning_figure(models, "energy_mae_meV")]
    along = [course_figure(models, jobs, most, seconds=False), course_figure(models, jobs, most, seconds=True)]
    sections += [
        Section("Over the number of frames", [Prose(_STORY), *curves, _table(models), _exponents(models)]),
        Section("Over steps and seconds", [figure for figure in along if figure is not None]),
    ]
    if (turning := rotation_figure(models, jobs, most)) is not None:
        sections.append(Section("What a rotation does", [turning]))
    sections += [
        Section("Settings", [_settings(models)]),
        Section("Sources", [Citations([ORBITALS, PRODUCTS, BIBTEX])]),
    ]
    return Page("Coordinates, distances, orbitals", " ".join(said), sections)


def learning_figure(models: dict[str, Any], error: str) -> PlotlyFigure:
    """Errors over the number of frames, with bars of one standard deviation over seeds; dotted on turned frames."""
    import plotly.graph_objects as go

    figure = plotly_lines([], {}, x_title="frames learnt from", y_title=_NAMES[error], log=(True, True))
    for name, told in models.items():
        for prefix, dash, words in (("", "solid", ""), ("turned_", "dot", ", turned")):
            sizes, mean, bars = curve({size: row[prefix + error] for size, row in told["sizes"].items()})
            figure.add_trace(go.Scatter(x=sizes, y=mean, error_y=bars, name=name + words, mode="lines+markers",
                                        visible=True if not prefix or name in ("naive", "unturned") else "legendonly",
                                        line={"color": _colour(models, name), "dash": dash, "width": 2}))  # fmt: skip
    figure.update_layout(showlegend=True, height=440)
    _whole_sizes(figure, models)
    caption = f"Mean absolute error of {_NAMES[error]} on test frames; dotted on the same frames turned at random."
    return PlotlyFigure(figure, caption)


def course_figure(models: dict[str, Any], jobs: Sequence[Job], size: int, *, seconds: bool) -> PlotlyFigure | None:
    """The error of forces along the trainings, over steps or over seconds without compilation."""
    lines = {}
    for name in models:
        of = course(jobs, name, size)
        along = of.seconds if seconds else of.steps
        if along is not None:
            lines[name] = along[1:], of.watched[1:, WATCHED.index("force_mae_meV_A")]
    title = "seconds of training" if seconds else "steps"
    caption = f"Error of forces on some test frames along the trainings on {size} frames, over {title}."
    return _lines(models, lines, title, "forces (meV/A)", caption) if lines else None


def rotation_figure(models: dict[str, Any], jobs: Sequence[Job], size: int) -> PlotlyFigure | None:
    """How far the energy of a frame varies when it is turned, along the trainings."""
    lines = {}
    for name in models:
        of = course(jobs, name, size)
        lines[name] = of.steps[1:] / of.steps[-1], np.maximum(of.watched[1:, WATCHED.index("rotation_meV")], 1e-6)
    caption = (
        f"Standard deviation of a frame's energy over its orientation, along the trainings on {size} frames; below "
        "0.01 meV it is the rounding of float32."
    )
    return _lines(models, lines, "share of the training", "spread of the energy (meV)", caption) if lines else None


def _lines(models: dict[str, Any], lines: dict[str, Any], x: str, y: str, caption: str) -> PlotlyFigure:
    import plotly.graph_objects as go

    figure = plotly_lines([], {}, x_title=x, y_title=y, log=(x != "share of the training", True))
    for name, (along, values) in lines.items():
        figure.add_trace(go.Scatter(x=along, y=values, name=name, mode="lines",
                                    line={"color": _colour(models, name), "width": 2}))  # fmt: skip
    figure.update_layout(showlegend=True)
    return PlotlyFigure(figure, caption)


def _whole_sizes(figure: Any, models: dict[str, Any]) -> None:
    sizes = [int(size) for size in next(iter(models.values()))["sizes"]]
    figure.update_xaxes(tickvals=sizes, ticktext=[str(size) for size in sizes])


def _colour(models: dict[str, Any], name: str) -> str:
    return PALETTE[list(models).index(name) % len(PALETTE)]


def _table(models: dict[str, Any]) -> Table:
    columns = ("model", "frames", "forces (meV/A)", "sd", "turned", "energies (meV)", "sd", "turned", "seconds")
    rows = []
    for name, told in models.items():
        for size, row in told["sizes"].items():
            force, energy = row["force_mae_meV_A"], row["energy_mae_meV"]
            one, two = (row[f"turned_{error}"]["mean"] for error in _NAMES)
            rows.append(
                (name, int(size), force["mean"], force["sd"], one, energy["mean"], energy["sd"], two, row["seconds"])
            )
    return Table(columns, rows, "Means over seeds on test frames, and on the same frames turned at random.")


def _exponents(models: dict[str, Any]) -> Table:
    rows = []
    for name, told in models.items():
        force, energy = told["force_exponent"], told["energy_exponent"]
        if force is not None and energy is not None:
            rows.append(
                (name, force["mean"], force["low"], force["high"], energy["mean"], energy["low"], energy["high"])
            )
    columns = ("model", "forces", "from", "to", "energies", "from", "to")
    return Table(columns, rows, "Exponents of the learning curves, error ~ frames^x, with 95 % intervals over seeds.")


def _settings(models: dict[str, Any]) -> Table:
    columns = ("model", "sees", "frames", "parameters", "steps", "rate", "batch", "hidden", "tuned")
    rows = [
        (name, told["sees"], int(size), row["parameters"], row["steps"], row["rate"], row["batch"], row["hidden"],
         "yes" if told["tuned"] else "no")
        for name, told in models.items()
        for size, row in told["sizes"].items()
    ]  # fmt: skip
    return Table(columns, rows, "What was trained.")
