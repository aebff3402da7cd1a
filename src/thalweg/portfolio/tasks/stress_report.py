"""All of a stress test: the difference of scenarios, sensitivities, the plausible breach, weights with a lower tail."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Note, silent
from thalweg.portfolio.data.scenarios import Scenario, following
from thalweg.portfolio.tasks.draws import emission_draws
from thalweg.portfolio.tasks.explain import explain
from thalweg.portfolio.tasks.sensitivity import disagreement, driver_differences, driver_jacobian, sensitivity
from thalweg.portfolio.tasks.stress import Stress, reverse_stress
from thalweg.portfolio.tasks.stress_setting import Setting
from thalweg.portfolio.tasks.weights import low_tail_weights

_DRAWS = 500
_LEVEL = 0.95


class Ways(NamedTuple):
    """Two named paths of the drivers: `start` and `end`, standardised growth."""

    start_name: str
    start: Float[np.ndarray, "horizon drivers"]
    end_name: str
    end: Float[np.ndarray, "horizon drivers"]


def ways(
    setting: Setting, scenarios: dict[str, Scenario], *, start: str | None = None, end: str | None = None,
    interpolate: bool = False, note: Note = silent,
) -> Ways | None:  # fmt: skip
    """The two scenarios that are compared: `start` and `end`, by default the first two of the table.

    Where there is one, it is compared with the expected path of the drivers; `None` without any.

    **Raises:** `InputError` for a name that is not in the table.
    """
    if not scenarios:
        return None
    names = list(scenarios)
    for name in (start, end):
        if name is not None and name not in scenarios:
            raise InputError(f"there is no scenario {name!r}: the table holds {', '.join(names)}.")
    end = end or next((name for name in names[1:] if name != start), names[0])
    start = start or (names[0] if names[0] != end else None)

    def path(name: str) -> np.ndarray:
        return following(scenarios[name], setting.growth, setting.base, setting.years.size, interpolate=interpolate,
                         note=note)  # fmt: skip

    if start is None:
        return Ways("expected drivers", expected_path(setting), end, path(end))
    return Ways(start, path(start), end, path(end))


def expected_path(setting: Setting) -> Float[np.ndarray, "horizon drivers"]:
    """The drivers as their law expects them: from their last growth back to their mean."""
    return np.asarray(setting.law.path(jnp.zeros((setting.years.size, len(setting.growth.names)))))


def stress_report(
    setting: Setting, compared: Ways | None, *, limit: float | None = None, times: float = 1.1, strength: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The result of a stress test as one table of numbers.

    **Arguments:** `limit`: of the last year's footprint in t CO2e; without it `times` the expected one; `strength`:
    what tracking costs against the tail (see `low_tail_weights`).
    """
    names, years = setting.growth.names, setting.years
    expected = expected_path(setting)
    slopes = sensitivity(setting.footprint, expected, setting.growth.spread)
    limit = times * float(slopes.footprint[-1]) if limit is None else limit
    checked = np.asarray(driver_jacobian(setting.footprint, jnp.asarray(expected))[1])
    found = reverse_stress(setting.footprint, setting.law, years.size, limit, seed=seed)
    draws = emission_draws(setting.footprint, setting.law, years.size, count=_DRAWS, seed=seed)
    return {
        "base_year": setting.base,
        "years": years,
        "drivers": list(names),
        "driver_growth": {"mean": setting.growth.mean, "spread": setting.growth.spread},
        "companies": len(setting.companies),
        "coverage_of_holdings": setting.covered,
        "left_out": setting.left_out,
        "expected": {"footprint": slopes.footprint, "growth": setting.growth.paths(expected)},
        "sensitivity": {
            "unit": "t CO2e of a year's footprint for a driver that grows 1 % more in a year",
            "by_growth": slopes.growth / 100,
            "by_level": slopes.level / 100,
            "difference_quotients": disagreement(checked, driver_differences(setting.footprint, expected)),
            "history_years": _history_years(setting),
            "by_history": np.einsum("hiy->hy", slopes.history),
            "most": _most(setting, slopes.history[-1]),
        },
        "scenarios": None if compared is None else _compared(setting, compared),
        "stress": _stress(setting, found, limit),
        "weights": _weights(setting, draws, strength),
    }


def _history_years(setting: Setting) -> np.ndarray:
    return np.arange(setting.base - setting.footprint.history.shape[1] + 1, setting.base + 1)


def _most(setting: Setting, slopes: np.ndarray, count: int = 20) -> list[dict[str, Any]]:
    """The reported figures on which the last year's footprint rests most: what one per cent of them moves."""
    known = np.asarray(setting.footprint.known)
    tonnes = np.where(known, np.exp(np.where(known, np.asarray(setting.footprint.history), 0.0)), 0.0)
    moved, years = slopes * tonnes / 100, _history_years(setting)
    order = np.argsort(-np.abs(moved), axis=None)[:count]
    return [
        {"company": setting.companies[company], "year": int(years[year]),
         "moved_by_1_percent": float(moved[company, year]), "tonnes_per_tonne": float(slopes[company, year])}
        for company, year in zip(*np.unravel_index(order, moved.shape), strict=True) if moved[company, year]
    ]  # fmt: skip


def _compared(setting: Setting, compared: Ways) -> dict[str, Any]:
    found = explain(setting.footprint, compared.start, compared.end)
    return {
        "from": compared.start_name,
        "to": compared.end_name,
        "footprint_from": setting_footprint(setting, compared.start),
        "footprint_to": setting_footprint(setting, compared.end),
        "difference": found.end - found.start,
        "parts": found.parts,
        "by_driver": dict(zip(setting.growth.names, found.parts.sum(axis=0).tolist(), strict=True)),
        "incompleteness": found.incompleteness,
    }


def setting_footprint(setting: Setting, path: np.ndarray) -> Float[np.ndarray, " horizon"]:
    """The footprint on a path of the drivers, t CO2e."""
    return np.asarray(driver_jacobian(setting.footprint, jnp.asarray(path))[0])


def _stress(setting: Setting, found: Stress, limit: float) -> dict[str, Any]:
    return {
        "limit": limit,
        "reached": found.reached,
        "reason": found.reason,
        "growth": setting.growth.paths(found.path),
        "shocks": found.shocks,
        "mahalanobis_distance": found.distance,
        "degrees_of_freedom": found.shocks.size,
        "chance_as_far": found.chance_as_far,
        "chance_of_breach": found.chance_of_breach if found.reached else None,
        "footprint": found.footprint,
        "expected": found.expected,
    }


def _weights(setting: Setting, draws: np.ndarray, strength: float) -> dict[str, Any] | None:
    held = (setting.value > 0) & (setting.factor > 0)
    if held.sum() < 2:
        return None
    intensity = draws[:, held] * (setting.factor / np.where(setting.value > 0, setting.value, 1.0))[held] * 1e6
    benchmark = setting.value[held] / setting.value[held].sum()
    found = low_tail_weights(intensity, benchmark, strength=strength, level=_LEVEL)
    names = np.asarray(setting.companies, object)[held]
    return {
        "unit": "t CO2e per million invested",
        "level": _LEVEL,
        "draws": len(draws),
        "tail": found.tail,
        "benchmark_tail": found.benchmark_tail,
        "tracking": found.tracking,
        "companies": names.tolist(),
        "benchmark": benchmark,
        "weights": found.weights,
    }
