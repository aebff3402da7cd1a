"""The energy of a kink, and what pins it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg import find_path, relax
from thalweg.core.hooks import Hook
from thalweg_pendulums.energy import Pendulums


class Kink(NamedTuple):
    """What was found: the numbers, the angles at rest, and the way to the next pendulum with its energies."""

    result: dict[str, Any]
    angles: Float[Array, " pendulums"]
    arc: Float[Array, " images"]
    energies: Float[Array, " images"]


def kink(
    energy: Pendulums,
    count: int = 40,
    start: Float[Array, " pendulums"] | None = None,
    images: int = 15,
    hooks: tuple[Hook, ...] = (),
) -> Kink:
    """Relax a chain with one kink, and follow the kink to the next pendulum.

    **Arguments:** `count`, pendulums, where no `start` is given; `images`, points on the way; `hooks`, of
    the relaxation.

    The barrier is `None` where it is too low to be told from nothing: stiff springs do not pin a kink.

    **Raises:** `WalkError` where a relaxation does not converge.
    """
    begin = _continuum(energy, count) if start is None else start
    rest = relax(energy, begin, on_chunk=hooks).value
    # The same kink one pendulum further on: what leaves at one end comes in at the other, a turn later.
    moved = jnp.concatenate([jnp.zeros(1, rest.dtype), rest[:-1]])
    path = find_path(energy, rest, relax(energy, moved).value, images=images, throw=False)
    held, limit = float(energy(rest)), 8 * math.sqrt(float(energy.stiffness) * float(energy.gravity))
    result = {
        "energy": held,
        "energy_continuum": limit,
        "relative_difference": held / limit - 1,
        "barrier": float(path.barrier) if path.done and path.connected else None,
        "pendulums": len(rest),
    }
    return Kink(result, rest, path.arc, path.energies)


def _continuum(energy: Pendulums, count: int) -> Float[Array, " pendulums"]:
    """The kink of stiff springs in the middle of the chain: `4 atan exp((i - middle) / width)`."""
    width = jnp.sqrt(energy.stiffness / energy.gravity)
    return 4 * jnp.arctan(jnp.exp((jnp.arange(count) - (count - 1) / 2) / width))
