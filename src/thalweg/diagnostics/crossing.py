"""Crossings and peaks: the control values at which curves of several sizes meet or stand highest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import equinox as eqx
import numpy as np
from jaxtyping import Float
from numpy.polynomial import chebyshev

from thalweg.core.errors import InputError
from thalweg.diagnostics.bootstrap import Estimate, estimated
from thalweg.diagnostics.critical import Moments, binder, susceptibility

_FINE = 401  # points of a fitted curve: linear interpolation between them is exact far below any statistical error
# The chance of a misfit below which a fit is refused, because a wrong curve has no honest interval. It is this small
# because the errors that it is measured in come from some tens of blocks: chi^2 then has a tail far above its own law.
_MISFIT = 1e-7


class Crossings(eqx.Module):
    """Where the Binder cumulants of neighbouring sizes cross.

    **Fields:** `pairs` of sizes; for each of them the control value `at` and the cumulant `height` there; `critical`
    and `universal`, both continued to infinite size where there are three pairs or more (`extrapolated`), and otherwise
    those of the largest pair.
    """

    pairs: tuple[tuple[int, int], ...] = eqx.field(static=True)
    at: Estimate
    height: Estimate
    critical: Estimate
    universal: Estimate
    extrapolated: bool = eqx.field(static=True)


class Peaks(eqx.Module):
    """Where the susceptibility of each of the `sizes` is largest (`at`) and how large it is there (`height`)."""

    sizes: tuple[int, ...] = eqx.field(static=True)
    at: Estimate
    height: Estimate


def crossings(of: Mapping[int, Moments], *, degree: int = 3, power: float = 1.0) -> Crossings:
    """The crossings of the Binder cumulants of neighbouring sizes, and what they tend to.

    **Arguments:** `of`, from `moments`; without energies each cumulant is fitted over all its control values by a
    polynomial of this `degree`, so give values near the crossing only; `power`, the crossings of pairs are continued
    as a straight line in `L^-power` of the smaller size: 1 assumes nothing, `1/nu + omega` is sharper if it is known.

    **Raises:** `InputError` for one size, no crossing in the range, or values that the polynomial does not follow.

    **Source:** Binder, Z. Phys. B 43, 119 (1981); Ferrenberg & Landau, Phys. Rev. B 44, 5081 (1991).
    """
    sizes = sorted(of)
    if len(sizes) < 2:
        raise InputError("critical: one size has nothing to cross: give at least two sizes.")
    curves = {size: _curve(of[size].values, binder(of[size]), of[size].reweighted, degree, size) for size in sizes}
    pairs = tuple(pairwise(sizes))
    met = [_meeting(curves[small], curves[large], f"sizes {small} and {large}") for small, large in pairs]
    at, height = (_stacked([pair[kind] for pair in met], "a crossing") for kind in (0, 1))
    if len(pairs) < 3:
        last = [
            Estimate(part.value[-1], part.error[-1], part.low[-1], part.high[-1], part.resampled[:, -1])
            for part in (at, height)
        ]
        return Crossings(pairs, at, height, *last, extrapolated=False)
    small = np.array([pair[0] for pair in pairs], float) ** -power
    return Crossings(pairs, at, height, _limit(small, at), _limit(small, height), extrapolated=True)


def peaks(of: Mapping[int, Moments], dimension: int, *, degree: int = 4) -> Peaks:
    """The peak of the susceptibility of each size, a system of `L^dimension` sites.

    **Arguments:** as in `crossings`.

    **Raises:** `InputError` for a peak at an end of the range, or values that the polynomial does not follow.
    """
    sizes = tuple(sorted(of))
    tops = []
    for size in sizes:
        part = of[size]
        curve = _curve(part.values, susceptibility(part, size**dimension), part.reweighted, degree, size)
        tops.append(_top(*curve, size))
    return Peaks(sizes, *(_stacked([top[kind] for top in tops], "a peak") for kind in (0, 1)))


Curve = tuple[Float[np.ndarray, " fine"], Float[np.ndarray, "1+resamples fine"]]


def _curve(values: Float[np.ndarray, " values"], of: Estimate, smooth: bool, degree: int, size: int) -> Curve:
    """A fine curve of the estimate, first row, and of its resamples."""
    rows = np.concatenate([of.value[None], of.resampled])
    if smooth:
        return values, rows
    if len(values) <= degree:
        raise InputError(
            f"critical: {len(values)} control values do not determine a polynomial of degree {degree}: take more."
        )
    middle, half = (values[-1] + values[0]) / 2, (values[-1] - values[0]) / 2
    design = chebyshev.chebvander((values - middle) / half, degree)
    # Where draws do not vary their error is zero, which would weigh infinitely.
    weights = 1 / np.maximum(of.error, 1e-3 * of.error.max() + np.finfo(float).tiny)
    solve = np.linalg.pinv(design * weights[:, None]) * weights
    left = (of.value - design @ solve @ of.value) * weights
    free = len(values) - degree - 1
    if free and _chance(float(left @ left), free) < _MISFIT:
        raise InputError(
            f"critical: a polynomial of degree {degree} does not follow size {size} (chi^2 {left @ left:.0f} for "
            f"{free} values to spare): narrow the range of control values, raise the degree, or pass energies."
        )
    fine = np.linspace(values[0], values[-1], _FINE)
    return fine, rows @ (chebyshev.chebvander((fine - middle) / half, degree) @ solve).T


def _chance(squares: float, free: int) -> float:
    from scipy.special import gammaincc

    return float(gammaincc(free / 2, squares / 2))


def _meeting(one: Curve, other: Curve, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The control value and the height at which two curves cross, for the estimate and for each resample."""
    low, high = max(one[0][0], other[0][0]), min(one[0][-1], other[0][-1])
    if not low < high:
        raise InputError(f"critical: {where} have no control values in common: simulate them in the same range.")
    fine = np.linspace(low, high, max(len(one[0]), len(other[0])))
    first, second = (np.stack([np.interp(fine, curve[0], row) for row in curve[1]]) for curve in (one, other))
    gap = second - first
    turns = (gap[:, :-1] < 0) != (gap[:, 1:] < 0)
    steep = np.abs(np.diff(gap, axis=1))
    if not turns[0].any():
        raise InputError(f"critical: the cumulants of {where} do not cross in the range: move it or widen it.")
    # Far from the transition all cumulants agree and noise crosses often: the steepest crossing is the transition.
    chosen = np.argmax(np.where(turns[0], steep[0], -1.0))
    near = np.where(turns, -np.abs(np.arange(len(fine) - 1) - chosen), -np.inf)
    places = np.argmax(near, axis=1)
    rows = np.arange(len(gap))
    before, after = gap[rows, places], gap[rows, places + 1]
    share = before / np.where(turns[rows, places], before - after, np.nan)
    height = first[rows, places] + share * (first[rows, places + 1] - first[rows, places])
    return fine[places] + share * (fine[1] - fine[0]), height


def _top(values: np.ndarray, rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The place and height of the parabola through the highest point of each row and its neighbours."""
    places, which = np.argmax(rows, axis=1), np.arange(len(rows))
    inside = (places > 0) & (places < len(values) - 1)
    if not inside[0]:
        raise InputError(f"critical: the susceptibility of size {size} is highest at an end of the range: widen it.")
    places = np.clip(places, 1, len(values) - 2)
    x = np.stack([values[places + shift] - values[places] for shift in (-1, 1)])
    y = np.stack([rows[which, places + shift] - rows[which, places] for shift in (-1, 1)])
    bend = (y[0] / x[0] - y[1] / x[1]) / (x[0] - x[1])
    slope = y[0] / x[0] - bend * x[0]
    shift = -slope / (2 * bend)
    place = np.where(inside, values[places] + shift, np.nan)
    return place, np.where(inside, rows[which, places] + slope * shift / 2, np.nan)


def _limit(small: Float[np.ndarray, " pairs"], of: Estimate) -> Estimate:
    """The weighted straight line through estimates over `small`, at zero."""
    weights = 1 / of.error
    design = np.stack([np.ones_like(small), small], axis=1) * weights[:, None]
    row = np.linalg.pinv(design)[0] * weights
    return estimated(np.asarray(row @ of.value), of.resampled @ row, "the limit")


def _stacked(parts: list[np.ndarray], what: str) -> Estimate:
    together = np.stack(parts, axis=-1)
    return estimated(together[0], together[1:], what)
