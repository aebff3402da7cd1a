"""Chapter 4: networks that cease to learn, continuously or at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from thalweg.report.blocks import Block, Citations, Claim, Prose
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_COMMAND = "thalweg learning transition --family tanh --data your.csv"
_LINEAR = "Linear networks on y = x^2 on [-1, 1.5], white inputs, float64"
_SOURCE = "Ziyin & Ueda, arXiv 2205.12510"
_URL = "https://arxiv.org/abs/2205.12510"
_STORY = (
    "As the weight decay grows, a network ceases to learn. Two layers do so continuously: their weights shrink to "
    "nothing as the square root of the distance to `lambda_c`. Three layers do so at once, and each of the two states "
    "survives beyond the point at which the other one is lower. One layer, ridge regression, never ceases."
)


def _transition(telling: Telling) -> Iterator[Block]:
    from thalweg.learning.figures import transition as pictures
    from thalweg.methods.continuation import PseudoArclength

    watch = Stopwatch()
    yield Prose(_STORY)
    telling.note("following three linear layers round their fold")
    deep, exact = _studied(depth=3, parameter="norm")
    yield pictures.profile_slider(deep)
    yield from _first_claims(deep, exact, watch)
    yield pictures.order_figure(deep, exact.curve)
    if telling.effort != "quick":
        yield from _shallow(telling, watch)
        yield from _tanh(telling, watch)
    yield Citations([PseudoArclength.bibtex])


def _shallow(telling: Telling, watch: Stopwatch) -> Iterator[Block]:
    from thalweg.learning.figures import transition as pictures

    telling.note("following two linear layers from their pitchfork")
    found, exact = _studied(depth=2)
    yield _second_claim(found, exact, watch)
    yield pictures.order_figure(found)
    yield from _textbook(found, telling)
    telling.note("looking for a transition of ridge regression")
    ridge, _ = _studied(depth=1)
    yield _none_claim(ridge, watch)


def _tanh(telling: Telling, watch: Stopwatch) -> Iterator[Block]:
    from thalweg.learning.figures import transition as pictures

    telling.note("tanh neurons on y = x^2")
    found, _ = _studied("tanh")
    yield _tanh_claim(found, watch)
    yield pictures.losses_figure(found)


def _textbook(found: Any, telling: Telling) -> Iterator[Block]:
    """The textbook's picture: where independent trainings end. It blurs what the branches show sharply."""
    import jax
    import numpy as np

    from thalweg.learning.figures.many import trainings_figure
    from thalweg.learning.tasks.many.trainings import trainings

    telling.note("training two linear layers from many random starts")
    decays = found.verdict.lambda_c * np.linspace(0.1, 1.4, 27)
    trained = trainings(found.problem, decays, seeds=8, steps=1500, key=jax.random.key(0))
    yield trainings_figure(trained, found.parameter)


def _studied(name: str = "linear", depth: int | None = None, parameter: str | None = None) -> tuple[Any, Any]:
    from thalweg.learning.tasks.transition.posed import posed
    from thalweg.learning.tasks.transition.transition import transition

    of = posed(name=name, depth=depth)
    return transition(of.problem, parameter=parameter, points=0, seeds=4), of.exact


def _first_claims(found: Any, exact: Any, watch: Stopwatch) -> Iterator[Claim]:
    verdict, seconds = found.verdict, watch.lap()
    for name, statement, measured, expected, tolerance in (
        ("first", "Three layers cease to learn at once: first order, where the losses of both states are equal.",
         verdict.lambda_c, exact.lambda_c, 1e-4),
        ("spinodal", "The learnt state of three layers survives up to its fold, the spinodal.",
         verdict.spinodal, exact.spinodal, 1e-6),
    ):  # fmt: skip
        yield Claim(
            id=f"transition-{name}",
            system=_LINEAR,
            statement=statement,
            measured="none" if measured is None else measured,
            expected=expected,
            tolerance=tolerance * expected,
            holds=verdict.order == "first" and measured is not None and abs(measured / expected - 1) <= tolerance,
            seconds=seconds,
            source=f"Closed form in the largest singular value of E[y x^T]; orders agree with {_SOURCE}",
            source_url=_URL,
            command="thalweg learning transition --depth 3 --data your.csv --whiten",
        )
        seconds = 0.0


def _second_claim(found: Any, exact: Any, watch: Stopwatch) -> Claim:
    verdict, power = found.verdict, found.exponent
    told = "no exponent" if power is None else f"exponent {power.beta:.6f}"
    near = verdict.lambda_c is not None and abs(verdict.lambda_c / exact.lambda_c - 1) <= 1e-6
    half = power is not None and abs(power.beta / 0.5 - 1) <= 1e-3
    return Claim(
        id="transition-second",
        system=_LINEAR,
        statement="Two layers cease to learn continuously: second order, activations vanish with exponent 1/2.",
        measured=f"{verdict.order} order, lambda_c {verdict.lambda_c}, {told}",
        expected=f"second order, lambda_c {exact.lambda_c:.10g}, exponent 0.5",
        tolerance="1e-6 of lambda_c, 0.1 % of the exponent",
        holds=verdict.order == "second" and near and half,
        seconds=watch.lap(),
        source=f"lambda_c is the largest singular value of E[y x^T]; order as in {_SOURCE}",
        source_url=_URL,
        command="thalweg learning transition --depth 2 --data your.csv",
    )


def _none_claim(found: Any, watch: Stopwatch) -> Claim:
    return Claim(
        id="transition-none",
        system=_LINEAR,
        statement="One layer, ridge regression, has no transition: it shrinks smoothly at every decay.",
        measured=found.verdict.order,
        expected="none",
        tolerance="exact",
        holds=found.verdict.order == "none",
        seconds=watch.lap(),
        source="Ridge regression: p = s / (1 + lambda)",
        command="thalweg learning transition --depth 1 --data your.csv",
    )


def _tanh_claim(found: Any, watch: Stopwatch) -> Claim:
    verdict = found.verdict
    metastable = found.collapsed.even and not len(found.collapsed.crossings)
    return Claim(
        id="transition-tanh",
        system="Four tanh neurons with biases on y = x^2 on [-1, 1], float64",
        statement="On y = x^2 tanh neurons cease to learn at once: the collapsed state is a minimum at every decay.",
        measured=f"{verdict.order} order at {verdict.lambda_c}, spinodal {verdict.spinodal}",
        expected="first order, no crossing of the collapsed state's Hessian",
        tolerance="exact",
        holds=verdict.order == "first" and metastable and verdict.spinodal > verdict.lambda_c,
        seconds=watch.lap(),
        source="Even targets on an even grid have no overlap with a line, so that this Hessian is lambda times one",
        command=_COMMAND,
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of the transitions over the weight decay."""
    return (Chapter("transition", 4, "Networks cease to learn", _COMMAND, 40.0, _transition),)
