"""Errors, quantile losses and interval scores by hand and by utilsforecast; baselines and combinations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.portfolio.data.panel import Panel, panel
from thalweg.portfolio.tasks import metrics
from thalweg.portfolio.tasks.baselines import BASELINES, LEAST, damped_drift, drift, itr, naive, skipped
from thalweg.portfolio.tasks.combine import MEMBERS, combined

HISTORY = np.array([[100.0, 110.0, 99.0, 120.0], [50.0, 40.0, 60.0, 70.0]])
ACTUAL = np.array([[130.0, 110.0], [70.0, 80.0]])
FORECAST = np.array([[120.0, 120.0], [77.0, 60.0]])


def two() -> Panel:
    return panel(("a", "b"), np.arange(2000, 2004), HISTORY)


def made(seed: int, companies: int = 4, years: int = 12) -> Panel:
    steps = np.random.default_rng(seed).normal(0.01, 0.1, (companies, years))
    names = tuple(f"c{place}" for place in range(companies))
    return panel(names, np.arange(2000, 2000 + years), 1e5 * np.exp(np.cumsum(steps, axis=1)))


def test_errors_by_hand():
    scale = metrics.scale(two())
    np.testing.assert_allclose(scale, [(10 + 11 + 21) / 3, (10 + 20 + 10) / 3])
    np.testing.assert_allclose(metrics.mase(FORECAST, ACTUAL, scale), [10 / 14, 13.5 * 3 / 40])
    by_hand = [100 * (10 / 250 + 10 / 230), 100 * (7 / 147 + 20 / 140)]
    np.testing.assert_allclose(metrics.smape(FORECAST, ACTUAL), by_hand)
    assert metrics.wape(FORECAST, ACTUAL) == pytest.approx(100 * 47 / 390)
    assert metrics.bias(FORECAST, ACTUAL) == pytest.approx(100 * (377 - 390) / 390)
    np.testing.assert_allclose(metrics.mape(FORECAST, ACTUAL), [50 * (10 / 130 + 10 / 110), 50 * (7 / 70 + 20 / 80)])


def test_losses_of_quantiles_and_intervals_by_hand():
    levels, actual = np.array([0.25, 0.5, 0.75]), np.array([10.0])
    quantile = np.array([[8.0], [11.0], [12.0]])
    np.testing.assert_allclose(metrics.pinball(quantile, actual, levels)[:, 0], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(metrics.crps(quantile, actual, levels), [1.0])
    assert metrics.wql(quantile, actual, levels) == pytest.approx(10.0)
    lower, upper = np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0])
    np.testing.assert_allclose(metrics.winkler(lower, upper, np.array([2.0, 0.0, 4.0]), 0.8), [2.0, 12.0, 12.0])
    assert metrics.coverage(lower, upper, np.array([1.0, 3.0, np.nan])) == 1.0
    assert metrics.coverage(lower, upper, np.array([0.9, 3.0, np.nan])) == 0.5


def test_a_constant_history_has_no_scale():
    flat = panel(("a",), np.arange(2000, 2003), np.full((1, 3), 5.0))
    with pytest.raises(InputError, match="never changed"):
        metrics.mase(np.ones((1, 2)), np.ones((1, 2)), metrics.scale(flat))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_same_as_utilsforecast():
    pandas, losses = pytest.importorskip("pandas"), pytest.importorskip("utilsforecast.losses")
    history, horizon = made(0), 3
    actual, forecast = (made(seed, years=horizon).emissions for seed in (1, 2))
    lower, upper = 0.9 * forecast, 1.1 * forecast
    at = np.arange(2012, 2012 + horizon)
    frame = pandas.DataFrame({
        "unique_id": np.repeat(history.companies, horizon), "ds": np.tile(at, 4), "y": actual.ravel(),
        "model": forecast.ravel(), "low": lower.ravel(), "high": upper.ravel(),
    })  # fmt: skip
    train = pandas.DataFrame({
        "unique_id": np.repeat(history.companies, 12), "ds": np.tile(history.years, 4),
        "y": history.emissions.ravel(),
    })  # fmt: skip
    theirs = losses.mase(frame, ["model"], seasonality=1, train_df=train)["model"].to_numpy()
    np.testing.assert_allclose(metrics.mase(forecast, actual, metrics.scale(history)), theirs, rtol=1e-12)
    theirs = losses.smape(frame, ["model"])["model"].to_numpy()
    np.testing.assert_allclose(metrics.smape(forecast, actual), 200 * theirs, rtol=1e-12)
    theirs = losses.mape(frame, ["model"])["model"].to_numpy()
    np.testing.assert_allclose(metrics.mape(forecast, actual), 100 * theirs, rtol=1e-12)
    for level, name in ((0.1, "low"), (0.9, "high")):
        theirs = losses.quantile_loss(frame, {"model": name}, q=level)["model"].to_numpy()
        ours = metrics.pinball({"low": lower, "high": upper}[name][None], actual, np.array([level]))[0].mean(axis=1)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@given(st.integers(0, 2**16), st.floats(1e-3, 1e6))
@settings(max_examples=25, deadline=None)
def test_relative_errors_have_no_unit(seed, unit):
    history, actual, forecast = made(seed), made(seed + 1, years=3).emissions, made(seed + 2, years=3).emissions
    other = history._replace(emissions=unit * history.emissions)
    for measure in (metrics.smape, metrics.wape, metrics.bias, metrics.mape):
        np.testing.assert_allclose(measure(unit * forecast, unit * actual), measure(forecast, actual), rtol=1e-9)
    np.testing.assert_allclose(metrics.mase(unit * forecast, unit * actual, metrics.scale(other)),
                               metrics.mase(forecast, actual, metrics.scale(history)), rtol=1e-9)  # fmt: skip


def test_baselines_by_hand():
    np.testing.assert_allclose(naive(two(), 2), [[120, 120], [70, 70]])
    np.testing.assert_allclose(drift(two(), 2)[0], 120 + np.array([1, 2]) * 20 / 3)
    np.testing.assert_allclose(damped_drift(two(), 2, damping=0.5)[0], 120 + np.array([0.5, 0.75]) * 20 / 3)


def test_the_rule_of_the_itr_tool():
    """The median yearly ratio of the winsorised history, within -10 % and +3 %, from the last value as reported."""
    past = np.array([100.0, 98.0, 97.0, 60.0, 95.0, 94.0])
    clipped = np.clip(past, np.quantile(past, 0.1), np.quantile(past, 0.9))
    rate = np.median(clipped[1:] / clipped[:-1] - 1)
    assert -0.1 < rate < 0.03
    one = panel(
        ("a", "b", "c"), np.arange(2000, 2006), np.stack([past, 100 * 1.2 ** np.arange(6), 0.5 ** np.arange(6)])
    )
    found = itr(one, 2)
    np.testing.assert_allclose(found[0], 94 * (1 + rate) ** np.array([1, 2]))
    np.testing.assert_allclose(found[1], one.emissions[1, -1] * 1.03 ** np.array([1, 2]))
    np.testing.assert_allclose(found[2], one.emissions[2, -1] * 0.9 ** np.array([1, 2]))


@pytest.mark.parametrize("name", list(BASELINES))
def test_short_histories_are_named_and_not_forecast(name):
    history = made(3)
    emissions = history.emissions.copy()
    emissions[0, : 12 - LEAST[name]] = np.nan
    emissions[1, 12 - LEAST[name]] = np.nan
    emissions[2, -1] = np.nan
    short = history._replace(emissions=emissions)
    found = BASELINES[name](short, 3)
    assert found.shape == (4, 3)
    assert np.isfinite(found[[0, 3]]).all()
    assert np.isnan(found[[1, 2]]).all()
    assert skipped(name, short) == ("c1", "c2")
    np.testing.assert_allclose(BASELINES[name](short._replace(emissions=1e3 * emissions), 3), 1e3 * found, rtol=1e-6)


def test_a_horizon_of_nothing():
    with pytest.raises(InputError, match="at least one year"):
        naive(two(), 0)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "statsforecast.models", None)
    with pytest.raises(InputError, match=r"pip install 'thalweg\[portfolio\]'"):
        BASELINES["ets"](made(0), 2)


def test_combinations_are_medians_of_more_than_half():
    values = {name: np.full((2, 1), float(place)) for place, name in enumerate(MEMBERS)}
    np.testing.assert_allclose(combined(values), 2.0)
    values["ets"], values["arima"] = (np.array([[np.nan], [1.0]]) for _ in range(2))
    np.testing.assert_allclose(combined(values), [[3.0], [1.0]])
    values["theta"] = np.array([[np.nan], [1.0]])
    assert np.isnan(combined(values)[0]).all()
    assert np.isfinite(combined(values)[1]).all()
    with pytest.raises(InputError, match="needs a forecast by arima"):
        combined({name: values[name] for name in MEMBERS if name != "arima"})
