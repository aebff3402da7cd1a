"""Mode connectivity: how high one has to climb between two trained networks, with and without exchanging units."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.learning.model.problem import Problem
from thalweg.methods.copies import NoCopies, apart
from thalweg.methods.elastic_band import ElasticBand
from thalweg.verbs.ending import refuse_stopped
from thalweg.verbs.path import Path, find_path
from thalweg.verbs.relax import relax

_POINTS = 101
_SAME = 1e-3  # of the size of the params: closer ends are one minimum, found twice


class Connection(NamedTuple):
    """What lies between two minima `a` and `b`.

    **Fields:** the loss on the straight line to `b` as it is (`straight`), and to its nearest copy (`aligned`), at even
    places; `path`, of least loss to that copy, `None` where `b` is itself a copy of `a`; the `distances` to `b` and to
    the copy.
    """

    decay: float
    heights: tuple[float, float]
    distances: tuple[float, float]
    straight: Float[np.ndarray, " points"]
    aligned: Float[np.ndarray, " points"]
    path: Path | None

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers: barriers over the higher one of the two minima."""
        base = max(self.heights)
        told = {
            "decay": self.decay,
            "losses": list(self.heights),
            "distance": self.distances[0],
            "distance_aligned": self.distances[1],
            "copies": self.path is None,
            "barrier_straight": max(0.0, float(self.straight.max()) - base),
            "barrier_aligned": max(0.0, float(self.aligned.max()) - base),
        }
        if self.path is None:
            return told | {"barrier_path": 0.0, "saddles": [], "path_converged": True}
        saddles = [
            {"loss": float(one.energy), "index": one.index, "eigenvalue": float(one.eigenvalue)}
            for one in self.path.saddles
        ]
        height = max(0.0, float(np.max(np.asarray(self.path.energies))) - base)
        return told | {"barrier_path": height, "saddles": saddles, "path_converged": self.path.done}


def connect(
    problem: Problem,
    decay: float,
    ends: tuple[PyTree, PyTree] | None = None,
    *,
    images: int = 21,
    tol: float = 1e-6,
    max_steps: int = 5_000,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Connection:
    """The loss between two minima: on the straight line, on that to the nearest copy, and on a path of least loss.

    **Arguments:** `ends`, two sets of params, relaxed before use; by default two random starts. `images` of the path;
    `tol` and `max_steps`, of the relaxations and the path.

    **Raises:** `InputError` for a loss that is not compiled; `ThalwegError` where an end does not come to rest.

    **Source:** Draxler, Veschgini, Salmhofer & Hamprecht, ICML 2018, 1309 (paths); Ainsworth, Hayase & Srinivasa, arXiv
    2209.04836 (2022) (copies).
    """
    if problem.on_host:
        raise InputError("connect: the loss is computed outside of JAX: bring the model as a JAX function.")
    energy = problem.at(decay)
    pair = problem.starts(jax.random.key(seed), 2) if ends is None else jax.tree.map(lambda *two: jnp.stack(two), *ends)
    rests = _rested(energy, pair, tol, 20 * max_steps)
    bad = [place for place in range(2) if Outcome.of(rests.outcome[place]) not in (Outcome.DONE, Outcome.STALLED)]
    if bad:
        raise ThalwegError(f"connect: end {bad[0] + 1} found no rest: {Outcome.of(rests.outcome[bad[0]]).value}")
    a, b = (jax.tree.map(lambda leaf, place=place: leaf[place], rests.value) for place in range(2))
    near = jax.tree.map(jnp.asarray, problem.copies.nearest(a, b))
    distances = apart(NoCopies(), a, b), apart(NoCopies(), a, near)
    size = float(np.sqrt(sum(np.sum(np.asarray(leaf) ** 2) for leaf in jax.tree.leaves(a))))
    lines = [np.asarray(_along(energy, a, end)) for end in (b, near)]
    heights = float(rests.energy[0]), float(rests.energy[1])
    found = None
    if distances[1] > _SAME * size:
        settings: dict[str, Any] = {"images": images, "tol": tol, "max_steps": max_steps, "on_chunk": hooks}
        found = find_path(energy, a, near, ElasticBand(), throw=False, **settings)
        refuse_stopped(Solution(found, found.barrier, found.outcome), "connect")
    return Connection(float(decay), heights, distances, lines[0], lines[1], found)


@eqx.filter_jit
def _rested(energy: Any, pair: PyTree, tol: float, max_steps: int) -> Solution:
    return jax.lax.map(lambda x: relax(energy, x, "lbfgs", tol=tol, max_steps=max_steps, throw=False), pair)


@eqx.filter_jit
def _along(energy: Any, a: PyTree, b: PyTree) -> Float[Array, " points"]:
    def height(part: Array) -> Array:
        return energy(jax.tree.map(lambda first, last: first + part.astype(first.dtype) * (last - first), a, b))

    return jax.vmap(height)(jnp.linspace(0, 1, _POINTS))
