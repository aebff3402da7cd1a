"""Pictures of inputs that are pushed over a ridge."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.report import Marker, Page, PaperFigure, Section, Slider, Table, as_svg, paper_figure, paper_style
from thalweg.robust.energy import Classifier, Confidence
from thalweg.robust.tasks.attack import Attack


def push_slider(model: Classifier, clean: Any, pushed: Any, label: int, target: int, *, frames: int = 61) -> Slider:
    """An input on its way over the ridge: `-log max p` along the straight line, and the input itself."""
    import jax
    import jax.numpy as jnp

    t = np.linspace(0.0, 2.0, frames)
    line = jnp.clip(clean + t[:, None, None] * (pushed - clean), 0.0, 1.0)
    heights = np.asarray(jax.vmap(Confidence(model))(line))
    return Slider(
        title=f"A digit pushed over its ridge: {label} becomes {target}",
        t=t,
        energy=heights,
        kind="image",
        frames=np.asarray(line),
        limits=(0.0, 1.0),
        t_label="way along the push",
        energy_label="-log max p (nat)",
        markers=(Marker(f"read as {label}", 0.0), Marker("ridge", 1.0), Marker(f"read as {target}", float(t[-1]))),
        caption=f"Left of the ridge the net reads {label}, right of it {target}. The push has an L2 length of "
        f"{float(np.linalg.norm(np.asarray(pushed - clean))):.3f}, with grey levels from 0 to 1.",
    )


def lengths_figure(norms: Any, baseline: Any) -> PaperFigure:
    """The share of inputs still standing over the length of the push, for both attacks."""
    with paper_style():
        figure, axes = paper_figure("single")
        standing = np.linspace(1, 0, len(norms), endpoint=False)
        axes.step(np.sort(np.asarray(baseline)), standing, where="post", label="straight step to the boundary")
        axes.step(np.sort(np.asarray(norms)), standing, where="post", label="smallest push by relax")
        axes.set_xlabel("L2 length of the push")
        axes.set_ylabel("share of inputs not yet over the ridge")
        axes.set_ylim(0, 1)
        axes.legend()
        return PaperFigure(as_svg(figure), "Robustness curve of the test inputs.", "robustness.svg")


def attack_page(found: Attack) -> Page:
    """The report of one attack."""
    result, pushes = found.result, found.pushes
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    blocks: list[Any] = [Table(("quantity", "value"), rows)]
    if bool(np.isfinite(np.asarray(pushes.norm)).all()):
        blocks.append(lengths_figure(pushes.norm, found.baseline))
    grey = np.asarray(found.clean).ndim == 3
    if grey and bool(pushes.success.any()):
        item = int(np.argmin(np.asarray(pushes.norm)))
        ends = found.clean[item], pushes.x[item]
        blocks.append(push_slider(found.brought.model, *ends, int(found.labels[item]), int(pushes.target[item])))
    summary = f"{result['success_rate']:.0%} of {result['n']} inputs pushed over their ridge."
    return Page("Smallest pushes", summary, [Section("Attack", blocks)])


def work_page(table: list[dict[str, Any]]) -> Page:
    """The report of the works along pushes."""
    columns = tuple(table[0])
    rows = [tuple(row.values()) for row in table]
    block = Table(columns, rows, "Work against the fall of the label's loss; energies in nat.")
    return Page("Work along pushes", f"{len(rows)} paths.", [Section("Work", [block])])
