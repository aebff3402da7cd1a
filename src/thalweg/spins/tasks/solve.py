"""Ground states with a certificate: the lowest spins found, how low any could be, and how often it takes how long."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Report, Store
from thalweg.core.space import Signs
from thalweg.methods.parts import in_parts, part_name
from thalweg.methods.signs.bound import Bound, lower_bound
from thalweg.methods.signs.choose import chosen
from thalweg.methods.signs.graph import SignGraph, one_flip_optimal, sign_graph
from thalweg.methods.signs.search import AbstractSearch
from thalweg.runs import TimeLimit
from thalweg.session import CompileClock, hear_kernels
from thalweg.spins.data.problem import Problem
from thalweg.verbs.relax import relax

METHODS = ("auto", "annealing", "exchange", "memetic", "exhaustive", "chromatic", "meanfield")


class Solved(NamedTuple):
    """A search that has ended, and what is known of its answer.

    **Fields:** the `problem`; its best `signs [n]`; the `method` in words; the energies met on the way, `history
    [points, 2]` in seconds and energy; the `result`, as the command prints it.
    """

    problem: Problem
    signs: Int8[np.ndarray, " n"]
    method: str
    history: Float[np.ndarray, "points 2"]
    result: dict[str, Any]


class TimeToSolution(NamedTuple):
    """How long it takes to meet the target with 99 % probability: `tts99` in seconds, with a 95 % `interval`.

    **Fields:** besides, the `seconds` of each run, and whether it was a success (`met`).
    """

    tts99: float | None
    interval: tuple[float | None, float | None]
    seconds: Float[np.ndarray, " runs"]
    met: Bool[np.ndarray, " runs"]

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command."""
        return {
            "tts99": self.tts99,
            "tts99_interval": list(self.interval),
            "runs": len(self.seconds),
            "successes": int(self.met.sum()),
            "run_seconds": [round(float(each), 7) for each in self.seconds],
        }


def solve(
    problem: Problem,
    *,
    target: float | None = None,
    method: str = "auto",
    seed: int = 0,
    units: int | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Solved:
    """Search until the target, the end of `units` of work or a hook's limit, and certify what was found.

    **Arguments:** `target`, see `energy_of_target`; `method`, one of `METHODS`; `units`, steps of the search (the
    number that a run reports replays it).

    **Raises:** `InputError` for an unknown method, or a method that does not fit the problem.
    """
    hear_kernels()
    graph, lowest = sign_graph(problem, "solve"), energy_of_target(problem, target)
    history, began, compiled = History(), time.perf_counter(), CompileClock()
    found, told = _searched(problem, graph, lowest, method, seed, units, (*hooks, history))
    signs = np.asarray(found.value).astype(np.int8)
    updates, seconds = int(found.stats["updates"]), max(time.perf_counter() - began - compiled.seconds, 0.0)
    clock = time.perf_counter()
    bound = _bound(problem, graph, signs, told)
    result: dict[str, Any] = {
        "cut": problem.cut(signs),
        "energy": problem.energy(signs),
        "target_met": None if lowest is None else bool(problem.energy(signs) - shift(problem) <= lowest),
        "method": told,
        "updates": updates,
        "units": int(found.stats["steps"]),
        "search_seconds": round(seconds, 4),
        "updates_per_second": updates / seconds if seconds > 0 else None,
        "one_flip_optimal": one_flip_optimal(graph, signs),
        **_certificate(problem, signs, bound),
        "bound_seconds": round(time.perf_counter() - clock, 4),
        "spins": problem.size,
        "pairs": int(problem.first.size),
        "notes": list(problem.notes),
    }
    result |= {name: found.stats[name] for name in ("rounded_energy", "cooling_seconds") if name in found.stats}
    return Solved(problem, signs, told, history.points(shift(problem)), result)


def _searched(problem, graph: SignGraph, target, method: str, seed: int, units: int | None, hooks) -> tuple[Any, str]:
    steps = 2**31 - 1 if units is None else units
    if method == "meanfield":
        from thalweg.spins.tasks.meanfield import mean_field

        return mean_field(problem, seed=seed, target=target, hooks=hooks, units=steps), _MEAN_FIELD
    search, told = search_named(method, graph, seed=seed, target=target)
    return relax(problem, None, search, space=Signs(), max_steps=steps, throw=False, on_chunk=hooks), told


_MEAN_FIELD = "meanfield: the variational free energy cooled by back-propagation, rounded, and searched on from there"


def search_named(
    method: str, graph: SignGraph, *, seed: int = 0, target: float | None = None
) -> tuple[AbstractSearch, str]:
    """A search by its name, and what it is in words.

    **Raises:** `InputError` for an unknown name.
    """
    from thalweg.methods.registry import named

    if method == "auto":
        return chosen(graph, seed=seed, target=target)
    if method not in METHODS:
        raise InputError(f"solve: there is no method {method!r}: choose one of {', '.join(METHODS)}.")
    kind = type(named("relax", method))
    return kind(seed=seed, target=target), method


def shift(problem: Problem) -> float:
    """What the energy of a problem has over that of its couplings and fields."""
    return problem.offset / problem.denominator


def energy_of_target(problem: Problem, target: float | None) -> float | None:
    """The energy, without the offset, that a target of the user's asks for.

    For a graph a positive number is a cut, since any energy worth reaching is negative there.
    """
    if target is None:
        return None
    if problem.kind == "maxcut" and target > 0:
        weight = -float(problem.coupling.sum())
        return weight - 2 * target
    return target - shift(problem)


def time_to_solution(
    problem: Problem,
    *,
    target: float,
    runs: int,
    seconds: float,
    method: str = "auto",
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> TimeToSolution:
    """Run the search from so many seeds until the target or the time limit each.

    If times to success have an exponential law, then with `k` successes in a total time `T` the mean is `T / k`,
    `2 T / mean` has a chi-squared law of `2 k` degrees, and TTS99 is `ln(100)` means. Where all runs need about as
    long, restarting after the longest successful one is surer: with the chance `p` of success by then (a beta law),
    TTS99 is that time times `ln(0.01) / ln(1 - p)`. The shorter of the two is told. Compilation is left out.

    **Arguments:** `seconds`, at most, for each run; `done`, a store where finished runs are kept; `hooks`, told the
    number of finished runs.

    **Source:** Ronnow et al., Science 345, 420 (2014); intervals: Epstein & Sobel, J. Am. Stat. Assoc. 48, 486 (1953).
    """
    hear_kernels()
    graph, lowest = sign_graph(problem, "solve"), energy_of_target(problem, target)
    known = graph._asdict() | {"method": method, "target": target, "limit": seconds}
    seeds = {part_name("run", seed=seed + run, **known): seed + run for run in range(runs)}

    def compute(name: str) -> dict[str, np.ndarray]:
        began, clock = time.perf_counter(), CompileClock()
        limit = TimeLimit(seconds, lambda: clock.seconds)
        found, _ = _searched(problem, graph, lowest, method, seeds[name], None, (limit,))
        spent = max(time.perf_counter() - began - clock.seconds, 1e-9)  # the choice of a method included
        return {"seconds": np.asarray(spent), "met": np.asarray(found.stats["energy"] <= lowest)}

    parts = in_parts(list(seeds), compute, done=done, hooks=hooks, task="solve").values()
    taken, met = (np.array([part[name] for part in parts]) for name in ("seconds", "met"))
    return TimeToSolution(*_tts99(taken, met), taken, met)


def _tts99(seconds: np.ndarray, met: np.ndarray) -> tuple[float | None, tuple[float | None, float | None]]:
    """The shorter of two ways to be 99 % sure: restarts at any moment, and restarts after the longest success."""
    from scipy.stats import beta, chi2

    factor, total, successes = float(np.log(100.0)), float(seconds.sum()), int(met.sum())
    if not successes:
        # A lower end only: the chance of no success at all would be 2.5 % there.
        return None, (factor * total / float(-np.log(0.025)), None)
    low, high = (factor * 2 * total / float(chi2.ppf(share, 2 * successes)) for share in (0.975, 0.025))
    memoryless = factor * total / successes, (low, high)
    longest, failures = float(seconds[met].max()), len(met) - successes
    law = beta(successes + 0.5, failures + 0.5)  # of the chance of success by then, after Jeffreys
    sure = lambda chance: longest * max(1.0, -factor / float(np.log1p(-chance)))  # noqa: E731
    cut_off = sure(law.mean()), (sure(law.ppf(0.975)), sure(law.ppf(0.025)))
    return min(memoryless, cut_off, key=lambda way: way[0])


class History:
    """A hook that keeps the best energy of a search over its seconds, where it changed."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []
        self._last: tuple[float, float] | None = None

    def __call__(self, report: Report) -> None:
        lowest = float(best_energy(report.state))
        self._last = report.seconds, lowest
        if not self._points or lowest < self._points[-1][1]:
            self._points.append(self._last)

    def points(self, offset: float) -> Float[np.ndarray, "points 2"]:
        """Seconds and energy, the offset included; the last point is the end."""
        points = self._points if self._last is None else [*self._points, self._last]
        return np.asarray(points, float).reshape(-1, 2) + np.asarray([0.0, offset])


def best_energy(state: Any) -> Any:
    """The best energy of a walk that searches, or that cools towards one."""
    return state.lowest if hasattr(state, "lowest") else np.inf


def _bound(problem: Problem, graph: SignGraph, signs: np.ndarray, told: str) -> Bound:
    if told.startswith("exhaustive"):
        return Bound(float(problem.energy(signs)) - shift(problem), "exhaustive", "all configurations")
    return lower_bound(graph)


def _certificate(problem: Problem, signs: np.ndarray, bound: Bound) -> dict[str, Any]:
    lowest = bound.energy + shift(problem)
    energy = problem.energy(signs)
    upper = -lowest
    if problem.kind == "maxcut":
        upper = (-float(problem.coupling.sum()) - lowest) / 2
    return {
        "upper_bound": upper,
        "energy_lower_bound": lowest,
        "bound_method": bound.method,
        "bound_proof": bound.proof,
        "proven_optimal": bool(energy <= lowest),
    }
