"""Differences between models with intervals: companies are drawn again, for themselves and in portfolios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from thalweg.portfolio.tasks import metrics

# Of several models, the one that is compared first.
PREFERRED = ("median_of_five", "own_median", "network", "trend")
RESAMPLES = 2000


def differences(
    errors: Mapping[str, Float[np.ndarray, "origins companies"]],
    relative: Mapping[str, Float[np.ndarray, "two origins companies horizon"]],
    shares: Float[np.ndarray, "portfolios companies"],
    seed: int,
) -> dict[str, Any]:
    """Differences of every model to the naive forecast and to ETS, with intervals of 95 %.

    **Arguments:** `errors` of each model by origin and company, NaN where not compared; `relative`, what each model
    said and what happened, over the emissions at the origin; `shares` of companies in portfolios; `seed`.

    **Source:** Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: percentile intervals.
    """
    others = [name for name in errors if name not in ("naive", "ets")]
    best = next((name for name in (*PREFERRED, *others) if name in errors), next(iter(errors)))
    told: dict[str, Any] = {"chosen": best}
    for base in ("naive", "ets"):
        if base not in errors:
            continue
        rows = []
        for name in errors:
            if name != base:
                rows.append({"name": name, **_company_difference(errors[name] - errors[base], seed)})
                if len(shares):
                    rows[-1]["portfolio"] = _portfolio_difference(relative[name], relative[base], shares, seed)
        told[f"differences_to_{base}"] = rows
        if chosen := [row for row in rows if row["name"] == best]:
            told[f"difference_to_{base}"] = {"name": best, "mean": chosen[0]["mean"], "interval": chosen[0]["interval"]}
    return told


def _company_difference(differences: Float[np.ndarray, "origins companies"], seed: int) -> dict[str, Any]:
    there = np.isfinite(differences)
    sums, counts = np.where(there, differences, 0.0).sum(axis=0), there.sum(axis=0)
    sums, counts = sums[counts > 0], counts[counts > 0]
    times = np.random.default_rng((seed, 2)).multinomial(sums.size, np.full(sums.size, 1 / sums.size), RESAMPLES)
    means = (times @ sums) / (times @ counts)
    return {"mean": float(sums.sum() / counts.sum()), "interval": np.quantile(means, [0.025, 0.975]).tolist()}


def _portfolio_difference(
    ours: Float[np.ndarray, "two origins companies horizon"],
    theirs: Float[np.ndarray, "two origins companies horizon"],
    shares: Float[np.ndarray, "portfolios companies"],
    seed: int,
) -> dict[str, Any]:
    """The difference of portfolio MAPEs; companies are drawn again, and the portfolios hold them that often."""
    held = shares.any(axis=0)
    weights, parts = shares[:, held], [part[:, :, held] for part in (ours, theirs)]

    def difference(times: np.ndarray) -> float:
        drawn = weights * times
        drawn = drawn[drawn.sum(axis=1) > 0]
        mapes = []
        for forecast, actual in parts:
            happened = np.einsum("pc,och->poh", drawn, actual, optimize=True)
            mapes.append(metrics.mape(np.einsum("pc,och->poh", drawn, forecast, optimize=True), happened).mean())
        return float(mapes[0] - mapes[1])

    count = int(held.sum())
    times = np.random.default_rng((seed, 3)).multinomial(count, np.full(count, 1 / count), RESAMPLES // 4)
    means = [difference(row) for row in times]
    return {"mean": difference(np.ones(count)), "interval": np.quantile(means, [0.025, 0.975]).tolist()}
