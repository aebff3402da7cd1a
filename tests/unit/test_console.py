"""Run directories of commands: begun, listed, shown, gone on with; results, reports and what goes wrong."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import adder, call, isolate

from thalweg.console import Console, common
from thalweg.core.errors import ThalwegError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    return adder(monkeypatch)


@pytest.fixture
def halving(add, monkeypatch) -> dict[str, Any]:
    """A command `halve FILE` that halves a number ten times; it stops after four while `seen["stop"]` is set."""
    import jax.numpy as jnp

    from thalweg.core.solution import Outcome
    from thalweg.methods.drive import drive

    seen: dict[str, Any] = {"stop": True, "starts": []}

    @click.command("halve")
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--factor", type=float, default=0.5)
    @common
    def halve(console: Console, file: Path, factor: float) -> None:
        """Halve."""
        with console.run({"file": file, "factor": factor}, inputs=[file]) as running:

            def stop(report):
                seen["starts"].append(report.step)
                return Outcome.CANCELLED if seen["stop"] and report.step >= 4 else None

            hooks = running.hooks("halving", read=lambda x: {"x": x})
            start = jnp.asarray(float(file.read_text()))
            walk = drive(lambda x: x * factor, start, 10, chunk=1, hooks=(*hooks, stop))
            if Outcome.of(walk.outcome) is Outcome.CANCELLED:
                raise ThalwegError("it was stopped.")
            running.finish({"x": walk.state, "steps": walk.step, "inner": {"many": [1, 2]}})

    add(halve)
    Path("start.txt").write_text("1024.0")
    return seen


def test_a_run_is_listed_shown_and_gone_on_with(halving, tmp_path, monkeypatch):
    answer = call("halve", "start.txt", "--seed", "7", "--quiet")
    assert (answer.exit_code, answer.stderr) == (1, "Error: it was stopped.\n")
    (info,) = json.loads(call("runs", "list", "--json").stdout)["runs"]
    assert (info["status"], info["outcome"]) == ("failed", "it was stopped.")
    assert info["command"] == f"halve {tmp_path / 'start.txt'} --seed 7 --quiet"

    halving.update(stop=False, starts=[])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    answer = call("runs", "resume", info["path"], "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["x"] == 1.0  # 1024 / 2**10, exact in binary
    assert (told["seed"], told["out"]) == (7, info["path"])
    assert told["seconds"] >= told["compile_seconds"] >= 0
    assert halving["starts"][0] == 5  # the four steps from before were not taken again
    lines = [json.loads(line) for line in (Path(info["path"]) / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 11))

    monkeypatch.setenv("THALWEG_RUNS", str(tmp_path / "runs"))
    shown = json.loads(call("runs", "show", info["id"], "--json").stdout)
    assert shown["manifest"]["status"] == "done"
    assert shown["result"] == told
    assert re.search(r"option factor +0\.5\n", call("runs", "show", info["id"][:12]).stdout)


def test_a_result_for_people(halving):
    halving["stop"] = False
    before = signal.getsignal(signal.SIGINT)
    answer = call("halve", "start.txt", "--out", "mine")
    assert answer.exit_code == 0, answer.output
    assert signal.getsignal(signal.SIGINT) is before
    assert "x                1\n" in answer.stdout
    assert "inner.many       2 values, in result.json\n" in answer.stdout
    assert "halving: 10 of 10 steps" in answer.stderr
    assert json.loads(Path("mine/result.json").read_text())["steps"] == 10


def test_a_run_with_other_options_is_refused(halving):
    halving["stop"] = False
    assert call("halve", "start.txt", "--out", "mine").exit_code == 0
    answer = call("halve", "start.txt", "--out", "mine", "--factor", "0.25")
    assert answer.exit_code == 1
    assert "factor = 0.5, not 0.25" in answer.stderr


def test_a_command_that_fails_on_purpose_prints_its_result(add):
    @click.command("judge")
    @common
    def judge(console: Console) -> None:
        with console.run({}) as running:
            running.finish({"held": 8}, outcome="One claim fails.", ok=False)

    add(judge)
    answer = call("judge", "--json", "--out", "mine")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["held"] == 8
    assert json.loads(call("runs", "show", "mine", "--json").stdout)["manifest"]["outcome"] == "One claim fails."


@pytest.mark.parametrize(
    ("result", "says"), [(None, "without `finish`"), ({"seed": 1}, "the result has its own 'seed'")]
)
def test_a_command_that_is_wrong_about_its_result(add, result, says):
    @click.command("wrong")
    @common
    def wrong(console: Console) -> None:
        with console.run({}) as running:
            if result is not None:
                running.finish(result)

    add(wrong)
    answer = call("wrong", "--out", "mine")
    assert answer.exit_code == 1
    assert says in answer.stderr
    assert json.loads(Path("mine/manifest.json").read_text())["status"] == "failed"


def test_a_report_says_where_it_comes_from(add):
    from thalweg.report import Page

    @click.command("paged")
    @common
    def paged(console: Console) -> None:
        with console.run({}) as running:
            running.finish({}, Page("A title", "A summary"))

    add(paged)
    answer = call("paged", "--out", "mine", "--seed", "11")
    assert "report           mine/report.html" in answer.stdout
    page = Path("mine/report.html").read_text()
    assert "thalweg paged --out mine --seed 11" in page
    assert "versions.jax" in page


def test_runs_that_are_not_there():
    assert call("runs", "list").stdout == "There are no runs in runs.\n"
    answer = call("runs", "resume", "2026")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: there are no runs in runs")


def test_a_run_from_python_cannot_be_resumed_by_a_command():
    from thalweg.runs import Run

    with Run.create("mine", {}):
        pass
    answer = call("runs", "resume", "mine")
    assert answer.exit_code == 1
    assert "was not started by a command" in answer.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a train x --out y --json", "a train x --out /r"),
        ("a train --out=y x -- --out z", "a train x --out /r -- --out z"),
        ("a train --out --json --seed 3", "a train --seed 3 --out /r"),  # a directory called --json
    ],
)
def test_the_words_that_go_on(words, expected):
    from thalweg.cli import _resuming

    assert _resuming(words.split(), Path("/r"), []) == expected.split()
