"""Score models at rolling origins: companies, portfolios, intervals, and differences with their own intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks import metrics
from thalweg.portfolio.tasks.differences import differences
from thalweg.portfolio.tasks.fit import Recipe
from thalweg.portfolio.tasks.intervals import LEVELS, QUANTILES, band, middle_levels, reach
from thalweg.portfolio.tasks.models import DEFAULT
from thalweg.portfolio.tasks.origins import EARLIER, Rolled, check_origins, earlier, rolled
from thalweg.portfolio.tasks.portfolio_intervals import Made, totals

FEWEST = 5  # companies, below which neither pooled intervals nor a bootstrap say anything
PORTFOLIOS, HOLDINGS = 200, 20
_DRAWS = 300


class Backtest(NamedTuple):
    """What a backtest found.

    **Fields:** `rolled`, all forecasts; `origins` that were scored; `compared`, which companies at each of them have a
    forecast by every model and what happened; `errors`, the MASE of each model by origin and company, NaN where not
    compared; `shares` of the portfolios; `coverage` by model, level and year ahead; `result`, the tables, for JSON.
    """

    rolled: Rolled
    origins: tuple[int, ...]
    compared: Bool[np.ndarray, "origins companies"]
    errors: dict[str, Float[np.ndarray, "origins companies"]]
    shares: Float[np.ndarray, "portfolios companies"]
    coverage: dict[str, Float[np.ndarray, "levels horizon"]]
    result: dict[str, Any]


def backtest(
    panel: Panel,
    *,
    origins: Sequence[int],
    horizon: int = 5,
    models: Sequence[str] = DEFAULT,
    recipe: Recipe | None = None,
    before: int = EARLIER,
    portfolios: int = PORTFOLIOS,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> Backtest:
    """Forecast from every origin what was not known then, and compare it with what happened.

    **Arguments:**

    - `panel`; `origins`, the years at whose end is forecast; `horizon` in years; `models` by name.
    - `recipe` of the network; `before`, earlier origins whose errors make the first intervals.
    - `portfolios`, random ones of at most 20 companies with uniformly drawn shares in the footprint at the origin.
    - `seed` of the network, the portfolios and the bootstrap; `done`, a store of finished forecasts; `hooks`;
      `executor`, where forecasts are made; `note`.

    **Raises:** `InputError` for origins outside of the panel, a horizon longer than it supports, names that are no
    models, and fewer than 5 companies to compare.
    """
    origins = tuple(sorted(set(origins)))
    check_origins(panel, origins, horizon)
    every = earlier(panel, origins, before)
    found = rolled(panel, every, horizon, models, recipe=recipe, seed=seed, done=done, hooks=hooks,
                   executor=executor)  # fmt: skip
    compared, scales = _compared(found, origins, models, note)
    places = [every.index(origin) for origin in origins]
    errors, rows, coverage, ends = {}, [], {}, {}
    always = np.asarray(compared.all(axis=0))
    shares = random_shares(always, portfolios, seed)
    for name in models:
        made = found.made(name)
        told = [made[place] for place in places]
        errors[name] = np.stack([
            np.where(who, np.abs(one.forecast - one.actual).mean(axis=1) / scale, np.nan)
            for one, who, scale in zip(told, compared, scales, strict=True)
        ])  # fmt: skip
        row, coverage[name] = _row(name, found, told, compared, errors[name])
        rows.append(row)
        ends[name] = _portfolio_row(name, found, made, places, shares, always)
    result = {
        "models": rows,
        "portfolio": [row for row, _ in ends.values()],
        **differences(errors, {name: total for name, (_, total) in ends.items()}, shares, seed),
        "companies": int(compared.any(axis=0).sum()),
        "cases": int(compared.sum()),
        "origins": list(origins),
        "horizon": horizon,
        "earlier_origins": len(every) - len(origins),
    }
    return Backtest(found, origins, compared, errors, shares, coverage, result)


def _compared(
    found: Rolled, origins: Sequence[int], models: Sequence[str], note: Callable[[str], object]
) -> tuple[Bool[np.ndarray, "origins companies"], list[Float[np.ndarray, " companies"]]]:
    """Who has everything at which origin, so that all models are told by the same cases."""
    who, scales = [], []
    for origin in origins:
        place, scale = found.origins.index(origin), metrics.scale(found.panel.until(origin))
        one = found.made(models[0])[place].actual
        both = np.stack([metrics.scored(found.forecasts[name][place], one) for name in models])
        who.append(both.all(axis=0) & (np.nan_to_num(scale) > 0))
        scales.append(np.where(scale > 0, scale, np.nan))
        if left := [(name, int((~there).sum())) for name, there in zip(models, both, strict=True) if not there.all()]:
            note(f"origin {origin}: left out {(~who[-1]).sum()} of {len(who[-1])} companies, because not all of their "
                 f"years or forecasts are there ({', '.join(f'{name} {count}' for name, count in left)}).")  # fmt: skip
        if who[-1].sum() < FEWEST:
            raise InputError(
                f"only {who[-1].sum()} companies have a history, a forecast by every model and all {found.horizon} "
                f"years after {origin}, but at least {FEWEST} are needed: choose other origins, models or a shorter "
                "horizon."
            )
    return np.stack(who), scales


def _row(
    name: str, found: Rolled, told: Sequence[Made], compared: np.ndarray, errors: np.ndarray
) -> tuple[dict[str, Any], Float[np.ndarray, "levels horizon"]]:
    scores, levels = found.scores(name), (*LEVELS, *middle_levels())
    forecasts, actuals, inside, widths, quantiles = [], [], [], [], []
    for one, who in zip(told, compared, strict=True):
        forecast, actual = one.forecast[who], one.actual[who]
        lower, upper = band(forecast, one.volatility[who, 0], reach(scores, one.origin, levels))
        few = len(LEVELS)
        finite = np.where(np.isfinite(upper[:few]), 1.0, np.nan)
        inside.append(finite * ((lower[:few] <= actual) & (actual <= upper[:few])))
        widths.append([metrics.winkler(lower[i], upper[i], actual, level) for i, level in enumerate(LEVELS)])
        below = np.asarray(QUANTILES)[:, None, None] < 0.5
        quantiles.append(np.where(below, lower[few:], upper[few:]))
        forecasts.append(forecast)
        actuals.append(actual)
    forecast, actual = np.concatenate(forecasts), np.concatenate(actuals)
    held = np.concatenate(inside, axis=1)
    by_year = np.array([[_mean(held[i, :, h]) for h in range(held.shape[2])] for i in range(len(held))])
    winklers = np.concatenate(widths, axis=1).sum(axis=(1, 2)) / actual.sum() * 100
    row = {
        "name": name,
        "mase": float(np.nanmean(errors)),
        "smape": float(metrics.smape(forecast, actual).mean()),
        "wape": metrics.wape(forecast, actual),
        "crps": metrics.wql(np.concatenate(quantiles, axis=1), actual, np.asarray(QUANTILES)),
        **{f"coverage{100 * level:.0f}": _mean(held[place]) for place, level in enumerate(LEVELS)},
        **{f"winkler{100 * level:.0f}": float(winklers[place]) for place, level in enumerate(LEVELS)},
        "bias": metrics.bias(forecast, actual),
        "seconds": float(found.seconds[name][[found.origins.index(one.origin) for one in told]].sum()),
    }
    return {key: _plain(value) for key, value in row.items()}, by_year


def random_shares(who: Bool[np.ndarray, " companies"], count: int, seed: int) -> Float[np.ndarray, "count companies"]:
    """Shares of companies in the footprints of random portfolios: at most 20 companies each, uniform on the simplex."""
    generator, places = np.random.default_rng((seed, 1)), np.flatnonzero(who)
    shares = np.zeros((count if places.size >= FEWEST else 0, who.size))
    for row in shares:
        chosen = generator.choice(places, min(HOLDINGS, places.size), replace=False)
        row[chosen] = generator.dirichlet(np.ones(chosen.size))
    return shares


def _portfolio_row(
    name: str, found: Rolled, made: Sequence[Made], places: Sequence[int], shares: np.ndarray, always: np.ndarray
) -> tuple[dict[str, Any], Float[np.ndarray, "two origins companies horizon"]]:
    """The row of one model, and what it said and what happened, relative to the emissions at the origin."""
    scores = found.scores(name)
    relative, errors, biases, inside = [], [], [], []
    for place in places:
        one = made[place]
        last = found.panel.emissions[:, found.panel.years == one.origin]
        both = [np.where(always[:, None], values / last, 0.0) for values in (one.forecast, one.actual)]
        relative.append(np.stack(both))
        if len(shares):
            factors = shares / np.where(always, last[:, 0], 1.0)
            said = totals(factors, one, made[:place], scores, LEVELS, draws=_DRAWS)
            happened = shares @ both[1]
            errors.append(metrics.mape(said.middle, happened))
            biases.append((said.middle - happened) / happened)
            finite = np.where(np.isfinite(said.upper), 1.0, np.nan)
            inside.append(finite * ((said.lower <= happened) & (happened <= said.upper)))
    row = {"name": name, "mape": float(np.mean(errors)), "bias": float(100 * np.mean(biases))} if errors else {}
    row |= {f"coverage{100 * level:.0f}": _mean(np.stack(inside)[:, i]) for i, level in enumerate(LEVELS) if inside}
    return {key: _plain(value) for key, value in row.items()}, np.stack(relative, axis=1)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
