"""Pictures of two units that part."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.learning.energy import DataLoss
from thalweg.learning.model.pair import Pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import table, with_table
from thalweg.learning.tasks.symmetry.audit import Split
from thalweg.learning.tasks.symmetry.growth import Growth
from thalweg.learning.tasks.symmetry.study import Study
from thalweg.report import Marker, Page, PaperFigure, Prose, Section, Slider, Table, as_svg, paper_figure, paper_style


def symmetry_page(found: Study) -> Page:
    """The report of one study."""
    result = found.result
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, list)]
    never = f"No bit differed. Seeded by {found.seeded_by}."
    until = found.parting.identical_until
    parted = never if until is None else f"Bits differ from step {until:,} on, seeded by {found.seeded_by}."
    where = "at the saddle" if found.growth.at == "saddle" else "along a training of the tied network"
    told = [
        Prose(
            f"{parted} The softest direction that would part the units has the curvature {result['eigenvalue']:.6g}; "
            f"theory predicts {found.growth.predicted:.6g} per step {where}, measured were {found.growth.measured:.6g}."
        ),
        *([] if found.saddle.parts else [Prose(_STABLE)]),
        *[Prose(f"Note on {note}.") for note in found.problem.notes],
    ]
    pictures = [growth_figure(found.parting, found.growth)] if (found.parting.distance > 0).all() else []
    slider = [parting_slider(found.problem, found.parting, found.pair)] if can_slide(found) else []
    blocks = [*told, *slider, *pictures, Table(("quantity", "value"), rows)]
    return Page("Two identical units", f"Seeded by {found.seeded_by}.", [Section("Symmetry", blocks)])


_STABLE = (
    "The lowest state in which the two units are identical curves upwards wherever they would part: a small difference "
    "between them dies out."
)


def can_slide(found: Study) -> bool:
    """Whether the units' contributions can be drawn: over one input, on recorded params."""
    loss = found.problem.loss
    drawn = found.problem.predict is not None and found.parting.params is not None
    return drawn and isinstance(loss, DataLoss) and loss.x.ndim == 2 and loss.x.shape[1] == 1


def growth_figure(parting: Split, growth: Growth) -> PaperFigure:
    """The distance of the units over the steps on a log axis, with the predicted slope where it is one number."""
    with paper_style():
        figure, axes = paper_figure("single")
        steps = np.arange(len(parting.distance)) * parting.every
        axes.semilogy(steps, parting.distance, label="measured")
        told = "Two identical units part"
        if growth.at == "saddle":
            small = parting.distance < 0.1 * parting.distance.max()
            last = int(np.argmin(small)) if not small.all() else len(small) - 1
            line = parting.distance[0] * np.exp(growth.predicted * steps[: last + 1])
            axes.semilogy(steps[: last + 1], line, "--", label="linearised training step")
            told = "Two units part exponentially at the predicted rate, until they meet their new roles"
        axes.set_xlabel("step of the training")
        axes.set_ylabel("distance of the two units")
        axes.legend()
        return PaperFigure(as_svg(figure), f"{told}.")


@eqx.filter_jit
def contributions(problem: Problem, pair: Pair, params: PyTree) -> Float[Array, "records 3 n"]:
    """What each of the two units adds to the first output, and the output itself, for params with leading records.

    A unit's contribution is what the prediction loses as the unit's numbers in the next layer become zero.
    """
    slot = pair.units.slots[-1]

    def curves(one: PyTree) -> Array:
        rows = table(one, pair.units)
        outgoing = jax.tree.leaves(one)[slot.leaf].size // pair.units.width
        whole = problem.predict(one)  # type: ignore[misc]
        without = [
            problem.predict(with_table(one, pair.units, rows.at[place, -outgoing:].set(0.0)))  # type: ignore[misc]
            for place in pair.places
        ]
        return jax.numpy.stack([*(whole - rest for rest in without), whole])[:, :, 0]

    return jax.vmap(curves)(params)


def parting_slider(problem: Problem, parting: Split, pair: Pair, *, frames: int = 60) -> Slider:
    """The loss along the split as a profile, and beside it what each unit contributes to the prediction."""
    chosen = np.unique(np.linspace(0, len(parting.loss) - 1, frames).astype(int))
    curves = np.asarray(contributions(problem, pair, jax.tree.map(lambda leaf: leaf[chosen], parting.params)))
    loss = problem.loss
    assert isinstance(loss, DataLoss)
    x, y = np.asarray(loss.x)[:, 0], np.asarray(loss.y)[:, 0]
    order = np.argsort(x)
    halfway = int(np.argmax(parting.loss < 0.5 * (parting.loss[0] + parting.loss[-1])))
    return Slider(
        title="Two neurons part",
        t=chosen * parting.every,
        energy=parting.loss[chosen],
        kind="curves",
        frames=curves[:, :, order],
        x=x[order],
        x_label="x",
        y_label="contribution to the prediction",
        reference=y[order],
        reference_label="target",
        labels=("first neuron", "second neuron", "prediction"),
        t_label="step of the training",
        energy_label="Loss",
        markers=(Marker("saddle", 0), Marker("parting", float(halfway * parting.every))),
        caption="Move the slider: the ball stays on the ridge while the neurons are twins, and falls as they part.",
    )
