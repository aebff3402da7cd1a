"""Reported values and how they become one value for a company and a year."""

from __future__ import annotations

import datetime
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from thalweg.core.errors import InputError
from thalweg.portfolio.data.places import Dropped, dropped
from thalweg.portfolio.data.tables import Row

_PARTS = {"s1s2": ("s1", "s2"), "s1s2s3": ("s1s2", "s3")}


class Observation(NamedTuple):
    """One reported value.

    **Fields:** `company`; `year`; `scope`, empty where the table knows none; `tonnes`; `rank`, how well it stands for
    the whole company, 0 best; `date` of the report; `last`, the last year that the same row reports; `quality`, a
    data-quality score, if given; `stated`, whether the table states its unit; `row` and `column`, where it stands.
    """

    company: str
    year: int
    scope: str
    tonnes: float
    rank: int
    date: datetime.date | None
    last: int
    quality: float | None
    stated: bool
    row: Row
    column: str


class Value(NamedTuple):
    """What a company emitted in a year: `tonnes`; the observations it is the sum `of`."""

    tonnes: float
    of: tuple[Observation, ...]

    @property
    def date(self) -> datetime.date:
        """Of the oldest report among its parts."""
        return min(one.date or datetime.date.min for one in self.of)


class Restated(NamedTuple):
    """A value that a later report replaced: `company`, `year`, tonnes `before` and `after`, their places' rows."""

    company: str
    year: int
    scope: str
    before: float
    after: float
    before_row: int
    after_row: int


class Resolved(NamedTuple):
    """One value for each company and year, what was `restated`, and what is `dropped`."""

    values: dict[tuple[str, int], Value]
    restated: tuple[Restated, ...]
    dropped: tuple[Dropped, ...]


def resolved(observations: Iterable[Observation], scope: str, *, dated: bool, add: bool = False) -> Resolved:
    """One value for each company and year.

    Of several reports the latest counts; of the rows of one report, the one that stands best for the whole company; of
    reports of one date, the one that goes on longest. What still disagrees is dropped where reports are dated, because
    nothing says which value is right, and an error where they are not. A scope that is not reported itself is the sum
    of its parts, and also where those stem from a later report.

    **Arguments:** `observations`; `scope`, as wanted, or empty for tables without scopes; `dated`,
    whether reports are; `add`, whether the rows of a company and year are parts to be summed.

    **Raises:** `InputError` for two values of a company and year in a table without dates of reports.
    """
    groups: dict[str, dict[tuple[str, int], list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for one in observations:
        groups[one.scope][one.company, one.year].append(one)
    restated: list[Restated] = []
    lost: list[Dropped] = []

    def found(name: str) -> dict[tuple[str, int], Value]:
        values: dict[tuple[str, int], Value] = {}
        for key, several in groups.get(name, {}).items():
            if add:
                values[key] = Value(sum(one.tonnes for one in several), tuple(several))
                continue
            best = _best(several, restated, lost, dated)
            if best is not None:
                values[key] = Value(best.tonnes, (best,))
        for key, value in _summed(*map(found, _PARTS.get(name, ()))).items():
            if key not in values or value.date > values[key].date:
                values[key] = value
        return values

    values = found(scope)
    return Resolved(dict(sorted(values.items())), tuple(restated), tuple(lost))


def _summed(*parts: dict[tuple[str, int], Value]) -> dict[tuple[str, int], Value]:
    if not parts:
        return {}
    both = set.intersection(*(set(part) for part in parts))
    return {
        key: Value(sum(part[key].tonnes for part in parts), tuple(one for part in parts for one in part[key].of))
        for key in both
    }


def _best(
    several: Sequence[Observation], restated: list[Restated], lost: list[Dropped], dated: bool
) -> Observation | None:
    if len(several) == 1:
        return several[0]
    if not dated:
        return _single(several, lost)

    def order(one: Observation) -> tuple[datetime.date, int, int]:
        return one.date or datetime.date.min, -one.rank, one.last

    ranked = sorted(several, key=order, reverse=True)
    best, first = ranked[0], order(ranked[0])
    equal = list(itertools.takewhile(lambda one: order(one) == first, ranked))
    if any(not _close(one.tonnes, best.tonnes) for one in equal):
        rows = " and ".join(f"{one.tonnes:g} t in row {one.row.number}" for one in equal)
        lost += [dropped(one.row.place(one.column), one.row.get(one.column), f"{best.company} reports {rows} for "
                         f"{best.year}, and nothing says which counts.") for one in equal]  # fmt: skip
        return None
    for one in ranked[1:]:
        if not _close(one.tonnes, best.tonnes) and one.rank == best.rank:
            restated.append(Restated(best.company, best.year, best.scope, one.tonnes, best.tonnes, one.row.number,
                                     best.row.number))  # fmt: skip
            continue
        why = "repeats" if _close(one.tonnes, best.tonnes) else "stands less well for the whole company than"
        lost.append(dropped(one.row.place(one.column), one.row.get(one.column), f"{best.company} in {best.year}: the "
                            f"row {why} row {best.row.number}.", "part"))  # fmt: skip
    return best


def _single(several: Sequence[Observation], lost: list[Dropped]) -> Observation:
    best = min(several, key=lambda one: one.rank)
    for one in several:
        if one is best or one.rank != best.rank:
            continue
        place = one.row.place(one.column)
        if not _close(one.tonnes, best.tonnes):
            raise InputError(f"{place}: {one.company} has {one.tonnes:g} t in {one.year} here and {best.tonnes:g} t in "
                             f"row {best.row.number}: keep one of the rows.")  # fmt: skip
        lost.append(dropped(place, one.row.get(one.column), f"The row repeats row {best.row.number}."))
    return best


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 * max(abs(one), abs(other))
