"""Recurrences whose error travels less far than their memory, or that remember nothing."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from thalweg.core.errors import InputError
from thalweg.methods.recurrence import AbstractCell


class Cut(AbstractCell):
    """A cell with the same outputs, of which no error passes the cuts between stretches of `horizon` steps.

    The state goes on over a cut without its gradient: back-propagation through time, truncated in both directions.

    **Arguments:** `cell`; `horizon`, which must divide the number of steps.

    **Source:** Williams & Peng, Neural Comput. 2, 490 (1990).
    """

    cell: AbstractCell
    horizon: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    bibtex: ClassVar[str] = """@article{williams1990efficient,
  title = {An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories},
  author = {Williams, Ronald J. and Peng, Jing}, journal = {Neural Computation}, volume = {2}, pages = {490--501},
  year = {1990}}"""

    def __init__(self, cell: AbstractCell, horizon: int):
        self.cell, self.horizon, self.width = cell, horizon, cell.width

    @property
    def inputs(self) -> int:
        return self.cell.inputs

    def rest(self, batch: int, dtype: Any):
        return self.cell.rest(batch, dtype)

    def __call__(self, drive, start, fresh=None, *, reverse=False):
        time = drive.shape[0]
        if self.horizon < 1 or time % self.horizon:
            raise InputError(f"cut: a horizon of {self.horizon} steps does not divide {time} steps: choose a divisor.")
        if self.horizon == time:
            return self.cell(drive, start, fresh, reverse=reverse)
        fresh = jnp.zeros(drive.shape[:2], bool) if fresh is None else fresh
        stretches = [array.reshape(-1, self.horizon, *array.shape[1:]) for array in (drive, fresh)]

        def stretch(state, now):
            outputs, end = self.cell(now[0], jax.lax.stop_gradient(state), now[1], reverse=reverse)
            return end, outputs

        end, outputs = jax.lax.scan(stretch, start, stretches, reverse=reverse)
        return outputs.reshape(time, *outputs.shape[2:]), end


class Forgetful(AbstractCell):
    """A cell that forgets its state before every step: the same parameters, and no memory.

    **Arguments:** `cell`.
    """

    cell: AbstractCell
    width: int = eqx.field(static=True)
    bibtex: ClassVar[str] = ""

    def __init__(self, cell: AbstractCell):
        self.cell, self.width = cell, cell.width

    @property
    def inputs(self) -> int:
        return self.cell.inputs

    def rest(self, batch: int, dtype: Any):
        return self.cell.rest(batch, dtype)

    def __call__(self, drive, start, fresh=None, *, reverse=False):
        return self.cell(drive, start, jnp.ones(drive.shape[:2], bool), reverse=reverse)
