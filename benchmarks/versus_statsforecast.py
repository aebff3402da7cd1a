"""Forecasts of emissions beside statsforecast: Carbon Majors by entity and EU ETS by installation.

76 entities with 32 years in a row since 1950, five years ahead from the origins 2007 to 2017. 2007, 2012 and 2017 were
looked at while the combination was composed: the other eight origins are told apart. All models are scored by one
function on the same cases; ours with default settings, theirs with the automatic choice of each model. THALWEG_DATA
names the folder of the data; finished forecasts are kept in a temporary folder, or the one that THALWEG_PARTS names, so
that a stopped run goes on. `--quick` leaves AutoARIMA out.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import numpy as np
from _emissions import DATA, PARTS, SETS, carbon_majors
from _machine import described, write_result

from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.tasks.backtest import Backtest, backtest
from thalweg.portfolio.tasks.metrics import bias, mase, scale, scored, wape
from thalweg.portfolio.tasks.models import method
from thalweg.runs import Points
from thalweg.session import start

MODELS = ("naive", "drift", "damped_drift", "itr", "ets", "theta", "arima", "network", "trend", "trend_network",
          "own_median", "median_of_five")  # fmt: skip
WITHOUT_ARIMA = tuple(name for name in MODELS if name not in ("arima", "median_of_five"))
LARGE = 25_000  # tonnes a year, above which an installation counts
SHORT = 8  # years that are left of every history in the case of short ones


def told(found: Backtest) -> dict[str, Any]:
    """The tables of a backtest, rounded."""
    return rounded({
        "models": found.result["models"],
        "portfolio": found.result["portfolio"],
        "differences_to_naive": found.result["differences_to_naive"],
        "differences_to_ets": found.result["differences_to_ets"],
        "coverage_by_year_ahead": {name: values.tolist() for name, values in found.coverage.items()},
        "cases": found.result["cases"],
    })  # fmt: skip


def installations(names: tuple[str, ...], done: Points) -> dict[str, Any]:
    """EU ETS: the 2,858 installations with a report in every year and a mean above 25 kt, five years from 2015."""
    panel = read_emissions(str(DATA / "eutl_verified_emissions_2005_2020.csv")).panel
    panel = panel.only(np.asarray(np.isfinite(panel.emissions).all(axis=1)))
    panel = panel.only(panel.emissions.mean(axis=1) > LARGE)
    past, actual = panel.until(2015), panel.emissions[:, panel.years > 2015]
    own = scale(past)
    forecasts = {}
    for name in names:
        kept = done.get(f"eu-ets-{name}")
        if kept is None:
            kept = {"forecast": method(name)(past, actual.shape[1])}
            done.put(f"eu-ets-{name}", kept)
        forecasts[name] = kept["forecast"]
    who = np.stack([scored(forecast, actual) for forecast in forecasts.values()]).all(axis=0) & (own > 0)
    rows = {
        name: {"mase": float(mase(forecast[who], actual[who], own[who]).mean()),
               "wape": wape(forecast[who], actual[who]), "bias": bias(forecast[who], actual[who])}
        for name, forecast in forecasts.items()
    }  # fmt: skip
    return rounded(rows | {"installations": int(who.sum())})


def rounded(value: Any) -> Any:
    """Numbers to four digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return round(float(value), 4) if isinstance(value, (float, np.floating)) else value


def main() -> None:
    """Measure and write `results/versus_statsforecast.json`."""
    names = WITHOUT_ARIMA if "--quick" in sys.argv else MODELS
    panel, done = carbon_majors(), Points(PARTS)
    found = {key: told(backtest(panel, origins=origins, models=names, done=done)) for key, origins in SETS.items()}
    short = panel._replace(emissions=panel.emissions[:, panel.years > 2017 - SHORT],
                           years=panel.years[panel.years > 2017 - SHORT])  # fmt: skip
    least = tuple(name for name in names if name not in ("ets", "median_of_five"))
    brief = backtest(short, origins=(2017,), models=("naive", "ets", *least[1:]), before=5, done=done)
    result = described() | {
        "statsforecast": metadata.version("statsforecast"), "companies": len(panel.companies), **found,
        f"histories_of_{SHORT}_years": rounded({"models": brief.result["models"],
                                                "portfolio": brief.result["portfolio"]}),
        "eu_ets_2015": installations(tuple(name for name in names if name in ("naive", "damped_drift", "itr", "ets",
                                     "theta", "network", "trend")), done),
    }  # fmt: skip
    write_result("versus_statsforecast", result)


if __name__ == "__main__":
    with start(None, note=print):
        main()
