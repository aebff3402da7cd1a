"""Economic drivers by year, as long or wide tables, and their growth as a forecaster is given it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Note, silent
from thalweg.portfolio.data.tables import Row, Source, Table, read_tables
from thalweg.portfolio.data.tables import located as file_of
from thalweg.portfolio.data.values import number, text, year

_FILES = {
    "gdp": "gdp/worldbank_gdp_nominal.csv",
    "wti": "oil-prices/wti_annual_usd_1986_2022.csv",
    "brent": "oil-prices/brent_annual_usd_1987_2022.csv",
}
_FEWEST = 3  # growths, below which a spread says nothing


class Drivers(NamedTuple):
    """Levels of economic drivers over contiguous years.

    **Fields:**

    - `names`: one each, unique.
    - `years`: ascending, without a gap.
    - `values`: positive levels in units of their own: only their growth is used.
    """

    names: tuple[str, ...]
    years: Int[np.ndarray, " years"]
    values: Float[np.ndarray, "years drivers"]


class Growth(NamedTuple):
    """Growth of drivers from each year before, in units of its own spread.

    **Fields:**

    - `names`, `years`: of the drivers, and the years into which they grew.
    - `values`: `(log(level / level of the year before) - mean) / spread`.
    - `mean`, `spread`: of the growth in logarithms over the years of training.
    """

    names: tuple[str, ...]
    years: Int[np.ndarray, " years"]
    values: Float[np.ndarray, "years drivers"]
    mean: Float[np.ndarray, " drivers"]
    spread: Float[np.ndarray, " drivers"]

    def over(self, years: np.ndarray) -> Float[np.ndarray, "steps drivers"]:
        """The growth into each of some years.

        **Raises:** `InputError` naming the years that are missing.
        """
        years = np.asarray(years, np.int64)
        if absent := sorted(set(years.tolist()) - set(self.years.tolist())):
            raise InputError(
                f"the drivers have no growth for {spoken(absent)}: it takes the year itself and the one before, so "
                "add these years, or begin later."
            )
        return self.values[np.searchsorted(self.years, years)]

    def paths(self, values: np.ndarray) -> Float[np.ndarray, "... drivers"]:
        """Standardised growth as growth in logarithms per year."""
        return self.mean + self.spread * np.asarray(values)


def located(source: str | os.PathLike[str]) -> Path:
    """Where the file of drivers lies: a file on disk goes before the public data sets `gdp`, `wti` and `brent`.

    **Raises:** `InputError` if there is no such file.
    """
    from thalweg import datasets

    name = os.fspath(source)
    return datasets.locate(_FILES[name]) if name in _FILES and not Path(name).exists() else file_of(name, "drivers")


def growth(drivers: Drivers, *, until: int | None = None) -> Growth:
    """The growth of drivers in logarithms, standardised by the years up to `until` alone.

    **Arguments:** `until`: the last year of training, so that no later one leaks into mean and spread; by default all.

    **Raises:** `InputError` for fewer than three growths to standardise by, or a driver that never changed its pace.
    """
    years, values = drivers.years[1:], np.diff(np.log(drivers.values), axis=0)
    used = np.full(years.shape, True) if until is None else years <= until
    if used.sum() < _FEWEST:
        raise InputError(
            f"the drivers have {used.sum()} growths {'' if until is None else f'up to {until} '}to standardise by: "
            f"give at least {_FEWEST + 1} years."
        )
    mean, spread = values[used].mean(axis=0), values[used].std(axis=0, ddof=1)
    for name, width in zip(drivers.names, spread, strict=True):
        if width < 1e-12:
            raise InputError(f"the driver {name} grows by the same rate in every year: leave it out, it explains none.")
    return Growth(drivers.names, years, (values - mean) / spread, mean, spread)


def read_drivers(
    source: Source, *, country: str | None = None, name: str | None = None, note: Note = silent
) -> Drivers:
    """Drivers from a CSV or XLSX file or a table of pandas.

    **Arguments:**

    - `source`: a long table with columns `driver, year, value` or `name, ds, y`; a wide one with a column `year` and
      one for each driver; the World Bank's `Country Name, Country Code, Year, Value`; or `gdp`, `wti` or `brent`, the
      public data sets of those.
    - `country`: a name or code of the World Bank's table, `WLD` for the world.
    - `name`: of the driver, where a wide table has a single column; by default that column.
    - `note`: told which years are not used, since some drivers lack them.

    **Returns:** the years that all drivers have.

    **Raises:** `InputError` for what is missing, no number, not positive, given twice, or leaves a gap.
    """
    table = read_tables(source if hasattr(source, "columns") else located(source), "drivers")[0]
    at, driver = table.named("year", "ds"), table.named("driver", "name", "unique_id", "variable")
    value = table.named("value", "y")
    if at is not None and value is not None and table.named("country code") is not None:
        cells = _world_bank(table, country, value)
    elif at is not None and value is not None and driver is not None:
        cells = [(row, _named(row, driver), value) for row in table.rows()]
    elif at is not None:
        cells = _wide(table, at, name)
    else:
        raise InputError(
            f"{table}: has the columns {', '.join(table.columns)}: give driver, year and value in a long table, or "
            "year and a column for each driver in a wide one."
        )
    levels: dict[str, dict[int, float]] = {}
    for row, driver, column in cells:
        found, when = positive(row, column, driver), year(row, str(at))
        if when in levels.setdefault(driver, {}):
            raise InputError(f"{row.place(str(at))}: {driver} has {when} twice: keep one of them.")
        levels[driver][when] = found
    return joined([_of(driver, values, str(table)) for driver, values in levels.items()], note=note)


def positive(row: Row, column: str, driver: str) -> float:
    """The level of a driver in a cell.

    **Raises:** `InputError` for a cell that is empty, no number or not positive.
    """
    value = number(row, column, [])
    if value is None:
        raise InputError(f"{row.place(column)}: {driver} has no value: write one, or remove the row.")
    if not value > 0:
        raise InputError(
            f"{row.place(column)}: {driver} is {value:g}, but growth in logarithms needs levels above zero: give a "
            "price or an index."
        )
    return value


def joined(many: Sequence[Drivers], *, note: Note = silent) -> Drivers:
    """Several drivers over the years that all of them have.

    **Raises:** `InputError` for a name that occurs twice, or drivers without a common year.
    """
    names = tuple(name for one in many for name in one.names)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the driver {twice} is given twice: keep one of them, or rename it.")
    if not many:
        raise InputError("there are no drivers: the table is empty.")
    first, last = max(int(one.years[0]) for one in many), min(int(one.years[-1]) for one in many)
    if first > last:
        raise InputError(f"the drivers {', '.join(names)} have no year in common: give them over the same years.")
    for one in many:
        outside = [int(year) for year in one.years if not first <= year <= last]
        if outside:
            note(f"Of {', '.join(one.names)} {spoken(outside)} is not used, since other drivers lack it.")
    kept = [one.values[(one.years >= first) & (one.years <= last)] for one in many]
    return Drivers(names, np.arange(first, last + 1), np.concatenate(kept, axis=1))


def spoken(years: Iterable[int]) -> str:
    """Years as people say them: 1990, 1995 to 2000."""
    years = sorted(years)
    if not years:
        return "no year"
    breaks = [0, *(i for i in range(1, len(years)) if years[i] != years[i - 1] + 1), len(years)]
    runs = [(years[a], years[b - 1]) for a, b in pairwise(breaks)]
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in runs)


def _of(driver: str, values: dict[int, float], where: str) -> Drivers:
    years = np.array(sorted(values))
    gaps = sorted(set(range(int(years[0]), int(years[-1]) + 1)) - set(values))
    if gaps:
        raise InputError(f"{where}: the driver {driver} has no value for {spoken(gaps)}: add it, nothing is filled in.")
    return Drivers((driver,), years, np.array([[values[int(year)]] for year in years]))


def _named(row: Row, column: str) -> str:
    found = text(row, column)
    if not found:
        raise InputError(f"{row.place(column)}: the driver has no name: write one, or remove the row.")
    return found


def _world_bank(table: Table, country: str | None, value: str) -> list[tuple[Row, str, str]]:
    spelled, code = table.named("country name"), str(table.named("country code"))
    if country is None:
        raise InputError(f"{table}: holds many countries: choose one by its name or code, such as WLD.")
    wanted = country.lower()
    here = [row for row in table.rows() if wanted in (text(row, spelled).lower(), text(row, code).lower())]
    if not here:
        raise InputError(f"{table}: there is no country {country!r}: use a name or code of the table, such as WLD.")
    return [(row, f"gdp {text(here[0], code)}", value) for row in here]


def _wide(table: Table, at: str, name: str | None) -> list[tuple[Row, str, str]]:
    series = [column for column in table.columns if column not in ("", at)]
    if not series:
        raise InputError(f"{table}: has no column beside {at}: add one for each driver.")
    # Wide tables leave cells empty where a driver begins later; a gap inside is found afterwards.
    return [
        (row, name if name is not None and len(series) == 1 else column, column)
        for column in series
        for row in table.rows()
        if row.get(column) is not None
    ]
