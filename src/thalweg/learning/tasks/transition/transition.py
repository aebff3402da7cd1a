"""The phase transition of a training problem over its decay: where, of what order, by which evidence."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.learning.model.order_parameters import OrderParameter, order_parameter, order_parameters
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.transition import kinks
from thalweg.learning.tasks.transition.branches import Curve, Walked, followed, loss_of
from thalweg.learning.tasks.transition.collapse import Collapsed, Ground, along, collapsed, constant, is_penalised
from thalweg.learning.tasks.transition.learnt import GAIN, Ascent, Look, Relaxer, ascend
from thalweg.learning.tasks.transition.loops import Loop, hysteresis
from thalweg.learning.tasks.transition.order import (
    Exponent,
    Onset,
    Verdict,
    exponent,
    kinked_verdict,
    measured,
    onset,
    onset_of_collapse,
    verdict,
)
from thalweg.methods.parts import in_parts, part_name

_CHALLENGES = 3
_ABOVE = 1.002  # how far above a transition, relatively, random starts look for a state that is lower still
_WIDER, _WIDEN = 3, 1e-3  # how often the range of decays is widened, and how far
_APART = 1e-2  # of its norm: a state nearer than that to the one at large decay is that one


class Transition(NamedTuple):
    """What was found, with everything that the pictures need.

    **Fields:** the `problem` and the name of its order `parameter`; the `verdict`; the state at large decay
    (`collapsed` and `ground`); the `look` from random starts; the `onset` and `ascent` of a smooth problem, or the
    `steepest` way out of collapse and the `ebb` of one with kinks; the `exponent` of a second-order transition; the
    hysteresis `loop`; how many random starts `challenged` it; the `bounds` of the decays.
    """

    problem: Problem
    parameter: str
    verdict: Verdict
    collapsed: Collapsed
    ground: Ground
    look: Look
    bounds: tuple[float, float]
    onset: Onset | None = None
    ascent: Ascent | None = None
    steepest: float | None = None
    ebb: kinks.Ebb | None = None
    exponent: Exponent | None = None
    loop: Loop | None = None
    challenged: int = 0


class Study:
    """The steps of one study, which share what is compiled."""

    def __init__(
        self,
        problem: Problem,
        bounds: tuple[float, float] | None,
        seeds: int,
        seed: int,
        done: Store | None,
        hooks: Any,
    ):
        self.problem, self.seeds, self.done, self.hooks = problem, seeds, done, hooks
        self.state = collapsed(problem)
        self.relaxer = Relaxer(problem, self.state, seed)
        self.held: Bool[np.ndarray, " n"] = is_penalised(problem, self.relaxer.like)
        low, high = self.relaxer.range()
        for _ in range(_WIDER):
            self.bounds = bounds or (low, high)
            self.ground, self.fallen = self._ground()
            self.look = self._look(seed)
            self.least, self.lower = self._lower()
            # Curvatures at random starts are a guess: nothing learnt, or always something, calls for another range.
            if bounds is not None or not self.state.even or (len(self.lower) and self.lower[0] > 0):
                break
            low, high = (low * _WIDEN, high) if not len(self.lower) else (low, high / _WIDEN)

    def _ground(self) -> tuple[Ground, Walked | None]:
        """The state at large decay, and the branch of it where it moves with the decay."""
        if self.state.even:
            return constant(self.state), None
        high = self.bounds[1]
        x = self.relaxer(high, self.state.x[None])[0][0]
        walked = followed(self.problem, x, high, self.relaxer.like, self.bounds, direction="down", longest=0.03)
        return along(walked.curve, self.held), walked

    def _look(self, seed: int) -> Look:
        def compute(name: str) -> dict[str, np.ndarray]:
            return dict(self.relaxer.look(self.bounds, self.seeds)._asdict())

        known = {"x": self.relaxer.starts(0, 2), "loss": self.state.loss, "stiffness": self.state.stiffness}
        name = part_name("look", problem=self.problem.name, bounds=self.bounds, seeds=self.seeds, seed=seed, **known)
        return Look(**in_parts([name], compute, done=self.done, hooks=self.hooks, task="transition")[name])

    def _lower(self) -> tuple[float, np.ndarray]:
        """The least gain that counts, and the places of the look where more is gained, highest decay first."""
        floors = np.array([self.ground.energy(float(decay)) for decay in self.look.decay])
        most = float(np.max(np.where(np.isfinite(floors), floors, 0) - self.look.energy.min(axis=1)))
        least = GAIN * max(most, 0.01 * abs(self.state.loss))
        return least, np.flatnonzero(self.look.energy.min(axis=1) < floors - least)

    def learnt(self, place: int) -> np.ndarray | None:
        """The lowest state of the look at one decay, if it is another one than that at large decay."""
        x, decay = self.look.x[place, np.argmin(self.look.energy[place])], float(self.look.decay[place])
        near = np.linalg.norm(x - self.ground.x(decay)) < _APART * np.linalg.norm(x)
        return None if near else x

    def ascended(self) -> tuple[Ascent | None, int]:
        """The learnt state that lasts to the highest decays, challenged by random starts just above where it loses."""
        ascent, count = None, 0
        for place in self.lower:
            x = self.learnt(int(place))
            if x is not None:
                ascent = ascend(self.relaxer, x, float(self.look.decay[place]), self.bounds, self.ground)
            if ascent is not None:
                break
        for turn in range(_CHALLENGES):
            if ascent is None:
                break
            lost = (ascent.coexistence or ascent.end) * _ABOVE
            if lost >= self.bounds[1]:
                break
            x, energy = self.relaxer(lost, self.relaxer.starts(1000 + turn, 8 * self.seeds))
            count += len(x)
            if energy.min() >= self.ground.energy(lost) - self.least:
                break
            better = ascend(self.relaxer, x[np.argmin(energy)], lost, self.bounds, self.ground)
            if better is None:
                break
            ascent = better
        return ascent, count

    def onset(self, ascent: Ascent | None) -> Onset | None:
        """Where the state at large decay is left along a branch."""
        if self.fallen is not None:
            return onset(self.fallen, self.bounds, 1e-12)
        crossings = self.state.crossings
        inside = crossings[(crossings > self.bounds[0]) & (crossings < self.bounds[1])]
        if not len(inside):
            return None
        size = 1.0 if ascent is None else ascent.walked[0].size
        found = self.state.x, float(inside[0]), self.state.error
        return onset_of_collapse(self.problem, *found, size, self.relaxer.like, self.bounds)

    def slowly(self, ascent: Ascent, critical: float) -> Curve:
        """The learnt state on its last way to the transition, in small steps."""
        x, decay = _at(ascent, 0.9 * critical)
        x = self.relaxer(decay, x[None])[0][0]
        around = (0.85 * critical, 1.02 * critical)
        return followed(self.problem, x, decay, self.relaxer.like, around, direction="up", longest=0.02).curve

    def exponent(self, measure: OrderParameter, decay: np.ndarray, x: np.ndarray, critical: float) -> Exponent | None:
        """How an order parameter of the learnt states vanishes."""
        value = measured(self.problem, measure, x, self.relaxer.like)
        zero = np.stack([self.ground.x(float(one)) for one in decay])
        return exponent(decay, np.abs(value - measured(self.problem, measure, zero, self.relaxer.like)), critical)

    def loop(self, found: Verdict, measure: OrderParameter, x: np.ndarray, points: int) -> Loop | None:
        """The hysteresis loop around a transition."""
        if found.lambda_c is None or points < 2:
            return None
        low, high = (
            max(self.bounds[0], 0.3 * found.lambda_c),
            min(self.bounds[1], 1.15 * (found.spinodal or found.lambda_c)),
        )
        decays = np.linspace(low, high, points)
        large = np.stack([self.ground.x(float(one)) for one in decays])
        return hysteresis(self.relaxer, measure, x, decays, large, done=self.done, hooks=self.hooks)


def transition(
    problem: Problem,
    *,
    parameter: str | None = None,
    lambdas: tuple[float, float] | None = None,
    points: int = 40,
    seeds: int = 6,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Transition:
    """Find the transition at which a problem ceases to learn as its weight decay grows, and its order.

    A smooth problem is followed along its branches; one with kinks, such as a ReLU network, by relaxations.

    **Arguments:** `parameter`, the order parameter, by default the first that the problem has (the mean activation of
    the hidden neurons); `lambdas`, the range of decays, by default found; `points` of the hysteresis loop, none below
    two; `seeds`, random starts at each decay; `done`, where finished parts are kept.

    **Raises:** `InputError` for a problem that cannot be studied, or where the evidence contradicts itself.
    """
    _check(problem, lambdas, seeds)
    name = parameter or order_parameters(problem)[0]
    measure = order_parameter(problem, name)
    smooth = kinks.is_smooth(problem)
    study = Study(problem, lambdas, seeds, seed, done, hooks)
    return (_smooth if smooth else _kinked)(study, name, measure, points)


def _smooth(study: Study, name: str, measure: OrderParameter, points: int) -> Transition:
    ascent, challenged = study.ascended()
    start = study.onset(ascent)
    found = verdict(start, ascent)
    power, loop = None, None
    if found.order == "second" and start is not None:
        if start.kind == "supercritical" or ascent is None:
            curve, half = start.curve, start.curve.arclength > 0
        else:
            curve = study.slowly(ascent, start.decay)
            half = curve.stable()
        power = study.exponent(measure, curve.decay[half], curve.x[half], start.decay)
    if found.lambda_c is not None and ascent is not None:
        loop = study.loop(found, measure, _at(ascent, 0.3 * found.lambda_c)[0], points)
    common = (study.problem, name, found, study.state, study.ground, study.look, study.bounds)
    return Transition(*common, onset=start, ascent=ascent, exponent=power, loop=loop, challenged=challenged)


def _kinked(study: Study, name: str, measure: OrderParameter, points: int) -> Transition:
    if not study.state.even:
        raise InputError(
            f"{study.problem.name}: it has kinks, and its parameters do not rest at zero, so that neither branches nor "
            "relaxations tell its transition: smooth its activation, or leave it a free bias of the output."
        )
    left, gone, power, loop = kinks.steepest(study.relaxer, study.held), None, None, None
    if len(study.lower):
        place = int(study.lower[0])
        x, decay = study.learnt(place), float(study.look.decay[place])
        if x is not None:
            top = float(study.look.decay[max(place - 1, 0)])
            gone = kinks.ebb(study.relaxer, x, decay, top, study.ground, study.held)
    found = kinked_verdict(left, gone, study.bounds)
    if found.order == "second" and gone is not None:
        power = study.exponent(measure, gone.decay, gone.x, left)
    if gone is not None:
        loop = study.loop(found, measure, gone.x[0], points)
    common = (study.problem, name, found, study.state, study.ground, study.look, study.bounds)
    return Transition(*common, steepest=left, ebb=gone, exponent=power, loop=loop)


def measure_of(found: Transition) -> OrderParameter:
    """The order parameter of a study."""
    return order_parameter(found.problem, found.parameter)


def _at(ascent: Ascent, decay: float) -> tuple[np.ndarray, float]:
    """The stable state on the way whose decay is nearest to one, and that decay."""
    curve = ascent.curves[-1]
    rows = np.flatnonzero(curve.stable())
    place = rows[np.argmin(np.abs(curve.decay[rows] - decay))]
    return curve.x[place], float(curve.decay[place])


def _check(problem: Problem, lambdas: tuple[float, float] | None, seeds: int) -> None:
    loss_of(problem)
    if not jax.config.read("jax_enable_x64"):
        raise InputError("transitions need float64: call jax.config.update('jax_enable_x64', True) first.")
    if lambdas is not None and not 0 < lambdas[0] < lambdas[1]:
        raise InputError(f"the decays {lambdas[0]:g}..{lambdas[1]:g} are no range: give a positive and a larger one.")
    if seeds < 1:
        raise InputError(f"{seeds} seeds are none: give at least one.")
