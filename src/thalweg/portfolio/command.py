"""`thalweg portfolio`: from holdings and histories to a forecast that can be defended."""

from __future__ import annotations

import click

from thalweg.portfolio.footprint_command import footprint
from thalweg.portfolio.forecast_command import backtest, forecast
from thalweg.portfolio.stress_command import stress


@click.group()
def portfolio() -> None:
    """Forecast the carbon footprint of a portfolio from its companies' histories and from economic drivers.

    Tables come as CSV or XLSX; a workbook of the ITR template holds all of them, and `itr` names the sample, 144
    holdings with what their companies reported.
    """


for command in (footprint, forecast, backtest, stress):
    portfolio.add_command(command)
