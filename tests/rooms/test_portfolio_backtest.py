"""Backtests and forecasts: nothing of the future is used, what is killed goes on, mistakes get one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import call, isolate
from thalweg.core.errors import InputError
from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.fundamentals import read_fundamentals
from thalweg.portfolio.data.holdings import read_holdings
from thalweg.portfolio.data.panel import Panel, panel
from thalweg.portfolio.forecast_command import MODELS
from thalweg.portfolio.tasks.backtest import backtest
from thalweg.portfolio.tasks.baselines import naive
from thalweg.portfolio.tasks.estimated import estimated
from thalweg.portfolio.tasks.fit import Recipe
from thalweg.portfolio.tasks.footprint import accounted
from thalweg.portfolio.tasks.models import NAMES, method
from thalweg.portfolio.tasks.origins import read_origins, rolled
from thalweg.runs import Points

CHEAP = ("naive", "damped_drift", "itr")


def made(companies: int = 12, years: int = 30, seed: int = 0) -> Panel:
    steps = np.random.default_rng(seed).normal(0.01, 0.1, (companies, years))
    names = tuple(f"c{place}" for place in range(companies))
    return panel(names, np.arange(1990, 1990 + years), 1e5 * np.exp(np.cumsum(steps, axis=1)))


def write(folder: Path, one: Panel) -> Path:
    path = folder / "emissions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["unique_id", "ds", "y", "unit"])
        for company, row in zip(one.companies, one.emissions, strict=True):
            writer.writerows((company, year, value, "t CO2") for year, value in zip(one.years, row, strict=True))
    return path


def test_a_backtest_scores_what_it_says():
    one = made()
    found = backtest(one, origins=(2010, 2012), horizon=3, models=CHEAP, portfolios=20)
    errors = []
    for origin in (2010, 2012):
        past = one.emissions[:, one.years <= origin]
        after = one.emissions[:, (one.years > origin) & (one.years <= origin + 3)]
        scale = np.abs(np.diff(past, axis=1)).mean(axis=1)
        errors.append(np.abs(past[:, -1:] - after).mean(axis=1) / scale)
    rows = {row["name"]: row for row in found.result["models"]}
    assert rows["naive"]["mase"] == pytest.approx(np.mean(errors))
    assert list(rows) == list(CHEAP)
    assert all(0.5 < row["coverage80"] <= row["coverage95"] <= 1 for row in rows.values())
    assert found.result["chosen"] in CHEAP
    assert found.result["cases"] == 24
    difference = {row["name"]: row for row in found.result["differences_to_naive"]}["itr"]
    assert difference["mean"] == pytest.approx(rows["itr"]["mase"] - rows["naive"]["mase"])
    assert difference["interval"][0] < difference["mean"] < difference["interval"][1]
    portfolios = {row["name"]: row["mape"] for row in found.result["portfolio"]}
    assert difference["portfolio"]["mean"] == pytest.approx(portfolios["itr"] - portfolios["naive"])


def test_the_future_changes_no_forecast_and_no_interval():
    one = made()
    emissions = one.emissions.copy()
    emissions[:, one.years > 2010] *= 3.0
    first, second = (rolled(each, (2005, 2010), 3, CHEAP) for each in (one, one._replace(emissions=emissions)))
    for name in CHEAP:
        np.testing.assert_array_equal(first.forecasts[name], second.forecasts[name])


def test_finished_forecasts_are_not_computed_again(tmp_path, monkeypatch):
    one, done = made(), Points(tmp_path / "parts")
    first = backtest(one, origins=(2010,), horizon=2, models=CHEAP, portfolios=5, done=done)
    monkeypatch.setattr("thalweg.portfolio.tasks.origins.method", lambda *_, **__: pytest.fail("computed again"))
    second = backtest(one, origins=(2010,), horizon=2, models=CHEAP, portfolios=5, done=done)
    assert first.result == second.result


def test_companies_that_lack_something_are_left_out_and_said():
    one = made()
    emissions = one.emissions.copy()
    emissions[0, one.years == 2011] = np.nan
    emissions[1, one.years <= 2010] = np.nan
    told: list[str] = []
    found = backtest(one._replace(emissions=emissions), origins=(2010,), horizon=2, models=CHEAP, portfolios=5,
                     note=told.append)  # fmt: skip
    assert found.compared.sum() == 10
    assert not found.compared[0, :2].any()
    assert len(told) == 1
    assert "left out 2 of 12 companies" in told[0]


@pytest.mark.parametrize(("origins", "horizon", "sentence"), [
    ((2019,), 5, "the origin 2019 lies outside of the panel: .* origins from 1992 to 2014 can be scored"),
    ((1980,), 5, "the origin 1980 lies outside"),
    ((2010,), 40, "a horizon of 40 years is longer than the emissions from 1990 to 2019 support: choose at most 27"),
])  # fmt: skip
def test_origins_and_horizons_beyond_the_panel(origins, horizon, sentence):
    with pytest.raises(InputError, match=sentence):
        backtest(made(), origins=origins, horizon=horizon, models=CHEAP)


def test_too_few_companies_and_unknown_models():
    with pytest.raises(InputError, match=r"only 3 companies .* at least 5 are needed"):
        backtest(made(3), origins=(2010,), models=CHEAP)
    with pytest.raises(InputError, match="no model 'prophet'"):
        backtest(made(), origins=(2010,), models=("prophet",))


def test_origins_as_they_are_written():
    assert read_origins("2007..2009") == (2007, 2008, 2009)
    assert read_origins("2012,2007") == (2007, 2012)
    for text, sentence in (("soon", "write 2007..2017"), ("2017..2007", "after the last one, write 2007..2017")):
        with pytest.raises(InputError, match=sentence):
            read_origins(text)


def test_the_command_and_the_room_know_the_same_models():
    assert MODELS == NAMES


def test_the_network_starts_as_the_random_walk_where_nothing_can_be_learnt(x64):
    from thalweg.portfolio.tasks.fit import Recipe
    from thalweg.portfolio.tasks.models import method

    short, recipe = made(4, years=6), Recipe(least=5)
    np.testing.assert_array_equal(method("network", recipe=recipe)(short, 2), naive(short, 2))


def test_backtest_command(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    path = write(tmp_path, made())
    ran = call("portfolio", "backtest", "--emissions", str(path), "--origins", "2010..2011", "--horizon", "2",
               "--models", ",".join(CHEAP), "--portfolios", "10", "--json", "--quiet", "--out", "run")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.output)
    assert {"name", "mase", "smape", "wape", "crps", "coverage80", "coverage95", "bias", "seconds"} <= set(
        result["models"][0]
    )
    assert {"name", "mape", "coverage80"} <= set(result["portfolio"][0])
    assert set(result["difference_to_naive"]) >= {"mean", "interval"}
    assert all(Path(name).exists() for name in result["files"])
    assert Path("run/report.html").exists()
    wrong = call("portfolio", "backtest", "--emissions", str(path), "--origins", "2018", "--json", "--quiet")
    assert wrong.exit_code == 1
    assert "outside of the panel" in wrong.output


def test_forecast_command(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ("portfolio", "forecast", "--holdings", "itr", "--model", "naive", "--json", "--quiet")
    ran = call(*words, "--horizon", "3", "--out", "run")
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.output)
    assert {"coverage_of_holdings", "waci", "data_quality", "report"} <= set(result)
    assert result["years"] == [2022, 2023, 2024]
    assert 0.5 < result["coverage_of_holdings"] < 1
    order = np.array([result[name] for name in ("lower95", "lower80", "median", "upper80", "upper95")])
    assert (np.diff(order, axis=0) >= 0).all()
    assert (order > 0).all()
    assert result["left_out"]
    assert all(Path(name).exists() for name in [*result["files"], result["report"]])
    wrong = call(*words, "--horizon", "20")
    assert wrong.exit_code == 1
    assert "longer than the history supports" in wrong.output
    wrong = call(*words, "--drivers", "wti")
    assert wrong.exit_code == 1
    assert "needs both --drivers" in wrong.output


def test_the_published_figures_of_the_naive_forecast(data):
    """Carbon Majors, 76 entities with 32 years in a row since 1950: MASE 3.776, sMAPE 16.82, WAPE 12.44."""
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.tasks.origins import chosen

    path = data / "portfolio/carbon_majors_medium_granularity.csv"
    one = chosen(read_emissions(str(path)).panel, 32, 1950)
    found = backtest(one, origins=(2007, 2012, 2017), models=("naive", "drift"), portfolios=0, before=0)
    rows = {row["name"]: row for row in found.result["models"]}
    assert (len(one.companies), found.result["cases"]) == (76, 228)
    for name, mase, smape, wape in (("naive", 3.776, 16.815, 12.437), ("drift", 3.714, 16.48, 12.20)):
        told = [rows[name][key] for key in ("mase", "smape", "wape")]
        np.testing.assert_allclose(told, [mase, smape, wape], atol=0.006)


def test_estimated_companies_join_the_sum_with_their_own_interval(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ("portfolio", "forecast", "--holdings", "itr", "--model", "naive", "--horizon", "2", "--json", "--quiet")
    plain, filled = (call(*words, *more) for more in ((), ("--estimate", "sector-intensity", "--out", "run")))
    assert (plain.exit_code, filled.exit_code) == (0, 0), filled.output
    without, found = json.loads(plain.output), json.loads(filled.output)
    part = found["estimated"]
    assert "estimated" not in without
    assert part["companies"] == 11
    share = found["coverage_of_holdings"] - without["coverage_of_holdings"]
    assert part["share_of_value"] == pytest.approx(share, rel=1e-9)
    np.testing.assert_allclose(found["median"], np.add(without["median"], part["median"]), rtol=1e-9)
    # Errors of both parts add in squares: wider than either, narrower than both together.
    for side in ("lower80", "upper80"):
        widths = [np.abs(np.subtract(one[side], one["median"])) for one in (without, part, found)]
        assert (widths[2] > np.maximum(*widths[:2])).all()
        assert (widths[2] < widths[0] + widths[1]).all()
    assert len(without["left_out"]) - len(found["left_out"]) == 11
    assert "What is estimated" in Path("run/report.html").read_text()


def test_one_estimate_alone_has_the_interval_of_its_sector_and_of_growth():
    account = accounted(read_holdings("itr"), read_fundamentals("itr"), read_emissions("itr"),
                        estimate="sector-intensity")  # fmt: skip
    place, one = next(iter(account.estimates.items()))
    alone = estimated(account._replace(estimates={place: one}), 4, 0.1)
    assert alone is not None
    assert alone.median[0] == pytest.approx(account.attribution.factor[place] * one.tonnes, rel=0.1)
    spread = np.log(one.upper / one.tonnes)
    for ahead in (1, 4):
        wide = np.hypot(spread, 1.2816 * 0.1 * np.sqrt(ahead))  # the 90 % quantile of a normal distribution
        assert np.log(alone.upper[0, ahead - 1] / alone.median[ahead - 1]) == pytest.approx(wide, rel=0.1)
    assert estimated(account._replace(estimates={}), 4, 0.1) is None


def test_the_network_on_top_of_a_trend_is_the_trend_where_there_is_nothing_to_learn(x64):
    brief = made(companies=6, years=3)
    np.testing.assert_array_equal(method("trend_network")(brief, 2), method("trend")(brief, 2))
    quick = Recipe(seeds=2, steps=20)
    after = method("trend_network", recipe=quick)(made(years=12), 3)
    assert after.shape == (12, 3)
    assert np.isfinite(after).all()
    assert not np.array_equal(after, method("trend")(made(years=12), 3))
