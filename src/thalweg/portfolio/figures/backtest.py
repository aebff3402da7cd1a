"""The report of a backtest: models beside each other, portfolios, and whether intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.portfolio.figures.forecast import fan
from thalweg.portfolio.tasks.backtest import Backtest
from thalweg.portfolio.tasks.intervals import CONFORMAL, DISTRIBUTIONAL, LEVELS, band, reach
from thalweg.portfolio.tasks.metrics import GNEITING, HYNDMAN
from thalweg.report import Citations, Page, PaperFigure, PlotlyFigure, Prose, Section, Table, as_svg, paper_style
from thalweg.report import paper_figure as blank

_STORY = (
    "MASE is the mean absolute error over that of the naive forecast within the history; sMAPE, WAPE, CRPS (by 19 "
    "quantiles, over the emissions), Winkler scores and bias are in percent. All models are scored by the same "
    "companies and origins. Emissions of single companies are nearly random walks: differences of a few percent are "
    "what there is to win, and the intervals below say which of them are more than chance."
)
_PORTFOLIO = (
    "Random portfolios of at most 20 companies with uniformly drawn shares in the footprint at the origin. Differences "
    "come from drawing companies again, of which all portfolios are made: origins overlap and are not drawn."
)


def backtest_page(found: Backtest) -> Page:
    """How good each model was, for companies and for portfolios, and how honest its intervals are."""
    result = found.result
    best = min(result["models"], key=lambda row: row["mase"])
    summary = (
        f"{result['cases']:,} forecasts of {result['companies']} companies, {result['horizon']} years ahead from "
        f"{len(result['origins'])} origins: the lowest MASE is {best['mase']:.3f}, of {best['name']}."
    )
    sections = [
        Section("Companies", [_models(result), Prose(_STORY), _differences(result)]),
        Section("Intervals", [_coverage(found), _example(found)]),
        Section("Portfolios", [_portfolios(result), Prose(_PORTFOLIO)]),
        Section("Sources", [Citations([HYNDMAN, GNEITING, CONFORMAL, DISTRIBUTIONAL])]),
    ]
    return Page("Backtest of emission forecasts", summary, sections)


def _models(result: Mapping[str, Any]) -> Table:
    columns = ("name", "mase", "smape", "wape", "crps", "coverage80", "coverage95", "winkler80", "winkler95", "bias",
               "seconds")  # fmt: skip
    rows = [[row[column] for column in columns] for row in sorted(result["models"], key=lambda row: row["mase"])]
    return Table(columns, rows, "Models by MASE; coverage is a share, seconds are of fitting and forecasting.")


def _portfolios(result: Mapping[str, Any]) -> Table | Prose:
    rows = sorted(result["portfolio"], key=lambda row: row.get("mape", np.inf))
    if not rows or "mape" not in rows[0]:
        return Prose("Too few companies are scored at every origin to make portfolios of them.")
    columns = ("name", "mape", "bias", "coverage80", "coverage95")
    return Table(
        columns, [[row[column] for column in columns] for row in rows], "Portfolios; MAPE and bias in percent."
    )


def _differences(result: Mapping[str, Any]) -> Table:
    rows = []
    for base in ("naive", "ets"):
        for row in result.get(f"differences_to_{base}", ()):
            one = row.get("portfolio", {"mean": None, "interval": (None, None)})
            rows.append((row["name"], base, row["mean"], *row["interval"], one["mean"], *one["interval"]))
    columns = ("model", "minus", "MASE", "low", "high", "portfolio MAPE", "low", "high")
    return Table(columns, rows, "Differences with intervals of 95 %, negative where the model is better.")


def _coverage(found: Backtest) -> PaperFigure:
    with paper_style():
        figure, axes = blank("double", 0.42)
        ahead = np.arange(1, found.result["horizon"] + 1)
        for place, level in enumerate(LEVELS):
            axes.axhline(100 * level, color="0.6", linewidth=0.6, linestyle="--")
            for number, (name, values) in enumerate(found.coverage.items()):
                axes.plot(ahead, 100 * values[place], ("-", "--", ":", "-.")[number // 6 % 4], marker="o",
                          color=f"C{number % 6}", label=name if place == 0 else None)  # fmt: skip
        axes.set_xticks(ahead)
        axes.set_xlabel("years ahead")
        axes.set_ylabel("inside the interval (%)")
        axes.legend(ncols=3)
        caption = "How often intervals of 80 % and 95 %, made from what was known then, held what happened."
        return PaperFigure(as_svg(figure), caption, "coverage.svg")


def _example(found: Backtest) -> PlotlyFigure:
    """The largest company at the last origin, by the model that is compared, with what happened."""
    rolled, name, origin = found.rolled, found.result["chosen"], found.origins[-1]
    made = rolled.made(name)[rolled.origins.index(origin)]
    known = rolled.panel.until(origin)
    company = int(np.nanargmax(np.where(found.compared[-1], known.emissions[:, -1], np.nan)))
    lower, upper = band(made.forecast, made.volatility[:, 0], reach(rolled.scores(name), origin, LEVELS))
    there = np.isfinite(known.emissions[company])
    years = origin + 1 + np.arange(rolled.horizon)
    figure = fan((known.years[there], known.emissions[company][there]), years, made.forecast[company],
                 lower[:, company], upper[:, company])  # fmt: skip
    figure.add_scatter(x=years, y=made.actual[company], mode="markers", name="happened", marker={"color": "#d55e00"})
    caption = (
        f"The largest company, {rolled.panel.companies[company]}, forecast at the end of {origin} by {name}, with "
        "intervals of 80 % and 95 %."
    )
    return PlotlyFigure(figure, caption)
