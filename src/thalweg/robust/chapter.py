"""The room's chapters of the tour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from thalweg.report.blocks import Block, Citations, Claim, Prose
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_SYSTEM = "A 64-64-64-10 softplus net on scikit-learn's digits, trained here in float32, measured in float64"
_COMMAND = "thalweg robust attack your_model.py:model your_data.npz"
_STORY = (
    "The loss over the inputs is a landscape: a digit that is read correctly lies in a valley, and a neighbouring "
    "valley belongs to another digit. The smallest push over the ridge between them is a constrained relaxation."
)


def _push(telling: Telling) -> Iterator[Block]:
    import jax
    import jax.numpy as jnp

    from thalweg.methods.crossing import PlaneSteps, ShrinkingBall
    from thalweg.robust import data
    from thalweg.robust.classifier import JaxClassifier
    from thalweg.robust.figures.attack import lengths_figure, push_slider
    from thalweg.robust.tasks.bring import correct_ones
    from thalweg.robust.tasks.fit import fit
    from thalweg.robust.tasks.push import minimal_pushes, steps_to_boundary

    watch = Stopwatch()
    train_set, test_set = data.digits()
    telling.note("training a small net on scikit-learn's digits")
    narrow = JaxClassifier(fit(train_set), "the net", jnp.float32)
    yield Prose(_STORY)
    items, budget = (20, 120) if telling.effort == "quick" else (100, 240)
    posed = correct_ones(narrow.in_double(), test_set, items)
    telling.note(f"compiling, and pushing {items} digits")
    pushes = minimal_pushes(posed, budget=budget)
    shown = int(np.argsort(pushes.norm)[-3])
    ends = posed.x[shown], pushes.x[shown], int(posed.labels[shown]), int(pushes.target[shown])
    yield push_slider(posed.classifier, *ends)
    yield from _push_claims(posed, pushes, watch)
    telling.note("the baseline, one straight step to the boundary")
    steps = steps_to_boundary(posed)
    yield lengths_figure(pushes.norm, steps)
    yield _baseline_claim(pushes.norm, steps, watch)
    telling.note("integrating the work along straight and bent paths")
    yield from _work_claims(posed, pushes, jax.random.key(0), watch)
    telling.note("auditing a quantiser with straight-through gradients, and a stiff net without")
    yield from _audit_claims(posed, watch)
    yield Citations([ShrinkingBall.bibtex, PlaneSteps.bibtex])


def _push_claims(posed: Any, pushes: Any, watch: Stopwatch) -> Iterator[Claim]:
    inside = bool(((pushes.x >= 0) & (pushes.x <= 1)).all())
    yield Claim(
        id="push-success",
        system=_SYSTEM,
        statement=f"Each of {len(pushes.norm)} test digits is pushed over its ridge, inside the box of grey levels.",
        measured=float(pushes.success.mean()),
        expected=1.0,
        tolerance="exact, misclassified in float64",
        holds=bool(pushes.success.all()) and inside,
        seconds=watch.lap(),
        source="Definition of an adversarial example",
        command=_COMMAND,
    )
    worst = float(_alignment(posed, pushes).min())
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


def _alignment(posed: Any, pushes: Any) -> Any:
    """The cosines between each push and the margin's slope where it ends, over the components that no wall holds."""
    import jax.numpy as jnp

    from thalweg.robust.energy import Overtaking

    x = jnp.asarray(pushes.x)
    head = Overtaking(posed.labels, jnp.asarray(pushes.target), jnp.zeros(len(x)))
    downhill = np.asarray(posed.classifier.field(head).value_and_force_batch(x)[1])
    there, step = np.asarray(x), np.asarray(x - posed.x)
    free = (there > posed.lower + 1e-6) & (there < posed.upper - 1e-6)
    step, downhill = (np.where(free, a, 0).reshape(len(x), -1) for a in (step, downhill))
    return (step * downhill).sum(1) / np.linalg.norm(step, axis=1) / np.linalg.norm(downhill, axis=1)


def _baseline_claim(norms: Any, steps: Any, watch: Stopwatch) -> Claim:
    excess = float((norms / steps).max())
    return Claim(
        id="push-baseline",
        system=_SYSTEM,
        statement="No push is longer than one straight step down the margin's gradient to the boundary.",
        measured=excess,
        expected="at most 1",
        tolerance="one-sided, 1e-5",
        holds=excess <= 1 + 1e-5,
        seconds=watch.lap(),
        source=f"The step is a push too; the smallest one has {np.median(norms / steps):.4f} of its length (median)",
        command=_COMMAND,
        unit="of the step",
    )


def _work_claims(posed: Any, pushes: Any, key: Any, watch: Stopwatch) -> Iterator[Claim]:
    from thalweg.robust.tasks.closure import work_of_pushes

    few = posed.x[:16], posed.labels[:16], pushes.x[:16]
    both = work_of_pushes(posed.classifier, *few, key=key)
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


def _audit_claims(posed: Any, watch: Stopwatch) -> Iterator[Claim]:
    from thalweg.robust import data
    from thalweg.robust.classifier import JaxClassifier
    from thalweg.robust.model import Steep, StraightThrough
    from thalweg.robust.tasks.audit import audit
    from thalweg.robust.tasks.subject import of_classifier

    test_set, net = data.digits()[1], posed.classifier.graph
    models = {
        "quantiser": (
            StraightThrough(net, 8),
            "A quantiser of 8 levels with straight-through gradients is flagged.",
        ),
        "steep": (
            Steep(net, 50.0),
            "A stiff net, behind steps tanh(50 (x - 1/2)), is not: its gradients are its own.",
        ),
    }
    for name, (model, statement) in models.items():
        broken = name == "quantiser"
        found = audit(of_classifier(JaxClassifier(model, name), test_set, n=8))
        share = found.result["flagged"]
        yield Claim(
            id=f"audit-{name}",
            system=f"The same net with another input layer; {found.asked} gradients in float64",
            statement=statement,
            measured=share,
            expected=f"{'at least' if broken else 'below'} 0.1",
            tolerance="one-sided",
            holds=(share >= 0.1) == broken,
            seconds=watch.lap(),
            source="Work against energy along paths, refined to the smallest scale",
            command="thalweg robust audit your_model.py:model your_data.npz",
            unit="of the inputs",
        )


def chapters() -> tuple[Chapter, ...]:
    """The chapters of this room, in the order of the tour."""
    return (Chapter("push", 9, "A digit is pushed over its ridge", _COMMAND, 30.0, _push),)
