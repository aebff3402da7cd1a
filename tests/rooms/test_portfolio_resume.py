"""Backtests and forecasts that are killed or stopped in the middle: resumed, they are the uninterrupted ones."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.command_line import call, isolate
from thalweg.portfolio.data.synthetic import synthetic
from thalweg.runs import Points, Run

# The signal comes while a part is about to get its name: who is killed there leaves a whole but nameless file.
STRUCK = """
import os, sys
from pathlib import Path
from thalweg.cli import main

number, last, rename, renamed = int(sys.argv[1]), int(sys.argv[2]), os.replace, []

def strike(source, target):
    if Path(target).parent.name == "parts":
        renamed.append(target)
        if len(renamed) == last:
            os.kill(os.getpid(), number)
    rename(source, target)

os.replace = strike
main(sys.argv[3:])
"""
TIMES = {"seconds", "compile_seconds"}


class Case(NamedTuple):
    """A command, how many parts it has, in which of them it is struck, and which sheets of its book hold no times."""

    words: tuple[str, ...]
    parts: int
    struck: int
    book: str
    sheets: tuple[int, ...]
    table: str


# Of five years, the first origin has too few for the network to learn from: the part that is struck is the first fit.
CASES = {
    "backtest": Case(
        ("backtest", "--emissions", "emissions.csv", "--origins", "2019", "--horizon", "1", "--models",
         "network,naive", "--portfolios", "5"), 4, 3, "backtest.xlsx", (2, 3, 4), "models.csv",
    ),
    "forecast": Case(
        ("forecast", "--holdings", "holdings.csv", "--fundamentals", "fundamentals.csv", "--emissions", "emissions.csv",
         "--horizon", "1", "--model", "network"), 3, 2, "forecast.xlsx", (1, 2, 3, 4), "companies.csv",
    ),
}  # fmt: skip


class Found(NamedTuple):
    """What a run leaves behind, without the times that it took."""

    result: Any
    parts: dict[str, bytes]
    sheets: list[bytes]
    table: list[dict[str, str]]


def write(folder: Path) -> None:
    """A panel of 24 companies, and a portfolio that holds a thousandth of each."""
    one = synthetic(24, 5, noise=0.05).panel
    tables: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
        "emissions": (("unique_id", "ds", "y", "unit"), [
            (company, year, value, "t CO2")
            for company, row in zip(one.companies, one.emissions, strict=True)
            for year, value in zip(one.years, row, strict=True)
        ]),
        "holdings": (("company_id", "investment_value [EUR]"), [(company, 1e6) for company in one.companies]),
        "fundamentals": (("company_id", "sector", "currency", "evic", "revenue"), [
            (company, "steel", "EUR", 1e9, 4e8) for company in one.companies
        ]),
    }  # fmt: skip
    for name, (head, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])


def line(case: Case, out: str) -> list[str]:
    return ["portfolio", *case.words, "--json", "--quiet", "--out", out]


def untimed(value: Any) -> Any:
    """The same without times, and without where it was written."""
    if isinstance(value, dict):
        return {key: untimed(each) for key, each in value.items() if key not in {*TIMES, "out", "files", "report"}}
    return [untimed(each) for each in value] if isinstance(value, list) else value


def found(case: Case, folder: Path) -> Found:
    """Read what a run has left behind."""
    store = Points(folder / "parts")
    names = sorted(path.stem for path in store.folder.iterdir())
    parts = [store.get(name) for name in names]
    with zipfile.ZipFile(folder / case.book) as book:
        sheets = [book.read(f"xl/worksheets/sheet{number}.xml") for number in case.sheets]
    with (folder / case.table).open(newline="") as file:
        table = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]
    forecasts = {name: np.asarray(part["forecast"]).tobytes() for name, part in zip(names, parts, strict=True) if part}
    return Found(untimed(json.loads((folder / "result.json").read_text())), forecasts, sheets, table)


def beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder whose runs share what they have compiled."""
    isolate(folder, monkeypatch)
    monkeypatch.setenv("THALWEG_CACHE", str(folder / "compiled"))


@pytest.fixture(scope="module", params=list(CASES))
def whole(request, tmp_path_factory) -> tuple[Case, Path, Found]:
    """A case, the folder of its tables, and what it finds if nothing happens."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp(request.param)
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        beside(folder, patch)
        ran = call(*line(case, "whole"))
    assert ran.exit_code == 0, ran.output
    return case, folder, found(case, folder / "whole")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_struck_in_the_middle_goes_on_to_the_same_bits(whole, number, monkeypatch):
    case, folder, expected = whole
    beside(folder, monkeypatch)
    out = folder / number.name
    command = [sys.executable, "-c", STRUCK, str(int(number)), str(case.struck), *line(case, out.name)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    finished = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.safetensors")}
    nameless = list((out / "parts").glob(".*.tmp"))
    if number == signal.SIGKILL:
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert (len(finished), len(nameless)) == (case.struck - 1, 1)
        assert Run.open(out).status == "interrupted"
    else:
        # The part under way is finished and kept; then it ends as whatever Ctrl-C ends.
        assert ended.returncode == 130, ended.stderr
        assert (len(finished), len(nameless)) == (case.struck, 0)
        assert Run.open(out).status == "cancelled"
        assert f"stopped after {case.struck} of {case.parts} parts" in json.loads(ended.stdout)["error"]
        assert "Traceback" not in ended.stderr
    assert not (out / "result.json").exists()
    assert not (out / case.book).exists()

    resumed = call("runs", "resume", str(out), "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.output
    assert Run.open(out).status == "done"
    assert finished == {path: path.stat().st_mtime_ns for path in finished}
    again = found(case, out)
    assert len(again.parts) == case.parts
    assert again == expected
