"""The room's chapters of the tour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from thalweg.report.blocks import Block, Citations, Claim, Prose
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_SYSTEM = "A 64-64-64-10 softplus net on scikit-learn's digits, trained here; float64"
_COMMAND = "thalweg robust attack your_model.py:model your_data.npz"
_STORY = (
    "The loss over the inputs is a landscape: a digit that is read correctly lies in a valley, and a neighbouring "
    "valley belongs to another digit. The smallest push over the ridge between them is a constrained relaxation."
)


def _push(telling: Telling) -> Iterator[Block]:
    import jax.numpy as jnp

    from thalweg.methods.projected import Projected
    from thalweg.robust import data, figures
    from thalweg.robust.tasks import fit, push
    from thalweg.robust.tasks.bring import Brought, correct_ones

    watch = Stopwatch()
    train_set, test_set = data.digits()
    telling.note("training a small net on scikit-learn's digits")
    model = fit.in_double(fit.fit(train_set))
    yield Prose(_STORY)
    items = 20 if telling.effort == "quick" else 100
    x, labels, _ = correct_ones(Brought(model, jnp.float64), test_set, items)
    telling.note(f"compiling, and relaxing {items} pushes")
    pushes = push.minimal_pushes(model, x, labels, lower=0.0, upper=1.0)
    shown = int(jnp.argsort(pushes.norm)[-3])
    yield figures.push_slider(model, x[shown], pushes.x[shown], int(labels[shown]), int(pushes.target[shown]))
    yield from _push_claims(pushes, watch)
    telling.note("the baseline, one straight step to the boundary")
    steps = push.steps_to_boundary(model, x, labels, lower=0.0, upper=1.0)
    yield figures.lengths_figure(pushes.norm, steps)
    yield _baseline_claim(float(jnp.max(pushes.norm / steps)), watch)
    telling.note("integrating the work along straight and bent paths")
    yield from _work_claims(model, x[:16], labels[:16], pushes.x[:16], watch)
    yield Citations([Projected.bibtex])


def _push_claims(pushes: Any, watch: Stopwatch) -> Iterator[Claim]:
    inside = bool(((pushes.x >= 0) & (pushes.x <= 1)).all())
    yield Claim(
        id="push-success",
        system=_SYSTEM,
        statement=f"Each of {len(pushes.norm)} test digits is pushed over its ridge, inside the box of grey levels.",
        measured=float(pushes.success.mean()),
        expected=1.0,
        tolerance="exact, misclassified by more than 5e-5 logits in float64",
        holds=bool(pushes.success.all()) and inside,
        seconds=watch.lap(),
        source="Definition of an adversarial example",
        command=_COMMAND,
    )
    worst = float(pushes.alignment.min())
    yield Claim(
        id="push-smallest",
        system=_SYSTEM,
        statement="The pushes are smallest ones: where no wall holds them they point straight up the ridge.",
        measured=worst,
        expected=1.0,
        tolerance=1e-4,
        holds=abs(worst - 1) <= 1e-4,
        seconds=watch.lap(),
        source="Karush-Kuhn-Tucker conditions; a cosine of 1 - 1e-4 is an angle of 0.8 degrees",
        command=_COMMAND,
    )


def _baseline_claim(excess: float, watch: Stopwatch) -> Claim:
    return Claim(
        id="push-baseline",
        system=_SYSTEM,
        statement="No push is longer than one straight step down the margin's gradient to the same boundaries.",
        measured=excess,
        expected="at most 1",
        tolerance="one-sided",
        holds=excess <= 1,
        seconds=watch.lap(),
        source="The straight step is a feasible push, so that the smallest one cannot be longer",
        command=_COMMAND,
        unit="of the step",
    )


def _work_claims(model: Any, x: Any, labels: Any, pushed: Any, watch: Stopwatch) -> Iterator[Claim]:
    import jax

    from thalweg.robust.tasks.closure import work_of_pushes

    both = work_of_pushes(model, x, labels, pushed, key=jax.random.key(0))
    for name, found in zip(("straight", "bent"), both, strict=True):
        gaps, errors = np.abs(np.asarray(found.gap)), np.asarray(found.error)
        yield Claim(
            id=f"work-{name}",
            system=_SYSTEM,
            statement=f"The work along the {name} path to the pushed digit equals the energy climbed.",
            measured=float(gaps.max()),
            expected=0.0,
            tolerance=1e-9,
            holds=bool((gaps <= 1e-9).all() and (gaps <= errors).all()),
            seconds=watch.lap(),
            source=f"Gradient theorem; also within the quadrature's own error, at most {errors.max():.1e}",
            command="thalweg robust work your_model.py:model your_data.npz",
            unit="nat",
        )


def chapters() -> tuple[Chapter, ...]:
    """The chapters of this room, in the order of the tour."""
    return (Chapter("push", 9, "A digit is pushed over its ridge", _COMMAND, 30.0, _push),)
