"""The landscape of a training problem: minima and saddles modulo exchanges of units, as the penalty moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.core.solution import Solution
from thalweg.diagnostics.disconnectivity import Tree
from thalweg.learning.model.problem import Problem
from thalweg.methods.copies import apart
from thalweg.verbs.continuation import follow_branch
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.relax import relax
from thalweg.verbs.survey import Survey, survey

_NO_UNITS = "No exchangeable units are known: copies of a network count as different points. Declare `units`."
_MOST = 300  # numbers: a survey diagonalises Hessians in every step of its searches
_NEAR = 1e-3  # of the size of a minimum: two points of rest within it, modulo copies, are one


class Effort(NamedTuple):
    """How hard to look.

    **Fields:** `starts`, random starts at each penalty; the others as in `survey`.
    """

    starts: int = 48
    rounds: int = 6
    pairs: int = 8
    searches: int = 8
    images: int = 11
    tol: float = 1e-9


class Stage(NamedTuple):
    """The landscape at one penalty: its `survey`, its `tree`, and the `names` by which minima are followed."""

    decay: float
    survey: Survey
    tree: Tree
    names: tuple[int, ...]

    def escape(self, place: int) -> float | None:
        """The lowest barrier over the minimum to any lower one; `None` for the lowest one and where none is known."""
        heights = np.asarray(self.survey.energies)
        tops = [self.tree.barrier(place, int(other)) for other in np.flatnonzero(heights < heights[place])]
        lowest = min(tops, default=np.inf)
        return float(lowest - heights[place]) if np.isfinite(lowest) else None


class Merging(NamedTuple):
    """A minimum that is gone: between the penalties `below` and `above` it gave way, and a walk from it ends at `into`.

    **Fields:** `decay`, where the branch of the minimum turns or loses its stability, with the `kind` of that point;
    `None` where continuation did not find it.
    """

    minimum: int
    into: int
    below: float
    above: float
    decay: float | None
    kind: str | None


class Landscape(NamedTuple):
    """The landscapes at all penalties, in increasing order, and the minima that give way in between."""

    problem: Problem
    stages: tuple[Stage, ...]
    merged: tuple[Merging, ...]

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command, in plain numbers."""
        return {
            "model": self.problem.name,
            "decays": [stage.decay for stage in self.stages],
            "minima": [_minima(stage) for stage in self.stages],
            "saddles": [_saddles(stage) for stage in self.stages],
            "connected": [bool(stage.survey.connected) for stage in self.stages],
            "merged": [one._asdict() for one in self.merged],
            "notes": [*self.problem.notes, *([] if self.problem.units else [_NO_UNITS])],
        }


def _minima(stage: Stage) -> list[dict[str, Any]]:
    rows = zip(stage.names, np.asarray(stage.survey.energies), np.asarray(stage.survey.found), strict=True)
    return [
        {"name": name, "loss": float(height), "starts": int(count), "barrier": stage.escape(place)}
        for place, (name, height, count) in enumerate(rows)
    ]


def _saddles(stage: Stage) -> list[dict[str, Any]]:
    found = stage.survey
    rows = zip(np.asarray(found.saddle_energies), np.asarray(found.eigenvalues), np.asarray(found.joined), strict=True)
    return [
        {"loss": float(height), "eigenvalue": float(bend), "joins": sorted(stage.names[end] for end in ends)}
        for height, bend, ends in rows
    ]


def landscape(
    problem: Problem,
    decays: Sequence[float],
    *,
    effort: Effort | None = None,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Landscape:
    """Survey the loss at every penalty, and follow its minima from one to the next.

    Copies of a point under exchanges of units, and turns of their signs where these are odd, count as that point. The
    surveys go from the largest penalty, where there is least to find, to the smallest: each starts from random
    parameters, from the minima of the one before, and from its saddles, carried over by continuation.

    **Arguments:** `decays`, positive (without a penalty the minima are flat valleys); `done`, where finished searches
    are kept; `hooks`, called after every search.

    **Raises:** `InputError` for unusable penalties or a loss that is too large or not compiled; `WalkError` where a
    hook stopped it.
    """
    effort = Effort() if effort is None else effort
    levels = _checked(problem, decays)
    key = jax.random.key(seed)
    clouds = problem.starts(jax.random.fold_in(key, 0), effort.starts)
    found: list[tuple[float, Survey]] = []
    for level in reversed(levels):
        starts, guesses = clouds, None
        if found:
            starts = _joined(clouds, found[-1][1].minima)
            guesses = _carried(problem, *found[-1], level)
        settings: dict[str, Any] = effort._asdict() | {"done": done, "on_chunk": hooks, "throw": False}
        settings |= {"guesses": guesses, "distance_tol": _NEAR * _size(clouds)}
        del settings["starts"]
        mapped = survey(problem.at(level), starts, copies=problem.copies, key=jax.random.fold_in(key, 1), **settings)
        stopped = Solution(mapped, jnp.asarray(np.nan), jnp.asarray(mapped.stats["outcome"]))
        refuse_stopped(stopped, f"landscape: at the penalty {level:g}, finished searches being kept")
        found.append((level, mapped))
    stages: list[Stage] = []
    merged: list[Merging] = []
    for level, mapped in reversed(found):
        names, gone = _followed(problem, stages, level, mapped)
        stages.append(Stage(level, mapped, mapped.tree, names))
        merged += gone
    return Landscape(problem, tuple(stages), tuple(merged))


def _carried(problem: Problem, decay: float, mapped: Survey, level: float) -> PyTree | None:
    """The saddles at one penalty as stationary points at a lower one, as far as their branches reach."""
    ends = []
    for place in range(len(mapped.saddle_energies)):
        x = jax.tree.map(jnp.asarray, _row(mapped.saddles, place))
        bounds = (level, decay * (1 + 1e-6))
        branch = follow_branch(problem.at, x, decay, bounds=bounds, direction="down", throw=False)
        if branch.done and float(branch.value[-1]) <= level * (1 + 1e-9):
            ends.append(jax.tree.map(lambda leaf: leaf[-1], branch.x))
    return jax.tree.map(lambda *rows: jnp.stack(rows), *ends) if ends else None


def _checked(problem: Problem, decays: Sequence[float]) -> list[float]:
    levels = sorted(float(decay) for decay in decays)
    if not levels or levels[0] <= 0 or not np.isfinite(levels).all():
        raise InputError("landscape: decays must be positive numbers: without a penalty minima are flat valleys.")
    if problem.on_host:
        raise InputError("landscape: the loss is computed outside of JAX: bring the model as a JAX function.")
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(problem.start, jax.random.key(0))))
    if size > _MOST:
        raise InputError(f"landscape: the model has {size} parameters, but at most {_MOST} can be surveyed.")
    return levels


def _joined(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(lambda first, second: jnp.concatenate([first, jnp.asarray(second, first.dtype)]), a, b)


def _size(clouds: PyTree) -> float:
    """The root mean square of the norms of the starts."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(clouds)]
    return float(np.sqrt(sum(np.sum(leaf**2) for leaf in leaves) / len(leaves[0])))


@eqx.filter_jit
def _walked(energy: Any, minima: PyTree) -> Solution:
    # One after another: L-BFGS under vmap takes three times as long to compile.
    return jax.lax.map(lambda x: relax(energy, x, "lbfgs", tol=1e-8, max_steps=20_000, throw=False), minima)


def _followed(
    problem: Problem, stages: list[Stage], level: float, found: Survey
) -> tuple[tuple[int, ...], list[Merging]]:
    """The names of the minima at a new penalty, and which of those before are gone."""
    if not stages:
        return tuple(range(len(found.energies))), []
    before = stages[-1]
    ends = _walked(problem.at(level), before.survey.minima).value
    walks = [
        (
            _nearest(problem, found, _row(ends, place)),
            apart(problem.copies, _row(before.survey.minima, place), _row(ends, place)),
        )
        for place in range(len(before.names))
    ]
    names: dict[int, int] = {}
    for place in sorted(range(len(walks)), key=lambda place: walks[place][1]):
        names.setdefault(walks[place][0], before.names[place])
    fresh = 1 + max(max(stage.names) for stage in stages)
    for place in range(len(found.energies)):
        if place not in names:
            names[place], fresh = fresh, fresh + 1
    gone = [
        Merging(name, names[end], before.decay, level, *_giving_way(problem, before, place, level))
        for place, (name, (end, _)) in enumerate(zip(before.names, walks, strict=True))
        if names[end] != name
    ]
    return tuple(names[place] for place in range(len(found.energies))), gone


def _giving_way(problem: Problem, before: Stage, place: int, level: float) -> tuple[float | None, str | None]:
    """Where the branch of a minimum first loses its stability or turns, on the way up to another penalty."""
    bounds = (before.decay * (1 - 1e-6), level)
    x = jax.tree.map(jnp.asarray, _row(before.survey.minima, place))
    branch = follow_branch(problem.at, x, before.decay, bounds=bounds, direction="up", throw=False)
    lost = [point for point in branch.points if int(point.index_before) == 0 and int(point.index_after) > 0]
    return (float(lost[0].value), lost[0].kind) if lost else (None, None)


def _nearest(problem: Problem, found: Survey, x: PyTree) -> int:
    gaps = [apart(problem.copies, x, _row(found.minima, place)) for place in range(len(found.energies))]
    return int(np.argmin(gaps))


def _row(tree: PyTree, place: int) -> PyTree:
    return jax.tree.map(lambda leaf: np.asarray(leaf[place]), tree)
