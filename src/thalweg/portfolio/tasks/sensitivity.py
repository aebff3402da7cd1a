"""How the footprint answers the drivers and every figure of the past: Jacobians through the recursion."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.portfolio.model.footprint import Footprint

_DRIVER_STEP = 1e-5  # of the differences, in standard deviations: a longer one meets the corners of a median
_HISTORY_STEP = 3e-5  # in log emissions, where the forecaster rounds the corner of an absolute value in a narrow range


class Sensitivity(NamedTuple):
    """Slopes of the footprint along one path of the drivers.

    **Fields:**

    - `footprint`: of each year h, t CO2e.
    - `growth`: dF_h / d growth of a driver into year k, t CO2e for a growth by one unit of log (100 % a year).
    - `level`: dF_h / d log level of a driver in year k alone, which raises the growth into k and lowers that out of it.
    - `history`: dF_h / dE_{i,t}, t CO2e of the portfolio for a t CO2e that company i reported more in year t; 0 where
      nothing was reported.
    """

    footprint: Float[np.ndarray, " horizon"]
    growth: Float[np.ndarray, "horizon horizon drivers"]
    level: Float[np.ndarray, "horizon horizon drivers"]
    history: Float[np.ndarray, "horizon companies years"]


def sensitivity(footprint: Footprint, path: np.ndarray, spread: np.ndarray) -> Sensitivity:
    """The slopes of the footprint by the drivers and by the history.

    **Arguments:** `path [horizon, drivers]`: standardised growth; `spread [drivers]`: standard deviations of the growth
    in logarithms by which it was standardised.
    """
    here = jnp.asarray(path, float)
    value, slope = driver_jacobian(footprint, here)
    growth = np.asarray(slope) / np.asarray(spread)
    # The level in year k is in the growth into k and, with the other sign, in the growth into k + 1.
    level = growth - np.concatenate([growth[:, 1:], np.zeros_like(growth[:, :1])], axis=1)
    logs = np.asarray(history_jacobian(footprint, here))
    known = np.asarray(footprint.known)
    history = np.where(known, logs / np.exp(np.where(known, footprint.history, 0.0)), 0.0)
    return Sensitivity(np.asarray(value), growth, level, history)


@eqx.filter_jit
def driver_jacobian(
    footprint: Footprint, path: Float[Array, "horizon drivers"]
) -> tuple[Float[Array, " horizon"], Float[Array, "horizon horizon drivers"]]:
    """The footprint of every year, and its slope by the growth in every year, in the units of `path`.

    By back-propagation through the recursion, one pass for each year of the horizon.
    """
    return footprint(path), jax.jacrev(footprint)(path)


@eqx.filter_jit
def history_jacobian(
    footprint: Footprint, path: Float[Array, "horizon drivers"]
) -> Float[Array, "horizon companies years"]:
    """The slope of the footprint by the log emissions of every company and year, in t CO2e."""
    return jax.jacrev(lambda past: footprint.factor @ footprint.companies(path, past))(footprint.history)


def driver_differences(footprint: Footprint, path: np.ndarray) -> Float[np.ndarray, "horizon horizon drivers"]:
    """`driver_jacobian` by central differences of fourth order, as a check of it."""
    return np.asarray(_differences(footprint, jnp.asarray(path, float)))


@eqx.filter_jit
def _differences(footprint: Footprint, path: Float[Array, "horizon drivers"]) -> Array:
    def along(unit: Float[Array, " inputs"]) -> Float[Array, " horizon"]:
        step = _DRIVER_STEP * unit.reshape(path.shape)
        return _quotient(jax.vmap(lambda times: footprint(path + times * step)), _DRIVER_STEP)

    columns = jax.lax.map(along, jnp.eye(path.size, dtype=path.dtype))
    return columns.T.reshape(path.shape[0], *path.shape)


def history_differences(footprint: Footprint, path: np.ndarray, company: int) -> Float[np.ndarray, "horizon years"]:
    """`history_jacobian` of one company by central differences of fourth order."""
    return np.asarray(_history_differences(footprint, jnp.asarray(path, float), jnp.asarray(company)))


@eqx.filter_jit
def _history_differences(footprint: Footprint, path: Float[Array, "horizon drivers"], company: Array) -> Array:
    def along(unit: Float[Array, " years"]) -> Float[Array, " horizon"]:
        def moved(times: Float[Array, ""]) -> Float[Array, " horizon"]:
            past = footprint.history.at[company].add(times * _HISTORY_STEP * unit)
            return footprint.factor @ footprint.companies(path, past)

        return _quotient(jax.vmap(moved), _HISTORY_STEP)

    return jax.lax.map(along, jnp.eye(footprint.history.shape[1], dtype=path.dtype)).T


def _quotient(moved: Callable[[Float[Array, "4"]], Float[Array, "4 horizon"]], step: float) -> Float[Array, " horizon"]:
    """The central difference of fourth order of a function of the number of steps."""
    weights = jnp.asarray([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    return weights @ moved(jnp.asarray([-2.0, -1.0, 1.0, 2.0]))


def disagreement(slopes: np.ndarray, differences: np.ndarray) -> float:
    """The largest difference between two Jacobians, relative to the largest slope of the same year.

    Relative to every single entry no difference quotient could be judged: many entries are exactly zero.
    """
    rows = (np.asarray(slopes).reshape(len(slopes), -1), np.asarray(differences).reshape(len(slopes), -1))
    scale = np.maximum(np.abs(rows[0]).max(axis=1, initial=0.0), np.abs(rows[1]).max(axis=1, initial=0.0))
    return float(np.max(np.abs(rows[0] - rows[1]).max(axis=1, initial=0.0) / np.where(scale > 0, scale, 1.0)))
