"""Data collapse: the exponents with which curves of all sizes fall onto one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.diagnostics.bootstrap import Estimate, estimated
from thalweg.diagnostics.critical import Moments, binder, susceptibility

Observable = Literal["order", "susceptibility", "binder"]

_SIGNS = {"order": 1.0, "susceptibility": -1.0, "binder": 0.0}
_FEWEST_POINTS = 8  # compared with other sizes; below, three exponents follow any data
_MOST_EVALUATIONS = 4000


class Collapse(eqx.Module):
    """The exponents of the best collapse, with bootstrap intervals.

    **Fields:** the `critical` control value, the exponent `nu`, and the observable's own `exponent` (beta of the order
    parameter, gamma of the susceptibility, zero of the cumulant); the `quality`, about 1 where the data fall onto one
    curve within their errors and far above where they do not; `points`, how many were compared at the optimum.
    """

    critical: Estimate
    nu: Estimate
    exponent: Estimate
    quality: float
    points: int


class _Cloud(NamedTuple):
    """All data points in one row, sorted by control value within each size."""

    sizes: np.ndarray
    values: np.ndarray
    heights: np.ndarray
    errors: np.ndarray
    cuts: tuple[tuple[int, int], ...]


def collapse(
    of: Mapping[int, Moments],
    observable: Observable = "order",
    *,
    dimension: int | None = None,
    start: tuple[float, float, float],
    width: float | None = None,
    resamples: int = 100,
) -> Collapse:
    """Find the exponents with which an observable of all sizes is one function of the scaled distance.

    The distance is `(t - critical) L^(1 / nu)`; the observable `m L^(beta / nu)` for the order parameter,
    `chi L^(-gamma / nu)` for the susceptibility, and the cumulant itself.

    **Arguments:**

    - `of`, from `moments`; not reweighted, because its points must have errors of their own.
    - `observable`: `order`, `susceptibility` (which needs the `dimension`) or `binder`.
    - `start`: guesses of `(critical, nu, exponent)`; the exponent is ignored for the cumulant.
    - `width`: only points within this scaled distance of the transition are compared; by default all, which is right
      only if all are close enough for scaling to hold.
    - `resamples`: how many of the bootstrap resamples are fitted for the intervals.

    **Raises:** `InputError` for one size, a start from which no two sizes overlap, or a search that does not settle.

    **Source:** Houdayer & Hartmann, Phys. Rev. B 70, 014418 (2004), appendix (the quality S).
    """
    if observable not in _SIGNS:
        raise InputError(f"critical: there is no observable {observable!r}: choose one of {', '.join(_SIGNS)}.")
    if len(of) < 2:
        raise InputError("critical: one size has nothing to collapse onto: give at least two sizes.")
    if any(part.reweighted for part in of.values()):
        raise InputError("critical: reweighted points are not independent: collapse moments without energies.")
    parts = {size: _observed(of[size], size, observable, dimension) for size in sorted(of)}
    cloud = _cloud(of, parts)
    guess = np.array(start[: 2 if observable == "binder" else 3], float)
    if not guess[1] > 0 or not np.isfinite(guess).all():
        raise InputError(f"critical: the start {start} is unusable: give (critical, nu > 0, exponent) near the truth.")
    sign, reach = _SIGNS[observable], np.inf if width is None else width
    best = _minimum(cloud, guess, sign, reach)
    quality, points = _quality(best, cloud, sign, reach)
    count = min(resamples, *(part.resampled.shape[0] for part in parts.values()))
    again = np.stack([_refit(parts, cloud, best, sign, reach, index) for index in range(count)])
    if observable == "binder":
        best, again = np.append(best, 0.0), np.pad(again, ((0, 0), (0, 1)))
    names = ("the critical value", "nu", "the exponent")
    found = [estimated(best[k], again[:, k], name) for k, name in enumerate(names)]
    return Collapse(*found, quality=float(quality), points=points)


def _observed(of: Moments, size: int, observable: str, dimension: int | None) -> Estimate:
    if observable == "binder":
        return binder(of)
    if observable == "order":
        return of.first
    if dimension is None:
        raise InputError("critical: the susceptibility counts sites: pass the dimension.")
    return susceptibility(of, size**dimension)


def _cloud(of: Mapping[int, Moments], parts: Mapping[int, Estimate]) -> _Cloud:
    rows = [
        (np.full(part.value.size, float(size)), of[size].values, part.value, part.error) for size, part in parts.items()
    ]
    ends = np.cumsum([0, *(len(row[0]) for row in rows)])
    sizes, values, heights, errors = (np.concatenate(column) for column in zip(*rows, strict=True))
    if not (errors > 0).all():
        raise InputError("critical: a point has no error, its draws do not vary: leave that control value out.")
    return _Cloud(sizes, values, heights, errors, tuple(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)))


def _refit(parts: Mapping[int, Estimate], cloud: _Cloud, best: np.ndarray, sign: float, reach: float, index: int):
    heights = np.concatenate([part.resampled[index] for part in parts.values()])
    return _minimum(cloud._replace(heights=heights), best, sign, reach)


def _minimum(cloud: _Cloud, guess: Float[np.ndarray, " k"], sign: float, reach: float) -> Float[np.ndarray, " k"]:
    from scipy.optimize import minimize

    _, points = _quality(guess, cloud, sign, reach)
    if points < _FEWEST_POINTS:
        raise InputError(
            f"critical: at the start only {points} points lie between points of another size: take more control values "
            "near the transition, a better start or a larger width."
        )
    # In units of the values' range, so that tolerances mean the same for every control.
    scale = np.array([np.ptp(cloud.values), *np.ones(len(guess) - 1)])
    steps = np.diag([0.25, *np.maximum(0.2 * np.abs(guess[1:]), 0.05)])
    simplex = np.concatenate([guess[None] / scale, guess / scale + steps])
    options = {"initial_simplex": simplex, "xatol": 1e-6, "fatol": 1e-6, "maxfev": _MOST_EVALUATIONS}
    quality = lambda at: _quality(at * scale, cloud, sign, reach)[0]  # noqa: E731
    found: Any = minimize(quality, simplex[0], method="Nelder-Mead", options=options)
    if not found.success or not np.isfinite(found.fun):
        raise InputError("critical: the search for a collapse does not settle: give a start nearer to the truth.")
    return found.x * scale


def _quality(at: Float[np.ndarray, " k"], cloud: _Cloud, sign: float, reach: float) -> tuple[float, int]:
    """The mean squared distance of each point from the line through its neighbours of all other sizes, in errors."""
    critical, nu = at[:2]
    if not nu > 0:
        return np.inf, 0
    exponent = sign * at[2] / nu if len(at) > 2 else 0.0
    x = (cloud.values - critical) * cloud.sizes ** (1 / nu)
    y, error = (part * cloud.sizes**exponent for part in (cloud.heights, cloud.errors))
    sums = _neighbour_sums(x, y, error, cloud)
    weight, wx, wxx, wy, wxy = sums
    determinant = weight * wxx - wx**2
    usable = (weight > 0) & (np.abs(x) <= reach) & (determinant > 0)
    if usable.sum() < _FEWEST_POINTS:
        return np.inf, int(usable.sum())
    weight, wx, wxx, wy, wxy, determinant = (part[usable] for part in (*sums, determinant))
    here = x[usable]
    master = ((wxx * wy - wx * wxy) + here * (weight * wxy - wx * wy)) / determinant
    doubt = (wxx - 2 * here * wx + here**2 * weight) / determinant
    return float(np.mean((y[usable] - master) ** 2 / (error[usable] ** 2 + doubt))), int(usable.sum())


def _neighbour_sums(x, y, error, cloud: _Cloud) -> np.ndarray:
    """Weighted sums over the two points of every other size between which each point lies: 1, x, x^2, y, x y."""
    sums = np.zeros((5, x.size))
    for first, last in cloud.cuts:
        own = x[first:last]
        after = np.searchsorted(own, x)
        inside = (after > 0) & (after < last - first)
        inside[first:last] = False
        for shift in (-1, 0):
            there = first + after[inside] + shift
            weight = error[there] ** -2
            sums[:, inside] += weight * np.stack(
                [np.ones_like(weight), x[there], x[there] ** 2, y[there], x[there] * y[there]]
            )
    return sums
