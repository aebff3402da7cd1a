"""The one reader of tables: CSV files, sheets of XLSX workbooks and tables of pandas, whose cells know their place."""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from thalweg.core.errors import InputError, require
from thalweg.portfolio.data.places import Place

Source: TypeAlias = "str | os.PathLike[str] | Any"  # a file, the name of a sample or data set, or a table of pandas
SAMPLE = "itr"
_FILES = {"carbon-majors": "carbon_majors_medium_granularity.csv", "eu-ets": "eutl_verified_emissions_2005_2020.csv"}


class Row(NamedTuple):
    """One row: its `table`; its `number`, as a spreadsheet counts; its `cells`, one for each column."""

    table: Table
    number: int
    cells: Sequence[Any]

    def get(self, column: str | None) -> Any:
        """What a cell holds, text without blanks around it; None where it is empty or the column is missing."""
        place = None if column is None else self.table.index.get(column)
        if place is None or place >= len(self.cells):
            return None
        return _plain(self.cells[place])

    def place(self, column: str) -> Place:
        """Where a cell of this row stands."""
        letter = letters(self.table.index[column])
        return Place(self.table.file, self.table.sheet, self.number, column, letter)


class Table(NamedTuple):
    """A table of a file.

    **Fields:** `file`, as errors name it; `sheet`, empty where there are none; `columns`, the headings as spelled, `""`
    for none; `index`, the place of each heading; `numbers` and `cells` of the rows below the headings.
    """

    file: str
    sheet: str
    columns: tuple[str, ...]
    index: dict[str, int]
    numbers: Sequence[int]
    cells: Sequence[Sequence[Any]]

    def __str__(self) -> str:
        return f"{self.file}, sheet {self.sheet!r}" if self.sheet else self.file

    def rows(self) -> Iterator[Row]:
        """The rows that hold anything."""
        for number, cells in zip(self.numbers, self.cells, strict=True):
            if any(cell is not None and cell != "" for cell in cells):
                yield Row(self, number, cells)

    def named(self, *names: str) -> str | None:
        """The first of some headings that the table has, as it is spelled there; case and `_` or blank do not matter.

        **Raises:** `InputError` where two columns bear it.
        """
        for name in names:
            found = [column for column in self.columns if _same(column) == _same(name)]
            if len(found) > 1:
                raise InputError(f"{self}: has the column {name} {len(found)} times: keep one of them.")
            if found:
                return found[0]
        return None


def located(source: str | os.PathLike[str], holds: str) -> Path:
    """Where a file lies: a file on disk goes before the sample `itr` and the public data sets of this room.

    **Arguments:** `source`; `holds`: `holdings`, `fundamentals` or `emissions`.

    **Raises:** `InputError` if there is no such file, or a folder.
    """
    from thalweg import datasets, samples

    name = os.fspath(source)
    path = Path(name).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        raise InputError(f"{name!r} is no name of a file: name an existing one.") from None
    if path.is_dir():
        raise InputError(f"{path}: is a folder: name a file in it.")
    if name in (SAMPLE, "itr_panel"):
        return samples.path(f"itr_panel_{holds}.csv")
    if holds == "emissions" and name.partition("/")[0] in _FILES:
        return datasets.locate(name if "/" in name else f"{name}/{_FILES[name]}")
    raise InputError(f"{path}: there is no such file: name an existing one, or {SAMPLE} for the sample.")


def read_tables(source: Source, holds: str) -> list[Table]:
    """All tables of a source: one of a CSV file or of pandas, one for each sheet of a workbook.

    **Arguments:** `source`; `holds`, what is looked for: `holdings`, `fundamentals` or `emissions`.

    **Raises:** `InputError` in one sentence for files that are missing, damaged, not of these formats or empty;
    `MissingExtra` for a workbook without openpyxl.
    """
    if not isinstance(source, (str, os.PathLike)):
        if not (hasattr(source, "columns") and hasattr(source, "itertuples")):
            raise InputError(f"a {type(source).__name__} is no table: name a file, or give a DataFrame of pandas.")
        return [_table("the table", "", [list(source.columns), *source.itertuples(index=False, name=None)], first=-1)]
    path = located(source, holds)
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        state = path.stat()
        return list(_sheets(path, (state.st_mtime_ns, state.st_size)))
    if path.suffix.lower() in (".xls", ".ods", ".xlsb"):
        raise InputError(f"{path}: is a workbook of another format: save it as XLSX or CSV.")
    return [_table(str(path), "", _records(path))]


def _records(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8 (byte {error.start}): save it as CSV UTF-8, or XLSX.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the file.") from None
    if "\0" in text:
        raise InputError(f"{path}: is a binary file: name a CSV file or an XLSX workbook.")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: is no table of CSV ({error}): check its quotation marks, or the end of the file.") \
            from None  # fmt: skip


@functools.lru_cache(maxsize=2)  # one workbook often serves for three kinds of tables
def _sheets(path: Path, state: tuple[int, int]) -> tuple[Table, ...]:
    """The sheets of a workbook in some state, with the values that its formulas had when it was saved."""
    openpyxl = require("openpyxl", extra="portfolio")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl on drop-down lists, which hold no values
        try:
            with open(path, "rb") as file:  # openpyxl leaves a damaged file open
                values = openpyxl.load_workbook(file, data_only=True)
                formulas = openpyxl.load_workbook(file)
        except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise InputError(f"{path}: is no whole XLSX workbook ({reason}): copy or save it anew.") from None
    found = []
    for sheet in values.worksheets:
        rows = [list(row) for row in sheet.iter_rows(values_only=True)]
        for number, row in enumerate(formulas[sheet.title].iter_rows(values_only=True)):
            for place, cell in enumerate(row):
                if isinstance(cell, str) and cell.startswith("=") and rows[number][place] is None:
                    rows[number][place] = cell  # never calculated: the cell says so where a number is wanted
        if rows:
            found.append(_table(str(path), sheet.title, rows))
    if not found:
        raise InputError(f"{path}: holds no sheet with rows: check the file.")
    return tuple(found)


def _table(file: str, sheet: str, rows: list[Any], first: int = 1) -> Table:
    if not rows or not any(_plain(cell) is not None for cell in rows[0]):
        if not sheet:
            raise InputError(f"{file}: has no headings in its first row: name a table with headings.")
        rows = [()]
    columns = tuple("" if _plain(cell) is None else _heading(cell) for cell in rows[0])
    index: dict[str, int] = {}
    for place, name in enumerate(columns):
        if name:
            index.setdefault(name, place)
    for number, row in enumerate(rows[1:], first + 1):
        if len(row) > len(columns) and any(_plain(cell) is not None for cell in row[len(columns):]):  # fmt: skip
            where = f"{file}, sheet {sheet!r}" if sheet else file
            raise InputError(f"{where}, row {number}: has {len(row)} cells where the headings are {len(columns)}: put "
                             "values with commas in quotation marks.")  # fmt: skip
    return Table(file, sheet, columns, index, range(first + 1, first + len(rows)), rows[1:])


def _heading(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell.strip() or None
    return None if cell is None or cell != cell or type(cell).__name__ in ("NAType", "NaTType") else cell


def _same(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")


def letters(place: int) -> str:
    """How a spreadsheet names a column: A, B, ..., Z, AA.

    **Arguments:** `place` of the column, from zero.
    """
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(65 + rest) + name
    return name
