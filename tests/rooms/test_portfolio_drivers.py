"""Drivers and scenarios as they are read, standardised and continued, and what is said of tables that will not do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.portfolio.data.drivers import Drivers, growth, joined, read_drivers
from thalweg.portfolio.data.scenarios import following, read_scenarios
from thalweg.portfolio.data.synthetic import synthetic

LONG = "driver,year,value\noil,2019,50\noil,2020,40\noil,2021,60\noil,2022,90\noil,2023,80\n"
HEAD = ["Model", "Scenario", "Region", "Variable", "Unit"]


def put(folder, text, name="drivers.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_all_layouts_hold_the_same_drivers(tmp_path):
    wide = pd.DataFrame({"year": range(2019, 2024), "oil": [50, 40, 60, 90, 80]})
    wide.to_excel(tmp_path / "wide.xlsx", index=False)
    tables = [
        put(tmp_path, LONG),
        put(tmp_path, LONG.replace("driver,year,value", "name,ds,y").replace(",2020,", ",2020-12-31,"), "long.csv"),
        tmp_path / "wide.xlsx",
        wide,
    ]
    for table in tables:
        found = read_drivers(table)
        assert found.names == ("oil",)
        np.testing.assert_array_equal(found.years, np.arange(2019, 2024))
        np.testing.assert_array_equal(found.values[:, 0], [50, 40, 60, 90, 80])
    assert read_drivers(put(tmp_path, "year,price\n2019,1\n2020,2\n", "wti.csv"), name="wti").names == ("wti",)


def test_a_country_is_chosen_from_the_table_of_the_world_bank(data):
    world = read_drivers(data / "portfolio" / "worldbank_gdp_nominal.csv", country="WLD")
    assert world.names == ("gdp WLD",)
    assert world.values[world.years == 2022] == 101225059591362.84
    assert read_drivers(data / "portfolio" / "worldbank_gdp_nominal.csv", country="world").values.tolist() == (
        world.values.tolist()
    )
    oil = read_drivers(data / "portfolio" / "wti_annual_usd_1986_2022.csv", name="wti")
    said = []
    both = joined([world, oil], note=said.append)
    assert (both.years[0], both.years[-1]) == (1986, 2022)
    assert said == ["Of gdp WLD 1960 to 1985, 2023 is not used, since other drivers lack it."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LONG.replace("40", "forty"), ("row 3, column value", "forty", "no number")),
        (LONG.replace("40", ""), ("row 3, column value", "no value")),
        (LONG.replace("40", "-40"), ("row 3, column value", "above zero")),
        (LONG.replace("40", "0"), ("row 3, column value", "above zero")),
        (LONG.replace("2020", "20x0"), ("row 3, column year", "is no year")),
        (LONG + "oil,2020,40\n", ("row 7", "2020 twice")),
        (LONG.replace("oil,2021,60\n", ""), ("no value for 2021", "nothing is filled in")),
        (LONG.replace("oil,2020", ",2020"), ("row 3, column driver", "no name")),
        ("a,b\n1,2\n", ("columns a, b", "driver, year and value")),
        ("year\n2020\n", ("no column beside year",)),
        ("driver,year,value\n", ("no drivers",)),
        ("Country Name,Country Code,Year,Value\nWorld,WLD,2020,3\n", ("choose one by its name or code",)),
    ],
)
def test_a_table_that_will_not_do_is_told_in_a_sentence(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read_drivers(put(tmp_path, text))
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_a_country_that_is_not_there_and_drivers_without_a_common_year(tmp_path):
    table = put(tmp_path, "Country Name,Country Code,Year,Value\nWorld,WLD,2020,3\n")
    with pytest.raises(InputError, match="no country 'XYZ'"):
        read_drivers(table, country="XYZ")
    one, other = (Drivers((name,), np.array([year]), np.ones((1, 1))) for name, year in (("a", 2000), ("b", 2001)))
    with pytest.raises(InputError, match="no year in common"):
        joined([one, other])
    with pytest.raises(InputError, match="given twice"):
        joined([one, one])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=20).filter(lambda some: np.std(some[:4]) > 1e-3),
    st.floats(0.1, 1e9),
)
def test_growth_is_standardised_by_the_training_alone_and_knows_no_unit(changes, unit):
    levels = unit * np.exp(np.cumsum([0, *changes]))
    drivers = Drivers(("a",), np.arange(2000, 2000 + levels.size), levels[:, None])
    found = growth(drivers, until=2004)
    trained = found.values[found.years <= 2004]
    np.testing.assert_allclose([trained.mean(), trained.std(ddof=1)], [0, 1], atol=1e-9)
    np.testing.assert_allclose(found.paths(found.values)[:, 0], changes, atol=1e-9)  # of logarithms near 20
    later = Drivers(("a",), drivers.years[:5], drivers.values[:5])
    np.testing.assert_array_equal(growth(later).mean, found.mean)


def test_growth_that_cannot_be_standardised_or_is_not_there():
    flat = Drivers(("a",), np.arange(2000, 2006), 1.1 ** np.arange(6)[:, None])
    with pytest.raises(InputError, match="same rate in every year"):
        growth(flat)
    some = Drivers(("a",), np.arange(2000, 2006), np.array([1, 2, 2, 3, 5, 4.0])[:, None])
    with pytest.raises(InputError, match="2 growths up to 2002"):
        growth(some, until=2002)
    with pytest.raises(InputError, match="no growth for 2000, 2006 to 2007"):
        growth(some).over(np.arange(2000, 2008))


def scenarios(*rows, years=("2020", "2021", "2022", "2025")):
    return pd.DataFrame(rows, columns=[*HEAD, *years])


def test_a_scenario_continues_the_drivers_whatever_its_unit():
    known = growth(Drivers(("oil",), np.arange(2015, 2021), np.array([50, 60, 40, 80, 70, 60.0])[:, None]))
    table = scenarios(["M", "low", "World", "Price|Oil", "index", 1.0, 1.1, 0.9, 1.2])
    low = read_scenarios(table, variables={"Price|Oil": "oil"})["low"]
    path = following(low, known, 2020, 2)
    np.testing.assert_allclose(known.paths(path)[:, 0], np.log([1.1, 0.9 / 1.1]), atol=1e-12)
    with pytest.raises(
        InputError, match="lacks 2023 to 2024, which this forecast needs: add them, or ask for interpol"
    ):
        following(low, known, 2020, 5)
    with pytest.raises(InputError, match="lacks 2026, which this forecast needs: add them, or shorten"):
        following(low, known, 2025, 1)
    said = []
    filled = known.paths(following(low, known, 2020, 5, interpolate=True, note=said.append))[:, 0]
    np.testing.assert_allclose(filled[2:], np.full(3, np.log(1.2 / 0.9) / 3), atol=1e-12)
    assert len(said) == 1
    assert "2023 to 2024 interpolated" in said[0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (scenarios(["M", "a", "W", "oil", "", 1, 1, 1, 1]).drop(columns="Unit"), "'unit' is missing"),
        (scenarios(["M", "a", "W", "oil", "", 1, 1, 1, 1]).rename(columns={"2025": "soon"}), "'soon' is no year"),
        (scenarios(["M", "a", "W", "oil", "", 1, 1, None, 1]), "column 2022.*no value"),
        (scenarios(["M", "a", "W", "oil", "", 1, 1, -2, 1]), "column 2022.*above zero"),
        (scenarios(["M", "a", "W", "oil", "", 1, 1, 1, 1], ["M", "a", "E", "oil", "", 1, 1, 1, 1]), "regions E, W"),
        (scenarios(["M", "a", "W", "oil", "", 1, 1, 1, 1], ["M", "a", "W", "oil", "", 1, 1, 1, 1]), "oil twice"),
    ],
)
def test_a_table_of_scenarios_that_will_not_do(table, words):
    with pytest.raises(InputError, match=words):
        read_scenarios(table)


def test_two_models_may_share_the_name_of_a_scenario():
    found = read_scenarios(scenarios(*([m, "a", "W", "oil", "", 1, 1, 1, 1] for m in ("M", "N"))))
    assert list(found) == ["M a", "N a"]
    known = growth(Drivers(("gas",), np.arange(2015, 2021), np.array([50, 60, 40, 80, 70, 60.0])[:, None]))
    with pytest.raises(InputError, match="the driver 'gas' is missing among oil"):
        following(found["M a"], known, 2020, 1)


def test_the_true_jacobian_of_the_synthetic_panel_is_that_of_its_forecast():
    world = synthetic(5, 20, seed=3)
    last, path, factor = world.panel.emissions[:, -1], world.drivers[-4:], np.linspace(0.1, 0.5, 5)
    step, slopes = 1e-5, world.jacobian(last, path, factor)
    for year in range(4):
        for driver in range(2):
            moved = np.zeros_like(path)
            moved[year, driver] = step
            ends = [factor @ world.expected(last, path + sign * moved) for sign in (1, -1)]
            # The error of the difference is of the order of the step squared.
            np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slopes[:, year, driver], rtol=1e-8, atol=1e-2)
    back = growth(world.levels())
    np.testing.assert_allclose(back.paths(back.values), 0.02 + 0.1 * world.drivers, atol=1e-12)
