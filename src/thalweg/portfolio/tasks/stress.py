"""The reverse stress test: the most plausible path of the drivers on which the footprint breaks a limit."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.errors import InputError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box
from thalweg.portfolio.energy import Implausibility, Shortfall, StressEnergy
from thalweg.portfolio.model.footprint import Footprint
from thalweg.portfolio.model.law import Law
from thalweg.verbs.constrained import relax_constrained
from thalweg.verbs.relax import relax

FARTHEST = 8.0  # standard deviations of a single shock: beyond, nothing is plausible
_MET = 1e-6  # of the logarithm of the footprint
_FLAT = 1e-9  # change of log footprint per standard deviation, below which it does not answer


class Stress(NamedTuple):
    """A path of the drivers, how far it is from what is expected, and what it does.

    **Fields:**

    - `reached`: whether the limit is broken on it; if not, `reason` says why and the path is the expected one.
    - `path`: standardised growth; `shocks`: in standard deviations of independent innovations.
    - `distance`: the Mahalanobis distance from the expected path.
    - `chance_as_far`: of a path at least as far, by the chi-square law with horizon x drivers degrees of freedom.
    - `chance_of_breach`: of the limit being broken on any path, to first order: normal(-distance).
    - `footprint`, `expected`: of each year, on this path and on the expected one, t CO2e.
    """

    reached: bool
    reason: str
    path: Float[np.ndarray, "horizon drivers"]
    shocks: Float[np.ndarray, "horizon drivers"]
    distance: float
    chance_as_far: float
    chance_of_breach: float
    footprint: Float[np.ndarray, " horizon"]
    expected: Float[np.ndarray, " horizon"]


def reverse_stress(
    footprint: Footprint, law: Law, horizon: int, limit: float, *, starts: int = 3, seed: int = 0
) -> Stress:
    """The nearest path to the expected one on which the footprint of the last year reaches a limit.

    It minimises half the squared Mahalanobis distance subject to F >= limit, from several starts, each relaxed by the
    method of multipliers over `relax`. The nearest of what was found is not proven to be the nearest of all.

    **Arguments:** `limit`: t CO2e; `starts`: the first in the direction in which the footprint grows, others at random.

    **Raises:** `InputError` for a limit that is not positive.
    **Source:** Hasofer & Lind, J. Eng. Mech. Div. 100, 111 (1974), for the nearest point of failure and its chance.
    """
    if not (np.isfinite(limit) and limit > 0):
        raise InputError(f"the limit is {limit:g} t CO2e, but it must be positive and finite.")
    shape = (horizon, law.mean.size)
    missing = Shortfall(footprint, law, jnp.log(jnp.asarray(limit, float)))
    quiet = np.zeros(shape)
    short, slope = (np.asarray(one) for one in _value_and_slope(missing, jnp.asarray(quiet)))
    if short <= 0:
        return stressed(footprint, law, quiet, reached=True, reason="The expected path already breaks the limit.")
    steep = float(np.sum(slope**2))
    random = np.random.default_rng(seed)
    begins = [random.normal(size=shape) for _ in range(starts)]
    if steep > _FLAT**2:
        begins[0] = np.clip(-slope * float(short) / steep, -FARTHEST / 2, FARTHEST / 2)
    found = [one for one in (_nearest(missing, begin) for begin in begins) if one is not None]
    if not found:
        if steep <= _FLAT**2 and all(_steepness(missing, begin) <= _FLAT for begin in begins):
            return stressed(footprint, law, quiet, reached=False, reason=(
                "The forecast does not answer the drivers, so that no path of theirs breaks a limit."))  # fmt: skip
        return stressed(footprint, law, quiet, reached=False, reason=(
            f"No path was found on which the footprint reaches {limit:g} t CO2e with shocks of at most {FARTHEST:g} "
            "standard deviations each: lower the limit."))  # fmt: skip
    return stressed(footprint, law, min(found, key=lambda shocks: float(np.sum(shocks**2))), reached=True)


def worst(footprint: Footprint, law: Law, horizon: int, weight: float, *, max_steps: int = 2000) -> Stress:
    """The path that raises the footprint most for its implausibility: the minimum of `StressEnergy`, by `relax`.

    **Arguments:** `weight`: of the log footprint of the last year. Where the footprint is exp(c + g . shocks), the
    answer is `shocks = weight g`.

    **Raises:** `WalkError` where the descent does not arrive, as where the footprint has no bound.
    """
    energy = StressEnergy(footprint, law, jnp.asarray(weight, float))
    space = Box(-FARTHEST, FARTHEST)
    rest = relax(energy, jnp.zeros((horizon, law.mean.size)), space=space, tol=1e-8, max_steps=max_steps)
    return stressed(footprint, law, np.asarray(rest.value), reached=True)


def stressed(footprint: Footprint, law: Law, shocks: np.ndarray, *, reached: bool, reason: str = "") -> Stress:
    """What some shocks do, and how plausible they are."""
    shocks = np.asarray(shocks, np.float64)
    path, value, expected = _both(footprint, law, jnp.asarray(shocks))
    distance = float(np.sqrt(np.sum(shocks**2)))
    as_far = float(jax.scipy.special.gammaincc(shocks.size / 2, distance**2 / 2)) if shocks.size else 1.0
    breach = float(jax.scipy.stats.norm.cdf(-distance))
    return Stress(reached, reason, np.asarray(path), shocks, distance, as_far, breach, np.asarray(value),
                  np.asarray(expected))  # fmt: skip


def _nearest(missing: Shortfall, begin: np.ndarray) -> np.ndarray | None:
    steep = max(_steepness(missing, begin), _FLAT)
    solution = relax_constrained(
        Implausibility(), missing, jnp.asarray(begin), stiffness=jnp.asarray(10 / steep**2),
        space=Box(-FARTHEST, FARTHEST), tol=1e-7, max_steps=500, throw=False,
    )  # fmt: skip
    short = float(_value_and_slope(missing, solution.value)[0])
    arrived = int(solution.outcome) in (Outcome.DONE.code, Outcome.STALLED.code) or short <= _MET
    return np.asarray(solution.value) if arrived and short <= _MET else None


def _steepness(missing: Shortfall, shocks: np.ndarray) -> float:
    return float(jnp.linalg.norm(_value_and_slope(missing, jnp.asarray(shocks))[1].ravel()))


@eqx.filter_jit
def _value_and_slope(energy: Shortfall, x: Float[Array, "horizon drivers"]) -> tuple[Array, Array]:
    return jax.value_and_grad(energy)(x)


@eqx.filter_jit
def _both(footprint: Footprint, law: Law, shocks: Float[Array, "horizon drivers"]) -> tuple[Array, Array, Array]:
    path = law.path(shocks)
    return path, footprint(path), footprint(law.path(jnp.zeros_like(shocks)))
