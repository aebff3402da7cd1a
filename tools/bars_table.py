"""Writes `docs/bars.md`: every bar of `benchmarks/bars.toml` beside the figure in `benchmarks/results`.

python tools/bars_table.py [--check]
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from results import REPOSITORY, RESULTS, Nothing, Origin, content, figure, origin, selected, shown

BARS = REPOSITORY / "benchmarks" / "bars.toml"
PAGE = REPOSITORY / "docs" / "bars.md"
NOT_MEASURED = "not measured"

_BARS = {
    "at_least": ("at least {}", lambda value, bar: value >= bar),
    "at_most": ("at most {}", lambda value, bar: value <= bar),
    "above": ("above {}", lambda value, bar: value > bar),
    "below": ("below {}", lambda value, bar: value < bar),
    "within": ("{}", lambda value, bar: bar[0] <= value <= bar[1]),
    "is": ("{}", lambda value, bar: value == bar),
}
_HEAD = """# The bars

What this project set out to reach, room by room, and what was measured. Made by `tools/bars_table.py` from
`benchmarks/bars.toml` and the files in `benchmarks/results`: no figure is typed, and a figure that stands in no result
file counts as not measured. A bar that is missed stays in the table.
"""


class Looked(NamedTuple):
    """One bar as it stands: its words, its figure, the verdict and where it was measured."""

    entry: Mapping[str, Any]
    bar: str
    figure: str
    verdict: str
    origin: Origin | None


def bars(path: Path = BARS) -> list[dict[str, Any]]:
    """The entries of the file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))["bar"]


def looked(entry: Mapping[str, Any], folder: Path = RESULTS) -> Looked:
    """What stands about a bar.

    **Raises:** `Nothing` where the entry names a file that does not hold its figure; `ValueError` for no bar or
    several.
    """
    kinds = [kind for kind in _BARS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{entry['what']!r} must have one of {', '.join(_BARS)}, and has {len(kinds)}")
    said, holds = _BARS[kinds[0]]
    wanted = entry[kinds[0]]
    bar = said.format(shown(tuple(wanted) if isinstance(wanted, list) else wanted))
    if "file" not in entry:
        return Looked(entry, bar, "", NOT_MEASURED, None)
    value = figure(entry, folder)
    verdict, told = ("met" if holds(value, wanted) else "missed"), shown(value)
    if "needs" in entry:
        repeats = _repeats(entry, folder)
        if repeats < entry["needs"]:
            told = f"{told} (repeats: {repeats} of {entry['needs']})"
            verdict = NOT_MEASURED if verdict == "met" else verdict
    return Looked(entry, bar, told, verdict, origin(entry, folder))


def _repeats(entry: Mapping[str, Any], folder: Path) -> int:
    found = selected(content(entry["file"], folder), entry["repeats"])
    if not found:
        raise Nothing(f"{entry['file']}.json has nothing at {entry['repeats']}")
    (first, *_) = found
    if isinstance(first, list):
        return len(first)
    # A number of runs tells itself; a column of seeds is counted.
    return first if len(found) == 1 and entry["repeats"][-1] != "seed" else len(found)


def total(rows: Sequence[Looked]) -> str:
    """How many bars are met, missed and not measured, in words."""
    counts = Counter(row.verdict for row in rows)
    return f"{counts['met']} met, {counts['missed']} missed, {counts[NOT_MEASURED]} not measured"


def page(rows: Sequence[Looked]) -> str:
    """The whole page."""
    rooms = list(dict.fromkeys(row.entry["room"] for row in rows))
    parts = [_HEAD, f"**{len(rows)} bars: {total(rows)}.**\n"]
    for room in rooms:
        inside = [row for row in rows if row.entry["room"] == room]
        parts.append(f"## {room}\n\n{total(inside)}.\n\n" + _table(inside))
    return "\n".join(parts)


def _table(rows: Sequence[Looked]) -> str:
    head = "| measured | bar | figure | | where, when, on what |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {row.entry['what']} | {row.bar} | {row.figure} | {_verdict(row)} | {_where(row)} |\n" for row in rows
    )


def _verdict(row: Looked) -> str:
    return row.verdict if row.verdict == "met" else f"**{row.verdict}**"


def _where(row: Looked) -> str:
    if row.origin is None:
        return row.entry["why"]
    load = f", load {row.origin.load}" if row.origin.load else ""
    return f"`{row.origin.file}.json`, {row.origin.date}, {row.origin.machine}{load}"


def main() -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    text = page([looked(entry) for entry in bars()])
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/bars.md is not what benchmarks/results say: run python tools/bars_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
