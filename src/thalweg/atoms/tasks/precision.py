"""The precisions that dynamics and calculators compute in."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from thalweg.core.errors import InputError

Precision = Literal["float64", "mixed", "float32"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def dtypes(precision: str) -> tuple[Any, Any]:
    """The precision of positions and sums, and that of the network.

    **Raises:** `InputError` for another word than `float64`, `mixed` (both differ) or `float32`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"the precision is {precision!r}: choose {', '.join(PRECISIONS)}.")
    return (np.float32 if precision == "float32" else np.float64), (
        np.float64 if precision == "float64" else np.float32
    )
