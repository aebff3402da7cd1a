"""The report of a stress test: scenarios as a waterfall, sensitivities as a heat map, the plausible breach, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.portfolio.energy import Tail
from thalweg.report import Block, Citations, Page, PlotlyFigure, Prose, Section, Table, plotly_lines
from thalweg.report.figures import PALETTE, plotly_template

HASOFER = """@article{hasofer1974exact,
  title={Exact and invariant second-moment code format}, author={Hasofer, Abraham M and Lind, Niels C},
  journal={Journal of the Engineering Mechanics Division}, volume={100}, pages={111--121}, year={1974}}"""
GRADIENTS = """@inproceedings{sundararajan2017axiomatic,
  title={Axiomatic attribution for deep networks}, author={Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi},
  booktitle={International Conference on Machine Learning}, year={2017}}"""
WOLF = """@article{ledoit2004well,
  title={A well-conditioned estimator for large-dimensional covariance matrices},
  author={Ledoit, Olivier and Wolf, Michael},
  journal={Journal of Multivariate Analysis}, volume={88}, pages={365--411}, year={2004}}"""
_CAVEAT = (
    "The network reads the drivers here whether or not they improve its forecasts. On the panels that this program was "
    "measured on they do not, so what follows says how the fitted model answers its drivers, not what the drivers "
    "cause. Companies that could not be forecast are left out and listed, not filled in."
)
_SENSITIVITY = (
    "How many t CO2e the footprint of one year moves if a driver grows by 1 % more in another year, all other growth "
    "as expected: the Jacobian through the recursion. Growth that is not made good later lifts all later levels of the "
    "driver."
)
_STRESS = (
    "Of all paths of the drivers that bring the last year's footprint to the limit this is the nearest one that was "
    "found to what their history makes us expect, by the method of multipliers over `relax`, from several starts. "
    "Distance is Mahalanobis's, over the innovations of a first-order autoregression of each driver. The chance of a "
    "breach is to first order, and knows of no uncertainty but that of the drivers."
)
_WEIGHTS = (
    "Long-only weights that lower the mean of the worst {share} of {draws} draws of the last year's footprint for each "
    "million invested, against the squared distance from today's weights. Draws follow the drivers' law, and whole "
    "years of what the histories leave unexplained. Nothing here knows of returns."
)


def stress_page(result: Mapping[str, Any]) -> Page:
    """The report of a stress test, from its result."""
    sections = [Section("What is stressed", [Prose(_CAVEAT), coverage_table(result)])]
    if result["scenarios"]:
        sections.append(Section("Scenarios", [waterfall(result), parts_table(result)]))
    sections += [
        Section("Sensitivity to drivers", [Prose(_SENSITIVITY), *heat_maps(result)]),
        Section("What the forecast rests on", [history_table(result)]),
        Section(
            "Reverse stress test", [Prose(_said(result)), Prose(_STRESS), path_figure(result), *driver_figure(result)]
        ),
    ]
    if result["weights"]:
        told = _WEIGHTS.format(share=f"{1 - result['weights']['level']:.0%}", draws=result["weights"]["draws"])
        sections.append(Section("Weights", [Prose(told), weights_table(result)]))
    sections.append(Section("Sources", [Citations([HASOFER, GRADIENTS, WOLF, Tail.bibtex])]))
    return Page("A portfolio under stress", _said(result), sections)


def _said(result: Mapping[str, Any]) -> str:
    found, last = result["stress"], int(result["years"][-1])
    covered = f"{result['companies']} companies with {result['coverage_of_holdings']:.0%} of the value are in it."
    if not found["reached"]:
        return f"{found['reason']} {covered}"
    return (
        f"The nearest plausible breach of {found['limit']:.4g} t CO2e in {last} lies "
        f"{found['mahalanobis_distance']:.2f} standard deviations from what is expected; "
        f"{found['chance_of_breach']:.2g} is its chance to first order. "
        f"{found['reason']} {covered}"
    )


def coverage_table(result: Mapping[str, Any]) -> Table:
    """What is covered, and every company that is not."""
    rows: list[Sequence[Any]] = [
        ("covered", f"{result['companies']} companies", f"{result['coverage_of_holdings']:.2%} of the value")
    ]
    rows += [("left out", name, why) for name, why in result["left_out"].items()]
    return Table(("", "company", "why"), rows, f"Histories end in {result['base_year']}.")


def waterfall(result: Mapping[str, Any]) -> PlotlyFigure:
    """The footprint of one scenario, what each driver adds, and the footprint of the other."""
    import plotly.graph_objects as go

    told, last = result["scenarios"], int(result["years"][-1])
    names = [told["from"], *told["by_driver"], told["to"]]
    steps = [float(told["footprint_from"][-1]), *told["by_driver"].values(), 0.0]
    figure = go.Figure(layout={"template": plotly_template(), "showlegend": False})
    figure.add_waterfall(x=names, y=steps, measure=["absolute", *["relative"] * len(told["by_driver"]), "total"],
                         increasing={"marker": {"color": PALETTE[1]}}, decreasing={"marker": {"color": PALETTE[2]}},
                         totals={"marker": {"color": PALETTE[0]}})  # fmt: skip
    figure.update_yaxes(title_text=f"footprint in {last} (t CO2e)")
    lows = np.cumsum(steps[:-1])
    room = max(float(np.ptp(lows)), 1e-3 * abs(float(lows[0])))
    figure.update_yaxes(range=[float(lows.min()) - room, float(lows.max()) + 0.3 * room])
    return PlotlyFigure(
        figure, "The difference of two scenarios by driver, by integrated gradients; the axis is cut off."
    )


def parts_table(result: Mapping[str, Any]) -> Table:
    """What the growth of each driver in each year contributes."""
    told = result["scenarios"]
    rows: list[Sequence[Any]] = [
        (int(year), *map(float, part)) for year, part in zip(result["years"], told["parts"], strict=True)
    ]
    rows.append(("sum", *told["by_driver"].values()))
    caption = (
        f"From {told['from']} to {told['to']}: {told['difference']:.5g} t CO2e, of which the parts miss "
        f"{told['incompleteness']:.1e}."
    )
    return Table(("growth in", *(f"{name} (t CO2e)" for name in result["drivers"])), rows, caption)


def heat_maps(result: Mapping[str, Any]) -> list[Block]:
    """One heat map for each driver: years of the footprint over years of the growth."""
    import plotly.graph_objects as go

    slopes, years = np.asarray(result["sensitivity"]["by_growth"]), [str(int(year)) for year in result["years"]]
    most = float(np.abs(slopes).max()) or 1.0
    found: list[Block] = []
    for place, name in enumerate(result["drivers"]):
        figure = go.Figure(layout={"template": plotly_template()})
        figure.add_heatmap(x=years, y=years, z=slopes[:, :, place], zmin=-most, zmax=most, colorscale="RdBu_r",
                           colorbar={"title": {"text": "t CO2e"}})  # fmt: skip
        figure.update_xaxes(title_text=f"1 % more growth of {name} in", type="category")
        figure.update_yaxes(title_text="footprint of", type="category")
        found.append(PlotlyFigure(figure, f"Sensitivity to {name}."))
    return found


def history_table(result: Mapping[str, Any]) -> Table:
    """The reported figures that move the forecast most."""
    rows = [(one["company"], one["year"], one["moved_by_1_percent"], one["tonnes_per_tonne"])
            for one in result["sensitivity"]["most"]]  # fmt: skip
    last = int(result["years"][-1])
    columns = ("company", "reported for", f"footprint of {last} if 1 % more (t CO2e)", "t financed per t reported")
    return Table(columns, rows, "The figures of the past on which the last year's forecast rests most.")


def path_figure(result: Mapping[str, Any]) -> PlotlyFigure:
    """The footprint on the stressed and on the expected path, and the limit."""
    found, years = result["stress"], [int(year) for year in result["years"]]
    lines = {
        "expected": found["expected"],
        "stressed": found["footprint"],
        "limit": np.full(len(years), found["limit"]),
    }
    figure = plotly_lines(years, lines, x_title="year", y_title="footprint (t CO2e)")
    figure.update_xaxes(dtick=1)
    return PlotlyFigure(figure, "The footprint as expected, and on the most plausible path to the limit.")


def driver_figure(result: Mapping[str, Any]) -> list[Block]:
    """Growth of each driver on the stressed and on the expected path."""
    years = [int(year) for year in result["years"]]
    found: list[Block] = []
    for place, name in enumerate(result["drivers"]):
        lines = {"expected": 100 * np.asarray(result["expected"]["growth"])[:, place],
                 "stressed": 100 * np.asarray(result["stress"]["growth"])[:, place]}  # fmt: skip
        figure = plotly_lines(years, lines, x_title="year", y_title=f"growth of {name} (100 log, % a year)")
        figure.update_xaxes(dtick=1)
        found.append(PlotlyFigure(figure, f"{name}: growth as expected and under stress."))
    return found


def weights_table(result: Mapping[str, Any]) -> Table:
    """Weights before and after, the largest changes first."""
    told = result["weights"]
    before, after = np.asarray(told["benchmark"]), np.asarray(told["weights"])
    order = np.argsort(-np.abs(after - before))
    rows: list[Sequence[Any]] = [
        (told["companies"][i], 100 * before[i], 100 * after[i], 100 * (after[i] - before[i])) for i in order
    ]
    caption = (
        f"The tail falls from {told['benchmark_tail']:.5g} to {told['tail']:.5g} {told['unit']}; the distance from the "
        f"benchmark is {told['tracking']:.3g}."
    )
    return Table(("company", "benchmark (%)", "weight (%)", "change (points)"), rows, caption)
