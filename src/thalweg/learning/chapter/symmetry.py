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
    import jax

    from thalweg.learning.figures import symmetry as figures
    from thalweg.learning.model.pair import choose_pair
    from thalweg.learning.tasks.symmetry.audit import audit
    from thalweg.learning.tasks.symmetry.growth import measure_at_saddle, optimiser_of
    from thalweg.learning.tasks.symmetry.saddle import find_saddle

    watch = Stopwatch()
    problem, descent = _twins(), optimiser_of("gd", _ETA)
    pair = choose_pair(problem)
    telling.note("compiling and relaxing two tied neurons to their saddle")
    saddle = find_saddle(problem, pair, _DECAY)
    telling.note("measuring how fast a nudge of 1e-8 grows")
    growth = measure_at_saddle(problem, saddle, descent, _DECAY, nudge=1e-8)
    assert growth is not None  # gradient descent has a derivative everywhere
    telling.note("letting the neurons part")
    steps = 8_000 if telling.effort == "quick" else 12_000
    parting = audit(problem, pair, saddle.nudged(1e-6), descent, _DECAY, steps=steps, every=100)
    yield Prose(_STORY)
    yield figures.parting_slider(problem, parting, pair)
    yield _rate_claim(growth, watch)
    yield figures.growth_figure(parting, growth)
    yield _better_claim(saddle.loss, float(parting.loss[-1]), watch)
    audited = 4_000 if telling.effort == "quick" else 40_000
    start = problem.start(jax.random.key(0))
    telling.note(f"auditing {audited:,} steps bit by bit")
    yield _bits_claim(start, audited, watch)
    yield _forms_table(start, audited)


def _twins(form: Any = "elementwise", dtype: str = "float64") -> Any:
    from thalweg.learning.data import parabola
    from thalweg.learning.model.families import family

    return family("tanh", parabola(), width=2, output_bias=False, form=form, dtype=dtype)


def _first_bit(problem: Any, start: Any, steps: int) -> int | None:
    """The step after which a bit of two twins that start at a random point first differs."""
    import jax

    from thalweg.learning.model.pair import choose_pair
    from thalweg.learning.tasks.symmetry.audit import audit
    from thalweg.learning.tasks.symmetry.growth import optimiser_of

    pair, descent = choose_pair(problem), optimiser_of("gd", _ETA)
    twins = pair.tied(jax.tree.map(lambda leaf: leaf.astype(problem.loss.y.dtype), start))
    return audit(problem, pair, twins, descent, _DECAY, steps=steps, every=steps).identical_until


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


def _bits_claim(start: Any, steps: int, watch: Stopwatch) -> Claim:
    parted = _first_bit(_twins(), start, steps)
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


def _forms_table(start: Any, steps: int) -> Table:
    """The forms whose rounding may seed a split: reported, not asserted, since it depends on the machine."""
    rows = []
    for dtype in ("float32", "float64"):
        for form in ("elementwise", "matmul"):
            parted = _first_bit(_twins(form, dtype), start, steps)
            rows.append((form, dtype, "never" if parted is None else f"step {parted:,}"))
    return Table(
        ("form of the same function", "precision", f"first differing bit within {steps:,} steps"),
        rows,
        "Rounding can seed the split, but does not have to: reported for this machine, not claimed.",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of two identical neurons."""
    return (Chapter("symmetry", 3, "Two identical neurons part", _COMMAND, 20.0, _symmetry),)
