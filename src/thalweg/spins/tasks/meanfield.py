"""Back-propagation as a solver of magnets: the mean-field free energy is cooled, rounded to spins, and polished."""

from __future__ import annotations

import time
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.core.space import Signs
from thalweg.landscapes import PairwiseSigns
from thalweg.methods.signs.choose import chosen
from thalweg.methods.signs.graph import height, sign_graph
from thalweg.spins.data.problem import Problem
from thalweg.spins.energy import MeanField
from thalweg.verbs.relax import relax
from thalweg.verbs.sweep import sweep

_TEMPERATURES = 24
_COLDEST = 0.05  # of the temperature at which order begins: rounding then changes little
_STEPS = 100
_RIPPLE = 0.02  # of theta, added at every temperature, so that replicas leave the saddle at zero and part


class _Family(eqx.Module):
    """From a temperature to the free energy there."""

    magnet: PairwiseSigns

    def __call__(self, temperature: Float[Array, ""]) -> MeanField:
        return MeanField(self.magnet, temperature)


def _settle(energy: MeanField, theta: Any, key: Any) -> Solution:
    begin = theta + _RIPPLE * jax.random.normal(key, theta.shape, theta.dtype)
    return relax(energy, begin, "fire", max_steps=_STEPS, throw=False)


def _look(energy: MeanField, found: Solution) -> dict[str, Array]:
    return {"theta": found.value}


def cooled(problem: Problem, *, replicas: int, seed: int) -> Float[np.ndarray, "replicas n"]:
    """The fields `theta` of the coldest mean-field states, one for each replica.

    Each replica follows a minimum of the free energy down from where order begins, `relax` at every temperature.

    **Source:** Peterson & Anderson, Complex Syst. 1, 995 (1987); Bilbro et al., NeurIPS (1988).
    """
    from scipy.sparse import csr_array

    starts, neighbours, couplings, field = problem.to_csr()
    size = problem.size
    matrix = csr_array((couplings, neighbours, starts), shape=(size, size))
    # Order begins at the largest eigenvalue; a field alone orders spins at any temperature.
    strongest = float(max(np.abs(couplings).max(initial=0.0), np.abs(field).max(initial=0.0)))
    hottest = max(_largest_eigenvalue(matrix), strongest) or 1.0
    scaled = (problem.coupling / problem.denominator / hottest).astype(float)
    magnet = PairwiseSigns(problem.first, problem.second, scaled, field / hottest)
    values = np.geomspace(_COLDEST, 1.0, _TEMPERATURES)
    found = sweep(
        _Family(magnet), values, _settle, jnp.zeros(size), observe=_look, key=jax.random.key(seed), seeds=replicas,
        order="down", follow=True, batch=_TEMPERATURES,
    )  # fmt: skip
    return np.asarray(found["theta"].sel(value=values[0], method="nearest"))


def _largest_eigenvalue(matrix: Any) -> float:
    from scipy.sparse.linalg import eigsh

    size, tolerance = matrix.shape[0], 1e-3
    if size < 3 or matrix.nnz == 0:
        return 0.0
    start = 1 + 0.1 * np.arange(size) / size
    return float(eigsh(matrix, k=1, which="LA", v0=start, tol=cast(Any, tolerance), return_eigenvectors=False)[0])


def mean_field(
    problem: Problem,
    *,
    seed: int = 0,
    target: float | None = None,
    units: int = 2**31 - 1,
    replicas: int = 16,
    hooks: tuple[Hook, ...] = (),
) -> Solution:
    """The best rounded mean-field state, and what the search that suits the couplings makes of it.

    **Returns:** the solution of the search, with `stats` `rounded_energy`, where it began, and `cooling_seconds`.
    """
    clock = time.perf_counter()
    graph = sign_graph(problem, "solve")
    rounded = np.where(cooled(problem, replicas=replicas, seed=seed) < 0, -1, 1).astype(np.int8)
    heights = [height(graph, signs) for signs in rounded]
    best = rounded[int(np.argmin(heights))]
    spent = time.perf_counter() - clock
    polish, _ = chosen(graph, seed=seed, target=target)
    found = relax(problem, best.astype(float), polish, space=Signs(), max_steps=units, throw=False, on_chunk=hooks)
    more = {"rounded_energy": min(heights), "cooling_seconds": spent, "seconds": found.stats["seconds"] + spent}
    return Solution(found.value, found.energy, found.outcome, None, found.stats | more)
