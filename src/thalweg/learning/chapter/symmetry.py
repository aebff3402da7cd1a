"""Chapter 3: two identical neurons part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from thalweg.report.blocks import Block, Claim, Prose, Table
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_SYSTEM = "Two bit-identical tanh neurons on y = x^2, float64, gradient descent at 0.1"
_COMMAND = "thalweg learning symmetry --data your.csv"
_ETA, _DECAY = 0.1, 1e-3
_STORY = (
    "Two neurons that start as bit-identical twins get the same gradient and stay twins: the network sits on a "
    "saddle. The Hessian's antisymmetric block `H11 - H12` says how fast the smallest difference grows, "
    "`log(1 - eta h)` per step, and parting is what makes the better fit possible."
)


def _symmetry(telling: Telling) -> Iterator[Block]:
    from thalweg.learning import figures
    from thalweg.learning.data import parabola
    from thalweg.learning.energy import HiddenLayerLoss
    from thalweg.learning.tasks import symmetry

    watch = Stopwatch()
    x, y = parabola()
    loss = HiddenLayerLoss(x, y, _DECAY)
    telling.note("compiling and relaxing two tied neurons to their saddle")
    saddle = symmetry.find_saddle(loss)
    telling.note("measuring how fast a nudge of 1e-8 grows")
    growth = symmetry.measure_growth(loss, saddle, eta=_ETA)
    telling.note("letting the neurons part")
    steps = 8_000 if telling.effort == "quick" else 12_000
    parting, _ = symmetry.split(loss, symmetry.nudged(saddle, 1e-6), eta=_ETA, steps=steps, every=100)
    yield Prose(_STORY)
    yield figures.parting_slider(loss, parting, saddle)
    yield _rate_claim(growth, watch)
    yield figures.growth_figure(parting, growth)
    yield _better_claim(saddle.loss, float(parting.loss[-1]), watch)
    audited = 4_000 if telling.effort == "quick" else 40_000
    telling.note(f"auditing {audited:,} steps bit by bit")
    yield _bits_claim(loss, audited, watch)
    yield _forms_table(audited, x, y)


def _rate_claim(growth: Any, watch: Stopwatch) -> Claim:
    return Claim(
        id="symmetry-rate",
        system=_SYSTEM,
        statement="A nudge grows at the rate that the antisymmetric Hessian block predicts.",
        measured=growth.measured,
        expected=growth.predicted,
        tolerance=1e-5 * abs(growth.predicted),
        holds=growth.relative_error is not None and growth.relative_error <= 1e-5,
        seconds=watch.lap(),
        source="Linear stability of gradient descent; one part in 1e5 is the bar of this room",
        command=_COMMAND,
        unit="per step",
    )


def _better_claim(before: float, after: float, watch: Stopwatch) -> Claim:
    return Claim(
        id="symmetry-better",
        system=_SYSTEM,
        statement="The asymmetric configuration is the better one: the loss after the split is below the saddle's.",
        measured=after / before,
        expected="below 1/2 of the loss before",
        tolerance="one-sided",
        holds=after < 0.5 * before,
        seconds=watch.lap(),
        source="Measured on the same two neurons before and after",
        command=_COMMAND,
    )


def _bits_claim(loss: Any, steps: int, watch: Stopwatch) -> Claim:
    import jax.numpy as jnp

    from thalweg.learning.tasks import symmetry

    parted = symmetry.identical_until(loss, symmetry.single_neuron(1, jnp.float64), eta=_ETA, steps=steps)
    return Claim(
        id="symmetry-bits",
        system="The same twins without a nudge, written as elementwise sums",
        statement=f"Without a nudge the twins stay bit-identical for {steps:,} steps.",
        measured="no bit differs" if parted is None else f"first difference at step {parted}",
        expected="no bit differs",
        tolerance="exact",
        holds=parted is None,
        seconds=watch.lap(),
        source="Exchange symmetry of the elementwise form: equal inputs, equal operations, equal bits",
        command=_COMMAND,
    )


def _forms_table(steps: int, x: Any, y: Any) -> Table:
    """The forms whose rounding may seed a split: reported, not asserted, since it depends on the machine."""
    import jax.numpy as jnp

    from thalweg.learning.energy import HiddenLayerLoss
    from thalweg.learning.tasks.symmetry import identical_until, single_neuron

    rows = []
    for dtype in (jnp.float32, jnp.float64):
        for form in ("elementwise", "matmul"):
            loss = HiddenLayerLoss(jnp.asarray(x, dtype), jnp.asarray(y, dtype), jnp.asarray(_DECAY, dtype), form=form)
            parted = identical_until(loss, single_neuron(1, dtype), eta=_ETA, steps=steps)
            rows.append((form, jnp.dtype(dtype).name, "never" if parted is None else f"step {parted:,}"))
    return Table(
        ("form of the same function", "precision", f"first differing bit within {steps:,} steps"),
        rows,
        "Rounding can seed the split, but does not have to: reported for this machine, not claimed.",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of two identical neurons."""
    return (Chapter("symmetry", 3, "Two identical neurons part", _COMMAND, 15.0, _symmetry),)
