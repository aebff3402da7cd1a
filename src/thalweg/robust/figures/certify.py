"""Pictures of certified and found radii."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.methods.bounds import LinearBounds
from thalweg.report import Citations, Page, PaperFigure, Prose, Section, Table, as_svg, paper_figure, paper_style
from thalweg.robust.tasks.certify import Certified

_ROWS = 50  # of the table; the file has all


def bracket_figure(found: Certified) -> PaperFigure:
    """The share of all inputs that stand over the radius: no push found above, certified below, the gap shaded."""
    largest = float(np.max(found.found[np.isfinite(found.found)], initial=2 * found.eps))
    at = np.linspace(0.0, 1.05 * largest, 400)
    with paper_style():
        figure, axes = paper_figure("single")
        upper, lower = (_standing(values, at, found.total) for values in (found.found, found.radius))
        axes.step(at, upper, where="post", label="no push found")
        axes.step(at, lower, where="post", label="certified")
        axes.fill_between(at, lower, upper, step="post", alpha=0.2, linewidth=0)
        axes.axvline(found.eps, linestyle=":", linewidth=0.8, color="0.4")
        axes.set_xlabel(f"radius of the ball ({_NORMS[found.norm]})")
        axes.set_ylabel("share of inputs that stand")
        axes.set_ylim(0, 1)
        axes.set_xlim(0, at[-1])
        axes.legend()
        caption = f"Robustness curve of {found.total} inputs; the truth lies in the shaded band. Dotted: eps."
        return PaperFigure(as_svg(figure), caption, "brackets.svg")


def certify_page(found: Certified) -> Page:
    """The report of one certification."""
    result = found.result
    summary = (
        f"At eps = {found.eps:g} ({_NORMS[found.norm]}) the error of {result['n']} inputs lies between "
        f"{result['found_error']:.2%} (found) and {result['certified_error']:.2%} (certified)."
    )
    blocks: list[Any] = [
        Prose(_STORY),
        Table(("quantity", "value"), [(k.replace("_", " "), v) for k, v in result.items()]),
    ]
    if np.isfinite(found.radius).any():
        blocks.append(bracket_figure(found))
    rows = [
        (int(place), int(label), _number(radius), _number(length), "yes" if certified else "no")
        for place, label, radius, length, certified in list(
            zip(
                found.posed.places,
                np.asarray(found.posed.labels),
                found.radius,
                found.found,
                found.certified,
                strict=True,
            )
        )[:_ROWS]
    ]
    names = ("input", "label", "certified radius", "found norm", "certified at eps")
    table = Table(names, rows, f"The first {len(rows)} of {len(found.found)} inputs that are read as labelled.")
    sections = [Section("Certified and found", blocks), Section("Inputs", [table])]
    return Page("Certified radii", summary, [*sections, Section("Sources", [Citations([LinearBounds.bibtex])])])


_NORMS = {"linf": "L-infinity", "l2": "L2"}
_STORY = (
    "Within the certified radius no push changes the class, whatever the attack: each activation is enclosed by two "
    "lines, and these carry the margin back to the input. The found push does change it. All is computed in float64; "
    "the rounding of that computation is allowed for, but not enclosed."
)


def _standing(values: np.ndarray, at: np.ndarray, total: int) -> np.ndarray:
    return np.sum(values[:, None] > at, axis=0) / total


def _number(value: Any) -> str:
    return f"{value:.5g}" if np.isfinite(value) else "-"
