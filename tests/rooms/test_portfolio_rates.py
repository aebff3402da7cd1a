"""Holdings in several currencies: the table of rates, conversion with its places, and the commands."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import openpyxl
import pandas as pd
import pytest
from command_line import call, isolate
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.fundamentals import read_fundamentals
from thalweg.portfolio.data.holdings import read_holdings
from thalweg.portfolio.data.rates import read_rates
from thalweg.portfolio.tasks.attribution import attributed, converted
from thalweg.portfolio.tasks.footprint import Account, accounted, coverage, result

HOLDINGS = pd.DataFrame({
    "company_id": ["A", "B", "C", "D", "B", "stranger"],
    "company_name": ["Alpha", "Beta", "Gamma", "Delta", "Beta", "?"],
    "investment_value": [100.0, 50.0, 2.0, 3000.0, 40.0, 10.0],
    "currency": ["EUR", "USD", "GBP m", "JPY", "EUR", "USD"],
    "temperature_score": [1.5, 2.0, 3.0, 2.5, 2.0, 2.0],
})  # fmt: skip
FUNDAMENTALS = pd.DataFrame({
    "company_id": ["A", "B", "C", "D"],
    "currency": ["EUR", "USD", "GBP", "JPY"],
    "fx_rate": [np.nan, 0.5, np.nan, np.nan],
    "fx_quote": [None, "EUR", None, None],
    "sector": ["steel", "steel", "gas", "gas"],
    "evic": [1000.0, 2000.0, 5e8, 1e6],
    "market_cap": [800.0, 1000.0, 4e8, 9e5],
    "revenue": [4e6, 1e6, 2e9, 3e8],
})  # fmt: skip
EMISSIONS = pd.DataFrame({
    "unique_id": ["A", "B", "C", "D"], "ds": 2021, "y": [6000.0, 2000.0, 1000.0, 5000.0], "unit": "t CO2e",
})  # fmt: skip
RATES = pd.DataFrame({
    "currency": ["USD", "GBP", "mJPY", "CHF", "EUR"],
    "rate": [0.5, 1.25, 6400.0, 1.1, 1.0],
    "date": ["2021-12-31", "2021-12-31", None, None, None],
})  # fmt: skip
# The same by hand, in EUR: every value times its rate.
BY_HAND = pd.DataFrame({
    "company_id": HOLDINGS["company_id"],
    "company_name": HOLDINGS["company_name"],
    "investment_value [EUR]": [100.0, 25.0, 2.5e6, 19.2, 40.0, 5.0],
    "temperature_score": HOLDINGS["temperature_score"],
})  # fmt: skip
FIGURES_BY_HAND = FUNDAMENTALS.assign(
    currency="EUR",
    fx_rate=np.nan,
    fx_quote=None,
    **{name: FUNDAMENTALS[name] * [1, 0.5, 1.25, 0.0064] for name in ("evic", "market_cap", "revenue")},
)


def account(
    holdings: pd.DataFrame = HOLDINGS,
    fundamentals: pd.DataFrame = FUNDAMENTALS,
    rates: pd.DataFrame | None = RATES,
    currency: str | None = "EUR",
    **options,
) -> Account:
    return accounted(
        read_holdings(holdings), read_fundamentals(fundamentals), read_emissions(EMISSIONS),
        rates=None if rates is None else read_rates(rates), currency=currency, **options,
    )  # fmt: skip


def changed(table: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    copied = table.astype(object)
    copied.loc[row, column] = value
    return copied


def same(one, other) -> None:
    """Two results, number by number."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list):
        for each, another in zip(one, other, strict=True):
            same(each, another)
    elif isinstance(one, float):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    else:
        assert one == other


def test_converted_holdings_are_those_of_a_table_that_was_converted_by_hand():
    ours, expected = account(), account(BY_HAND, FIGURES_BY_HAND, None, None)
    measures = zip(ours.measures, expected.measures, strict=True)
    for one, other in measures:
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), rtol=1e-12)
    for name in ("factor", "value", "revenue", "market_cap"):
        np.testing.assert_allclose(
            getattr(ours.attribution, name), getattr(expected.attribution, name), rtol=1e-12, err_msg=name
        )
    answer, plain = result(ours), result(expected)
    told = answer.pop("converted")
    for missed in (*answer["missing"], *plain["missing"]):
        missed.pop("column")
    same(answer, plain)
    assert told["holdings"] == 4
    assert told["currency"] == "EUR"
    np.testing.assert_allclose(told["value"], 25 + 2.5e6 + 19.2 + 5, rtol=1e-12)
    np.testing.assert_allclose([told["rates"][code] for code in ("USD", "GBP", "JPY")], [0.5, 1.25, 0.0064], rtol=1e-12)


def test_every_converted_number_knows_the_place_of_its_rate():
    lines = account().attribution.lines
    assert [None if line.rate is None else line.rate.currency for line in lines] == [
        None, "USD", "GBP", "JPY", None, "USD",
    ]  # fmt: skip
    assert [[place.row for place in line.places.get("rate", ())] for line in lines] == [[], [0], [1], [2], [], [0]]
    # B's figures go by the fx_rate of their own row, those of C and D by the table of rates.
    companies = {line.company: [place.row for place in line.places.get("company rate", ())] for line in lines}
    assert companies == {"A": [], "B": [], "C": [1], "D": [2], "": []}
    assert lines[2].holding.value == 2e6
    assert lines[2].value == 2.5e6


def test_one_currency_is_as_it_was_with_and_without_rates():
    plain = account(BY_HAND, FIGURES_BY_HAND, None, None)
    for rates, currency in ((RATES, None), (RATES, "EUR"), (None, "eur")):
        found = account(BY_HAND, FIGURES_BY_HAND, rates, currency)
        assert result(found) == result(plain)
        np.testing.assert_array_equal(found.attribution.factor, plain.attribution.factor)
        assert "converted" not in result(found)


@given(st.floats(1e-3, 1e3), st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_reporting_currency_scales_values_and_no_emissions(scale, dollar, pound):
    figures = FUNDAMENTALS.assign(fx_rate=np.nan, fx_quote=None)
    table = pd.DataFrame({"currency": ["EUR", "USD", "GBP", "JPY"], "rate": [1, dollar, pound * 100, 0.01]})
    one = account(fundamentals=figures, rates=table)
    # One EUR is `scale` units of a made-up currency in which the portfolio is told instead.
    other = account(fundamentals=figures, rates=table.assign(rate=table["rate"] * scale), currency="XTS")
    emitted, scaled = ("financed_emissions", "total_carbon_emissions", "data_quality"), ("value",)
    inverse = ("footprint_per_million", "waci", "carbon_intensity")
    for names, factor in ((emitted, 1), (scaled, scale), (inverse, 1 / scale)):
        for name in names:
            np.testing.assert_allclose(getattr(other.measures, name), getattr(one.measures, name) * factor, rtol=1e-9)
    np.testing.assert_allclose(other.attribution.factor, one.attribution.factor, rtol=1e-9)
    np.testing.assert_allclose(other.attribution.total, one.attribution.total * scale, rtol=1e-9)
    np.testing.assert_allclose(coverage(other)["by_value"], coverage(one)["by_value"], rtol=1e-9)
    for name, (score, _) in one.temperature.items():
        np.testing.assert_allclose(other.temperature[name][0], score, rtol=1e-9)


@pytest.mark.parametrize(
    ("row", "column", "value", "words"),
    [
        (0, "rate", 0.0, "the table, row 0, column rate (B): the rate of USD is 0: it must be positive."),
        (0, "rate", -0.5, "row 0, column rate (B): the rate of USD is -0.5: it must be positive."),
        (0, "rate", "much", "row 0, column rate (B): 'much' is no number: write one"),
        (0, "rate", "0,5", "row 0, column rate (B): '0,5' is no number: write it without commas"),
        (0, "rate", float("inf"), "row 0, column rate (B): inf is no number"),
        (2, "rate", 1e-320, "row 2, column rate (B): the rate of mJPY is 9.99989e-321: it must be positive."),
        (0, "rate", True, "row 0, column rate (B): True is no number"),
        (0, "rate", None, "row 0, column rate (B): there is no rate of USD: write what one unit of it is"),
        (0, "rate", "n/a", "row 0, column rate (B): there is no rate of USD"),
        (0, "currency", None, "row 0, column currency (A): names no currency for the rate 0.5: write its code"),
        (1, "currency", "USD", "row 1, column rate (B): one USD is 1.25 of 2021-12-31 here and 0.5 of 2021-12-31 in "
         "row 0: keep one of the rows."),
        (1, "currency", "kUSD", "row 1, column rate (B): one USD is 0.00125 of 2021-12-31 here and 0.5"),
        (0, "date", "soon", "row 0, column date (C): 'soon' is no date: write it as 2022-12-31."),
    ],
)  # fmt: skip
def test_a_table_of_rates_with_a_fault_gets_one_sentence(row, column, value, words):
    table = changed(RATES, row, column, value)
    with pytest.raises(InputError) as error:
        read_rates(table)
    assert words in str(error.value)
    assert str(error.value).count(". ") == 0


def test_rates_of_scales_and_repeated_rates_are_one():
    table = pd.DataFrame({"Currency": ["EUR m", "USD", "usd", "kUSD", None], "RATE": [3e6, 0.1, 0.1, 100.0, None]})
    found = read_rates(table)
    assert {code: one.rate for code, one in found.of.items()} == {"EUR": 3.0, "USD": 0.1}
    assert found.of["USD"].date is None


def test_sources_without_one_table_of_rates_are_refused(tmp_path):
    with pytest.raises(InputError, match="the table: holds no table of exchange rates: it needs the columns currency"):
        read_rates(RATES.rename(columns={"rate": "fx_rate"}))
    with pytest.raises(InputError, match="the table: holds no exchange rate: check the file"):
        read_rates(RATES.iloc[:0])
    with pytest.raises(InputError, match=r"no_such\.csv: there is no such file"):
        read_rates(tmp_path / "no_such.csv")
    path = tmp_path / "rates.xlsx"
    with pd.ExcelWriter(path) as book:
        HOLDINGS.to_excel(book, sheet_name="Holdings", index=False)
        RATES.to_excel(book, sheet_name="Rates", index=False)
    found = read_rates(path)
    assert found.of["GBP"].rate == 1.25
    assert str(found.of["GBP"].place) == f"{path}, sheet 'Rates', row 3, column rate (B)"
    with pd.ExcelWriter(path, mode="a") as book:
        RATES.to_excel(book, sheet_name="Older", index=False)
    with pytest.raises(InputError, match=r"tables of exchange rates in the sheets 'Rates', 'Older': keep one of them"):
        read_rates(path)


VALUE = "the table, row 1, column investment_value (C): the holding of B is in USD"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rates": None, "currency": None}, f"{VALUE}, the first one in EUR: give --currency and --rates, or convert"),
        ({"currency": None}, f"{VALUE}, the first one in EUR: name the currency that the table converts into with "
                             "--currency."),
        ({"rates": None}, f"{VALUE}, the portfolio in EUR: give --rates, or convert the value into EUR."),
        ({"rates": RATES[1:]}, f"{VALUE}, the portfolio in EUR, but the table has no rate of USD: add it there, or "
                               "convert the value into EUR."),
        ({"rates": changed(RATES, 4, "rate", 1.1)}, "the table, row 4, column rate (B): one EUR is 1.1, but EUR is the "
                                                    "portfolio's currency: write 1, remove the row, or name another"),
        ({"currency": "EUR m"}, "--currency 'EUR m': name the portfolio's currency by its code alone, such as EUR."),
        ({"currency": " "}, "--currency ' ': name the portfolio's currency by its code alone"),
        ({"fundamentals": changed(FUNDAMENTALS, 2, "currency", "AUD")},
         "the table, row 2, column company_id (A): the figures of C are in AUD and the portfolio in EUR, but the table "
         "has no rate of AUD: add it there, or its fx_rate with the fx_quote EUR."),
        ({"fundamentals": changed(changed(FUNDAMENTALS, 1, "fx_quote", "CHF"), 1, "currency", "AUD")},
         "in AUD and the portfolio in EUR (its fx_rate is into CHF), but"),
    ],
)  # fmt: skip
def test_currencies_without_a_rate_get_one_sentence(options, words):
    with pytest.raises(InputError) as error:
        account(**options)
    assert words in str(error.value)


def test_figures_in_a_scale_whose_own_rate_is_into_another_currency_are_scaled():
    table = changed(changed(FUNDAMENTALS, 2, "currency", "megaGBP"), 2, "fx_quote", "USD")
    table = changed(changed(table, 2, "fx_rate", 2e6), 2, "evic", 500.0)
    np.testing.assert_allclose(account(fundamentals=table).attribution.factor, account().attribution.factor, rtol=1e-14)
    table = changed(changed(table, 2, "currency", "megaEUR"), 2, "evic", 625.0)
    np.testing.assert_allclose(account(fundamentals=table).attribution.factor, account().attribution.factor, rtol=1e-14)


def test_a_rate_makes_further_companies_count_in_estimates():
    names = [f"S{place}" for place in range(4)]
    others = pd.DataFrame({"company_id": names, "currency": "JPY", "sector": "gas", "evic": 1e6, "revenue": 1e8})
    emitted = pd.DataFrame({"unique_id": ["A", *names], "ds": 2021, "y": 64.0, "unit": "t CO2e"})
    found = accounted(
        read_holdings(HOLDINGS[:3]), read_fundamentals(pd.concat([FUNDAMENTALS, others])), read_emissions(emitted),
        rates=read_rates(RATES), currency="EUR", estimate="sector-intensity",
    )  # fmt: skip
    # C has 2.5e9 EUR of revenue, the sector 64 t by 6.4e5 EUR.
    assert [(one.sector, one.reporting) for one in found.estimates.values()] == [("gas", 4)]
    np.testing.assert_allclose([one.tonnes for one in found.estimates.values()], 2.5e9 * 64 / 6.4e5, rtol=1e-12)


def test_the_user_is_told_what_is_converted_and_where_rates_differ():
    notes: list[str] = []
    account(rates=changed(changed(RATES, 0, "rate", 0.4), 1, "date", "2020-12-31"), note=notes.append)
    assert "the table: 4 of 6 holdings are converted into EUR by the table: one USD is 0.4, one GBP is 1.25, one JPY " \
           "is 0.0064." in notes  # fmt: skip
    assert "the table: the rates that are used are from 2020-12-31 to 2021-12-31." in notes
    assert any("figures of 1 companies are converted by the fx_rate in their own row, which is up to 25.0% off" in each
               for each in notes)  # fmt: skip
    notes.clear()
    attributed(read_holdings(BY_HAND), read_fundamentals(FIGURES_BY_HAND), rates=read_rates(RATES), note=notes.append)
    assert not any("convert" in each or "rates" in each for each in notes)


def write(folder) -> None:
    HOLDINGS.to_csv(folder / "h.csv", index=False)
    FUNDAMENTALS.to_csv(folder / "f.csv", index=False)
    EMISSIONS.to_csv(folder / "e.csv", index=False)
    RATES.to_csv(folder / "r.csv", index=False)


FILES = ("--holdings", "h.csv", "--fundamentals", "f.csv", "--emissions", "e.csv", "--json", "--quiet")


def test_the_command_writes_what_was_converted(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    write(tmp_path)
    done = call("portfolio", "footprint", *FILES, "--currency", "EUR", "--rates", "r.csv", "--out", "out")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["currency"] == "EUR"
    assert answer["converted"] == converted(account().attribution)["converted"]
    assert [name.rpartition("/")[2] for name in answer["files"]] == ["footprint.xlsx", "footprint.csv", "converted.csv"]
    with open(tmp_path / "out" / "converted.csv", encoding="utf-8", newline="") as opened:
        listed = list(csv.DictReader(opened))
    assert [row["company"] for row in listed] == ["B", "C", "D", "stranger"]
    assert listed[1] == {"company": "C", "name": "Gamma", "currency": "GBP", "value": "2000000.0", "rate": "1.25",
                         "converted": "2500000.0", "into": "EUR", "row": "4", "rate_date": "2021-12-31",
                         "rate_file": "r.csv", "rate_row": "3"}  # fmt: skip
    book = openpyxl.load_workbook(tmp_path / "out" / "footprint.xlsx")
    sheet = [tuple(map(str, row[:6])) for row in book["Converted"].iter_rows(values_only=True)]
    assert sheet[0] == ("company", "name", "currency", "value", "rate", "converted")
    assert math.prod(map(float, sheet[1][3:5])) == float(sheet[1][5]) == 25
    cited = [row[1:] for row in book["Provenance"].iter_rows(min_row=2, values_only=True)]
    assert ("B", "rate", "r.csv", None, 2, "rate", "B") in cited
    assert ("C", "company rate", "r.csv", None, 3, "rate", "B") in cited
    plain = call("portfolio", "footprint", "--holdings", "itr", "--json", "--quiet", "--out", "plain")
    assert not (tmp_path / "plain" / "converted.csv").exists()
    assert "Converted" not in openpyxl.load_workbook(tmp_path / "plain" / "footprint.xlsx").sheetnames
    assert "converted" not in json.loads(plain.stdout)


def test_the_record_of_a_run_names_the_rates(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    write(tmp_path)
    call("portfolio", "footprint", *FILES, "--currency", "EUR", "--rates", "r.csv", "--out", "out")
    kept = [path.read_text() for path in (tmp_path / "out").glob("*.toml")]
    assert any(str(tmp_path / "r.csv") in each and 'currency = "EUR"' in each for each in kept)


@pytest.mark.parametrize(
    ("command", "more"), [("footprint", ()), ("forecast", ()), ("stress", ("--drivers", "d.csv", "--horizon", "1"))]
)
def test_every_command_reads_rates_and_ends_in_one_sentence(command, more, tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    write(tmp_path)
    (tmp_path / "d.csv").write_text("year,oil\n2020,1\n2021,2\n", encoding="utf-8")
    value = "h.csv, row 3, column investment_value (C): the holding of B is in USD"
    cases = [
        ((), f"{value}, the first one in EUR: give --currency and --rates"),
        (("--currency", "EUR"), f"{value}, the portfolio in EUR: give --rates"),
        (("--rates", "r.csv"), "name the currency that r.csv converts into with --currency"),
        (("--rates", "r.csv", "--currency", "USD"), "r.csv, row 2, column rate (B): one USD is 0.5, but USD is"),
        (("--rates", "none.csv", "--currency", "EUR"), "none.csv: there is no such file"),
        (("--rates", "bad.csv", "--currency", "EUR"), "bad.csv, row 2, column rate (B): the rate of USD is 0"),
    ]
    (tmp_path / "bad.csv").write_text("currency,rate\nUSD,0\n", encoding="utf-8")
    for place, (options, words) in enumerate(cases):
        done = call("portfolio", command, *FILES, *more, *options, "--out", f"out{place}")
        assert done.exit_code == 1, done.output
        assert words in json.loads(done.stdout)["error"]
