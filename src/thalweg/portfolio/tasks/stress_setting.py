"""What a stress test begins with: a forecaster that reads drivers, the portfolio on it, and the drivers' law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.portfolio.data.drivers import Drivers, Growth, growth
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.data.places import Note, silent
from thalweg.portfolio.model.footprint import Footprint, footprint
from thalweg.portfolio.model.law import Law, law
from thalweg.portfolio.tasks.fit import Recipe, fitted

_LEAST = 3  # years in a row up to the base year, for a company to be forecast


class Setting(NamedTuple):
    """A portfolio ready to be stressed.

    **Fields:**

    - `footprint`, by the fitted network; `law` and `growth` of the drivers.
    - `companies`, those that are forecast; `factor`, the share of their emissions that is financed; `value`, what is
      invested in them.
    - `base`, the last year of the histories; `years`, those to come.
    - `left_out`, why each other company of the portfolio is not in it.
    - `covered`, the share of the invested value that is in it.
    - `loss` of the training at its end.
    """

    footprint: Footprint
    law: Law
    growth: Growth
    companies: tuple[str, ...]
    factor: Float[np.ndarray, " companies"]
    value: Float[np.ndarray, " companies"]
    base: int
    years: Int[np.ndarray, " horizon"]
    left_out: dict[str, str]
    covered: float
    loss: float


def stress_setting(
    panel: Panel,
    factor: Mapping[str, float],
    value: Mapping[str, float],
    drivers: Drivers,
    horizon: int,
    *,
    total: float | None = None,
    recipe: Recipe | None = None,
    base: int | None = None,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
    note: Note = silent,
) -> Setting:
    """Fit the network with drivers to a panel, and put a portfolio on it.

    The network reads the drivers whether or not they improve its forecasts: what is asked here is what it learnt of
    them. Companies of the panel that are not held are learnt from as well.

    **Arguments:** `factor`, `value`: of the companies that are held, by name; `total`, the value of the whole
    portfolio, by default of these companies; `base`, the last year of the histories, by default the latest one in which
    most of the value can be forecast, of those years that the drivers reach.

    **Raises:** `InputError` where no company can be forecast, or the drivers do not reach the base year.
    """
    grown = growth(drivers)
    within = panel.years[(panel.years >= grown.years[0]) & (panel.years <= grown.years[-1])]
    if not within.size or (base is not None and base not in within):
        wanted = f"{base}" if base is not None else f"{panel.years[0]} to {panel.years[-1]}"
        raise InputError(
            f"the drivers grow from {grown.years[0]} to {grown.years[-1]}, but the emissions need {wanted}: give both "
            "over the same years."
        )
    base = _fullest(panel, value, within) if base is None else base
    panel, grown = panel.until(base), growth(drivers, until=base)
    past = np.full((panel.years.size, len(grown.names)), np.nan)
    shared = np.isin(panel.years, grown.years)
    past[shared] = grown.over(panel.years[shared])
    recipe = Recipe(horizon=min(horizon, Recipe().horizon), drivers="always") if recipe is None else recipe
    trained = fitted(panel, recipe, seed=seed, drivers=past, hooks=hooks)
    enough = panel.recent() >= _LEAST
    held = np.array([name in value and name in factor for name in panel.companies])
    kept = panel.only(enough & held)
    left_out = _left_out(panel, enough, factor, value, base)
    if not kept.companies:
        raise InputError(f"no company of the portfolio has {_LEAST} years in a row up to {base}: choose another year.")
    for name, why in left_out.items():
        note(f"{name} is left out: {why}")
    shares = np.array([factor[name] for name in kept.companies])
    invested = np.array([value[name] for name in kept.companies])
    known = law(grown.over(grown.years[grown.years <= base]))
    return Setting(
        footprint(trained.forecaster, kept, shares, np.where(np.isfinite(past), past, 0.0)), known, grown,
        kept.companies, shares, invested, base, np.arange(base + 1, base + horizon + 1), left_out,
        float(invested.sum() / (sum(value.values()) if total is None else total)), trained.loss,
    )  # fmt: skip


def _fullest(panel: Panel, value: Mapping[str, float], years: np.ndarray) -> int:
    weight = np.array([value.get(name, 0.0) for name in panel.companies])
    covered = [float(weight[panel.until(int(year)).recent() >= _LEAST].sum()) for year in years]
    best = max(covered)
    if best <= 0:
        raise InputError(
            f"no company of the portfolio has {_LEAST} years of emissions in a row while the drivers are known, from "
            f"{years[0]} to {years[-1]}: check that identifiers agree and years overlap."
        )
    return int(max(year for year, part in zip(years, covered, strict=True) if part == best))


def _left_out(
    panel: Panel, enough: np.ndarray, factor: Mapping[str, float], value: Mapping[str, float], base: int
) -> dict[str, str]:
    found = {}
    rows = dict(zip(panel.companies, enough, strict=True))
    for name in value:
        if name not in rows:
            found[name] = "it reports no emissions."
        elif not rows[name]:
            found[name] = f"it reports fewer than {_LEAST} years in a row up to {base}."
        elif name not in factor:
            found[name] = "the financed share of its emissions is not known."
    return found
