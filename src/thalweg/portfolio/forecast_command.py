"""`thalweg portfolio forecast` and `backtest`: years to come with intervals, and how good that was before."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common, spread

# Spelled here as well, so that help needs no JAX; a test holds both lists together.
MODELS = ("naive", "drift", "damped_drift", "itr", "ets", "theta", "arima", "network", "trend",
          "trend_network", "median_of_five", "own_median")  # fmt: skip


@click.command()
@click.option("--holdings", required=True, metavar="FILE",
              help="Holdings, CSV or XLSX; a workbook, or the sample itr, serves for all three.")  # fmt: skip
@click.option("--fundamentals", metavar="FILE", help="EVIC, revenue and more of the companies.  [default: as holdings]")
@click.option("--emissions", metavar="FILE", help="Emissions of the companies.  [default: as holdings]")
@click.option("--horizon", type=click.IntRange(1), default=5, show_default=True, help="Years to come.")
@click.option("--model", type=click.Choice(MODELS), help="What forecasts.  [default: own_median, network with drivers]")
@click.option("--base", type=int, help="Last year of the histories.  [default: the latest that most report]")
@click.option("--drivers", multiple=True, metavar="FILE",
              help="Levels by year: CSV, XLSX, or gdp, wti, brent. May be repeated.")  # fmt: skip
@click.option("--country", help="Of a table of many countries: a name or code, such as WLD.")
@click.option("--scenario", metavar="FILE", help="Scenarios of the drivers in the wide layout of the IAMC.")
@click.option("--scenario-name", metavar="NAME", help="Which of them.  [default: the only one]")
@click.option("--region", help="Of the scenarios, where they have several.")
@click.option("--interpolate", is_flag=True, help="Fill years between stated ones of a scenario; said in a note.")
@click.option("--scope", default="s1s2", show_default=True, help="Of the emissions: s1, s2, s3, s1s2 or s1s2s3.")
@click.option("--evic-date", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE",
              help="Freeze the companies' figures: the latest of that day or before.")  # fmt: skip
@click.option("--currency", metavar="CODE", help="In which values are told, e.g. EUR.  [default: that of all holdings]")
@click.option("--rates", metavar="FILE",
              help="Exchange rates: columns currency and rate, what one unit of it is in the --currency.")  # fmt: skip
@click.option("--estimate", type=click.Choice(["sector-intensity"]),
              help="Fill in companies that report nothing, with an interval.  [default: leave them out]")  # fmt: skip
@common
@spread
def forecast(console: Console, holdings: str, fundamentals: str | None, emissions: str | None, drivers: tuple[str, ...],
             scenario: str | None, evic_date: Any, **options: Any) -> None:  # fmt: skip
    """Forecast the emissions that a portfolio finances, with intervals of 80 and 95 %.

    Shares of companies stay as they are. Intervals come from how far the same model was off before. Writes
    forecast.xlsx and companies.csv; holdings that cannot be forecast are listed with the reason.

    \b
    Example:
      thalweg portfolio forecast --holdings itr --horizon 3 --json
      thalweg portfolio forecast --holdings h.csv --fundamentals f.csv --emissions e.csv --horizon 5 --model network
    """
    from thalweg.core.errors import InputError
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.data.fundamentals import read_fundamentals
    from thalweg.portfolio.data.holdings import read_holdings
    from thalweg.portfolio.data.rates import read_rates
    from thalweg.portfolio.data.tables import located
    from thalweg.portfolio.figures.forecast import forecast_page
    from thalweg.portfolio.tasks.attribution import converted
    from thalweg.portfolio.tasks.footprint import accounted
    from thalweg.portfolio.tasks.forecast import base_year
    from thalweg.portfolio.tasks.forecast import forecast as forecast_all
    from thalweg.portfolio.tasks.forecast_files import forecast_sheets, write_csv, write_sheets
    from thalweg.portfolio.tasks.workbook import write_converted
    from thalweg.runs import Points

    if bool(drivers) != (scenario is not None):
        raise InputError("a forecast with drivers needs both --drivers, their past, and --scenario, their future.")
    day = None if evic_date is None else evic_date.date()
    fundamentals, emissions, rates = fundamentals or holdings, emissions or holdings, options["rates"]
    model = options.pop("model") or ("network" if drivers else "own_median")
    told = {"holdings": holdings, "fundamentals": fundamentals, "emissions": emissions, "drivers": list(drivers),
            "scenario": scenario, "evic_date": None if day is None else day.isoformat(), "model": model,
            **options}  # fmt: skip
    inputs = {located(holdings, "holdings"), located(fundamentals, "fundamentals"), located(emissions, "emissions"),
              *_driver_files(drivers, scenario), *([] if rates is None else [located(rates, "rates")])}  # fmt: skip
    with console.run(told, sorted(inputs), dtype="float64") as going:
        reported = read_emissions(emissions, scope=options["scope"], note=console.note)
        held = read_holdings(holdings, note=console.note)
        figures = read_fundamentals(fundamentals, evic_date=day, note=console.note)
        account = accounted(held, figures, reported, estimate=options["estimate"], currency=options["currency"],
                            rates=None if rates is None else read_rates(rates), note=console.note)  # fmt: skip
        base = options["base"] or base_year(reported.panel, account.attribution)
        steps = _steps(console, reported.panel, base, drivers, scenario, options) if scenario else None
        found = forecast_all(
            account, options["horizon"], model=model, base=base, drivers=steps, seed=console.seed, note=console.note,
            done=Points(going.directory.path / "parts"), hooks=going.hooks("forecasts of earlier years", keep=None),
            executor=console.executor,
        )  # fmt: skip
        sheets = forecast_sheets(found)
        files = [write_sheets(sheets, going.directory.path / "forecast.xlsx"),
                 write_csv(sheets["Companies"], going.directory.path / "companies.csv"),
                 *write_converted(account.attribution, going.directory.path / "converted.csv")]  # fmt: skip
        result = {**found.result, **converted(account.attribution), "files": [str(path) for path in files],
                  "report": str(going.directory.report_path)}  # fmt: skip
        going.finish(result, forecast_page(found))


@click.command()
@click.option("--emissions", required=True, metavar="FILE", help="Emissions, CSV or XLSX, or the sample itr.")
@click.option(
    "--origins", required=True, metavar="A..B", help="Years at whose end is forecast: 2007..2017, or 2007,2012."
)
@click.option("--horizon", type=click.IntRange(1), default=5, show_default=True, help="Years ahead that are scored.")
@click.option("--models", default="naive,drift,damped_drift,itr,ets,theta,network,trend,own_median", show_default=True,
              metavar="NAMES", help=f"Of {', '.join(MODELS)}.")  # fmt: skip
@click.option("--least-years", type=click.IntRange(1), default=1, show_default=True,
              help="Only companies with so many years in a row up to the last one.")  # fmt: skip
@click.option("--since", type=int, metavar="YEAR", help="Look at no year before.")
@click.option(
    "--portfolios", type=click.IntRange(0), default=200, show_default=True, help="Random ones that are scored."
)
@click.option("--scope", default="s1s2", show_default=True, help="Of the emissions, where the table knows scopes.")
@common
@spread
def backtest(console: Console, emissions: str, origins: str, horizon: int, models: str, least_years: int,
             since: int | None, portfolios: int, scope: str) -> None:  # fmt: skip
    """Score models at earlier years, each from what was known then, for companies and for random portfolios.

    Intervals are calibrated only on errors that were known at the time. Differences to the naive forecast and to ETS
    come with intervals by drawing companies again. Writes backtest.xlsx and models.csv; a killed backtest goes on.

    \b
    Example:
      thalweg portfolio backtest --emissions emissions.csv --horizon 5 --origins 2007..2017 --json
      thalweg portfolio backtest --emissions emissions.csv --origins 2012,2017 --models naive,ets,network
    """
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.data.tables import located
    from thalweg.portfolio.figures.backtest import backtest_page
    from thalweg.portfolio.tasks.backtest import backtest as score
    from thalweg.portfolio.tasks.forecast_files import backtest_sheets, write_csv, write_sheets
    from thalweg.portfolio.tasks.origins import chosen, read_origins
    from thalweg.runs import Points

    years, names = read_origins(origins), [name.strip() for name in models.split(",") if name.strip()]
    told = {"emissions": emissions, "origins": list(years), "horizon": horizon, "models": names,
            "least_years": least_years, "since": since, "portfolios": portfolios, "scope": scope}  # fmt: skip
    with console.run(told, [located(emissions, "emissions")], dtype="float64") as going:
        panel = chosen(read_emissions(emissions, scope=scope, note=console.note).panel, least_years, since)
        found = score(
            panel, origins=years, horizon=horizon, models=names, portfolios=portfolios, seed=console.seed,
            note=console.note, done=Points(going.directory.path / "parts"),
            hooks=going.hooks("forecasts of earlier years", keep=None), executor=console.executor,
        )  # fmt: skip
        sheets = backtest_sheets(found)
        files = [write_sheets(sheets, going.directory.path / "backtest.xlsx"),
                 write_csv(sheets["Models"], going.directory.path / "models.csv")]  # fmt: skip
        going.finish({**found.result, "files": [str(path) for path in files]}, backtest_page(found))


def _driver_files(drivers: tuple[str, ...], scenario: str | None) -> list[Any]:
    if scenario is None:
        return []
    from thalweg.portfolio.data.drivers import located as driver_file
    from thalweg.portfolio.data.tables import located

    return [*(driver_file(each) for each in drivers), located(scenario, "scenario")]


def _steps(
    console: Console, panel: Any, base: int, drivers: tuple[str, ...], scenario: str | None, options: Any
) -> Any:
    """Growth of the drivers in the years of the panel until the base year, and of the scenario after it."""
    import numpy as np

    from thalweg.core.errors import InputError
    from thalweg.portfolio.data.drivers import growth, joined, read_drivers
    from thalweg.portfolio.data.scenarios import following, read_scenarios

    known = joined([read_drivers(each, country=options["country"], note=console.note) for each in drivers],
                   note=console.note)  # fmt: skip
    scenarios = read_scenarios(scenario, region=options["region"])
    name = options["scenario_name"] or (next(iter(scenarios)) if len(scenarios) == 1 else None)
    if name not in scenarios:
        raise InputError(f"{scenario}: name one of its scenarios with --scenario-name: {', '.join(scenarios)}.")
    grown = growth(known, until=base)
    years = panel.years[panel.years <= base]
    past = np.full((years.size, len(grown.names)), np.nan)
    shared = np.isin(years, grown.years)
    past[shared] = grown.over(years[shared])
    after = following(scenarios[name], grown, base, options["horizon"], interpolate=options["interpolate"],
                      note=console.note)  # fmt: skip
    return np.concatenate([past, after])
