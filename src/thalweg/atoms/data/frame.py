"""One frame: where atoms are, and what is known of their energy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Frame(NamedTuple):
    """Atoms in space with their labels, in Angstrom and eV.

    **Fields:** `numbers`, the atomic numbers; `positions` in A; `cell`, its vectors as rows in A, zeros where there is
    none; `periodic`, along which of them (this decides: a cell without it is only a box drawn around the atoms);
    `energy`, the total in eV; `forces` in eV/A; `stress` in eV/A^3 with ASE's sign (tension is positive); `place`, for
    messages: the file and the number of the frame, from zero as ASE counts; `info`, what else was said of the frame;
    `columns`, what else was said of each atom, arrays `[atoms, ...]`.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    periodic: tuple[bool, bool, bool] = (False, False, False)
    energy: float | None = None
    forces: Float[np.ndarray, "atoms 3"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    place: str = "a frame"
    info: Mapping[str, Any] = _NOTHING
    columns: Mapping[str, np.ndarray] = _NOTHING

    def __reduce__(self) -> tuple[type, tuple]:
        # The proxy that stands for an empty mapping cannot travel to another process.
        return Frame, (*self[:8], dict(self.info), dict(self.columns))

    @property
    def volume(self) -> float | None:
        """The volume of the cell in A^3, or `None` where some direction is not periodic."""
        return abs(float(np.linalg.det(self.cell))) if all(self.periodic) else None


def elements_of(frames: list[Frame]) -> tuple[int, ...]:
    """The atomic numbers that occur in some frames, in rising order."""
    return tuple(int(number) for number in np.unique(np.concatenate([frame.numbers for frame in frames])))
