"""What a verb returns, and the ways in which a walk can end."""

from __future__ import annotations

import enum
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, PyTree


class Outcome(enum.Enum):
    """How a walk ended; each value is the sentence that a user reads, with its remedy.

    A solution holds `code`, an integer, so that a vmapped batch of walks has an array of outcomes.
    """

    WALKING = "The walk is still under way."
    DONE = "Arrived: the tolerance is met, or every step that was asked for is taken."
    STEPS = "The step budget ran out before the tolerance was met: raise `max_steps` or loosen `tol`."
    NONFINITE = "A value stopped being finite: lower the step size or start from a calmer point."
    CAPACITY = "A fixed-size buffer overflowed and the chunk was rolled back: raise the capacity that it names."
    STALLED = "No step lowers the energy any more: the rounding floor is reached, use float64 or loosen `tol`."
    TIME = "The time limit was reached: resume from the last checkpoint or raise the limit."
    CANCELLED = "Stopped on request: the last checkpoint resumes it."

    @property
    def code(self) -> int:
        """The integer that stands for this outcome in arrays."""
        return _CODES[self]

    @classmethod
    def of(cls, code: int | Int[Array, ""]) -> Outcome:
        """The outcome that an integer stands for."""
        return tuple(cls)[int(code)]


_CODES = {outcome: code for code, outcome in enumerate(Outcome)}


class Solution(eqx.Module):
    """The end of a walk: where it stands, how high, how it ended, and what was recorded on the way.

    **Fields:**

    - `value`: the configuration, with the structure of the start.
    - `energy`: its energy, in the units of the landscape.
    - `outcome`: `Outcome.code`, an integer array with the batch axes of a vmapped call; the chains of one sampling
      share theirs.
    - `trace`: what the verb's `trace` recorded, leading axis the records; `None` where nothing was asked for.
    - `stats`: counts and measures by name (`steps`, `force_norm`, ...).
    """

    value: PyTree
    energy: Float[Array, "*batch"]
    outcome: Int[Array, "*walks"]
    trace: PyTree = None
    stats: dict[str, Any] = eqx.field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether every walk of the batch converged."""
        return bool((np.asarray(self.outcome) == Outcome.DONE.code).all())

    @property
    def sentence(self) -> str:
        """The outcome in words; for a batch, each kind of ending with its count."""
        codes = np.asarray(self.outcome)
        if codes.ndim == 0:
            return Outcome.of(int(codes)).value
        kinds, counts = np.unique(codes, return_counts=True)
        return " ".join(
            f"{count} of {codes.size}: {Outcome.of(kind).value}" for kind, count in zip(kinds, counts, strict=True)
        )
