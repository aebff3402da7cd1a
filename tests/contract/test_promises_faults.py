"""Full disks, places that cannot be written, inputs that vanish and two processes in one place, in every room."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import call
from contract.promises import CASES, ROOMS, write_inputs

NOBODY = 65534
PLAIN = {".txt", ".csv", ".xyz", ".bed", ".bedgraph", ".npz"}  # the others hold times, or names in random order
CLOCK = "second|nanosecond|date"
HOLDER = """
import fcntl, os, sys
held = [open(name, "w") for name in sys.argv[1:]]
for file in held:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(f"{os.getpid()}\\n")
    file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[Path]:
    """A folder with the inputs of every command, which anybody may read, with the tests inside it."""
    # Not pytest's own temporary folder, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        folder.chmod(0o755)
        patch.chdir(folder)
        patch.setenv("THALWEG_CACHE", "off")
        patch.delenv("THALWEG_RUNS", raising=False)
        write_inputs(folder)
        yield folder


def ran(room: str, out: Path, *more: str):
    return call(room, *CASES[room].words, "--out", str(out), "--quiet", "--json", *more)


def refused(found) -> str:
    """The one sentence of a command that failed: exit code 1, one line, the same in JSON, and no defect of ours."""
    assert found.exit_code == 1, found.output
    answer = json.loads(found.stdout)
    lines = [line for line in found.stderr.splitlines() if line and not line.startswith("What was done is kept")]
    assert lines == [f"Error: {answer['error']}"]
    assert "defect of thalweg" not in answer["error"]
    return answer["error"]


def left(folder: Path) -> dict[str, object]:
    """What a run leaves behind, but for where and when it did it."""
    files: dict[str, object] = {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in PLAIN}
    result = json.loads((folder / "result.json").read_text())
    # A run that is gone on with names its inputs in full.
    plain = lambda value: json.dumps(value).replace(str(folder), "RUN").replace(f"{folder.parent}/", "")  # noqa: E731
    told = {f"result: {name}": plain(value) for name, value in result.items()}
    return files | {name: value for name, value in told.items() if not re.search(CLOCK, name)}


@contextmanager
def small_disk(most: int) -> Iterator[None]:
    """No file grows past so many bytes: the system's own refusal, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere, so that it becomes somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("room", ROOMS)
def test_a_file_where_the_folder_should_be_is_refused_and_left_alone(bench, room):
    place = bench / f"{room}.out"
    place.write_text("mine")
    found = ran(room, place / "run")
    assert "choose another place with --out" in refused(found)
    assert place.read_text() == "mine"


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_that_may_not_be_written_is_refused(bench, room):
    place = bench / f"{room}-closed"
    place.mkdir(mode=0o555)
    with as_nobody():
        found = ran(room, place / "run")
    assert "choose another place with --out" in refused(found)
    assert not list(place.iterdir())


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(bench, room):
    place = bench / f"{room}-mine"
    place.mkdir()
    (place / "thesis.txt").write_text("mine")
    assert "holds thesis.txt and no run" in refused(ran(room, place))
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


@pytest.fixture(scope="module")
def taken(bench) -> Iterator[dict[str, Path]]:
    """A folder for each room, in all of which another process is at work."""
    places = {room: bench / f"{room}-taken" for room in ROOMS}
    for place in places.values():
        place.mkdir()
    words = [sys.executable, "-c", HOLDER, *(str(place / ".lock") for place in places.values())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield places | {"pid": Path(str(holder.pid))}
        holder.communicate()


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_where_another_process_is_at_work_is_refused(taken, room):
    sentence = refused(ran(room, taken[room]))
    assert f"is in use by process {taken['pid']}: wait for it or choose another --out." in sentence
    assert [path.name for path in taken[room].iterdir()] == [".lock"]


@pytest.fixture(scope="module")
def broken(bench) -> dict[str, Path]:
    return {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_once_there_is_space(bench, room, broken):
    place = bench / f"{room}-full"
    with small_disk(6000):  # the record of the run fits, its report does not
        sentence = refused(ran(room, place))
    assert "free some space" in sentence
    manifest = json.loads((place / "manifest.json").read_text())
    assert (manifest["status"], "free some space" in manifest["outcome"]) == ("failed", True)
    assert not [path for path in place.rglob("*") if ".tmp" in path.name]
    assert not (place / "result.json").exists()
    assert not [path for path in place.rglob("*.html") if path.stat().st_size == 6000]
    # A vanished input first: the run is not gone on with, and says of which file.
    file = bench / CASES[room].file
    hidden = file.rename(file.with_suffix(".hidden"))
    before = {path.name for path in place.iterdir()}
    gone = call("runs", "resume", str(place), "--quiet", "--json")
    hidden.rename(file)
    assert file.name in refused(gone)
    assert {path.name for path in place.iterdir()} == before
    resumed = call("runs", "resume", str(place), "--quiet", "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((place / "manifest.json").read_text())["status"] == "done"
    assert (place / "report.html").stat().st_size > 6000
    # And with the same bits as a run that nothing befell.
    assert ran(room, bench / f"{room}-whole").exit_code == 0
    assert left(place) == left(bench / f"{room}-whole")


# The kill comes while a file is about to get its name, so that a whole but nameless file is left; the second of them is
# the run's record, and those behind it are its work.
STRUCK = """
import os, signal, sys
from thalweg.cli import main

last, rename, renamed = int(sys.argv[1]), os.replace, []

def strike(source, target):
    renamed.append(target)
    if len(renamed) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = strike
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 3, 4])
@pytest.mark.parametrize("room", ROOMS)
def test_a_command_killed_while_it_writes_goes_on_with_the_same_bits(bench, room, last):
    place, whole = bench / f"{room}-killed-{last}", bench / f"{room}-untouched"
    words = [*CASES[room].words, "--out", str(place), "--quiet"]
    struck = subprocess.run([sys.executable, "-c", STRUCK, str(last), room, *words], capture_output=True, text=True)
    assert struck.returncode == -signal.SIGKILL, struck.stderr
    resumed = call("runs", "resume", str(place), "--quiet") if (place / "config.toml").exists() else ran(room, place)
    assert resumed.exit_code == 0, resumed.output
    assert not [path for path in place.rglob("*") if ".tmp" in path.name]
    if not whole.exists():
        assert ran(room, whole).exit_code == 0
    assert left(place) == left(whole)


@pytest.mark.parametrize("room", ROOMS)
def test_an_input_that_changed_since_is_refused(bench, room):
    # Runs only behind the test above, whose folder it goes on with.
    place = bench / f"{room}-full"
    if not place.exists():
        pytest.skip("the run that it would go on with was not made")
    file = bench / CASES[room].file
    kept = bench / "kept"
    shutil.copy(file, kept)
    file.write_bytes(file.read_bytes() + b"\n")
    try:
        sentence = refused(call("runs", "resume", str(place), "--quiet", "--json"))
    finally:
        kept.replace(file)
    assert file.name in sentence
