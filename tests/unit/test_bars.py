"""The table of bars: made from the result files, looked at by somebody, and unable to tell what was not measured."""

from __future__ import annotations

import json

import bars_table
import pytest
import results


def test_every_verdict_is_the_one_that_somebody_looked_at():
    changed = {
        f"{row.entry['room']}: {row.entry['what']}": (row.entry["verdict"], row.verdict)
        for row in map(bars_table.looked, bars_table.bars())
        if row.entry["verdict"] != row.verdict
    }
    assert changed == {}


def test_the_page_is_up_to_date():
    page = bars_table.page([bars_table.looked(entry) for entry in bars_table.bars()])
    assert bars_table.PAGE.read_text(encoding="utf-8") == page, "run: python tools/bars_table.py"


def test_what_is_not_measured_says_why():
    rows = [bars_table.looked(entry) for entry in bars_table.bars()]
    assert [row.entry["what"] for row in rows if row.origin is None and not row.entry.get("why")] == []


@pytest.fixture
def folder(tmp_path):
    rows = [{"name": "a", "error": 3.0, "seed": 0}, {"name": "b", "error": 5.0, "seed": 1}]
    (tmp_path / "made.json").write_text(json.dumps({"date": "2020-01-01", "cores": 2, "cpu": "slow", "rows": rows}))
    return tmp_path


BAR = {"room": "x", "what": "y", "file": "made", "find": ["rows", {"name": "a"}, "error"]}


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ({"at_most": 3}, "met"),
        ({"below": 3}, "missed"),
        ({"at_least": 3}, "met"),
        ({"above": 3}, "missed"),
        ({"within": [2, 4]}, "met"),
        ({"is": 4}, "missed"),
        ({"at_most": 4, "find": ["rows", "*", "error"], "over": "mean"}, "met"),
        ({"at_most": 1.1, "less": 2, "times": 1}, "met"),
        ({"at_most": 4, "needs": 3, "repeats": ["rows", "*", "seed"]}, "not measured"),
        ({"at_most": 2, "needs": 3, "repeats": ["rows", "*", "seed"]}, "missed"),
    ],
)
def test_verdicts(folder, entry, verdict):
    assert bars_table.looked(BAR | entry, folder).verdict == verdict


@pytest.mark.parametrize(
    "change", [{"file": "nothing"}, {"find": ["rows", 7, "error"]}, {"find": ["rows", "*", "error"]}]
)
def test_a_figure_that_is_not_there_is_an_error(folder, change):
    with pytest.raises(results.Nothing):
        bars_table.looked(BAR | {"at_most": 1} | change, folder)


def test_an_entry_needs_one_bar(folder):
    with pytest.raises(ValueError, match="has 2"):
        bars_table.looked(BAR | {"at_most": 1, "at_least": 0}, folder)
