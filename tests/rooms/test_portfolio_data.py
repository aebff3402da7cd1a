"""Readers of holdings, fundamentals and emissions: formats, units, restatements, and sentences for bad input."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import samples
from thalweg.core.errors import InputError
from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.fundamentals import read_fundamentals
from thalweg.portfolio.data.holdings import read_holdings, valid_isin
from thalweg.portfolio.data.observations import Restated
from thalweg.portfolio.data.scopes import scope
from thalweg.portfolio.data.tables import letters, read_tables
from thalweg.portfolio.data.units import currency_of, money, tonnes

PARTS = {"holdings": "Portfolio", "fundamentals": "ITR V2 input data", "emissions": "ITR V2 esg data"}
LONG = """unique_id,ds,y,unit,quality
A,2019,5,kt CO2e,2
A,2020,4000,t CO2e,2
B,2020-12-31,1.5,Mt CO2e,1
B,2022,2,Million tonnes CO2e,3
"""


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sample_rows(part: str) -> list[list[str]]:
    with open(samples.path(f"itr_panel_{part}.csv"), encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def sample_sheet(part: str) -> list[list[object]]:
    """The sample as the template has it: numbers as numbers, a company on the first row of its block only."""
    rows: list[list[object]] = []
    before = ""
    for row in sample_rows(part):
        cells: list[object] = [_cell(cell) for cell in row]
        if part == "emissions" and rows:
            if row[2] == before:
                cells[:3] = [None, None, None]
            before = row[2]
        rows.append(cells)
    return rows


def _cell(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text or None


def workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.remove(book.worksheets[0])
    book.save(path)
    return path


def test_the_template_reads_the_same_from_a_workbook_and_from_the_sample(tmp_path):
    sheets = {title: sample_sheet(part) for part, title in PARTS.items()}
    more: dict[str, list[list[object]]] = {"Read me": [["text"]], "Extra V2 esg data": sheets["ITR V2 esg data"]}
    path = workbook(tmp_path / "itr.xlsx", more | sheets)
    notes: list[str] = []
    one, other = read_emissions("itr"), read_emissions(path, note=notes.append)
    assert one.panel.companies == other.panel.companies
    # openpyxl writes 16 digits, of which the last may be off.
    np.testing.assert_allclose(one.panel.emissions, other.panel.emissions, rtol=1e-14)
    assert any("'ITR V2 esg data' is read for emissions, not 'Extra V2 esg data'" in note for note in notes)
    assert [each.after_row for each in one.restated] == [each.after_row for each in other.restated]
    holdings, again = read_holdings("itr"), read_holdings(path)
    assert [line.value for line in holdings.lines] == [line.value for line in again.lines]
    assert read_fundamentals("itr").of.keys() == read_fundamentals(path).of.keys()
    place = again.lines[0].places["value"]
    assert (place.sheet, place.row, place.column, place.letter) == ("Portfolio", 2, "investment_value [EUR]", "E")
    assert openpyxl.load_workbook(path)["Portfolio"]["E2"].value == holdings.lines[0].value


def test_counts_of_the_sample():
    # 144 holdings and 124 companies are on the sample's card.
    card = samples.card("itr_panel")
    assert len(read_holdings("itr").lines) == card["holdings"] == 144
    assert len(read_fundamentals("itr").of) == 124
    found = read_emissions("itr")
    lost = [one for one in found.dropped if one.kind == "lost"]
    assert found.panel.emissions.shape == (111, 8)
    assert len(lost) == 11
    assert len(found.restated) == 169


def test_the_latest_report_counts_and_the_earlier_is_listed():
    # Read by eye: AES reported 64753 kt for 2017 in February 2020 (row 13) and 60024 kt in September 2021 (row 22).
    found = read_emissions("itr")
    aes = found.panel.companies.index("US00130H1059")
    year = {int(year): place for place, year in enumerate(found.panel.years)}
    np.testing.assert_allclose(found.panel.emissions[aes, year[2017]], 60_024e3, rtol=1e-12)
    np.testing.assert_allclose(found.panel.emissions[aes, year[2021]], 41_455_694, rtol=1e-12)
    assert Restated("US00130H1059", 2017, "s1s2", 64_753e3, 60_024e3, 13, 22) in found.restated
    assert [place.row for place in found.places("US00130H1059", 2017)] == [22]
    assert np.isnan(found.panel.emissions[aes, year[2015]])


def test_two_values_of_one_date_are_dropped_and_listed_not_guessed():
    # Rows 1172 and 1197 of BASF give 21.132 and 20.185 million t for 2021, both of the report of 2021-12-31.
    found = read_emissions("itr")
    basf = found.panel.companies.index("DE000BASF111")
    assert np.isnan(found.panel.emissions[basf, found.panel.years == 2021]).all()
    rows = {one.row for one in found.dropped if "DE000BASF111" in one.why and "nothing says" in one.why}
    assert {1172, 1197} <= rows


def test_scope_two_follows_the_asked_count():
    location, market = read_emissions("itr", scope="s2"), read_emissions("itr", scope="2", scope2="market")
    place = location.panel.companies.index("US00130H1059"), int(np.flatnonzero(location.panel.years == 2020)[0])
    assert location.panel.emissions[place] == 254e3
    assert market.panel.emissions[market.panel.companies.index("US00130H1059"), 5] == 256e3
    assert market.panel.years[5] == 2020


def test_sums_stand_in_for_scopes_that_are_not_reported(tmp_path):
    rows = "A,2020,s1,10\nA,2020,s2,4\nA,2021,s1,9\nB,2020,Scope 1+2,7\nB,2020,s3,1\n"
    path = put(tmp_path, "e.csv", "unique_id,ds,scope,y\n" + rows)
    found = read_emissions(path)
    np.testing.assert_array_equal(found.panel.emissions, [[14.0], [7.0]])
    assert [place.row for place in found.places("A", 2020)] == [2, 3]
    np.testing.assert_array_equal(read_emissions(path, scope="s1s2s3").panel.emissions, [[8.0]])


def test_the_long_format_by_csv_workbook_and_pandas(tmp_path):
    path = put(tmp_path, "e.csv", LONG)
    table = pd.read_csv(path)
    for source in (
        path,
        table,
        workbook(tmp_path / "e.xlsx", {"any": [list(table), *table.to_numpy(object).tolist()]}),
    ):
        found = read_emissions(source)
        assert found.panel.companies == ("A", "B")
        np.testing.assert_allclose(found.panel.emissions, [[5e3, 4e3, np.nan, np.nan], [np.nan, 1.5e6, np.nan, 2e6]])
        assert [tuple(gap) for gap in found.gaps] == [("B", (2021,))]
        assert found.quality[1, 3] == 3


def test_a_semicolon_and_a_byte_order_mark_do_not_matter(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(b"\xef\xbb\xbf" + LONG.replace(",", ";").encode())
    assert read_emissions(path).panel.companies == ("A", "B")


def test_old_templates_and_wide_tables(tmp_path):
    old = "company_name,company_id,emissions_metric,2019_ghg_s1,2020_ghg_s1,2020_ghg_s1s2\nX,A,Mt CO2,1,2,3\n"
    np.testing.assert_allclose(read_emissions(put(tmp_path, "o.csv", old), scope="s1").panel.emissions, [[1e6, 2e6]])
    wide = "company_id,unit,2019,2020\nA,kt,1,2\nB,t,500,\n"
    found = read_emissions(put(tmp_path, "w.csv", wide))
    np.testing.assert_allclose(found.panel.emissions, [[1e3, 2e3], [500, np.nan]])


def test_carbon_majors_are_summed_over_commodities(data):
    path = data / "portfolio" / "carbon_majors_medium_granularity.csv"
    found = read_emissions(path)
    assert len(found.panel.companies) == 122
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["parent_entity"] == "Shell" and row["year"] == "2010"]
    total = sum(float(row["total_emissions_MtCO2e"]) for row in rows) * 1e6
    shell = found.panel.companies.index("Shell")
    np.testing.assert_allclose(found.panel.emissions[shell, found.panel.years == 2010], total, rtol=1e-12)
    assert len(found.places("Shell", 2010)) == len(rows) > 1


def test_excluded_installations_are_listed(tmp_path, data):
    with open(data / "portfolio" / "eutl_verified_emissions_2005_2020.csv", encoding="utf-8") as file:
        head = [next(file) for _ in range(20_000)]
    found = read_emissions(put(tmp_path, "eutl.csv", "".join(head)))
    excluded = sum(line.strip().endswith("Excluded") for line in head)
    assert sum(one.value == "Excluded" for one in found.dropped) == excluded > 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("A,2020,4000,t", "A,2020,-4,t", "row 3, column y (C): A emits -4 t in 2020: gross emissions are not negative"),
        ("A,2020,4000,t", "A,2019,4000,t", "row 3, column y (C): A has 4000 t in 2019 here and 5000 t in row 2"),
        ("A,2020,4000,t", "A,2020,many,t", "row 3, column y (C): 'many' is no number"),
        ("A,2020,4000,t", 'A,2020,"4,000",t', "row 3, column y (C): '4,000' is no number: write it without commas"),
        ("A,2020,4000,t CO2e", "A,2020,4000,MWh", "row 3, column unit (D): 'MWh' is no unit of CO2e"),
        ("A,2020,4000,t CO2e", "A,2020,4000,mt CO2e", "row 3, column unit (D): 'mt CO2e' is no unit of CO2e"),
        ("A,2020", "A,20", "row 3, column ds (B): '20' is no year"),
        ("A,2020,4000", ",2020,4000", "row 3, column unique_id (A): names no company"),
        ("CO2e,2\nB", "CO2e,7\nB", "row 3, column quality (E): the data-quality score is 7, but PCAF knows 1"),
        ("y,unit", "y,Y", "has the column y 2 times"),
        ("A,2020,4000,t CO2e,2", "A,2020,4000,t CO2e,2,7", "row 3: has 6 cells where the headings are 5"),
        ("unique_id,ds,y", "name,when,how_much", "holds no table of emissions"),
        ("A,2019,5", '"A,2019,5', "is no table of CSV"),
    ],
)  # fmt: skip
def test_bad_emissions_get_one_sentence(tmp_path, old, new, words):
    assert old in LONG
    with pytest.raises(InputError) as error:
        read_emissions(put(tmp_path, "e.csv", LONG.replace(old, new, 1)))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_zeros_gaps_and_no_values_are_listed_not_filled(tmp_path):
    rows = "A,2018,5\nA,2019,0\nA,2020,N/A\nA,2021,\nA,2022,6\n"
    found = read_emissions(put(tmp_path, "e.csv", "unique_id,ds,y [t CO2e]\n".replace("y [t CO2e]", "y") + rows))
    assert [(one.row, one.value) for one in found.dropped] == [(4, "N/A"), (5, ""), (3, "0")]
    assert found.gaps[0].years == (2019, 2020, 2021)
    np.testing.assert_array_equal(found.panel.emissions, [[5, np.nan, np.nan, np.nan, 6]])


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1e6])
def test_a_change_of_unit_is_refused_where_none_is_stated_and_told_where_one_is(tmp_path, factor):
    text = f"unique_id,ds,y\nA,2019,5000\nA,2020,{5100 * factor}\n"
    with pytest.raises(InputError, match=r"row 3, column y \(C\): A goes from 5000 in 2019 \(row 2\) .*as if t, kt"):
        read_emissions(put(tmp_path, "e.csv", text))
    notes: list[str] = []
    stated = "\n".join(f"{line},{'t' if place else 'unit'}" for place, line in enumerate(text.split()))
    read_emissions(put(tmp_path, "stated.csv", stated), note=notes.append)
    assert any("thousandfold within a year for A in 2020" in note for note in notes)


def test_mutated_samples_are_refused_or_counted(tmp_path):
    text = samples.path("itr_panel_emissions.csv").read_text(encoding="utf-8")
    whole = read_emissions("itr")
    cut = read_emissions(put(tmp_path, "cut.csv", text[: text.index("\n", len(text) // 2) + 1]))
    assert 0 < len(cut.panel.companies) < len(whole.panel.companies)
    swapped = text.replace(",metric,submetric,", ",submetric,metric,", 1)
    with pytest.raises(InputError, match="holds no emissions of"):
        read_emissions(put(tmp_path, "swapped.csv", swapped))
    book = workbook(tmp_path / "whole.xlsx", {"Portfolio": sample_sheet("holdings")}).read_bytes()
    (tmp_path / "half.xlsx").write_bytes(book[: len(book) // 2])
    with pytest.raises(InputError, match=r"half\.xlsx: is no whole XLSX workbook"):
        read_holdings(tmp_path / "half.xlsx")
    with pytest.raises(InputError, match="holds no table of fundamentals"):
        read_fundamentals(samples.path("itr_panel_holdings.csv"))


def test_formulas_that_were_never_calculated_are_no_silent_gaps(tmp_path):
    rows: list[list[object]] = [["company_id", "investment_value [EUR]"], ["A", 5], ["B", "=B2*2"]]
    with pytest.raises(InputError, match=r"sheet 'Portfolio', row 3, column investment_value .*never calculated"):
        read_holdings(workbook(tmp_path / "f.xlsx", {"Portfolio": rows}))


HOLDINGS = "company_id,company_name,investment_value [EUR]\nA,Alpha,100\nB,Beta,50\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Alpha,100", "Alpha,-100", "row 2, column investment_value [EUR] (C): the holding of A is -100: short"),
        ("Alpha,100", "Alpha,much", "row 2, column investment_value [EUR] (C): 'much' is no number"),
        ("A,Alpha", ",Alpha", "row 2, column company_id (A): names no company for a holding of 100"),
        (" [EUR]", "", "row 2, column investment_value (C): names no currency"),
    ],
)
def test_bad_holdings_get_one_sentence(tmp_path, old, new, words):
    with pytest.raises(InputError) as error:
        read_holdings(put(tmp_path, "h.csv", HOLDINGS.replace(old, new, 1)))
    assert words in str(error.value)


def test_missing_files_and_other_formats(tmp_path):
    for name, words in (("no.csv", "no such file"), (".", "is a folder")):
        with pytest.raises(InputError, match=words):
            read_holdings(str(tmp_path / name) if name != "." else tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="is a binary file"):
        read_holdings(tmp_path / "binary.csv")
    with pytest.raises(InputError, match="save it as XLSX"):
        read_holdings(put(tmp_path, "old.xls", "x"))
    with pytest.raises(InputError, match="no headings"):
        read_holdings(put(tmp_path, "empty.csv", ""))
    with pytest.raises(InputError, match="a list is no table"):
        read_holdings([1, 2])


FUNDAMENTALS = """company_id,currency,fx_quote,fx_rate,report_date,evic,revenue
A,USD,EUR,0.5,2020-12-31,1000,400
A,USD,EUR,0.5,2021-12-31,2000,500
B,megaEUR,EUR,1000000,2021-12-31,3,1
"""


def test_fundamentals_are_those_of_the_date_that_was_asked_for(tmp_path):
    path = put(tmp_path, "f.csv", FUNDAMENTALS)
    latest = read_fundamentals(path)
    assert latest.of["A"].amounts == {"evic": 2000, "revenue": 500}
    assert "Row 3 holds later figures" in latest.dropped[0].why
    frozen = read_fundamentals(path, evic_date=datetime.date(2021, 6, 30))
    assert frozen.of["A"].amounts["evic"] == 1000
    assert "B" not in frozen.of
    assert any(one.row == 4 and "not of 2021-06-30" in one.why for one in frozen.dropped)
    with pytest.raises(InputError, match="holds no company's figures on or before 2000-01-01"):
        read_fundamentals(path, evic_date=datetime.date(2000, 1, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "2021-12-31,2000",
            "2020-12-31,2000",
            "row 3, column evic (F): A has 2000 here and 1000 in row 2 for the same",
        ),
        ("2000,500", "2000,a lot", "row 3, column revenue (G): 'a lot' is no number"),
        ("EUR,0.5,2020", "EUR,0,2020", "row 2, column fx_rate (D): the exchange rate of USD is 0"),
        ("2020-12-31", "31.12.2020", "row 2, column report_date (E): '31.12.2020' is no date"),
    ],
)
def test_bad_fundamentals_get_one_sentence(tmp_path, old, new, words):
    assert old in FUNDAMENTALS
    with pytest.raises(InputError) as error:
        read_fundamentals(put(tmp_path, "f.csv", FUNDAMENTALS.replace(old, new, 1)))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("t CO2e", (1, "CO2e")), ("kt CO2e", (1e3, "CO2e")), ("Mt CO2e", (1e6, "CO2e")), ("kg", (1e-3, "CO2e")),
     ("Millions t CO2e", (1e6, "CO2e")), ("thousand t CO2e", (1e3, "CO2e")), ("t CO2", (1, "CO2")),
     ("MMT CO2-eq", (1e6, "CO2e")), ("t CO₂e", (1, "CO2e")), ("t CH4", None), ("MWh", None), ("Mt Steel", None),
     ("mt", None), ("", None)],
)  # fmt: skip
def test_units(unit, expected):
    assert tonnes(unit) == expected


def test_money_scopes_letters_and_isins():
    assert [currency_of(each) for each in ("investment_value [EUR]", "value (USD)", "value")] == ["EUR", "USD", ""]
    assert [money(each) for each in ("GBp", "GBX", "gbp", "ZAc")] == [
        (0.01, "GBP"), (0.01, "GBP"), (1.0, "GBP"), (0.01, "ZAR"),
    ]  # fmt: skip
    assert [money(each) for each in ("megaEUR", "EUR million", "usd", "kUSD")] == [
        (1e6, "EUR"), (1e6, "EUR"), (1.0, "USD"), (1e3, "USD")]  # fmt: skip
    assert [scope(each) for each in ("s1+s2", "Scope 1", "1 & 2", "S1S2S3", "s1 intensity", "s1s3", "pdf", "s4")] == [
        "s1s2", "s1", "s1s2", "s1s2s3", None, None, None, None]  # fmt: skip
    assert [letters(place) for place in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
    assert [valid_isin(each) for each in ("US0378331005", "US0378331006", "US00130H1059", "ACME")] == [
        True, False, True, False]  # fmt: skip


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.sampled_from(["t", "kt", "Mt"]))
def test_what_is_written_comes_back_in_tonnes(values, unit):
    table = pd.DataFrame({"unique_id": "A", "ds": range(2000, 2000 + len(values)), "y": values, "unit": unit})
    found = read_emissions(table)
    np.testing.assert_allclose(found.panel.emissions[0], np.array(values) * {"t": 1, "kt": 1e3, "Mt": 1e6}[unit])
    assert found.places("A", 2000)[0].row == 0


def test_every_number_of_the_sample_is_used_restated_or_listed():
    found = read_emissions("itr", scope="s1")
    told = {(place.row, place.column) for key in found.values for place in found.places(*key)}
    told |= {(one.before_row, str(one.year)) for one in found.restated}
    told |= {(one.row, one.column) for one in found.dropped}
    whole_rows = {one.row for one in found.dropped if not one.column.isdecimal()}
    (table,) = read_tables("itr", "emissions")
    numbers = [
        (row.number, str(year))
        for row in table.rows()
        for year in range(2015, 2023)
        if row.get("metric") == "s1" and row.number not in whole_rows and row.get(str(year)) is not None
    ]
    assert len(numbers) > 600
    assert set(numbers) <= told
