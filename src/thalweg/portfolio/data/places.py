"""Where a value stands in a file, and what became of the values that are not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Note: TypeAlias = Callable[[str], object]


class Place(NamedTuple):
    """One cell.

    **Fields:** `file`, as it was named; `sheet`, empty where there are none; `row`, as a spreadsheet counts, headings
    included (for a table of pandas, from zero); `column`, its heading; `letter`, as a spreadsheet names the column.
    """

    file: str
    sheet: str
    row: int
    column: str
    letter: str

    def __str__(self) -> str:
        sheet = f", sheet {self.sheet!r}" if self.sheet else ""
        letter = f" ({self.letter})" if self.letter and self.letter != self.column else ""
        return f"{self.file}{sheet}, row {self.row}, column {self.column}{letter}"


class Dropped(NamedTuple):
    """A value that is in the files but in no figure.

    **Fields:** `file`, `sheet`, `row`, `column`, where it stands; `value`, as it stands there; `why`, one sentence;
    `kind`: `lost` for what a figure would have used, `part` for rows that break
    a total down, repeat a value, or stand less well for the company than the one that counts.
    """

    file: str
    sheet: str
    row: int
    column: str
    value: str
    why: str
    kind: str = "lost"


def dropped(place: Place, value: Any, why: str, kind: str = "lost") -> Dropped:
    """The record that the value of a cell is not used."""
    shown = "" if value is None else str(value)
    return Dropped(place.file, place.sheet, place.row, place.column, shown, why, kind)


def silent(sentence: str) -> None:
    """A note that nobody hears."""
