"""Figures out of `benchmarks/results`, by a path that a TOML file states: nothing is typed twice."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

_OVER = {
    "least": min,
    "largest": max,
    "mean": statistics.fmean,
    "median": statistics.median,
    "all": all,
    "range": lambda values: (min(values), max(values)),
    "largest size": lambda values: max(map(abs, values)),
    "sum": math.fsum,
    "count": len,
    "kinds": lambda values: len(set(values)),
}


class Nothing(LookupError):
    """A selector that finds no figure."""


class Origin(NamedTuple):
    """Where a figure was measured."""

    file: str
    date: str
    machine: str
    load: str


@cache
def content(name: str, folder: Path = RESULTS) -> Any:
    """What stands in the result file `name`."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise Nothing(f"there is no result file {path.name}")
    return json.loads(path.read_text(encoding="utf-8"))


def selected(value: Any, find: Sequence[Any]) -> list[Any]:
    """All values that a path leads to: keys, places in lists, lists of either, `"*"`, tables that items must match."""
    found = [value]
    for step in find:
        found = [each for one in found for each in _inside(one, step)]
    return [each for each in found if each is not None]


def _inside(value: Any, step: Any) -> list[Any]:
    if isinstance(step, Mapping):
        return [each for each in value if all(_matches(each, key, wanted) for key, wanted in step.items())]
    if isinstance(step, list):
        return [each for one in step for each in _inside(value, one)]
    if step == "*":
        return list(value.values() if isinstance(value, dict) else value)
    if isinstance(value, dict):
        return [value[step]] if step in value else []
    return [value[step]] if isinstance(step, int) and -len(value) <= step < len(value) else []


def _matches(item: Any, key: str, wanted: Any) -> bool:
    return item.get(key) in wanted if isinstance(wanted, list) else item.get(key) == wanted


def figure(entry: Mapping[str, Any], folder: Path = RESULTS) -> Any:
    """The figure that an entry with `file`, `find` and perhaps `over`, `times`, `per`, `less`, `add` describes.

    `per`, `less` and `add`, in that order, are numbers, or entries of their own whose file is by default the same;
    then follows `times`, and `size` drops the sign.

    **Raises:** `Nothing` where the path leads nowhere, or to several values and no `over` is said.
    """
    values = selected(content(entry["file"], folder), entry["find"])
    if not values:
        raise Nothing(f"{entry['file']}.json has nothing at {entry['find']}")
    if "over" in entry:
        value = _OVER[entry["over"]](values)
    elif len(values) > 1:
        raise Nothing(f"{entry['file']}.json has {len(values)} values at {entry['find']}, and `over` is not said")
    else:
        value = values[0]
    for operation in ("per", "less", "add"):
        if operation in entry:
            told = entry[operation]
            other = figure({"file": entry["file"]} | told, folder) if isinstance(told, Mapping) else told
            value = {"per": lambda a, b: a / b, "less": lambda a, b: a - b, "add": lambda a, b: a + b}[operation](
                value, other
            )
    value = value * entry["times"] if "times" in entry else value
    return abs(value) if entry.get("size") else value


def origin(entry: Mapping[str, Any], folder: Path = RESULTS) -> Origin:
    """Date and machine of the innermost description on the way to a figure."""
    value = content(entry["file"], folder)
    described = _description(value)
    for step in entry["find"]:
        inside = _inside(value, step) if isinstance(value, dict | list) else []
        if not inside:
            break
        value = inside[0]
        described = _description(value) or described
    described = described or {}
    load = described.get("load_average")
    machine = f"{described.get('cores', '?')} x {described.get('cpu', 'unknown')}"
    return Origin(entry["file"], described.get("date", "undated"), machine, f"{load[0]:.1f}" if load else "")


def _description(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    return value if "date" in value else value.get("machine") if isinstance(value.get("machine"), dict) else None


def shown(value: Any, style: str = "") -> str:
    """A figure as text: by `style`, a format, or with four digits."""
    if isinstance(value, tuple):
        first, last = shown(value[0], style), shown(value[1], style)
        return first if first == last else f"{first} to {last}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if style:
        return format(value, style)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e6):
        return str(int(value))
    return "0" if value == 0 else f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or math.isinf(value) else f"{value:.2e}"
