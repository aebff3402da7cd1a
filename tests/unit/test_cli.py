"""The command line: what is loaded when, exit codes, sentences, one JSON object, rooms of other packages."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import adder, call, isolate

import thalweg
from thalweg.console import Console, looking
from thalweg.core.errors import ThalwegError
from thalweg.program import Program

HEAVY = ("jax", "jaxlib", "numpy", "matplotlib", "plotly", "sklearn", "scipy", "equinox", "pooch", "rich")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    return adder(monkeypatch)


def process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.fixture
def raising(add) -> Callable[[BaseException], None]:
    """Make `thalweg fail` raise something."""

    def make(error: BaseException) -> None:
        @click.command("fail")
        @looking
        def fail(console: Console) -> None:
            print("something that a library prints")
            raise error

        add(fail)

    return make


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["data", "list"], ["runs", "list"], ["runs", "--help"]])
def test_what_computes_nothing_loads_nothing_heavy(words):
    done = process(f"""
        import sys
        from thalweg.cli import main
        main({words!r}, standalone_mode=False)
        print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
    """)
    assert done.returncode == 0
    assert done.stderr.split() == []
    assert done.stdout


def test_help_names_every_command():
    for name in ("tour", "doctor", "data", "runs", "learning", "robust"):
        assert f"\n  {name} " in call("--help").stdout


def test_every_export_is_there():
    for name in thalweg.__all__:
        assert getattr(thalweg, name) is not None
        assert name in dir(thalweg)
    assert thalweg.relax.__module__ == "thalweg.verbs.relax"
    with pytest.raises(AttributeError, match="no attribute 'relaxed'"):
        _ = thalweg.relaxed


def test_wrong_usage_ends_with_2():
    answer = call("unknown")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "No such command 'unknown'" in answer.stderr
    assert call("data", "get").exit_code == 2
    assert call("data", "list", "--seed", "-1").exit_code == 2


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "x.bin")


FAILURES = [
    (lambda: ThalwegError("x.csv, line 3:\nthe weight is no number."), 1, "x.csv, line 3: the weight is no number."),
    (lambda: KeyError("gone"), 1, "this is a defect of thalweg (KeyError: 'gone'): run it again with THALWEG_DEBUG=1"),
    (MemoryError, 1, "the memory is not enough"),
    (no_space, 1, "the disk is full (x.bin)"),
    (lambda: RuntimeError("Unable to initialize backend 'tpu'"), 1, "JAX cannot start"),
    (KeyboardInterrupt, 130, "Stopped."),
]


@pytest.mark.parametrize(("make", "code", "says"), FAILURES)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_is_one_sentence(raising, make, code, says, as_json):
    raising(make())
    answer = call("fail", *["--json"] * as_json)
    assert answer.exit_code == code
    assert says in answer.stderr
    assert "Traceback" not in answer.output
    if as_json:
        told = json.loads(answer.stdout)
        assert says in told["error"]
        assert told["type"]


def test_the_traceback_is_there_for_those_who_ask(raising, monkeypatch):
    monkeypatch.setenv("THALWEG_DEBUG", "1")
    raising(KeyError("gone"))
    assert "Traceback" in call("fail").stderr


def test_a_walk_that_was_cancelled_ends_like_an_interrupt(raising):
    from thalweg.core.errors import WalkError
    from thalweg.core.solution import Outcome, Solution

    def error(outcome: Outcome) -> WalkError:
        return WalkError(f"relax: {outcome.value}", Solution(0.0, 0.0, outcome.code))  # type: ignore[arg-type]

    raising(error(Outcome.CANCELLED))
    assert call("fail").exit_code == 130
    raising(error(Outcome.STEPS))
    assert call("fail").exit_code == 1


def test_ctrl_c_in_a_process():
    done = process("""
        import os, signal, click
        from thalweg.cli import main
        main.commands["wait"] = click.Command("wait", callback=lambda: os.kill(os.getpid(), signal.SIGINT))
        main(["wait"])
    """)
    assert done.returncode == 130
    assert done.stderr.strip() == "Stopped."


def test_a_command_that_was_used_keeps_its_line_in_the_help():
    program = Program("thalweg", {"doctor": ("thalweg.doctor:command", "A line.")})
    context = click.Context(program)
    before = program.get_help(context)
    assert program.get_command(context, "doctor") is not None
    assert program.get_help(context) == before
    assert "A line." in before


def test_a_reader_that_goes_away_is_no_error():
    code = "from thalweg.cli import main; main(['data', 'list', '--json'])"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert done.stderr == ""


def test_json_is_alone_on_standard_output():
    done = process("""
        import os, click
        from thalweg.cli import main
        from thalweg.console import looking

        @click.command("chatter")
        @looking
        def chatter(console):
            print("a print")
            os.write(1, b"a compiled library\\n")
            console.note("a note")
            console.answer({"x": 1}, "text")

        main.commands["chatter"] = chatter
        main(["chatter", "--json", "--out", "here"])
    """)
    assert json.loads(done.stdout) == {"x": 1}
    for line in ("a print", "a compiled library", "a note"):
        assert line in done.stderr
    assert json.loads(Path("here/result.json").read_text()) == {"x": 1}


def test_quiet_keeps_notes_back(add):
    @click.command("noted")
    @looking
    def noted(console: Console) -> None:
        console.note("a note")
        console.answer({}, "text")

    add(noted)
    assert call("noted").stderr == "a note\n"
    assert call("noted", "--quiet").output == "text\n"


def test_doctor():
    answer = call("doctor", "--json")
    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["ok"], told["broken"]) == (0, True, [])
    assert told["jax"]["devices"]
    assert told["packages"]["jax"] == told["jax"]["version"]
    lacking = {extra for extra, packages in told["extras"].items() if None in packages.values()}
    assert {line.split()[2] for line in told["advice"] if line.startswith("The extra")} == lacking
    assert told["jax"]["version"] in call("doctor").stdout


def test_doctor_says_what_is_broken(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "nowhere"))
    answer = call("doctor", "--json")
    assert answer.exit_code == 1
    assert "THALWEG_DATA names" in json.loads(answer.stdout)["error"]
    assert answer.stderr.startswith("Error: THALWEG_DATA names")


@pytest.fixture
def announce(tmp_path, monkeypatch) -> Callable[[str], click.Group]:
    """Install a package `glaciers` with some source, and give a program that looks for rooms."""
    from thalweg.program import Program

    def make(source: str) -> click.Group:
        folder = tmp_path / "site"
        (folder / "glaciers-1.0.dist-info").mkdir(parents=True)
        (folder / "glaciers-1.0.dist-info" / "METADATA").write_text("Name: thalweg-glaciers\nVersion: 1.0\n")
        (folder / "glaciers-1.0.dist-info" / "entry_points.txt").write_text(
            "[thalweg.rooms]\nglaciers = glaciers_room:main\ndata = glaciers_room:main\n"
        )
        (folder / "glaciers_room.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "glaciers_room", raising=False)
        return Program("thalweg", {"data": ("thalweg.cli:data", "Ours.")}, announced="thalweg.rooms")

    return make


def test_a_room_of_another_package(announce):
    program = announce("import click\nmain = click.Command('glaciers', callback=lambda: click.echo('ice'))\n")
    listed = CliRunner().invoke(program, ["--help"]).stdout
    assert "glaciers  (from thalweg-glaciers)" in listed
    assert "data      Ours." in listed  # nobody takes the name of one of ours
    assert "glaciers_room" not in sys.modules
    assert CliRunner().invoke(program, ["glaciers"]).stdout == "ice\n"


@pytest.mark.parametrize("source", ["import nothing_of_this_name\n", "main = 3\n", ""])
def test_a_room_that_cannot_be_loaded(announce, source):
    answer = CliRunner().invoke(announce(source), ["glaciers"])
    assert answer.exit_code == 1
    assert "update or remove that package" in answer.stderr
    assert "Traceback" not in answer.output
