"""The shape of the valley around one minimum: its Hessian's spectrum and its learning coefficient."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.diagnostics.learning_coefficient import Coefficient
from thalweg.diagnostics.spectrum import Density, Ends, extreme_modes, spectral_density
from thalweg.learning.model.problem import Problem
from thalweg.verbs.learning_coefficient import learning_coefficient


class Valley(NamedTuple):
    """What surrounds a minimum.

    **Fields:** the `ends` of the Hessian's spectrum at the `decay`, its `density`, and the `coefficient` of the loss
    without the penalty, where that was asked for; the number of parameters `size`.
    """

    decay: float
    size: int
    ends: Ends
    density: Density
    coefficient: Coefficient | None

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers."""
        mean, error = self.density.moment(1)
        told: dict[str, Any] = {
            "decay": self.decay,
            "parameters": self.size,
            "lowest": [float(value) for value in np.asarray(self.ends.bottom.values)],
            "highest": [float(value) for value in np.asarray(self.ends.top.values)],
            "trace": self.size * float(mean),
            "trace_error": self.size * float(error),
        }
        found = self.coefficient
        if found is not None:
            told["learning_coefficient"] = {
                "value": found.value,
                "interval": list(found.interval),
                "regular_value": self.size / 2,
                "trusted": found.trusted,
                "reason": found.reason,
            }
        return told


def valley(
    problem: Problem,
    decay: float,
    at: PyTree,
    *,
    modes: int = 6,
    items: int | None = None,
    steps: int = 2_000,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Valley:
    """The Hessian's spectrum at a minimum, and the learning coefficient of the loss there.

    **Arguments:** `at`, a minimum at the penalty `decay`; `modes`, how many eigenvalues at each end; `items`, for the
    coefficient, how many data there are (the loss being their mean negative log-likelihood): `None` leaves it out;
    `steps` of its chains.

    **Raises:** `InputError` for a loss that is not compiled.
    """
    if problem.on_host:
        raise InputError("valley: the loss is computed outside of JAX: bring the model as a JAX function.")
    energy = problem.at(decay)
    size = sum(leaf.size for leaf in jax.tree.leaves(at))
    count = min(modes, size)
    spectrum_key, chain_key = jax.random.split(jax.random.key(seed))
    ends = extreme_modes(energy, at, top=count, bottom=count)
    density = spectral_density(energy, at, key=spectrum_key)
    found = None
    if items is not None:
        found = learning_coefficient(problem.at(0.0), at, n=items, key=chain_key, steps=steps, on_chunk=hooks)
    return Valley(float(decay), size, ends, density, found)
