"""A landscape as a command poses it: which problem, at which penalties, and what is asked besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.learning.data import parabola, read_csv
from thalweg.learning.model.families import family
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.bring import bring
from thalweg.learning.tasks.landscape.connectivity import Connection, connect
from thalweg.learning.tasks.landscape.following import Landscape
from thalweg.learning.tasks.landscape.valley import Valley, valley


def posed(
    model: str | None = None,
    *,
    name: str = "tanh",
    data: Path | None = None,
    targets: int = 1,
    depth: int | None = None,
    width: int | None = None,
    activation: str | None = None,
) -> Problem:
    """The problem of a user's own `model`, or of a built-in family; without `data` on the textbook's parabola.

    **Raises:** `InputError`; also for ReLU, whose kinks have no Hessian.
    """
    regression = None if data is None else read_csv(data, targets)
    if model is not None:
        if (depth, width, activation) != (None, None, None):
            raise InputError(f"{model}: a model of your own has its own shape: leave the options of a family out.")
        return bring(model, regression)
    if "relu" in (name, activation):
        raise InputError("landscape: ReLU has kinks, where saddles have no Hessian: try --activation gelu or softplus.")
    options: dict[str, Any] = {"depth": depth, "activation": activation, "dtype": np.float64, "form": "columns"}
    width = 2 if width is None and name != "linear" else width
    return family(name, regression or parabola(), width=width, **options)  # type: ignore[arg-type]  # checked there


def levels(decay: float, decays: tuple[float, float] | None, points: int) -> list[float]:
    """One penalty, or several between two, evenly in their logarithm.

    **Raises:** `InputError` for a range that is none.
    """
    if decays is None:
        return [decay]
    if not 0 < decays[0] < decays[1]:
        raise InputError(
            f"landscape: --decays go from {decays[0]:g} to {decays[1]:g}: give two positive, rising numbers."
        )
    return np.geomspace(*decays, points).tolist()


class Beside(NamedTuple):
    """What was measured between two trainings and around the lowest minimum, where it was asked for."""

    connection: Connection | None
    valley: Valley | None

    @property
    def result(self) -> dict[str, Any]:
        """Both answers by name; null for what was not asked."""
        return {
            "connectivity": None if self.connection is None else self.connection.result,
            "valley": None if self.valley is None else self.valley.result,
        }


def beside(
    found: Landscape,
    *,
    connected: bool = False,
    spectrum: bool = False,
    coefficient: int | None = None,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Beside:
    """What is asked besides the survey, at its smallest penalty.

    **Arguments:** `connected`, the way between two independent trainings; `spectrum`, the Hessian's at the lowest
    minimum; `coefficient`, for so many items of data its local learning coefficient, too.
    """
    stage = found.stages[0]
    between = connect(found.problem, stage.decay, seed=seed, hooks=hooks) if connected else None
    around = None
    if spectrum or coefficient is not None:
        lowest = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stage.survey.minima)
        around = valley(found.problem, stage.decay, lowest, items=coefficient, seed=seed, hooks=hooks)
    return Beside(between, around)
