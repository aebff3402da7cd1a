"""What the benchmarks of emission forecasts share: the panel, how it goes to a peer, and one way to score."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks import metrics
from thalweg.portfolio.tasks.backtest import random_shares
from thalweg.portfolio.tasks.baselines import pasts
from thalweg.portfolio.tasks.intervals import actual
from thalweg.portfolio.tasks.models import DEFAULT
from thalweg.portfolio.tasks.origins import chosen, rolled
from thalweg.runs import Points

DATA = Path(os.environ.get("THALWEG_DATA", "data")) / "portfolio"
PARTS = Path(os.environ.get("THALWEG_PARTS", tempfile.gettempdir())) / "thalweg-emission-forecasts"
USED, LATER = (2007, 2012, 2017), (2008, 2009, 2010, 2011, 2013, 2014, 2015, 2016)
VALID = 2002  # the origin before the scored ones by which peers are tuned
HORIZON = 5
SETS = {"all_origins": tuple(sorted((*USED, *LATER))), "used_while_composing": USED, "other_eight": LATER}


def carbon_majors() -> Panel:
    """The 76 entities with 32 years in a row since 1950."""
    return chosen(read_emissions(str(DATA / "carbon_majors_medium_granularity.csv")).panel, 32, 1950)


def told(panel: Panel, origin: int) -> dict[str, list[float]]:
    """What was known at an origin: each company's years without a gap, the oldest first."""
    known = panel.until(origin)
    return {name: past.tolist() for name, past in zip(known.companies, pasts(known), strict=True) if past is not None}


def scores(panel: Panel, forecasts: Mapping[int, np.ndarray], origins: Sequence[int]) -> dict[str, float]:
    """MASE, sMAPE, WAPE and bias over companies, and the MAPE of the backtest's 200 random portfolios."""
    shares = random_shares(np.ones(len(panel.companies), bool), 200, 0)
    errors, percents, said, happened, portfolios = [], [], [], [], []
    for origin in origins:
        forecast, after = forecasts[origin], actual(panel, origin, HORIZON)
        errors.append(metrics.mase(forecast, after, metrics.scale(panel.until(origin))))
        percents.append(metrics.smape(forecast, after))
        said.append(forecast)
        happened.append(after)
        factors = shares / panel.emissions[:, panel.years == origin][:, 0]
        portfolios.append(metrics.mape(factors @ forecast, factors @ after))
    found = {"mase": np.mean(errors), "smape": np.mean(percents), "portfolio_mape": np.mean(portfolios)}
    found |= {"wape": metrics.wape(np.stack(said), np.stack(happened)),
              "bias": metrics.bias(np.stack(said), np.stack(happened))}  # fmt: skip
    return {name: round(float(value), 3) for name, value in found.items()}


def ours(panel: Panel) -> dict[str, Any]:
    """The rows of thalweg and of the naive forecast."""
    found = rolled(panel, SETS["all_origins"], HORIZON, DEFAULT, done=Points(PARTS))
    rows = {}
    for name in ("naive", "network", "trend", "own_median"):
        by_origin = dict(zip(found.origins, found.forecasts[name], strict=True))
        rows[name] = {key: scores(panel, by_origin, origins) for key, origins in SETS.items()}
        rows[name]["seconds_per_origin"] = round(float(found.seconds[name].mean()), 2)
    return rows


def theirs(panel: Panel, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a peer, from the forecasts that it gave of every origin."""
    rows = {}
    for name, answer in answers.items():
        by_origin = {
            int(origin): np.array([one[company] for company in panel.companies])
            for origin, one in answer["forecasts"].items()
        }
        rows[name] = {key: scores(panel, by_origin, origins) for key, origins in SETS.items()}
        rows[name] |= {"seconds_per_origin": round(answer["seconds"] / len(by_origin), 2), "chosen": answer["chosen"]}
    return rows
