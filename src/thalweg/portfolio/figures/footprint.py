"""The report of a footprint."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from thalweg.portfolio.tasks.footprint import Account, coverage
from thalweg.portfolio.tasks.workbook import HEADINGS, rows
from thalweg.report import Page, PlotlyFigure, Prose, Section, Table, plotly_template

_SHOWN = 15  # bars of a waterfall
_LISTED = 200  # rows of a table on the page; the workbook has them all


def footprint_page(account: Account) -> Page:
    """What a portfolio finances, by company and by sector, how much of it is covered, and what is missing."""
    measures, attribution = account.measures, account.attribution
    share = coverage(account)
    waci = "no WACI" if measures.waci is None else f"WACI {measures.waci:,.1f} t per million of revenue"
    summary = (
        f"{measures.financed_emissions:,.0f} t CO2e financed, {measures.footprint_per_million:,.1f} t per million "
        f"{attribution.currency} invested, {waci}, data quality {measures.data_quality:.2f}; "
        f"{share['by_value']:.1%} of the value and {share['holdings_covered']} of {share['holdings']} holdings are "
        "covered."
    )
    sections = [
        Section("What is financed", [_waterfall(account), _sectors(account)]),
        Section("What is covered", [_coverage(account), Prose(_STORY), _missing(account)]),
        Section("Companies", [_companies(account)]),
        Section("What is not used", [_dropped(account)]),
    ]
    return Page("Footprint of a portfolio", summary, sections)


_STORY = (
    "Figures are sums and means over the covered holdings only; nothing is scaled up to the rest. A company's share is "
    "the value held divided by the denominator of its class of asset, for listed companies the enterprise value "
    "including cash: it drifts with the market even if nobody trades, so compare footprints only under values of one "
    "date.\n\nThe workbook `footprint.xlsx` names for every number the file, sheet, row and column it stands in."
)


def _bars(account: Account) -> list[tuple[str, float]]:
    parts = account.measures.contributions
    known = [place for place in np.argsort(-np.nan_to_num(parts, nan=-np.inf)) if np.isfinite(parts[place])]
    shown = [(account.attribution.names[place], float(parts[place])) for place in known[:_SHOWN]]
    rest = float(parts[known[_SHOWN:]].sum())
    return [*shown, (f"{len(known) - _SHOWN} others", rest)] if len(known) > _SHOWN else shown


def _waterfall(account: Account) -> PlotlyFigure:
    import plotly.graph_objects as go

    bars = _bars(account)
    names = [*(name for name, _ in bars), "portfolio"]
    figure = go.Figure(
        go.Waterfall(
            x=list(range(len(names))),
            y=[*(value for _, value in bars), 0.0],
            measure=[*("relative" for _ in bars), "total"],
            text=[f"{name}: {value:,.0f} t" for name, value in (*bars, ("portfolio", sum(v for _, v in bars)))],
            hoverinfo="text",
            textposition="none",
            connector={"line": {"width": 0.5}},
        )
    )
    figure.update_layout(template=plotly_template(), yaxis_title="financed emissions, t CO2e")
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, tickangle=-45)
    return PlotlyFigure(figure, "Contributions of the companies, the largest first, adding up to the portfolio.")


def _sectors(account: Account) -> PlotlyFigure:
    sums: dict[str, float] = defaultdict(float)
    for sector, part in zip(account.attribution.sector, account.measures.contributions, strict=True):
        sums[sector] += float(np.nan_to_num(part))
    ranked = sorted(sums.items(), key=lambda item: item[1])
    values = [value for _, value in ranked]
    return PlotlyFigure(_horizontal([name for name, _ in ranked], values, "financed emissions, t CO2e"), "By sector.")


def _coverage(account: Account) -> PlotlyFigure:
    import plotly.graph_objects as go

    share = coverage(account)
    estimated = (share["by_value_estimated"], share["holdings_estimated"] / share["holdings"])
    covered = (share["by_value"] - estimated[0], share["by_number"] - estimated[1])
    bars = [
        ("reported", covered),
        ("estimated", estimated),
        ("missing", (1 - share["by_value"], 1 - share["by_number"])),
    ]
    figure = go.Figure([
        go.Bar(name=name, y=["by value", "by number"], x=[100 * each for each in values], orientation="h")
        for name, values in bars if any(values)
    ])  # fmt: skip
    figure.update_layout(template=plotly_template(), barmode="stack", xaxis_title="holdings, %", height=260)
    return PlotlyFigure(figure, "How much of the portfolio is in the figures.")


def _horizontal(names: list[str], values: list[float], title: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(go.Bar(x=values, y=names, orientation="h"))
    figure.update_layout(template=plotly_template(), xaxis_title=title)
    return figure


def _missing(account: Account) -> Table:
    listed = [
        (one.line.holding.company, one.line.holding.name, one.line.value, one.line.holding.places["value"].row, one.why)
        for one in account.missing
    ]
    return _limited(("company", "name", f"value, {account.attribution.currency}", "row", "why"), listed,
                    "Holdings that are in no figure.")  # fmt: skip


def _companies(account: Account) -> Table:
    listed = sorted(rows(account), key=lambda row: -(row[7] or 0.0))
    return _limited(HEADINGS, listed, f"Shares and emissions; values and revenue in {account.attribution.currency}.")


def _dropped(account: Account) -> Table:
    listed = [(one.file, one.sheet, one.row, one.column, one.value, one.why) for one in account.dropped
              if one.kind == "lost"]  # fmt: skip
    parts = sum(one.kind == "part" for one in account.dropped)
    told = f"Values that cannot be used. {parts} rows that break totals down are listed in the workbook."
    return _limited(("file", "sheet", "row", "column", "value", "why"), listed, told)


def _limited(columns: tuple[str, ...], listed: list[tuple[Any, ...]], caption: str) -> Table:
    left = f" The first {_LISTED} of {len(listed)}; the workbook has all." if len(listed) > _LISTED else ""
    return Table(columns, listed[:_LISTED], caption + left)
