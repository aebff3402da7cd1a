"""What is measured beside a transition: independent trainings, slowing down, and the rounding by finite data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.many.sizes import Sizes, finite_size, windows
from thalweg.learning.tasks.many.slowing import Slowing, slowing_down
from thalweg.learning.tasks.many.trainings import textbook_picture

_PICTURE = (0.1, 1.5)  # of lambda_c: from deep in the learnt phase to well above the transition
_ASIDE = (0.05, 0.1, 0.15, 0.2, 0.3)  # of lambda_c, to both sides
_WINDOW = 1.4  # to both sides, in standard deviations n^-1/2 of the norm at the smallest size
_WIDEST = 0.8  # of lambda_c


class Beside(NamedTuple):
    """What was asked for besides the transition itself."""

    parameter: str
    trained: tuple[xarray.Dataset, dict[str, Any]] | None = None
    slowing: Slowing | None = None
    sizes: Sizes | None = None

    @property
    def result(self) -> dict[str, Any]:
        """The answers by name; null for what was not asked."""
        return {
            "trainings": None if self.trained is None else self.trained[1],
            "slowing": None if self.slowing is None else self.slowing.result,
            "sizes": None if self.sizes is None else self.sizes.result,
        }


def beside(
    problem: Problem,
    parameter: str,
    lambda_c: float | None,
    bounds: tuple[float, float],
    *,
    trained: int = 0,
    slowing: bool = False,
    sizes: Sequence[int] = (),
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> Beside:
    """Measure around a transition that is known.

    **Arguments:** `parameter`, the name of the order parameter of the trainings; `lambda_c`, `None` where there is no
    transition, and the `bounds` that were searched; `trained`, independent trainings at each of 28 decays; `slowing`,
    relaxation times on both sides; `sizes`, numbers of items for the posterior at temperature one over them, whose
    order parameter is the `norm`: that of the weights has no cumulant that crosses; `executor`, where all of it runs.

    **Raises:** `InputError` where slowing or sizes are asked for and there is no transition.
    """
    if lambda_c is None and (slowing or sizes):
        raise InputError("transition: --slowing and --sizes look around lambda_c, but no transition was found.")
    keys = jax.random.split(jax.random.key(seed), 3)
    kept: dict[str, Any] = {"done": done, "hooks": hooks, "executor": executor}
    picture, slow, scaled = None, None, None
    if trained:
        low, high = bounds if lambda_c is None else (_PICTURE[0] * lambda_c, _PICTURE[1] * lambda_c)
        decays = np.linspace(low, high, 28)
        picture = textbook_picture(problem, decays, order=parameter, seeds=trained, key=keys[0], **kept)
    if slowing and lambda_c is not None:
        aside = np.array([*(-share for share in reversed(_ASIDE)), *_ASIDE])
        slow = slowing_down(problem, lambda_c * (1 + aside), key=keys[1], lambda_c=lambda_c, **kept)
    if sizes and lambda_c is not None:
        width = min(_WINDOW * min(sizes) ** -0.5, _WIDEST * lambda_c)
        around = windows(lambda_c, width, sizes)
        scaled = finite_size(problem, around, sizes, key=keys[2], **kept)
    return Beside(parameter, picture, slow, scaled)
