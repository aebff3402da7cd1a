"""Jumps by a thousand between neighbouring years, which are mostly a change of unit."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.core.errors import InputError
from thalweg.portfolio.data.observations import Value
from thalweg.portfolio.data.places import Note

_NEAR = (300.0, 3000.0)  # about t against kt
_FAR = 3e5  # about t against Mt, and anything beyond


def check_jumps(values: Mapping[tuple[str, int], Value], table: str, note: Note) -> None:
    """Refuse jumps by about a thousand or a million where no unit is stated, and tell of them where one is.

    **Raises:** `InputError` with both rows: t, kt and Mt are mixed, or else the unit has to be stated.
    """
    noted = []
    for (company, year), value in values.items():
        after = values.get((company, year + 1))
        if after is None:
            continue
        ratio = max(value.tonnes, after.tonnes) / min(value.tonnes, after.tonnes)
        if not (_NEAR[0] <= ratio <= _NEAR[1] or ratio >= _FAR):
            continue
        one, other = value.of[0], after.of[0]
        if not (one.stated and other.stated):
            raise InputError(f"{other.row.place(other.column)}: {company} goes from {value.tonnes:g} in {year} (row "
                             f"{one.row.number}) to {after.tonnes:g} in {year + 1}, as if t, kt and Mt were mixed: "
                             "correct it, or add a column unit.")  # fmt: skip
        noted.append(f"{company} in {year + 1}")
    if noted:
        note(f"{table}: although the units are stated, emissions change about a thousandfold within a year for "
             f"{', '.join(noted)}.")  # fmt: skip
