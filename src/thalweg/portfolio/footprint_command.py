"""`thalweg portfolio footprint`: what a portfolio finances, with everything that it rests on."""

from __future__ import annotations

from typing import Any

import click

from thalweg.console import Console, common


@click.command()
@click.option("--holdings", required=True, metavar="FILE",
              help="Holdings, CSV or XLSX; a workbook, or the sample itr, serves for all three.")  # fmt: skip
@click.option("--fundamentals", metavar="FILE", help="EVIC, revenue and more of the companies.  [default: as holdings]")
@click.option("--emissions", metavar="FILE", help="Emissions of the companies.  [default: as holdings]")
@click.option("--scope", default="s1s2", show_default=True, help="Of the emissions: s1, s2, s3, s1s2 or s1s2s3.")
@click.option("--scope2", type=click.Choice(["location", "market"]), default="location", show_default=True,
              help="Which count of purchased electricity goes first.")  # fmt: skip
@click.option("--year", type=click.IntRange(1800, 2200), help="Of the emissions.  [default: each company's latest]")
@click.option("--evic-date", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE",
              help="Freeze the companies' figures: the latest of that day or before.")  # fmt: skip
@click.option("--currency", metavar="CODE", help="In which values are told, e.g. EUR.  [default: that of all holdings]")
@click.option("--rates", metavar="FILE",
              help="Exchange rates: columns currency and rate, what one unit of it is in the --currency.")  # fmt: skip
@click.option("--estimate", type=click.Choice(["sector-intensity"]),
              help="Fill in companies that report nothing, with an interval.  [default: leave them out]")  # fmt: skip
@common
def footprint(console: Console, holdings: str, fundamentals: str | None, emissions: str | None, scope: str, scope2: str,
              year: int | None, evic_date: Any, currency: str | None, rates: str | None,
              estimate: Any) -> None:  # fmt: skip
    """Account for the emissions that a portfolio finances, with its coverage and the quality of its data.

    Writes footprint.xlsx, in which every number names the cell that it came from, and footprint.csv. Missing data is
    listed and never filled in unless --estimate says how. Holdings in several currencies need --currency and --rates.

    \b
    Example:
      thalweg portfolio footprint --holdings itr --json
      thalweg portfolio footprint --holdings holdings.csv --fundamentals companies.xlsx --emissions emissions.csv
      thalweg portfolio footprint --holdings portfolio.xlsx --currency EUR --rates rates.csv
    """
    from thalweg.portfolio.data.emissions import read_emissions
    from thalweg.portfolio.data.fundamentals import read_fundamentals
    from thalweg.portfolio.data.holdings import read_holdings
    from thalweg.portfolio.data.rates import read_rates
    from thalweg.portfolio.data.tables import located
    from thalweg.portfolio.figures.footprint import footprint_page
    from thalweg.portfolio.tasks.footprint import accounted, result
    from thalweg.portfolio.tasks.workbook import write_converted, write_table, write_workbook

    day = None if evic_date is None else evic_date.date()
    fundamentals, emissions = fundamentals or holdings, emissions or holdings
    inputs = [located(holdings, "holdings"), located(fundamentals, "fundamentals"), located(emissions, "emissions"),
              *([] if rates is None else [located(rates, "rates")])]  # fmt: skip
    told = {"holdings": holdings, "fundamentals": fundamentals, "emissions": emissions, "scope": scope,
            "scope2": scope2, "year": year, "evic_date": None if day is None else day.isoformat(),
            "currency": currency, "rates": rates, "estimate": estimate}  # fmt: skip
    with console.run(told, sorted(set(inputs)), dtype="float64") as going:
        held = read_holdings(holdings, note=console.note)
        figures = read_fundamentals(fundamentals, evic_date=day, note=console.note)
        reported = read_emissions(emissions, scope=scope, scope2=scope2, note=console.note)
        account = accounted(held, figures, reported, year=year, estimate=estimate, currency=currency,
                            rates=None if rates is None else read_rates(rates), note=console.note)  # fmt: skip
        files = [write_workbook(account, going.directory.path / "footprint.xlsx"),
                 write_table(account, going.directory.path / "footprint.csv"),
                 *write_converted(account.attribution, going.directory.path / "converted.csv")]  # fmt: skip
        going.finish({**result(account), "files": [str(path) for path in files]}, footprint_page(account))
