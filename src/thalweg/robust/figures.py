"""Pictures of inputs that are pushed over a ridge."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.report import Marker, PaperFigure, Slider, as_svg, paper_figure, paper_style
from thalweg.robust.energy import Classifier, Confidence


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
        t_label="way along the push (1 = over the ridge)",
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
