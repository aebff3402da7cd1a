"""Pictures of two neurons that part."""

from __future__ import annotations

import numpy as np

from thalweg.learning.energy import HiddenLayerLoss
from thalweg.learning.tasks.study import Study
from thalweg.learning.tasks.symmetry import Growth, Saddle, Split
from thalweg.report import Marker, Page, PaperFigure, Prose, Section, Slider, Table, as_svg, paper_figure, paper_style


def symmetry_page(found: Study) -> Page:
    """The report of one study."""
    result = found.result
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list)]
    never = f"No bit differed. Seeded by {found.seeded_by}."
    parted = never if found.identical_until is None else f"Bits differ from step {found.identical_until:,} on."
    told = Prose(
        f"{parted} The softest direction that would part the neurons has the curvature {result['eigenvalue']:.6g}; "
        f"theory predicts {found.growth.predicted:.6g} per step, measured were {found.growth.measured:.6g}."
    )
    pictures = [growth_figure(found.parting, found.growth)] if (found.parting.distance > 0).all() else []
    slider = [parting_slider(found.loss, found.parting, found.saddle)] if found.loss.x.shape[1] == 1 else []
    blocks = [told, *slider, *pictures, Table(("quantity", "value"), rows)]
    return Page("Two identical neurons", f"Seeded by {found.seeded_by}.", [Section("Symmetry", blocks)])


def growth_figure(parting: Split, growth: Growth) -> PaperFigure:
    """The distance of the neurons over the steps on a log axis, with the predicted slope."""
    with paper_style():
        figure, axes = paper_figure("single")
        steps = np.arange(len(parting.distance)) * parting.every
        axes.semilogy(steps, parting.distance, label="measured")
        small = parting.distance < 0.1 * parting.distance.max()
        last = int(np.argmin(small)) if not small.all() else len(small) - 1
        line = parting.distance[0] * np.exp(growth.predicted * steps[: last + 1])
        axes.semilogy(steps[: last + 1], line, "--", label=r"$\log(1-\eta h)$ per step")
        axes.set_xlabel("gradient-descent step")
        axes.set_ylabel("distance of the two neurons")
        axes.legend()
        return PaperFigure(
            as_svg(figure), "Two neurons part exponentially at the predicted rate, until they meet their new roles."
        )


def parting_slider(loss: HiddenLayerLoss, parting: Split, saddle: Saddle, *, frames: int = 60) -> Slider:
    """The loss along the split as a profile, and beside it what each neuron contributes to the prediction."""
    import jax

    chosen = np.unique(np.linspace(0, len(parting.loss) - 1, frames).astype(int))
    outputs = np.asarray(jax.vmap(loss.outputs)(jax.tree.map(lambda leaf: leaf[chosen], parting.neurons)))
    curves = np.concatenate([outputs.transpose(0, 2, 1), outputs.sum(axis=2)[:, None, :]], axis=1)
    order = np.argsort(np.asarray(loss.x)[:, 0])
    steps = chosen * parting.every
    halfway = int(np.argmax(parting.loss < 0.5 * (saddle.loss + parting.loss[-1])))
    return Slider(
        title="Two neurons part",
        t=steps,
        energy=parting.loss[chosen],
        kind="curves",
        frames=curves[:, :, order],
        x=np.asarray(loss.x)[order, 0],
        x_label="x",
        y_label="contribution to the prediction",
        reference=np.asarray(loss.y)[order],
        reference_label="target",
        labels=("first neuron", "second neuron", "their sum"),
        t_label="gradient-descent step",
        energy_label="Loss",
        markers=(Marker("saddle", 0), Marker("parting", float(halfway * parting.every))),
        caption="Move the slider: the ball stays on the ridge while the neurons are twins, and falls as they part.",
    )
