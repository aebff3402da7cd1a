"""`thalweg portfolio stress`: scenarios, sensitivities, the most plausible breach of a limit, and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from thalweg.console import Console, common


@click.command()
@click.option("--holdings", required=True, metavar="FILE", help="What is held: CSV, XLSX, or `itr`, the sample.")
@click.option("--fundamentals", metavar="FILE", help="What companies are worth; by default in --holdings.")
@click.option("--emissions", required=True, metavar="FILE", help="What companies emitted: CSV, XLSX, or `itr`.")
@click.option("--drivers", required=True, multiple=True, metavar="FILE",
              help="Levels by year: CSV, XLSX, or `gdp`, `wti`, `brent`. May be repeated.")  # fmt: skip
@click.option("--country", help="Of a table of many countries: a name or code, such as WLD.")
@click.option("--scenario", metavar="FILE", help="Scenarios of the drivers in the wide layout of the IAMC.")
@click.option("--from", "start", metavar="NAME", help="The scenario to compare with.  [default: the first]")
@click.option("--to", "end", metavar="NAME", help="The scenario to explain.  [default: the second, or the only one]")
@click.option("--region", help="Of the scenarios, where they have several.")
@click.option(
    "--variable", multiple=True, metavar="VARIABLE=DRIVER", help="Which driver a variable of the scenarios is."
)
@click.option("--interpolate", is_flag=True, help="Fill years between stated ones of a scenario; said in a note.")
@click.option("--limit", type=click.FloatRange(0, min_open=True), help="Of the last year's footprint, in t CO2e.")
@click.option("--times", type=click.FloatRange(0, min_open=True), default=1.1, show_default=True,
              help="Without --limit: so many times the expected footprint.")  # fmt: skip
@click.option("--horizon", type=click.IntRange(1, 30), default=5, show_default=True, help="Years to come.")
@click.option("--base", type=int, help="Last year of the histories.  [default: the best covered one]")
@click.option("--scope", type=click.Choice(["s1", "s2", "s3", "s1s2", "s1s2s3"]), default="s1s2", show_default=True,
              help="Of the emissions, where the table knows scopes.")  # fmt: skip
@click.option("--currency", metavar="CODE", help="In which values are told, e.g. EUR.  [default: that of all holdings]")
@click.option("--rates", metavar="FILE",
              help="Exchange rates: columns currency and rate, what one unit of it is in the --currency.")  # fmt: skip
@click.option("--strength", type=click.FloatRange(0), default=1.0, show_default=True,
              help="What the distance from today's weights costs against the tail.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=8, show_default=True, help="Networks; their mean counts.")
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Of their training.")
@common
def stress(console: Console, holdings: str, fundamentals: str | None, emissions: str, drivers: tuple[str, ...],
           scenario: str | None, variable: tuple[str, ...], **options: Any) -> None:  # fmt: skip
    """Find the most plausible path of economic drivers on which the footprint breaks a limit.

    A network learns the companies' histories with the drivers. Reported are how two scenarios differ and by which
    driver and year, how the footprint answers each driver, the breach that is nearest to what is expected, and weights
    with a lower tail. Writes stress.xlsx and a CSV file for each table.

    \b
    Example:
      thalweg portfolio stress --holdings itr --emissions itr --drivers wti --times 1.1 --horizon 5 --json
      thalweg portfolio stress --holdings h.csv --fundamentals f.csv --emissions e.csv --drivers d.csv --scenario s.csv
    """
    from thalweg.portfolio.figures.stress import stress_page
    from thalweg.portfolio.figures.stress_tables import write_stress_tables
    from thalweg.portfolio.tasks.attribution import converted
    from thalweg.portfolio.tasks.fit import Recipe
    from thalweg.portfolio.tasks.stress_report import stress_report, ways
    from thalweg.portfolio.tasks.stress_setting import stress_setting
    from thalweg.portfolio.tasks.workbook import write_converted

    horizon, fundamentals = options["horizon"], holdings if fundamentals is None else fundamentals
    told = {"holdings": holdings, "fundamentals": fundamentals, "emissions": emissions, "drivers": list(drivers),
            "scenario": scenario, "variable": list(variable), **options}  # fmt: skip
    files = _inputs(holdings, fundamentals, emissions, drivers, scenario, options["rates"])
    with console.run(told, files, dtype="float64") as run:
        owned, panel = _portfolio(console, holdings, fundamentals, emissions, options)
        known, scenarios = _drivers(console, drivers, scenario, variable, options)
        recipe = Recipe(seeds=options["seeds"], steps=options["steps"], horizon=min(horizon, 5), drivers="always")
        setting = stress_setting(
            panel, dict(zip(owned.companies, owned.factor.tolist(), strict=True)),
            dict(zip(owned.companies, owned.value.tolist(), strict=True)), known, horizon, total=owned.total,
            recipe=recipe, base=options["base"], seed=console.seed, hooks=run.hooks("training", options["steps"]),
            note=console.note,
        )  # fmt: skip
        compared = ways(setting, scenarios, start=options["start"], end=options["end"],
                        interpolate=options["interpolate"], note=console.note)  # fmt: skip
        result = stress_report(setting, compared, limit=options["limit"], times=options["times"],
                               strength=options["strength"], seed=console.seed)  # fmt: skip
        written = [*write_stress_tables(result, run.directory.path),
                   *write_converted(owned, run.directory.path / "converted.csv")]  # fmt: skip
        result |= {"currency": owned.currency, **converted(owned), "files": [str(path) for path in written]}
        run.finish(result, stress_page(result))


def _inputs(holdings: str, fundamentals: str, emissions: str, drivers: tuple[str, ...], scenario: str | None,
            rates: str | None) -> list:  # fmt: skip
    from thalweg.portfolio.data.drivers import located as located_drivers
    from thalweg.portfolio.data.tables import located

    found = [located(holdings, "holdings"), located(fundamentals, "fundamentals"), located(emissions, "emissions")]
    found += [located_drivers(name) for name in drivers]
    found += [] if rates is None else [located(rates, "rates")]
    return [*found, *([] if scenario is None else [located(scenario, "scenario")])]


def _portfolio(console: Console, holdings: str, fundamentals: str, emissions: str,
               options: dict[str, Any]) -> tuple[Any, Any]:  # fmt: skip
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.data.fundamentals import read_fundamentals
    from thalweg.portfolio.data.holdings import read_holdings
    from thalweg.portfolio.data.rates import read_rates
    from thalweg.portfolio.tasks.attribution import attributed

    rates = None if options["rates"] is None else read_rates(options["rates"])
    owned = attributed(read_holdings(holdings, note=console.note), read_fundamentals(fundamentals, note=console.note),
                       rates=rates, currency=options["currency"], note=console.note)  # fmt: skip
    return owned, read_emissions(emissions, scope=options["scope"], note=console.note).panel


def _drivers(console: Console, drivers: tuple[str, ...], scenario: str | None, variable: tuple[str, ...],
             options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    from thalweg.portfolio.data.drivers import joined, read_drivers
    from thalweg.portfolio.data.scenarios import read_scenarios

    found = [read_drivers(one, country=options["country"], name=Path(one).stem, note=console.note) for one in drivers]
    known = joined(found, note=console.note)
    if scenario is None:
        return known, {}
    pairs = [word.partition("=") for word in variable]
    if wrong := [word for word, (_, equals, _) in zip(variable, pairs, strict=True) if not equals]:
        raise click.BadParameter(f"{wrong[0]!r}: write VARIABLE=DRIVER", param_hint="--variable")
    variables = {name: driver for name, _, driver in pairs} or None
    return known, read_scenarios(scenario, variables=variables, region=options["region"])
