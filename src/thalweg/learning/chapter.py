"""The room's chapters of the tour."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.report.blocks import Block, Claim, Prose, Table
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_SYSTEM = "Two bit-identical tanh neurons on y = x^2, float64, gradient descent at 0.1"
_COMMAND = "thalweg learning symmetry --data your.csv"


def _symmetry(telling: Telling) -> Iterator[Block]:
    import jax.numpy as jnp

    from thalweg.learning import figures
    from thalweg.learning.data import parabola
    from thalweg.learning.energy import HiddenLayerLoss, tied
    from thalweg.learning.tasks import symmetry

    watch, eta = Stopwatch(), 0.1
    x, y = parabola()
    loss = HiddenLayerLoss(x, y, 1e-3)
    telling.note("compiling and relaxing two tied neurons to their saddle")
    saddle = symmetry.find_saddle(loss)
    telling.note("measuring how fast a nudge of 1e-8 grows")
    growth = symmetry.measure_growth(loss, saddle, eta=eta)
    telling.note("letting the neurons part")
    steps = 8_000 if telling.effort == "quick" else 12_000
    parting, _ = symmetry.split(loss, symmetry.nudged(saddle, 1e-6), eta=eta, steps=steps, every=100)
    yield Prose(
        "Two neurons that start as bit-identical twins get the same gradient and stay twins: the network sits on a "
        "saddle. The Hessian's antisymmetric block `H11 - H12` says how fast the smallest difference grows, "
        "`log(1 - eta h)` per step, and parting is what makes the better fit possible."
    )
    yield figures.parting_slider(loss, parting, saddle)
    yield Claim(
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
    yield figures.growth_figure(parting, growth)
    after = float(parting.loss[-1])
    yield Claim(
        id="symmetry-better",
        system=_SYSTEM,
        statement="The asymmetric configuration is the better one: the loss after the split is below the saddle's.",
        measured=after / saddle.loss,
        expected="below 1/2 of the loss before",
        tolerance="one-sided",
        holds=after < 0.5 * saddle.loss,
        seconds=watch.lap(),
        source="Measured on the same two neurons before and after",
        command=_COMMAND,
    )
    telling.note("auditing 40,000 steps bit by bit")
    audited = 4_000 if telling.effort == "quick" else 40_000
    start = symmetry.single_neuron(1, jnp.float64)
    parted = symmetry.identical_until(loss, start, eta=eta, steps=audited)
    yield Claim(
        id="symmetry-bits",
        system="The same twins without a nudge, written as elementwise sums",
        statement=f"Without a nudge the twins stay bit-identical for {audited:,} steps.",
        measured="no bit differs" if parted is None else f"first difference at step {parted}",
        expected="no bit differs",
        tolerance="exact",
        holds=parted is None,
        seconds=watch.lap(),
        source="Exchange symmetry of the elementwise form: equal inputs, equal operations, equal bits",
        command=_COMMAND,
    )
    yield _forms_table(audited, x, y, tied(start))


def _forms_table(steps: int, x, y, start) -> Table:
    """The forms whose rounding may seed a split: reported, not asserted, since it depends on the machine."""
    import jax
    import jax.numpy as jnp

    from thalweg.learning.energy import HiddenLayerLoss
    from thalweg.learning.tasks.symmetry import identical_until

    rows = []
    for dtype in (jnp.float32, jnp.float64):
        for form in ("elementwise", "matmul"):
            loss = HiddenLayerLoss(jnp.asarray(x, dtype), jnp.asarray(y, dtype), jnp.asarray(1e-3, dtype), form=form)
            single = jax.tree.map(lambda leaf: leaf[:1].astype(dtype), start)  # noqa: B023 - used at once
            parted = identical_until(loss, single, eta=0.1, steps=steps)
            rows.append((form, jnp.dtype(dtype).name, "never" if parted is None else f"step {parted:,}"))
    return Table(
        ("form of the same function", "precision", f"first differing bit within {steps:,} steps"),
        rows,
        "Rounding can seed the split, but does not have to: reported for this machine, not claimed.",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapters of this room, in the order of the tour."""
    return (Chapter("symmetry", 3, "Two identical neurons part", _COMMAND, 25.0, _symmetry),)
