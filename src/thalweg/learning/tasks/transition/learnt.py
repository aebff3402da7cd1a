"""What a problem learns at a decay: relaxations from many starts, and the learnt state followed until it ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import Scaled
from thalweg.core.errors import InputError
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.transition.branches import Curve, Walked, drawn, followed, like_of, loss_of
from thalweg.learning.tasks.transition.collapse import Collapsed, Ground, curvature
from thalweg.verbs.relax import relax

LANES = 48  # relaxations at once, always as many: one compilation serves all of a study
GAIN = 1e-6  # of the most that can be gained: a state lower by less is not told from the collapsed one
_DECADES, _PER_DECADE = 4, 4
_CHANGES = 6  # of the state on its way up, each onto another branch
_STEPS = 4000
_REST = 1e-8  # the force at rest, in units of the largest curvature


class Look(NamedTuple):
    """Relaxations from random starts: `decay` [values] downwards, and by value and lane the flat `x` and `energy`."""

    decay: Float[np.ndarray, " values"]
    x: Float[np.ndarray, "values lanes n"]
    energy: Float[np.ndarray, "values lanes"]


@eqx.filter_jit
def _relaxed(problem: Problem, stiffness: Array, decays: Array, x: Array, like: PyTree) -> tuple[Array, Array]:
    unravel = ravel_pytree(like)[1]

    def one(decay: Array, start: Array) -> tuple[Array, Array]:
        # In units in which curvatures are of the order of one, as FIRE's time steps want them.
        energy = Scaled(problem.at(decay), 1 / stiffness)
        found = relax(energy, unravel(start), "fire", max_steps=_STEPS, tol=_REST, throw=False)
        return ravel_pytree(found.value)[0], found.energy * stiffness

    return jax.vmap(one)(decays, x)


class Relaxer:
    """Relaxations of one problem in lanes; what the study asks of it again is compiled already."""

    def __init__(self, problem: Problem, state: Collapsed, seed: int):
        self.problem, self.state = problem, state
        self.like = like_of(problem)
        self.seed = seed
        unravel = jax.jit(ravel_pytree(self.like)[1])
        bent = [np.asarray(curvature(loss_of(problem), unravel(x))) for x in self.starts(10_000, 3)]
        self.top = max(state.stiffness, *(float(np.abs(np.linalg.eigvalsh(one)).max()) for one in bent))
        if not np.isfinite(self.top) or self.top <= 0:
            raise InputError(f"{problem.name}: its loss has no finite curvature at random starts: scale its data.")

    def starts(self, place: int, count: int) -> Float[np.ndarray, "count n"]:
        """Random flat starts, other ones for each place."""
        return drawn(self.problem, self.seed, place, count)

    def noisy(self, x: np.ndarray, place: int, count: int, size: float = 1e-3) -> Float[np.ndarray, "count n"]:
        """Copies of `x` with noise of that relative size."""
        noise = np.random.default_rng([self.seed, 7919, place]).normal(size=(count, len(x)))
        return x + size * (np.linalg.norm(x) or 1.0) / np.sqrt(len(x)) * noise

    def __call__(self, decays: Any, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The flat ends `[lanes, n]` and their energies, for one decay or one for each start."""
        found, dtype = [], self.state.x.dtype
        decays = np.broadcast_to(np.asarray(decays, dtype), len(starts))
        stiffness = jnp.asarray(self.top, dtype)
        for first in range(0, len(starts), LANES):
            rows = np.minimum(np.arange(first, first + LANES), len(starts) - 1)
            given = jnp.asarray(decays[rows]), jnp.asarray(starts[rows])
            found.append(_relaxed(self.problem, stiffness, *given, self.like))
        x, energy = (np.concatenate([np.asarray(part[side]) for part in found])[: len(starts)] for side in (0, 1))
        return x, np.where(np.isfinite(energy), energy, np.inf)

    def look(self, bounds: tuple[float, float], seeds: int) -> Look:
        """Relaxations over a range of decays, as many from random starts at each."""
        low, high = bounds
        count = 1 + max(4, round(_PER_DECADE * float(np.log10(high / low))))
        decay = np.geomspace(high, low, count)
        starts = np.concatenate([self.starts(place, seeds) for place in range(count)])
        x, energy = self(np.repeat(decay, seeds), starts)
        return Look(decay, x.reshape(count, seeds, -1), energy.reshape(count, seeds))

    def range(self) -> tuple[float, float]:
        """Decays from where nothing is learnt, above all curvatures that were seen, over four decades down."""
        return self.top * 10.0**-_DECADES, self.top


class Ascent(NamedTuple):
    """A learnt state followed to higher decays until it ends.

    **Fields:** the branches `walked`, one after the other; how the last one `ends`: `merged` with the state at large
    decay, at a `fold` or another `branch` point, or at the `bound`; the decay of that `end`.
    """

    walked: tuple[Walked, ...]
    ends: str
    end: float

    @property
    def coexistence(self) -> float | None:
        """The highest decay at which a state on the way has the energy of the state at large decay."""
        met = np.concatenate([one.curve.meets for one in self.walked])
        return float(met.max()) if len(met) else None

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The branches as arrays."""
        return tuple(one.curve for one in self.walked)


def ascend(relaxer: Relaxer, x: np.ndarray, decay: float, bounds: tuple[float, float], ground: Ground) -> Ascent | None:
    """Follow a learnt minimum upwards, and where it ends, the learnt state that it falls to, if it does.

    **Returns:** `None` where Newton's method finds no learnt minimum near `x`.
    """
    walked: list[Walked] = []
    ends, end, first = "bound", bounds[1], x
    for change in range(_CHANGES):
        one = _walk(relaxer, x, decay, bounds, ground, first)
        if one is None:
            break
        walked.append(one)
        place = one.curve.ends_at()
        if place is None:
            ends, end = "bound", float(one.curve.decay.max())
            break
        end, last = float(one.curve.kind_decay[place]), one.curve.kind_x[place]
        ends = ("fold", "branch", "branch")[int(one.curve.kind[place])]
        if _near(last, ground.x(end), first):
            ends = "merged"
            break
        decay = min(end * 1.01, bounds[1])
        x = relaxer(decay, relaxer.noisy(last, change, 1))[0][0]
    return Ascent(tuple(walked), ends, end) if walked else None


def _walk(
    relaxer: Relaxer, x: np.ndarray, decay: float, bounds: tuple[float, float], ground: Ground, learnt: np.ndarray
) -> Walked | None:
    """The branch through a relaxed state, unless that is the one at large decay or no minimum."""
    if x is not learnt and _near(x, ground.x(decay), learnt):
        return None
    try:
        one = followed(relaxer.problem, x, decay, relaxer.like, bounds, floor=ground.energy)
    except InputError:
        return None
    began = int(np.argmin(np.abs(one.curve.arclength)))
    return None if one.curve.index[began] or _near(one.curve.x[began], ground.x(decay), learnt) else one


def _near(x: np.ndarray, other: np.ndarray, scale: np.ndarray) -> bool:
    """Whether two states are one, beside the distance of a third one."""
    return bool(np.linalg.norm(x - other) < 1e-3 * np.linalg.norm(scale - other))
