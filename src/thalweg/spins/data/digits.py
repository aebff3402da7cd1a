"""Scikit-learn's digits as configurations of 64 spins."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int8

_INK = 8  # grey levels go from 0 to 16
_TRAIN = 1400


def digits() -> tuple[Int8[np.ndarray, "train 64"], Int8[np.ndarray, "test 64"]]:
    """1,400 digits to learn from and 397 to test on, in a fixed random order: 1 where the grey level is at least 8.

    **Source:** E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998), CC BY 4.0.
    """
    from sklearn.datasets import load_digits

    pixels, _ = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    bits = (pixels[order] >= _INK).astype(np.int8)
    return bits[:_TRAIN], bits[_TRAIN:]
