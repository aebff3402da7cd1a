"""Pictures of inputs that are pushed over a ridge."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from thalweg.report import Marker, Page, PaperFigure, Section, Slider, Table, as_svg, paper_figure, paper_style
from thalweg.robust.classifier import AbstractClassifier
from thalweg.robust.energy import Confidence
from thalweg.robust.tasks.attack import Attack

_UNIT = {"l2": "L2 length of the push", "linf": "largest change of a component (L-infinity)"}


def picture(x: Any) -> np.ndarray | None:
    """An input as grey levels `[height, width]`, colours being averaged; nothing for an input that is no image."""
    x = np.asarray(x, np.float64)
    if x.ndim == 3 and x.shape[0] in (1, 3, 4):
        x = x.mean(axis=0)
    elif x.ndim == 3 and x.shape[2] in (1, 3, 4):
        x = x.mean(axis=2)
    return x if x.ndim == 2 and min(x.shape) > 1 else None


def push_slider(
    classifier: AbstractClassifier,
    clean: Any,
    pushed: Any,
    label: int,
    target: int,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    frames: int = 61,
) -> Slider:
    """An input on its way over the ridge: `-log max p` along the straight line, and the input itself."""
    t = np.linspace(0.0, 2.0, frames)
    clean, pushed = np.asarray(clean, np.float64), np.asarray(pushed, np.float64)
    line = np.clip(clean + t.reshape(-1, *[1] * clean.ndim) * (pushed - clean), *bounds)
    heights = classifier.field(Confidence(), each=False).value_batch(jnp.asarray(line, classifier.dtype))
    length = float(np.linalg.norm(pushed - clean))
    return Slider(
        title=f"An input pushed over its ridge: {label} becomes {target}",
        t=t,
        energy=np.asarray(heights),
        kind="image",
        frames=np.stack([_pictured(x) for x in line]),
        limits=bounds,
        t_label="way along the push",
        energy_label="-log max p (nat)",
        markers=(Marker(f"read as {label}", 0.0), Marker("ridge", 1.0), Marker(f"read as {target}", float(t[-1]))),
        caption=f"Left of the ridge the model reads {label}, right of it {target}. The push has an L2 length of "
        f"{length:.3g}, with inputs from {bounds[0]:g} to {bounds[1]:g}.",
    )


def _pictured(x: Any) -> np.ndarray:
    found = picture(x)
    assert found is not None  # asked before
    return found


def lengths_figure(norms: Any, baseline: Any = None, kind: str = "l2") -> PaperFigure:
    """The robustness curve: the share of inputs still standing over the length of the push."""
    norms = np.sort(np.asarray(norms, np.float64))
    finite = norms[np.isfinite(norms)]
    with paper_style():
        figure, axes = paper_figure("single")
        if baseline is not None:
            axes.step(*_curve(np.asarray(baseline, np.float64)), where="post", label="straight step to the boundary")
        axes.step(*_curve(norms), where="post", label="smallest push found")
        axes.set_xlabel(_UNIT[kind])
        axes.set_ylabel("share of inputs not yet over the ridge")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 1.1 * finite.max() if len(finite) else 1)
        if baseline is not None:
            axes.legend()
        return PaperFigure(as_svg(figure), "Robustness curve of the inputs.", "robustness.svg")


def _curve(norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms = np.sort(norms)
    finite = norms[np.isfinite(norms)]
    return np.concatenate([[0.0], finite]), 1 - np.arange(len(finite) + 1) / len(norms)


def gallery(found: Attack, *, rows: int = 5) -> PaperFigure | None:
    """Clean inputs, what is added to them, and what comes out, from the smallest push to the largest."""
    over = np.flatnonzero(found.success)
    if len(over) == 0 or picture(found.posed.x[0]) is None:
        return None
    ordered = over[np.argsort(found.norm[over], kind="stable")]
    shown = ordered[np.unique(np.linspace(0, len(ordered) - 1, rows).round().astype(int))]
    with paper_style():
        figure, whole = paper_figure("double", height_ratio=0.62)
        whole.remove()
        axes = np.asarray(figure.subplots(3, len(shown), squeeze=False))
        for column, item in enumerate(shown):
            clean, pushed = _pictured(found.posed.x[item]), _pictured(found.pushed[item])
            added, limits = pushed - clean, {"vmin": found.posed.lower, "vmax": found.posed.upper, "cmap": "gray"}
            axes[0, column].imshow(clean, **limits)
            axes[0, column].set_title(f"{int(found.posed.labels[item])}")
            axes[1, column].imshow(added, vmin=-np.abs(added).max(), vmax=np.abs(added).max(), cmap="RdBu")
            axes[1, column].set_title(f"{found.norm[item]:.3g}")
            axes[2, column].imshow(pushed, **limits)
            axes[2, column].set_title(f"{int(found.target[item])}")
        for place in axes.ravel():
            place.set_axis_off()
        caption = (
            "Above: inputs with their class. Middle: the push, each on its own scale, with its length. Below: what "
            "comes out, with the class that the model reads. From the smallest push to the largest."
        )
        return PaperFigure(as_svg(figure), caption, "pushes.svg")


def attack_page(found: Attack) -> Page:
    """The report of one attack."""
    result = found.result
    blocks: list[Any] = [Table(("quantity", "value"), [(name.replace("_", " "), v) for name, v in result.items()])]
    if found.success.any():
        blocks.append(lengths_figure(found.norm, kind=found.kind))
        pictures = gallery(found)
        if pictures is not None:
            item = int(np.argmin(found.norm))
            ends = found.posed.x[item], found.pushed[item], int(found.posed.labels[item]), int(found.target[item])
            bounds = found.posed.lower, found.posed.upper
            blocks += [pictures, push_slider(found.posed.classifier, *ends, bounds=bounds)]
    summary = f"{result['success_rate']:.0%} of {result['n']} inputs pushed over their ridge."
    return Page("Smallest pushes", summary, [Section("Attack", blocks)])


def work_page(table: list[dict[str, Any]]) -> Page:
    """The report of the works along pushes."""
    columns = tuple(table[0])
    rows = [tuple(row.values()) for row in table]
    block = Table(columns, rows, "Work against the fall of the label's loss; energies in nat.")
    return Page("Work along pushes", f"{len(rows)} paths.", [Section("Work", [block])])
