"""Pictures of many trainings: the order parameter over the decay, slowing down, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray

from thalweg.learning.tasks.many.beside import Beside
from thalweg.learning.tasks.many.sizes import Sizes, curves
from thalweg.learning.tasks.many.slowing import Slowing
from thalweg.learning.tasks.many.trainings import curve_of
from thalweg.report import PaperFigure, Section, Table, as_svg, paper_figure, paper_style


def trainings_figure(found: xarray.Dataset, order: str, exact: tuple[np.ndarray, np.ndarray] | None = None):
    """Every training as a dot, the median and the lowest state as lines; `exact` decays and values, where known."""
    curve = curve_of(found, order)
    with paper_style():
        figure, axes = paper_figure("single")
        decays = np.broadcast_to(found["value"].to_numpy()[:, None], found[order].shape)
        axes.plot(decays.ravel(), found[order].to_numpy().ravel(), ".", markersize=2, alpha=0.4, label="trainings")
        axes.plot(curve["value"], curve["order"].sel(quantile=0.5), label="median")
        axes.plot(curve["value"], curve["lowest"], "--", label="lowest")
        if exact is not None:
            axes.plot(*exact, ":", color="black", label="exact")
        axes.set_xlabel("weight decay")
        axes.set_ylabel(order)
        axes.legend()
        told = f"{found[order].size} independent trainings, each from a random start of its own."
        return PaperFigure(as_svg(figure), told, "trainings.svg")


def slowing_figure(found: Slowing) -> PaperFigure:
    """The measured relaxation time over the distance to the transition, beside what the softest curvature predicts."""
    with paper_style():
        figure, axes = paper_figure("single")
        for name, here in (("below", found.decays < found.lambda_c), ("above", found.decays > found.lambda_c)):
            if not here.any():
                continue
            away = np.abs(found.decays[here] - found.lambda_c)
            axes.loglog(away, found.times[here], "o", markersize=3, label=f"measured {name}")
            axes.loglog(away, 1 / found.curvature[here], "-", linewidth=0.8, color="black")
        axes.set_xlabel("distance of the decay from the transition")
        axes.set_ylabel("relaxation time")
        axes.legend()
        told = "Relaxation takes ever longer towards the transition; lines: the inverse of the softest curvature."
        return PaperFigure(as_svg(figure), told, "slowing.svg")


def cumulants_figure(found: Sizes) -> PaperFigure:
    """The Binder cumulant of each size over the decay, and the crossing that they tend to."""
    with paper_style():
        figure, axes = paper_figure("single")
        for size, (decays, cumulant, _) in curves(found).items():
            axes.errorbar(decays, cumulant.value, cumulant.error, label=f"n = {size}", linewidth=0.8)
        axes.axvline(float(found.crossings.critical.value), color="black", linestyle=":")
        axes.set_xlabel("weight decay")
        axes.set_ylabel("Binder cumulant")
        axes.legend()
        return PaperFigure(
            as_svg(figure), "Cumulants of several numbers of items cross near the transition.", "binder.svg"
        )


def collapse_figure(found: Sizes) -> PaperFigure:
    """The order parameter of all sizes as one function of the scaled distance."""
    best = found.order
    critical, nu, beta = (float(part.value) for part in (best.critical, best.nu, best.exponent))
    with paper_style():
        figure, axes = paper_figure("single")
        for size, part in found.moments.items():
            scale = size ** (beta / nu)
            x = (part.values - critical) * size ** (1 / nu)
            axes.errorbar(x, part.first.value * scale, part.first.error * scale, fmt=".", label=f"n = {size}")
        axes.set_xlabel(f"(decay - {critical:.4g}) n^(1/{nu:.3g})")
        axes.set_ylabel(f"order n^({beta:.3g}/{nu:.3g})")
        axes.legend()
        told = f"With nu = {nu:.3g} and beta = {beta:.3g} all sizes fall onto one curve (quality {best.quality:.2g})."
        return PaperFigure(as_svg(figure), told, "collapse.svg")


def beside_sections(found: Beside) -> list[Section]:
    """What was asked for besides a transition, a section each."""
    sections = []
    if found.trained is not None:
        dataset, told = found.trained
        sections.append(Section("Independent trainings", [trainings_figure(dataset, found.parameter), _rows(told)]))
    if found.slowing is not None:
        sections.append(Section("Slowing down", [slowing_figure(found.slowing), _rows(found.slowing.result)]))
    if found.sizes is not None:
        pictures = [cumulants_figure(found.sizes), collapse_figure(found.sizes)]
        sections.append(Section("Finite sizes", [*pictures, _rows(found.sizes.result)]))
    return sections


def _rows(result: dict[str, Any]) -> Table:
    plain = (str, int, float, bool)
    rows = [(name.replace("_", " "), one if isinstance(one, plain) else str(one)) for name, one in result.items()]
    return Table(("quantity", "value"), rows)
