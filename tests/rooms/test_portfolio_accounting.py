"""Attribution, measures, aggregations, estimates, and the command `footprint` with its files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from command_line import adder, call, isolate
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils import column_index_from_string

from thalweg.core.errors import InputError
from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.fundamentals import read_fundamentals
from thalweg.portfolio.data.holdings import read_holdings
from thalweg.portfolio.figures.footprint import footprint_page
from thalweg.portfolio.footprint_command import footprint
from thalweg.portfolio.tasks.accounting import weighted_average_carbon_intensity
from thalweg.portfolio.tasks.aggregations import METHODS, aggregated
from thalweg.portfolio.tasks.attribution import attributed
from thalweg.portfolio.tasks.denominators import DENOMINATORS, asset_class
from thalweg.portfolio.tasks.estimate import sector_intensity
from thalweg.portfolio.tasks.footprint import accounted, coverage, result
from thalweg.portfolio.tasks.plausible import outliers
from thalweg.report import render_page

HOLDINGS = pd.DataFrame({
    "company_id": ["A", "B", "C+Gas", "C", "D", "E"],
    "company_name": ["Alpha", "Beta", "Gamma gas", "Gamma", "Delta", "=Epsilon"],
    "investment_value [EUR]": [100.0, 50.0, 20.0, 30.0, 10.0, 40.0],
    "asset_class": ["equity", "Corporate Bonds", "equity", "equity", "equity", "private equity"],
    "temperature_score": [1.5, 2.0, 3.0, 3.0, 2.5, 1.8],
})  # fmt: skip
FUNDAMENTALS = pd.DataFrame({
    "company_id": ["A", "B", "C", "E", "F"],
    "currency": ["EUR", "USD", "EUR", "EUR", "EUR"],
    "fx_rate": [np.nan, 0.5, np.nan, np.nan, np.nan],
    "fx_quote": [None, "EUR", None, None, None],
    "sector": ["steel", "steel", "gas", "gas", "steel"],
    "evic": [1000.0, 2000.0, 500.0, np.nan, 900.0],
    "market_cap": [800.0, 1000.0, 400.0, np.nan, 700.0],
    "revenue": [4e6, 1e6, 2e6, 1e6, 3e6],
    "equity": [np.nan, np.nan, np.nan, 100.0, np.nan],
    "debt": [np.nan, np.nan, np.nan, 300.0, np.nan],
})  # fmt: skip
EMISSIONS = pd.DataFrame({
    "unique_id": ["A", "A", "B", "C"], "ds": [2020, 2021, 2021, 2020], "y": [7000.0, 6000.0, 2000.0, 1000.0],
    "unit": "t CO2e", "quality": [1, 1, 3, 2],
})  # fmt: skip


def account(holdings=HOLDINGS, fundamentals=FUNDAMENTALS, emissions=EMISSIONS, **options):
    return accounted(read_holdings(holdings), read_fundamentals(fundamentals), read_emissions(emissions), **options)


def one(value: float | None) -> float:
    assert value is not None
    return value


def test_a_portfolio_by_hand():
    # A: 100/1000 x 6000 = 600; B: 50/(2000 x 0.5) x 2000 = 100; C: (20+30)/500 x 1000 = 100.
    found = account()
    assert found.attribution.companies == ("A", "B", "C", "E")
    np.testing.assert_allclose(found.attribution.factor, [0.1, 0.05, 0.1, 0.1], rtol=1e-15)
    measures = found.measures
    np.testing.assert_allclose(measures.financed_emissions, 800, rtol=1e-14)
    np.testing.assert_allclose(measures.footprint_per_million, 800 / (200 / 1e6), rtol=1e-14)
    # Intensities per million EUR: 6000/4, 2000/(1 x 0.5), 1000/2; weights 100, 50, 50 of 200.
    np.testing.assert_allclose(one(measures.waci), (100 * 1500 + 50 * 4000 + 50 * 500) / 200, rtol=1e-14)
    # Owned: 100/800 x 6000 + 50/500 x 2000 + 50/400 x 1000, by owned revenue.
    np.testing.assert_allclose(one(measures.total_carbon_emissions), 750 + 200 + 125, rtol=1e-14)
    np.testing.assert_allclose(one(measures.carbon_intensity), 1075 / (0.125 * 4 + 0.1 * 0.5 + 0.125 * 2), rtol=1e-14)
    np.testing.assert_allclose(measures.data_quality, (100 * 1 + 50 * 3 + 50 * 2) / 200, rtol=1e-14)
    share = coverage(found)
    assert (share["holdings"], share["holdings_covered"], share["holdings_by_issuer"]) == (6, 4, 1)
    np.testing.assert_allclose([share["by_value"], share["by_number"]], [200 / 250, 4 / 6], rtol=1e-14)
    assert [one.line.holding.company for one in found.missing] == ["D", "E"]
    assert "not among the fundamentals, and it is no valid ISIN" in found.missing[0].why
    assert "E has no emissions" in found.missing[1].why


def test_a_year_that_was_asked_for_is_that_year_only():
    found = account(year=2020)
    np.testing.assert_allclose(found.measures.financed_emissions, 0.1 * 7000 + 0.1 * 1000, rtol=1e-14)
    assert found.missing[0].why == "B has no emissions of any scope in 2020"
    assert result(found)["years"] == {"2020": 2}
    with pytest.raises(InputError, match="none of the portfolio's companies has emissions"):
        account(year=2019)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=6), st.floats(0.1, 0.9))
def test_financed_emissions_are_additive(values, part):
    ids = [f"X{place}" for place in range(len(values))]
    figures = pd.DataFrame({"company_id": ids, "currency": "EUR", "evic": 1e8, "revenue": 1e6})
    emitted = pd.DataFrame({"unique_id": ids, "ds": 2020, "y": np.arange(1, len(values) + 1) * 1e3, "unit": "t"})
    parts = [
        account(pd.DataFrame({"company_id": ids, "investment_value [EUR]": amounts}), figures, emitted).measures
        for amounts in (values, [part * each for each in values], [(1 - part) * each for each in values])
    ]
    whole, first, second = (each.financed_emissions for each in parts)
    np.testing.assert_allclose(first + second, whole, rtol=1e-12)
    np.testing.assert_allclose(one(parts[0].waci), one(parts[1].waci), rtol=1e-12)


def changed(table: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    copied = table.astype(object)
    copied.loc[row, column] = value
    return copied


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("fx_rate", None, "row 1, column company_id (A): the figures of B are in USD and the holdings in EUR"),
        ("fx_quote", "GBP", "row 1, column company_id (A): the figures of B are in USD and the holdings in EUR"),
        (
            "fx_quote",
            None,
            "in USD and the holdings in EUR (its fx_rate is into no named currency)",
        ),
        ("currency", None, "the figures of B name no currency"),
        ("evic", "plenty", "row 1, column evic (F): 'plenty' is no number"),
    ],
)
def test_bad_figures_of_a_company_get_one_sentence(column, value, words):
    with pytest.raises(InputError) as error:
        account(fundamentals=changed(FUNDAMENTALS, 1, column, value))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "EVIC of B is 0"), (None, "EVIC of B is missing"), (-3, "EVIC of B is -3"),
     ("N/A", "EVIC of B is missing"), (2e-3, "worth 5e+04 times its evic in row 1")],
)  # fmt: skip
def test_a_company_without_a_denominator_is_listed_and_lowers_the_coverage(value, words):
    found = account(fundamentals=changed(FUNDAMENTALS, 1, "evic", value))
    assert any(words in one.why and one.line.holding.company == "B" for one in found.missing)
    np.testing.assert_allclose(coverage(found)["by_value"], 150 / 250)
    np.testing.assert_allclose(found.measures.financed_emissions, 700)


def test_holdings_in_two_currencies_and_unknown_classes_are_refused():
    table = HOLDINGS.rename(columns={"investment_value [EUR]": "investment_value"}).assign(
        currency=["EUR"] * 5 + ["USD"]
    )
    with pytest.raises(
        InputError, match=r"row 5, column investment_value \(C\): the holding of E is in USD, the first"
    ):
        account(table)
    with pytest.raises(InputError, match="row 0: there is no class of assets 'fine art'"):
        account(changed(HOLDINGS, 0, "asset_class", "fine art"))
    with pytest.raises(InputError, match="none of the 6 holdings is in"):
        account(fundamentals=FUNDAMENTALS.assign(company_id=list("VWXYZ")))
    with pytest.raises(InputError, match=r"the holdings of C are worth 1\.2 times the whole company"):
        account(changed(changed(HOLDINGS, 2, "investment_value [EUR]", 300), 3, "investment_value [EUR]", 300))


def test_market_values_smaller_than_the_holding_own_nothing():
    found = account(fundamentals=changed(FUNDAMENTALS, 0, "market_cap", 1))
    np.testing.assert_allclose(one(found.measures.total_carbon_emissions), 200 + 125)
    assert any(one.column == "market_cap" and one.row == 0 for one in found.dropped)
    np.testing.assert_allclose(coverage(found)["by_value_owned"], 100 / 250)


def test_classes_of_assets_have_denominators():
    assert {asset_class(each) for each in ("", "Equity", "listed equities")} == {"listed equity"}
    assert asset_class("loans") == "business loan"
    assert all(one.choices for one in DENOMINATORS.values())


def test_the_share_over_a_panel_is_zero_where_nothing_is_held():
    found = attributed(read_holdings(HOLDINGS), read_fundamentals(FUNDAMENTALS))
    np.testing.assert_allclose(found.over(("F", "C", "A")), [0, 0.1, 0.1])


# By sbti-finance-tool 1.3.1 on the same five companies, scope S1+S2 (benchmarks/_peer_sbti.py).
FIVE = {
    "value": [100, 250, 50, 400, 200], "score": [1.5, 2.0, 3.2, 2.75, 1.8],
    "emissions": [1000, 20000, 500, 8000, 120], "market_cap": [10000, 5000, 2500, 100000, 800],
    "ev": [12000, 9000, 2600, 130000, 700], "cash": [500, 100, 50, 9000, 60],
    "assets": [20000, 15000, 3000, 210000, 900], "revenue": [7000, 6000, 1500, 90000, 400],
}  # fmt: skip
SCORES = {"wats": 2.27, "tets": 2.205131667792033, "mots": 2.023105360443623, "eots": 2.0300063713943692,
          "ecots": 2.0293991827063773, "aots": 2.034987745098039, "rots": 2.028675376219613}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_aggregations_are_those_of_the_finance_tool(method):
    columns = {name: np.array(values, np.float64) for name, values in FIVE.items()}
    parts = aggregated(method, columns["score"], columns["value"], columns["emissions"], columns)
    np.testing.assert_allclose(parts.sum(), SCORES[method], rtol=0, atol=1e-9)
    same = aggregated(method, np.full(5, 2.5), columns["value"], columns["emissions"], columns)
    np.testing.assert_allclose(same.sum(), 2.5, rtol=1e-14)


def test_aggregations_refuse_what_they_cannot_weight_by():
    columns = {name: np.array(values, np.float64) for name, values in FIVE.items()}
    arguments = columns["score"], columns["value"], columns["emissions"]
    with pytest.raises(InputError, match="no aggregation 'xots'"):
        aggregated("xots", *arguments, columns)
    with pytest.raises(InputError, match="ecots: needs the companies' cash"):
        aggregated("ecots", *arguments, {"ev": columns["ev"]})
    with pytest.raises(InputError, match="aots: assets of company 0 is zero"):
        aggregated("aots", *arguments, {"assets": np.zeros(5)})
    with pytest.raises(InputError, match="tets: company 4 has no value of emissions"):
        aggregated("tets", columns["score"], columns["value"], np.array([1, 1, 1, 1, np.nan]), columns)
    with pytest.raises(InputError, match="wats: the total to weight by is zero"):
        aggregated("wats", columns["score"], np.zeros(5), columns["emissions"], columns)


def test_temperature_scores_of_holdings_are_aggregated_where_they_can_be():
    found = account().temperature
    # A, B, C and E have a share; emissions are known of A, B and C only.
    np.testing.assert_allclose(found["wats"], [(100 * 1.5 + 50 * 2 + 50 * 3 + 40 * 1.8) / 240, 240], rtol=1e-14)
    np.testing.assert_allclose(found["tets"], [(6000 * 1.5 + 2000 * 2 + 1000 * 3) / 9000, 200], rtol=1e-14)
    assert "eots" not in found


def test_an_estimate_is_the_sectors_median_with_its_spread():
    sectors = ("s",) * 6 + ("t",)
    emissions = np.array([10.0, 20, 40, 80, np.nan, np.nan, np.nan])
    revenue = np.array([1.0, 1, 1, 1, 3, np.nan, 1])
    assets = np.array([2.0, 2, 2, 2, 9, 4, 1])
    found = sector_intensity(np.array([4, 5, 6]), sectors, emissions, revenue, assets)
    by_revenue, by_assets = found.made
    np.testing.assert_allclose(by_revenue.tonnes, 3 * np.sqrt(20 * 40), rtol=1e-14)
    np.testing.assert_allclose(by_assets.tonnes, 4 * np.sqrt(10 * 20), rtol=1e-14)
    assert (by_revenue.score, by_assets.score, by_revenue.reporting) == (4, 5, 4)
    # ln 2 steps: standard deviation ln 2 sqrt(5/3); Student's 90 % quantile with 3 degrees of freedom is 1.6377.
    wide = np.exp(1.63774 * np.log(2) * np.sqrt(5 / 3) * np.sqrt(1.25))
    np.testing.assert_allclose(by_revenue.tonnes / by_revenue.lower, wide, rtol=1e-4)
    np.testing.assert_allclose(by_revenue.upper / by_revenue.tonnes, wide, rtol=1e-4)
    assert found.refused == {6: "has 0 reporting companies in its sector 't', fewer than 4"}


def test_the_interval_of_an_estimate_covers_a_log_normal_sector():
    # 4000 sectors of 8 and one more: 80 % with a standard error of 0.6 %.
    random = np.random.default_rng(3)
    inside = 0
    for _ in range(4000):
        emissions = np.exp(random.normal(size=9))
        hidden, emissions[8] = emissions[8], np.nan
        (one,) = sector_intensity(np.array([8]), ("s",) * 9, emissions, np.ones(9), np.ones(9)).made
        inside += one.lower <= hidden <= one.upper
    assert 0.76 < inside / 4000 < 0.84


def test_nothing_is_estimated_unless_asked_for():
    found, estimated = accounted(*_itr()), accounted(*_itr(), estimate="sector-intensity")
    assert not found.estimates
    assert len(estimated.estimates) == 11
    assert all(estimated.score[place] >= 4 for place in estimated.estimates)
    answer = result(estimated)
    assert answer["data_quality"] > result(found)["data_quality"]
    np.testing.assert_allclose(answer["financed_emissions"] - result(found)["financed_emissions"],
                               answer["estimated"]["financed_emissions"], rtol=1e-9)  # fmt: skip
    assert answer["estimated"]["lower80"] < answer["estimated"]["financed_emissions"] < answer["estimated"]["upper80"]


def _itr():
    return read_holdings("itr"), read_fundamentals("itr"), read_emissions("itr")


def test_the_sample_against_sums_over_its_cells():
    # AES by eye: 70,021,464 EUR of 9,681,000,000 USD at 0.94 EUR, and 41,455,694 t of 2021 in row 34 of the workbook.
    found = accounted(*_itr())
    place = found.attribution.companies.index("US00130H1059")
    expected = 70_021_464 / (9_681_000_000 * 0.94) * 41_455_694
    np.testing.assert_allclose(found.measures.contributions[place], expected, rtol=1e-12)
    share = coverage(found)
    assert (share["holdings"], share["holdings_covered"]) == (144, 112)
    np.testing.assert_allclose(share["by_value"], 0.7954124892, rtol=1e-9)
    assert share["holdings_covered"] + len(found.missing) == 144
    assert {one.line.holding.company for one in found.missing} >= {"PETRONAS_SOE", "FR0000053951"}


def test_units_that_are_off_within_a_sector_are_told():
    # In the sample as in its workbook, Eversource has 369 t for 8 thousand million EUR of revenue, Shin-Etsu 6080 t for
    # 15 thousand million.
    notes: list[str] = []
    found = accounted(*_itr(), note=notes.append)
    names = [found.attribution.companies[one.company] for one in found.outliers]
    assert names == ["US30040W1080", "JP3371200001"]
    assert any("as if a unit were wrong, for US30040W1080, JP3371200001" in note for note in notes)
    emissions = np.array([1.0, 2, 3, 4, 5, 1000])
    far = outliers(emissions, np.ones(6), ("s",) * 5 + ("t",))
    assert [(each.company, each.times) for each in far] == []
    assert outliers(emissions * [1, 1, 1, 1, 1, 2], np.ones(6), ("s",) * 5 + ("t",))[0].company == 5


def test_waci_of_nothing_is_nothing():
    assert weighted_average_carbon_intensity(np.ones(2), np.ones(2), np.full(2, np.nan)) is None


def cited(path: Path) -> list[tuple[str, float]]:
    """What stands in the cells that a workbook names, with the quantity that it is said to be."""
    found = []
    for row in openpyxl.load_workbook(path)["Provenance"].iter_rows(min_row=2, values_only=True):
        _, _, quantity, file, _, number, column, letter = map(str, row)
        with open(file, encoding="utf-8", newline="") as opened:
            table = list(csv.reader(opened))
        place = column_index_from_string(letter) - 1
        assert table[0][place] == column
        found.append((quantity, float(table[int(number) - 1][place])))
    return found


def test_the_command_writes_files_in_which_every_number_names_its_cell(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    adder(monkeypatch)(footprint)
    done = call("footprint", "--holdings", "itr", "--json", "--out", "out")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert {
        "financed_emissions",
        "waci",
        "footprint_per_million",
        "data_quality",
        "coverage",
        "missing",
        "dropped",
    } <= (answer.keys())
    assert len(answer["missing"]) == 32
    values = cited(tmp_path / "out" / "footprint.xlsx")
    # A scope 2 of zero may be a part of a sum; nothing else is zero.
    assert all(value > 0 or (value == 0 and quantity == "emissions") for quantity, value in values)
    held = sum(value for quantity, value in values if quantity == "value")
    np.testing.assert_allclose(held, answer["coverage"]["value_covered"], rtol=1e-12)
    with open(tmp_path / "out" / "footprint.csv", encoding="utf-8", newline="") as opened:
        listed = [float(row["financed_t"]) for row in csv.DictReader(opened) if row["financed_t"]]
    np.testing.assert_allclose(sum(listed), answer["financed_emissions"], rtol=1e-12)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "112 of 144 holdings are covered" in page


def test_a_name_that_begins_like_a_formula_stays_text(tmp_path):
    from thalweg.portfolio.tasks.workbook import write_workbook

    path = write_workbook(account(), tmp_path / "out.xlsx")
    names = {row[1].value: row[1].data_type for row in openpyxl.load_workbook(path)["Missing"].iter_rows()}
    assert names["=Epsilon"] == "s"
    assert "800 t CO2e financed" in render_page(footprint_page(account()))


def test_the_command_ends_in_one_sentence(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    adder(monkeypatch)(footprint)
    (tmp_path / "h.csv").write_text("company_id,investment_value [EUR]\nUS00130H1059,much\n", encoding="utf-8")
    done = call("footprint", "--holdings", "h.csv", "--fundamentals", "itr", "--emissions", "itr", "--json")
    assert done.exit_code == 1
    assert "h.csv, row 2, column investment_value [EUR] (B): 'much' is no number" in json.loads(done.stdout)["error"]
    for word, sentence in (("s9", "there is no scope 's9'"), ("s3", "")):
        done = call("footprint", "--holdings", "itr", "--scope", word, "--json", "--out", word)
        assert (done.exit_code == 1) == bool(sentence)
        assert sentence in done.stdout
