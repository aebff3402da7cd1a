"""Random words of the sign kernels: xorshift64*, one word of state per stream.

Annotations are missing on purpose: numba reads the types off the arguments, and a checker's wrapper would hide them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Numba turns a product of an unsigned and a signed integer into a float: every constant here is unsigned.
_TWELVE, _TWENTY_FIVE, _TWENTY_SEVEN = np.uint64(12), np.uint64(25), np.uint64(27)
_STAR, _HALF = np.uint64(0x2545F4914F6CDD1D), np.uint64(32)
_ELEVEN, _UNIT = np.uint64(11), 2.0**-53


@njit(inline="always")
def moved(word):
    """The next state of a stream (Vigna, ACM Trans. Math. Softw. 42, 30 (2016)); never zero if it was not."""
    word ^= word >> _TWELVE
    word ^= word << _TWENTY_FIVE
    word ^= word >> _TWENTY_SEVEN
    return word


@njit(inline="always")
def uniform(word):
    """A number in [0, 1) from the state of a stream."""
    return ((word * _STAR) >> _ELEVEN) * _UNIT


@njit(inline="always")
def below(word, count):
    """A whole number from 0 to `count - 1` from the state of a stream, for counts well below 2^32."""
    return np.int64((((word * _STAR) >> _HALF) * np.uint64(count)) >> _HALF)
