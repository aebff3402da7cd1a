"""Hysteresis: a learnt state carried up in the decay and down again, by relaxations with a little noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.energy import Scaled
from thalweg.core.hooks import Hook, Store
from thalweg.core.solution import Solution
from thalweg.learning.model.order_parameters import OrderParameter
from thalweg.learning.tasks.transition.learnt import Relaxer
from thalweg.verbs.relax import relax
from thalweg.verbs.sweep import sweep

# Of the learnt state's size: enough to leave a state that is none any more, too little to leave a minimum.
_NOISE = 1e-3
_STEPS = 4000


class Loop(NamedTuple):
    """An order parameter over the decay on the way `up` from the learnt state and on the way `down` again.

    **Fields:** `lost`, the two neighbouring decays between which the way up falls to the state at large decay;
    `found`, those between which the way down leaves it; `None` where that does not happen.
    """

    decay: Float[np.ndarray, " points"]
    up: Float[np.ndarray, " points"]
    down: Float[np.ndarray, " points"]
    lost: tuple[float, float] | None
    found: tuple[float, float] | None

    @property
    def width(self) -> float | None:
        """The distance of the two jumps, where both were seen."""
        if self.lost is None or self.found is None:
            return None
        return float(np.mean(self.lost) - np.mean(self.found))


def _carried(stiffness: Array, noise: Array, energy: Any, x0: PyTree, key: Key[Array, ""]) -> Solution:
    flat, unravel = ravel_pytree(x0)
    start = unravel(flat + noise * jax.random.normal(key, flat.shape, flat.dtype))
    return relax(Scaled(energy, 1 / stiffness), start, "fire", max_steps=_STEPS, tol=1e-8, throw=False)


def _observed(problem: Any, measure: OrderParameter, energy: Any, solution: Solution) -> dict[str, Array]:
    return {"order": measure(problem, solution.value), "x": ravel_pytree(solution.value)[0]}


def hysteresis(
    relaxer: Relaxer,
    measure: OrderParameter,
    x: np.ndarray,
    decays: np.ndarray,
    at_large: np.ndarray,
    *,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Loop:
    """Carry the state `x` over increasing decays and back.

    **Arguments:** `at_large` `[points, n]`, the state at large decay, by the distance from which a state is known.
    """
    flat, unravel = ravel_pytree(relaxer.like)
    noise = _NOISE * float(np.linalg.norm(x)) / np.sqrt(len(x))
    start = relaxer(decays[:1], x[None])[0][0]
    table = sweep(
        relaxer.problem.at,
        decays,
        eqx.Partial(_carried, jnp.asarray(relaxer.top, flat.dtype), jnp.asarray(noise, flat.dtype)),
        unravel(jnp.asarray(start, flat.dtype)),
        observe=eqx.Partial(_observed, relaxer.problem, measure),
        key=jax.random.fold_in(jax.random.key(relaxer.seed), 15485863),
        follow=True,
        order="both",
        done=done,
        on_chunk=hooks,
    )
    order = table["order"].to_numpy()[..., 0]
    apart = np.linalg.norm(table["x"].to_numpy()[:, :, 0] - at_large, axis=-1)
    away = apart > 0.02 * np.linalg.norm(start - at_large[0])
    return Loop(decays, order[0], order[1], _step(decays, away[0]), _step(decays, away[1]))


def _step(decays: np.ndarray, away: np.ndarray) -> tuple[float, float] | None:
    """The neighbouring decays, going up, between which `away` ends for good."""
    last = np.flatnonzero(away)
    if not len(last) or last[-1] + 1 == len(decays):
        return None
    return float(decays[last[-1]]), float(decays[last[-1] + 1])
