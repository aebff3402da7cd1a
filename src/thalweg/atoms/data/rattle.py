"""Displaced copies of frames: the first frames of a potential that has none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError


def rattled(frames: Sequence[Frame], copies: int, amplitude: float, seed: int) -> list[Frame]:
    """Each frame followed by copies whose atoms are displaced at random.

    **Arguments:** `copies` of each frame; `amplitude`, the standard deviation of every coordinate's displacement in A;
    `seed` of the displacements.

    **Returns:** the frames without labels, those of the originals too. **Raises:** `InputError` for an amplitude that
    is not positive.
    """
    if not (amplitude > 0 and math.isfinite(amplitude)):
        raise InputError(f"an amplitude of {amplitude} A displaces nothing: give one as 0.05.")
    random, found = np.random.default_rng(seed), []
    for frame in frames:
        bare = frame._replace(energy=None, forces=None, stress=None)
        found.append(bare)
        for copy in range(copies):
            moved = frame.positions + amplitude * random.standard_normal(frame.positions.shape)
            found.append(bare._replace(positions=moved, place=f"{frame.place}, displaced copy {copy + 1}"))
    return found
