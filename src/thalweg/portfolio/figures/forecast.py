"""The report of a forecast: fans of the portfolio and of its largest companies, and what is not in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.portfolio.tasks.forecast import Forecast
from thalweg.portfolio.tasks.intervals import CONFORMAL, DISTRIBUTIONAL, LEVELS
from thalweg.report import Citations, Page, PlotlyFigure, Prose, Section, Table, plotly_template

_LARGEST = 4  # companies with a fan of their own
_LISTED = 200  # rows of a table on the page; the workbook has them all
_SHADES = {0.80: "rgba(0, 114, 178, 0.30)", 0.95: "rgba(0, 114, 178, 0.15)"}
_STORY = (
    "The fan is where the model's own errors at earlier years say that the future lies: 80 % inside the dark part and "
    "95 % inside the light one, if errors go on as they were. For companies these are conformal intervals, pooled over "
    "companies and scaled by each one's volatility; for the portfolio whole years of errors are drawn, so that "
    "companies err together. Shares of companies are held fixed: they do not follow the market."
)
_ESTIMATED = (
    "{count} companies, {share:.1%} of the value, report nothing and are estimated from the intensity of their sector: "
    "{first:,.0f} of the {total:,.0f} t in {year}. They have no trend that could be known, so they stay where they are "
    "estimated; the errors of both parts are taken as independent."
)
_UNTESTED = (
    "Histories are long enough to know errors of up to {calibrated} years ahead. Beyond, the fan widens with the "
    "square root of time, as the error of a random walk does: nothing here has tested that."
)


def forecast_page(found: Forecast) -> Page:
    """What a portfolio will finance, with intervals, its largest companies, and what could not be forecast."""
    years = found.ahead.years
    last, first = found.median[-1], found.median[0]
    summary = (
        f"{first:,.0f} t CO2e are expected to be financed in {years[0]} and {last:,.0f} t in {years[-1]}, there "
        f"between {found.lower[0][-1]:,.0f} and {found.upper[0][-1]:,.0f} t with 80 %; {found.covered:.1%} of the "
        "value is covered."
    )
    words = [Prose(_STORY)]
    if found.ahead.calibrated < years.size:
        words.append(Prose(_UNTESTED.format(calibrated=found.ahead.calibrated)))
    if (part := found.estimated) is not None:
        share = float(part.value.sum() / found.account.attribution.total)
        words.append(Prose(_ESTIMATED.format(count=len(part.companies), share=share, first=part.median[0], total=first,
                                             year=years[0])))  # fmt: skip
    sections = [
        Section("The portfolio", [_portfolio(found), *words, _years(found)]),
        Section("Its largest companies", [_company(found, place) for place in _largest(found)]),
        *([] if found.estimated is None else [Section("What is estimated", [_estimates(found)])]),
        Section("What is left out", [_left_out(found)]),
        Section("Sources", [Citations([CONFORMAL, DISTRIBUTIONAL])]),
    ]
    return Page("Forecast of a portfolio's footprint", summary, sections)


def fan(
    history: tuple[np.ndarray, np.ndarray], years: np.ndarray, median: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> Any:
    """A history, a median, and a band for each level: a Plotly figure.

    **Arguments:** `history`, years and tonnes; `years` to come; `lower` and `upper` for each of `LEVELS`.
    """
    import plotly.graph_objects as go

    figure = go.Figure(layout={"template": plotly_template()})
    joint = history[1].size > 0 and history[0][-1] == years[0] - 1

    def from_now(values: np.ndarray) -> np.ndarray:
        return np.concatenate([history[1][-1:], values]) if joint else values

    at = np.concatenate([[years[0] - 1], years]) if joint else years
    for place in np.argsort(LEVELS)[::-1]:
        level = LEVELS[place]
        edges = np.concatenate([from_now(upper[place]), from_now(lower[place])[::-1]])
        figure.add_scatter(x=np.concatenate([at, at[::-1]]), y=edges, fill="toself", mode="lines", line={"width": 0},
                           fillcolor=_SHADES[level], name=f"{level:.0%}", hoverinfo="skip")  # fmt: skip
    figure.add_scatter(x=at, y=from_now(median), mode="lines+markers", name="median", line={"dash": "dash"})
    if history[1].size:
        figure.add_scatter(x=history[0], y=history[1], mode="lines+markers", name="reported", line={"color": "#555"})
    figure.update_yaxes(title_text="t CO2e", rangemode="tozero")
    return figure


def _portfolio(found: Forecast) -> PlotlyFigure:
    history = np.array(list(found.history)), np.array(list(found.history.values()))
    if found.estimated is not None:
        history = np.zeros(0, int), np.zeros(0)  # of the estimated part nothing was reported
    figure = fan(history, found.ahead.years, found.median, found.lower, found.upper)
    count = len(found.places) + (0 if found.estimated is None else len(found.estimated.companies))
    caption = f"Financed emissions of {count} companies; reported where all of them report."
    if found.estimated is not None:
        caption = f"Financed emissions of {count} companies, {len(found.estimated.companies)} of them estimated."
    return PlotlyFigure(figure, caption)


def _largest(found: Forecast) -> list[int]:
    financed = found.factor * found.ahead.median[found.places, 0]
    return np.argsort(-financed)[:_LARGEST].tolist()


def _company(found: Forecast, held: int) -> PlotlyFigure:
    place = int(found.places[held])
    panel = found.account.emissions.panel
    company = panel.companies[place]
    known = np.isfinite(panel.emissions[place]) & (panel.years <= found.base)
    history = panel.years[known], panel.emissions[place][known]
    name = found.account.emissions.names.get(company, company)
    figure = fan(history, found.ahead.years, found.ahead.median[place], found.ahead.lower[:, place],
                 found.ahead.upper[:, place])  # fmt: skip
    return PlotlyFigure(figure, f"Emissions of {name}, of which {found.factor[held]:.3%} are financed.")


def _years(found: Forecast) -> Table:
    rows = [
        (int(year), found.median[place], *(side[level, place] for level in range(len(LEVELS))
                                           for side in (found.lower, found.upper)))
        for place, year in enumerate(found.ahead.years)
    ]  # fmt: skip
    ends = [f"{side} {level:.0%} [t]" for level in LEVELS for side in ("lower", "upper")]
    return Table(("year", "median [t]", *ends), rows, "Financed emissions in tonnes of CO2e.")


def _left_out(found: Forecast) -> Table | Prose:
    if not found.left_out:
        return Prose("Every holding is in the forecast.")
    rows = list(found.left_out.items())
    more = "" if len(rows) <= _LISTED else f" The first {_LISTED} of {len(rows)}."
    return Table(("company", "why"), rows[:_LISTED], f"Holdings that are not in the forecast.{more}")


def _estimates(found: Forecast) -> Table:
    part = found.estimated
    assert part is not None
    financed = part.factor * part.tonnes
    rows = [
        (part.companies[place], part.made[place].sector, part.made[place].score, part.made[place].tonnes,
         part.made[place].lower, part.made[place].upper, float(financed[place]))
        for place in np.argsort(-financed)[:_LISTED]
    ]  # fmt: skip
    head = ("company", "sector", "data quality", "estimate [t]", "lower 80% [t]", "upper 80% [t]", "financed [t]")
    return Table(head, rows, "Companies without reports, the largest first; every one is in the workbook.")
