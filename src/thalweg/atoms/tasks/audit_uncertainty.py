"""Whether the spread of a committee says how wrong its forces are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.evaluate import predict
from thalweg.atoms.tasks.trained import Trained
from thalweg.core.errors import InputError

_BINS = 8
_FRAMES = 200


class Uncertainty(NamedTuple):
    """Errors of forces beside what was expected of them.

    **Fields:** the root mean square `error` of a component, and `expected` of it, in eV/A; the `rank` correlation of
    both over atoms; `within`, the part of components whose error is below the expected one (0.68 of normal ones); over
    groups of atoms of rising expected error the two of each, in `groups`; the number of `atoms`.
    """

    error: float
    expected: float
    rank: float
    within: float
    groups: Float[np.ndarray, "2 groups"]
    atoms: int

    @property
    def ratio(self) -> float:
        """How many times larger the errors are than expected; 1 is what a calibrated committee has."""
        return self.error / max(self.expected, 1e-300)


def uncertainty(trained: Trained, frames: Sequence[Frame]) -> Uncertainty:
    """Compare the expected errors of a committee's forces with the errors on labelled frames.

    **Raises:** `InputError` for a single network, and for frames without forces.
    """
    from scipy.stats import rankdata

    known = [frame for frame in frames if frame.forces is not None and len(frame.numbers) > 1][:_FRAMES]
    if not known:
        raise InputError("uncertainty: no frame has forces to compare with: name labelled frames.")
    found = predict(trained, known)
    if found.spread is None:
        raise InputError("uncertainty: one network has no spread: train several members.")
    off = np.concatenate([mine - frame.forces for mine, frame in zip(found.forces, known, strict=True)])
    expected, each = np.concatenate(found.spread), np.sqrt(np.mean(off**2, axis=1))
    parts = np.array_split(np.argsort(expected, kind="stable"), min(_BINS, len(expected)))
    groups = np.array([[np.sqrt(np.mean(one[part] ** 2)) for part in parts] for one in (expected, each)])
    return Uncertainty(
        float(np.sqrt(np.mean(off**2))),
        float(np.sqrt(np.mean(expected**2))),
        float(np.corrcoef(rankdata(expected), rankdata(each))[0, 1]) if np.ptp(expected) * np.ptp(each) > 0 else 0.0,
        float(np.mean(np.abs(off) < expected[:, None])),
        groups,
        len(expected),
    )
