"""The peer's half of versus_skforecast: a global recursive forecaster, tuned at an origin before the scored ones."""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import skforecast
from skforecast.recursive import ForecasterRecursiveMultiSeries
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

MAKERS = {
    "hist_gradient_boosting": (
        lambda rate, trees, leaf: HistGradientBoostingRegressor(
            learning_rate=rate, max_iter=trees, min_samples_leaf=leaf, loss="absolute_error", random_state=0
        ),
        [(0.03, 100, 20), (0.03, 200, 50), (0.1, 100, 50), (0.03, 50, 100)],
    ),
    "ridge": (lambda alpha: Ridge(alpha=alpha), [(0.1,), (1.0,), (10.0,)]),
}
LAGS = (3, 5, 10)


def forecast(make, settings, lags: int, past: dict[str, list[float]], horizon: int) -> dict[str, list[float]]:
    """Years after the past of every series; a series too short for the lags keeps its last value."""
    long = {name: values for name, values in past.items() if len(values) > lags + 2}
    # All series end in the same year: what counts is how long ago a year is.
    frames = {
        name: pd.Series(np.log(values), pd.date_range(end="2000-12-31", periods=len(values), freq="YE"))
        for name, values in long.items()
    }
    forecaster = ForecasterRecursiveMultiSeries(
        estimator=make(*settings), lags=lags, encoding=None, transformer_series=None, differentiation=1
    )
    forecaster.fit(series=frames, suppress_warnings=True)
    found = forecaster.predict(steps=horizon, suppress_warnings=True)
    given = {name: np.exp(rows["pred"].to_numpy()).tolist() for name, rows in found.groupby("level")}
    return {name: given.get(name, [values[-1]] * horizon) for name, values in past.items()}


def error(found: dict[str, list[float]], past: dict[str, list[float]], after: dict[str, list[float]]) -> float:
    """The mean MASE."""
    errors = []
    for name, values in past.items():
        if len(values) > 2:
            actual = np.array(after[name][len(after[name]) - len(found[name]) :])
            errors.append(np.abs(found[name] - actual).mean() / np.abs(np.diff(values)).mean())
    return float(np.mean(errors))


def main() -> None:
    """Read the task, tune, forecast, print."""
    warnings.simplefilter("ignore")
    task = json.load(sys.stdin)
    models = {}
    for name, (make, grid) in MAKERS.items():
        tried = {}
        for settings, lags in itertools.product(grid, LAGS):
            found = forecast(make, settings, lags, task["valid"], task["horizon"])
            tried[settings, lags] = error(found, task["valid"], task["after"])
        (settings, lags), valid = min(tried.items(), key=lambda one: one[1])
        began = time.perf_counter()
        forecasts = {
            origin: forecast(make, settings, lags, past, task["horizon"]) for origin, past in task["origins"].items()
        }
        chosen = {"settings": settings, "lags": lags, "valid_mase": valid, "tried": len(tried)}
        models[name] = {"forecasts": forecasts, "seconds": time.perf_counter() - began, "chosen": chosen}
    print(json.dumps({"version": skforecast.__version__, "models": models}))


if __name__ == "__main__":
    main()
