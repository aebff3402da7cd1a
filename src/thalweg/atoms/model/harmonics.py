"""Real solid harmonics, how they couple, and how they turn."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.errors import InputError

HIGHEST = 3


def solid_harmonics(
    x: Float[Array, "*batch"], y: Float[Array, "*batch"], z: Float[Array, "*batch"], degree: int
) -> list[Float[Array, "*batch"]]:
    """Racah's real solid harmonics of degrees 0 to `degree`: homogeneous polynomials, `m` from -l to l for each `l`.

    The squares of one degree sum to `(x^2 + y^2 + z^2)^l`.

    **Arguments:** the coordinates; `degree` at most 3.

    **Returns:** `(degree + 1)^2` arrays.

    **Source:** Helgaker, Jorgensen & Olsen, Molecular Electronic-Structure Theory (Wiley, 2000), section 6.4.
    """
    if not 0 <= degree <= HIGHEST:
        raise InputError(f"solid harmonics of degree {degree}: choose 0 to {HIGHEST}.")
    square, found = x * x + y * y + z * z, [jnp.ones_like(x)]
    if degree >= 1:
        found += [y, z, x]
    if degree >= 2:
        root = math.sqrt(3.0)
        found += [
            root * x * y,
            root * y * z,
            (3 * z * z - square) / 2,
            root * x * z,
            root / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        a, b, c = math.sqrt(5 / 8), math.sqrt(15.0), math.sqrt(3 / 8)
        found += [
            a * y * (3 * x * x - y * y),
            b * x * y * z,
            c * y * (5 * z * z - square),
            z * (5 * z * z - 3 * square) / 2,
            c * x * (5 * z * z - square),
            b / 2 * z * (x * x - y * y),
            a * x * (x * x - 3 * y * y),
        ]
    return found


@functools.cache
def couplings(first: int, second: int, into: int) -> tuple[tuple[tuple[int, int, float], ...], ...]:
    """The Clebsch-Gordan coefficients of real harmonics: for each component of degree `into`, its `(a, b, weight)`.

    With them `sum(weight * f[a] * g[b])` turns like a harmonic of degree `into` where `f` and `g` turn like those of
    degrees `first` and `second`. Where the two are the same and the coupling symmetric, `a <= b` suffices for
    `f = g`, which `doubled` makes of it.

    **Source:** Racah's formula; Varshalovich, Moskalev & Khersonskii, Quantum Theory of Angular Momentum (1988), 8.2.
    """
    table = _real_table(first, second, into)
    return tuple(
        tuple(
            (a, b, float(table[a, b, c]))
            for a in range(2 * first + 1)
            for b in range(2 * second + 1)
            if abs(table[a, b, c]) > 1e-12
        )
        for c in range(2 * into + 1)
    )


@functools.cache
def doubled(degree: int, into: int) -> tuple[tuple[tuple[int, int, float], ...], ...]:
    """`couplings(degree, degree, into)` of something with itself: each pair once; empty where all cancels."""
    rows = []
    for row in couplings(degree, degree, into):
        weights: dict[tuple[int, int], float] = {}
        for a, b, weight in row:
            pair = (min(a, b), max(a, b))
            weights[pair] = weights.get(pair, 0.0) + weight
        rows.append(tuple((a, b, weight) for (a, b), weight in weights.items() if abs(weight) > 1e-12))
    return tuple(rows)


def turning(degree: int, rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "m m"]:
    """Wigner's matrix `D` of a rotation for real harmonics: `Y(R r) = D Y(r)`, in float64.

    **Arguments:** `rotation`, orthogonal (a reflection is one too).
    """
    points = np.random.default_rng(0).normal(size=(8 * (2 * degree + 1), 3))
    part = slice(degree**2, (degree + 1) ** 2)

    def harmonics(at: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(each) for each in _numpy_harmonics(at, degree)[part]])

    before, after = harmonics(points), harmonics(points @ np.asarray(rotation, np.float64).T)
    return np.linalg.lstsq(before.T, after.T, rcond=None)[0].T


def _numpy_harmonics(points: np.ndarray, degree: int) -> list[np.ndarray]:
    """The same polynomials in NumPy's float64, whatever the precision of JAX is."""
    x, y, z = points.T
    square = x * x + y * y + z * z
    a, b, c, root = math.sqrt(5 / 8), math.sqrt(15.0), math.sqrt(3 / 8), math.sqrt(3.0)
    found = [np.ones_like(x), y, z, x, root * x * y, root * y * z, (3 * z * z - square) / 2, root * x * z]
    found += [root / 2 * (x * x - y * y), a * y * (3 * x * x - y * y), b * x * y * z, c * y * (5 * z * z - square)]
    found += [z * (5 * z * z - 3 * square) / 2, c * x * (5 * z * z - square), b / 2 * z * (x * x - y * y)]
    found += [a * x * (x * x - 3 * y * y)]
    return found[: (degree + 1) ** 2]


@functools.cache
def _real_table(first: int, second: int, into: int) -> np.ndarray:
    if not abs(first - second) <= into <= first + second:
        raise InputError(f"degrees {first} and {second} do not couple to {into}: choose one between their sum and gap.")
    table = np.zeros((2 * first + 1, 2 * second + 1, 2 * into + 1), complex)
    for a in range(-first, first + 1):
        for b in range(-second, second + 1):
            if abs(a + b) <= into:
                table[first + a, second + b, into + a + b] = _clebsch_gordan(first, a, second, b, into, a + b)
    ours = [_to_real(degree) for degree in (first, second, into)]
    table = np.einsum("abc,ia,jb,kc->ijk", table, ours[0], ours[1], ours[2].conj())
    # Where the degrees sum to an odd number the coupling is imaginary throughout.
    return table.real if np.abs(table.real).max() >= np.abs(table.imag).max() else table.imag


def _to_real(degree: int) -> np.ndarray:
    """From complex harmonics with the Condon-Shortley phase to real ones."""
    change = np.zeros((2 * degree + 1, 2 * degree + 1), complex)
    change[degree, degree] = 1
    for m in range(1, degree + 1):
        sign, half = (-1) ** m, math.sqrt(0.5)
        change[degree + m, degree + m], change[degree + m, degree - m] = sign * half, half
        change[degree - m, degree - m], change[degree - m, degree + m] = 1j * half, -1j * sign * half
    return change


def _clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j: int, m: int) -> float:
    f = math.factorial
    front = (2 * j + 1) * f(j + j1 - j2) * f(j - j1 + j2) * f(j1 + j2 - j) / f(j1 + j2 + j + 1)
    front *= f(j + m) * f(j - m) * f(j1 - m1) * f(j1 + m1) * f(j2 - m2) * f(j2 + m2)
    total = 0.0
    for k in range(j1 + j2 - j + 1):
        parts = (k, j1 + j2 - j - k, j1 - m1 - k, j2 + m2 - k, j - j2 + m1 + k, j - j1 - m2 + k)
        if min(parts) >= 0:
            total += (-1) ** k / math.prod(map(f, parts))
    return math.sqrt(front) * total
