"""Pictures of transitions over the weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.learning.model.exact import linear_decay
from thalweg.learning.tasks.transition.branches import Curve, like_of
from thalweg.learning.tasks.transition.order import measured
from thalweg.learning.tasks.transition.posed import Posed
from thalweg.learning.tasks.transition.transition import Transition, measure_of
from thalweg.report import Marker, Page, PaperFigure, Prose, Section, Slider, Table, as_svg, paper_figure, paper_style

_LABELS = {
    "activation": "mean activation of hidden neurons",
    "norm": "end-to-end norm",
    "weights": "norm of the weights",
    "participation": "units that take part",
}


def transition_page(found: Transition, posed: Posed, answer: dict[str, Any], more: Sequence[Section] = ()) -> Page:
    """The report of one study, with `more` sections at its end."""
    verdict = found.verdict
    told = {"first": "First order", "second": "Second order", "none": "No transition"}[verdict.order]
    where = "" if verdict.lambda_c is None else f" at lambda_c = {verdict.lambda_c:.8g}"
    summary = f"{told}{where}: {verdict.why}."
    apart = ("evidence", "trainings", "slowing", "sizes")
    rows = [(key.replace("_", " "), _cell(value)) for key, value in answer.items() if key not in apart]
    proofs = [(key.replace("_", " "), _cell(value)) for key, value in answer["evidence"].items()]
    blocks: list[Any] = [Prose(f"{found.problem.name}; data: {posed.data}. {summary}")]
    if found.ascent is not None or found.loop is not None:
        blocks.append(order_figure(found, None if posed.exact is None else posed.exact.curve))
    if found.ascent is not None:
        blocks.append(losses_figure(found))
    if verdict.order == "first" and found.ascent is not None:
        blocks.append(profile_slider(found))
    blocks += [Table(("quantity", "value"), rows), Table(("evidence", "value"), proofs)]
    return Page("A transition over the weight decay", summary, [Section("Transition", blocks), *more])


def _cell(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def order_figure(found: Transition, exact: tuple[float, int] | None = None) -> PaperFigure:
    """The order parameter over the decay: stable and unstable branches, and the loop of relaxations.

    **Arguments:** `exact`, the singular value and the depth of a linear network on white inputs: its curve is drawn.
    """
    verdict = found.verdict
    with paper_style():
        figure, axes = paper_figure("single")
        for number, curve in enumerate(found.ascent.curves if found.ascent is not None else ()):
            _branch(axes, found, curve, first=number == 0)
        if exact is not None and found.parameter == "norm":
            signal = np.linspace(1e-3, 1, 300) * exact[0]
            axes.plot(linear_decay(signal, *exact), signal, ":", color="black", label="exact")
        if found.loop is not None:
            loop = found.loop
            axes.plot(loop.decay, loop.up, ">", markersize=2.5, color="C1", label="relaxed, way up")
            axes.plot(loop.decay, loop.down, "<", markersize=2.5, color="C2", label="relaxed, way down")
        for value, style, label in ((verdict.lambda_c, "-", "lambda_c"), (verdict.spinodal, "--", "spinodal")):
            if value is not None:
                axes.axvline(value, color="0.5", linestyle=style, linewidth=0.8, label=label)
        if verdict.lambda_c is not None:
            axes.set_xlim(0.2 * verdict.lambda_c, 1.2 * (verdict.spinodal or verdict.lambda_c))
        axes.set_xlabel("weight decay lambda")
        axes.set_ylabel(_LABELS[found.parameter])
        axes.legend()
        caption = "The learnt state over the weight decay: minima solid, other stationary points dashed."
        return PaperFigure(as_svg(figure), caption, "transition.svg")


def _branch(axes: Any, found: Transition, curve: Curve, *, first: bool) -> None:
    value = measured(found.problem, measure_of(found), curve.x, like_of(found.problem))
    minimum = curve.index == 0
    axes.plot(curve.decay, np.where(minimum, value, np.nan), color="C0", label="minimum" if first else None)
    if not minimum.all():
        dashed = np.where(~minimum | np.roll(~minimum, 1), value, np.nan)
        axes.plot(curve.decay, dashed, "--", color="C0", label="not a minimum" if first else None)


def losses_figure(found: Transition) -> PaperFigure:
    """The regularised loss of the two states over the decay: where they cross, the other one is the lower."""
    verdict, ascent = found.verdict, found.ascent
    with paper_style():
        figure, axes = paper_figure("single")
        top = 0.0
        for number, curve in enumerate(ascent.curves if ascent is not None else ()):
            stable = curve.index == 0
            axes.plot(curve.decay, np.where(stable, curve.energy, np.nan), color="C0",
                      label="learnt state" if number == 0 else None)  # fmt: skip
            axes.plot(curve.decay, np.where(stable, np.nan, curve.energy), "--", color="C0")
            top = max(top, float(curve.decay.max()))
        low = 0.2 * (verdict.lambda_c or top)
        decays = np.linspace(low, 1.15 * top, 200)
        energies = np.array([found.ground.energy(float(one)) for one in decays])
        axes.plot(decays, np.where(np.isfinite(energies), energies, np.nan), color="C3", label="state at large decay")
        if verdict.lambda_c is not None:
            axes.axvline(verdict.lambda_c, color="0.5", linewidth=0.8, label="lambda_c")
        axes.set_xlim(low, 1.15 * top)
        high = float(np.nanmax(np.where(np.isfinite(energies), energies, np.nan)))
        axes.set_ylim(top=high * 1.1)
        axes.set_xlabel("weight decay lambda")
        axes.set_ylabel("regularised loss")
        axes.legend()
        return PaperFigure(as_svg(figure), "The losses of the two states over the weight decay.", "losses.svg")


def profile_slider(found: Transition, *, frames: int = 60) -> Slider:
    """The lower state over the decay, and beside it the loss on the line from the collapsed to the learnt state."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    assert found.ascent is not None
    verdict, curve = found.verdict, found.ascent.curves[-1]
    rows = np.flatnonzero(curve.stable())
    rows = rows[np.argsort(curve.decay[rows])]
    end = float(verdict.spinodal or curve.decay[rows].max())
    decays = np.linspace(max(0.4 * float(verdict.lambda_c or end), curve.decay[rows].min()), 0.999 * end, frames)
    nearest = [int(rows[np.argmin(np.abs(curve.decay[rows] - decay))]) for decay in decays]
    unravel, along = ravel_pytree(like_of(found.problem))[1], np.linspace(-0.25, 1.4, 67)
    problem = found.problem

    @jax.jit
    def profile(decay: Any, low: Any, high: Any) -> Any:
        return jax.vmap(lambda part: problem.at(decay)(unravel(low + part * (high - low))))(jnp.asarray(along))

    pairs = [(decay, found.ground.x(float(decay)), curve.x[row]) for decay, row in zip(decays, nearest, strict=True)]
    profiles = np.stack([np.asarray(profile(*pair)) for pair in pairs])
    grounds = np.array([found.ground.energy(float(decay)) for decay in decays])
    profiles = np.clip(profiles, None, grounds.max() + 3 * np.ptp(profiles[:, (along >= 0) & (along <= 1)]))
    lower = np.minimum(grounds, np.interp(decays, curve.decay[rows], curve.energy[rows]))
    critical = float(verdict.lambda_c or end)
    return Slider(
        title="Two states change places",
        t=decays,
        energy=lower,
        kind="curves",
        frames=profiles[:, None, :],
        x=along,
        x_label="from the collapsed state (0) to the learnt one (1)",
        y_label="regularised loss",
        labels=("loss on the line",),
        t_label="weight decay lambda",
        energy_label="Loss of the lower state",
        markers=(Marker("lambda_c", critical),),
        caption="Move the slider: the learnt state's valley rises, at lambda_c it is as high as collapse, and at the "
        "spinodal it is gone. The ball is on the lower of the two.",
    )
