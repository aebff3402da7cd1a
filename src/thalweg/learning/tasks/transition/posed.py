"""A transition as a command poses it: which problem on which data, what is known of it, and the answer in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.learning.data import Regression, parabola, read_csv, standardised, whitened
from thalweg.learning.model.exact import is_white, linear_transitions, relu_transition
from thalweg.learning.model.families import family
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.bring import bring
from thalweg.learning.tasks.transition.branches import KINDS
from thalweg.learning.tasks.transition.transition import Transition


class Exact(NamedTuple):
    """What closed forms say.

    **Fields:** the `order`, the transition and the spinodal, and the `formula` with what it assumes; for
    `linear_decay`, the `curve`: singular value and depth, where there is but one and inputs are white.
    """

    order: str
    lambda_c: float | None
    spinodal: float | None
    formula: str
    curve: tuple[float, int] | None = None


class Posed(NamedTuple):
    """A problem with what is known of it beforehand, and what its data are."""

    problem: Problem
    exact: Exact | None
    data: str


def posed(
    model: str | None = None,
    name: str | None = None,
    *,
    depth: int | None = None,
    width: int | None = None,
    activation: str | None = None,
    output_bias: bool | None = None,
    data: Path | None = None,
    targets: int = 1,
    scaling: str | None = None,
) -> Posed:
    """The problem that options name: a user's own `model`, or a built-in family, on a CSV or the textbook's parabola.

    Networks with hidden biases get a free bias of the output: without one, the first thing that they learn as the decay
    falls is the mean of the targets. Without `data`, the parabola is that on [-1, 1]; the linear family, for which it
    has no slope, takes that on [-1, 1.5] with white inputs.

    **Raises:** `InputError`.
    """
    if model is not None and (name, depth, width, activation, output_bias) != (None,) * 5:
        raise InputError(f"{model}: a model of your own has its own shape: leave --family and its options out.")
    if model is not None:
        own = data is None and scaling is None
        given, told = (None, "as the model has them") if own else _data("", data, targets, scaling)
        return Posed(bring(model, given), None, told)
    kind = name or "linear"
    given, told = _data(kind, data, targets, scaling)
    biased = kind != "linear" if output_bias is None else output_bias
    problem = family(
        kind,  # type: ignore[arg-type]  # refused there if there is no such family
        given,
        depth=depth,
        width=width,
        activation=activation,
        output_bias=biased,
        dtype=np.float64,
    )
    return Posed(problem, _exact(problem, kind, given, depth, width, activation, biased), told)


def _data(kind: str, path: Path | None, targets: int, scaling: str | None) -> tuple[Regression, str]:
    if path is not None:
        given, told = read_csv(path, targets), f"{path.name}, {targets} target columns"
    elif kind == "linear":
        given, told, scaling = parabola(), "y = x^2 on [-1, 1.5], 64 points", scaling or "whitened"
    else:
        given, told = parabola(64, -1.0, 1.0), "y = x^2 on [-1, 1], 64 points"
    scale: dict[Any, Any] = {"whitened": whitened, "standardised": standardised}
    return (scale[scaling](given), f"{told}, {scaling}") if scaling else (given, told)


def _exact(problem: Problem, kind: str, data: Regression, depth, width, activation, biased: bool) -> Exact | None:
    deep = {"linear": 2, "mlp": 3}.get(kind, 2) if depth is None else depth
    if kind == "linear" and not biased:
        if deep == 1:
            return Exact("none", None, None, "ridge regression, whatever the data")
        known = linear_transitions(data, deep, width)
        if not known:
            return None
        first, assumed = known[0], "whatever the inputs' moments" if deep == 2 else "white inputs"
        end = first.spinodal if first.order == "first" else None
        formula = f"largest singular value {first.singular:.10g} of E[y x^T]; {assumed}"
        lone = len(known) == 1 and is_white(data)
        return Exact(first.order, first.coexistence, end, formula, (first.singular, deep) if lone else None)
    kinked = {"relu": "relu"}.get(kind, "tanh") if activation is None else activation
    if kinked == "relu" and deep == 2 and biased:
        found = relu_transition(data)
        searched = "all directions scanned" if found.certain else "the best of many searches, a lower bound"
        formula = f"max over unit u of |E[(y - mean y) relu(u . (x, 1))]|; {searched}"
        return Exact("second", found.lambda_c, None, formula)
    return None


def result(found: Transition, exact: Exact | None) -> dict[str, Any]:
    """The answer of the command, in plain numbers."""
    verdict, power = found.verdict, found.exponent
    smooth = found.ebb is None and found.steepest is None
    return {
        "order": verdict.order,
        "lambda_c": verdict.lambda_c,
        "lambda_c_interval": verdict.interval,
        "lambda_spinodal": verdict.spinodal,
        "beta": None if power is None else power.beta,
        "beta_interval": None if power is None else power.interval,
        "beta_of": None if power is None else found.parameter,
        "hysteresis_width": verdict.hysteresis,
        "order_parameter": found.parameter,
        "method": "branches" if smooth else "relaxations",
        "lambda_c_exact": None if exact is None else exact.lambda_c,
        "lambda_spinodal_exact": None if exact is None else exact.spinodal,
        "order_exact": None if exact is None else exact.order,
        "formula": None if exact is None else exact.formula,
        "evidence": evidence(found),
    }


def evidence(found: Transition) -> dict[str, Any]:
    """What the verdict rests on."""
    told: dict[str, Any] = {
        "why": found.verdict.why,
        "smooth": found.steepest is None,
        "collapse_is_stationary": found.collapsed.even,
        "hessian_crossings": found.collapsed.crossings.tolist() if found.steepest is None else None,
        "hessian_multiplicity": found.collapsed.multiplicity.tolist() if found.steepest is None else None,
        "random_starts": int(found.look.energy.size) + found.challenged,
    }
    if found.onset is not None:
        told["onset"] = {"decay": found.onset.decay, "kind": found.onset.kind}
    if found.ascent is not None:
        last = found.ascent.curves[-1]
        told["learnt_state_ends"] = {"how": found.ascent.ends, "decay": found.ascent.end}
        told["special_points"] = [
            {"kind": KINDS[int(kind)], "decay": float(decay)}
            for kind, decay in zip(last.kind, last.kind_decay, strict=True)
        ]
    if found.ebb is not None:
        stays = {"last_apart": found.ebb.stays[0], "first_collapsed": found.ebb.stays[1]}
        told["relaxations"] = stays | {"extrapolated_zero": found.ebb.zero, "interval": found.ebb.interval}
        told["relaxations"]["jump_of_squared_weights"] = found.ebb.jump
    if found.steepest is not None:
        told["collapse_is_left_below"] = found.steepest
    if found.loop is not None:
        told["loop"] = {
            "up_falls_between": found.loop.lost,
            "down_rises_between": found.loop.found,
            "width": found.loop.width,
        }
    return told
