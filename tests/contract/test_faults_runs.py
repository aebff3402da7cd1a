"""What a run survives: kills, faults, limits, other processes, damaged files and full disks."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import killable
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.solution import Outcome
from thalweg.methods.drive import drive
from thalweg.runs import (
    Cancel,
    Checkpoint,
    Metrics,
    Run,
    TimeLimit,
    list_runs,
    load_state,
    read_metrics,
    save_state,
    write_atomic,
)
from thalweg.runs.checkpoint import saved_step


def bits(tree) -> list[bytes]:
    leaves = [
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves(tree)
    ]
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def temporaries(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp"))


class Killer:
    """Starts walks in a process of their own and kills them."""

    def __init__(self):
        environment = os.environ | {
            "PYTHONWARNINGS": "ignore"
        }  # JAX warns of every fork; here none has computed before
        self.server = subprocess.Popen(
            [sys.executable, killable.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.walking: int | None = None

    def start(self, *request) -> int:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps([str(request[0]), *request[1:]]) + "\n")
        self.server.stdin.flush()
        self.walking = int(self._line())
        return self.walking

    def ended(self) -> int:
        code = int(self._line())
        self.walking = None
        return code

    def _line(self) -> str:
        assert self.server.stdout is not None
        assert self.server.stderr is not None
        line = self.server.stdout.readline()
        assert line, self.server.stderr.read()
        return line

    def close(self) -> None:
        if self.walking is not None:  # a failed test leaves a walk that would never end
            os.kill(self.walking, signal.SIGKILL)
        self.server.communicate()


@pytest.fixture
def killer():
    killer = Killer()
    try:
        yield killer
    finally:
        killer.close()


def wait_for_a_step_past(checkpoint: Path, step: int, pid: int) -> None:
    deadline = time.monotonic() + 60
    while (saved_step(checkpoint) or 0) <= step:
        assert time.monotonic() < deadline, f"process {pid} saved nothing in a minute"
        os.kill(pid, 0)  # fails if the walk has ended, which it should not
        time.sleep(0.02)


def test_a_walk_killed_at_any_moment_goes_on_with_the_same_bits(killer, tmp_path):
    folder, checkpoint, far = tmp_path / "run", tmp_path / "run" / "state.safetensors", 1_000_000
    delays = random.Random(0)
    step, caught, pid = 0, 0, 0
    for kill in range(6):
        # Every second start saves and chunks otherwise: neither may change a bit.
        pid = killer.start(folder, far, *((1, 1) if kill % 2 == 0 else (3, 2)))
        if kill != 3:  # the fourth kill strikes while the process starts or restores
            wait_for_a_step_past(checkpoint, step, pid)
        time.sleep(delays.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert killer.ended() == -signal.SIGKILL
        caught += len(temporaries(folder))
        reached = saved_step(checkpoint) or 0
        assert reached >= step + (kill != 3)
        assert kill == 3 or Run.open(folder).status == "interrupted"
        step = reached
    # A killed writer may or may not have left a temporary file; this one certainly has.
    (folder / f".state.safetensors.{pid}-01234567.tmp").write_bytes(b"half")
    steps = step + 17
    killer.start(folder, steps, 3, 2)
    assert killer.ended() == 0

    rows = {}
    whole = drive(killable.advance, killable.start(), steps, chunk=1, hooks=(lambda report: note(rows, report),))
    state, reached = load_state(checkpoint, killable.start())
    assert (reached, bits(state)) == (steps, bits(whole.state)), f"{caught} kills left a temporary file"
    written = [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder / "metrics.jsonl")]
    assert written == [rows[row["step"]] for row in written]
    assert [row["step"] for row in written] == sorted({row["step"] for row in written})
    assert temporaries(folder) == []
    assert Run.open(folder).status == "done"


def note(rows: dict, report) -> None:
    seen = {name: value.item() for name, value in killable.seen(report.state).items()}
    rows[report.step] = {"step": report.step, **seen}


class Breaking(eqx.Module):
    x: jax.Array
    step: jax.Array


def breaking(state: Breaking) -> Breaking:
    x = state.x * 1.01
    return Breaking(jnp.where(state.step == 29, jnp.nan, x), state.step + 1)


def test_a_fault_keeps_the_last_good_checkpoint(tmp_path):
    keeper = Checkpoint(tmp_path, every_seconds=None, every_steps=5)
    begin = Breaking(jnp.ones(3), jnp.array(0))
    walk = drive(breaking, begin, 100, chunk=7, hooks=(keeper,))
    assert Outcome.of(walk.outcome) is Outcome.NONFINITE
    assert walk.step == 29
    assert keeper.kept == f"{tmp_path}/state.safetensors at step 28"
    state, step = load_state(keeper.path, begin)
    assert step == 28
    assert bits(state) == bits(drive(breaking, begin, 28).state)
    # Resumed, it meets the same fault again and again keeps the same file.
    again = drive(breaking, begin, 100, hooks=(Checkpoint(tmp_path, every_seconds=0.0),))
    assert (again.step, Outcome.of(again.outcome)) == (29, Outcome.NONFINITE)
    assert (saved_step(keeper.path) or 0) in {28, 29}


def small() -> killable.State:
    state = killable.start()
    return killable.State(state.x[:50], state.low, state.key, state.words)


def test_a_time_limit_and_a_resume_are_the_uninterrupted_walk(tmp_path):
    with Run.create(tmp_path / "run", {}) as run:
        # A limit of 0 seconds ends at the first chunk boundary: there is no waiting for a clock in this test.
        hooks = (Metrics(run, lambda state: {"first": state.x[0]}), Checkpoint(run), TimeLimit(0.0))
        first = drive(killable.advance, small(), 10**9, hooks=hooks)
    assert Outcome.of(first.outcome) is Outcome.TIME
    assert 0 < first.step < 10**9
    steps = int(first.step) + 37
    with Run.create(tmp_path / "run", {}) as run:
        hooks = (Metrics(run, lambda state: {"first": state.x[0]}), Checkpoint(run))
        rest = drive(killable.advance, small(), steps, hooks=hooks)
    assert bits(rest.state) == bits(drive(killable.advance, small(), steps).state)
    assert saved_step(run.state_path) == steps
    assert [row["step"] for row in read_metrics(run.metrics_path)][-1] == steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_walk_at_the_next_chunk(tmp_path, number, capfd):
    def press(report):
        if report.step == 6:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with Cancel() as cancel:
        walk = drive(killable.advance, small(), 50, chunk=3, hooks=(press, cancel, Checkpoint(tmp_path)))
    assert signal.getsignal(number) is before
    assert "once more" in capfd.readouterr().err
    assert Outcome.of(walk.outcome) is Outcome.CANCELLED
    assert walk.step == 6
    rest = drive(killable.advance, small(), 50, hooks=(Checkpoint(tmp_path),))
    assert bits(rest.state) == bits(drive(killable.advance, small(), 50).state)


def test_a_second_signal_stops_at_once(tmp_path):
    def press_twice(report):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path / "run", {}) as run, Cancel(quiet=True) as cancel:
        drive(killable.advance, small(), 50, hooks=(press_twice, cancel, Checkpoint(run)))
    assert Run.open(tmp_path / "run").status == "cancelled"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


HOLDER = """
import sys
from thalweg.runs import Run
with Run.create(sys.argv[1], {"a": 1}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_in_the_directory_is_one_sentence(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ThalwegError, match=f"in use by process {holder.pid}: wait"):
            Run.create(folder, {"a": 1})
        assert Run.open(folder).status == "running"
        assert [info.status for info in list_runs(tmp_path)] == ["running"]
        holder.kill()
        holder.wait()
        assert [info.status for info in list_runs(tmp_path)] == ["interrupted"]
        with Run.create(folder, {"a": 1}) as run:
            assert (run.was, run.status) == ("running", "running")
    assert [info.status for info in list_runs(tmp_path)] == ["done"]


def test_the_holder_itself_cannot_take_its_lock_twice(tmp_path):
    with (
        Run.create(tmp_path / "run", {}),
        pytest.raises(ThalwegError, match=f"in use by process {os.getpid()}"),
    ):
        Run.create(tmp_path / "run", {})


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[bytes, dict]:
    state = {
        "x": jnp.linspace(0, 1, 7),
        "low": jnp.ones((2, 2), jnp.bfloat16),
        "key": jax.random.key(1),
        "host": np.arange(3),
    }
    path = save_state(tmp_path_factory.mktemp("good") / "state.safetensors", state, 41, {"note": "x"})
    return path.read_bytes(), state


def is_refused(raw: bytes, state) -> bool:
    """Whether a file with these bytes is refused in one sentence; one that is read must hold `state`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.safetensors")
        path.write_bytes(raw)
        with contextlib.suppress(InputError):
            saved_step(path)
        try:
            found, step = load_state(path, state)
        except InputError as error:
            return one_line(error)
    assert (step, bits(found)) == (41, bits(state))
    return False


def one_line(error: Exception) -> bool:
    assert "\n" not in str(error)
    return True


@settings(max_examples=150, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_noticed_or_harmless(good, flips):
    raw, state = good
    changed = bytearray(raw)
    for place, mask in flips:
        changed[place % len(raw)] ^= mask
    is_refused(bytes(changed), state)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10**6), tail=st.binary(max_size=20), front=st.binary(max_size=9))
def test_cut_and_padded_files_are_noticed_or_harmless(good, cut, tail, front):
    raw, state = good
    is_refused(front + raw[: cut % len(raw)] + tail, state)


def test_every_byte_of_the_arrays_counts(good):
    raw, state = good
    begin = 8 + int.from_bytes(raw[:8], "little")
    for place in range(begin, len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        assert is_refused(bytes(changed), state), f"byte {place} was changed unnoticed"
    for end in range(0, len(raw), 7):
        assert is_refused(raw[:end], state), f"a file cut at byte {end} was read"


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["config.toml", "manifest.json"]), place=st.integers(0, 10**6), junk=st.binary(max_size=8))
def test_damaged_bookkeeping_is_listed_as_broken(name, place, junk):
    with tempfile.TemporaryDirectory() as folder:
        with Run.create(Path(folder, "a"), {"beta": 0.5, "names": ["x"]}, command=["tour"], seed=1):
            pass
        path = Path(folder, "a", name)
        raw = path.read_bytes()
        place %= len(raw)
        path.write_bytes(raw[:place] + junk)
        info = list_runs(folder)[0]
        assert info.status in {"done", "broken"}
        if info.status == "broken":
            assert name in (info.outcome or "")
            assert "\n" not in (info.outcome or "")
            with pytest.raises(InputError):
                Run.open(info.path)
            with pytest.raises(InputError):
                Run.create(info.path, {"beta": 0.5, "names": ["x"]}, command=["tour"], seed=1)


@pytest.fixture
def small_disk():
    """No file may grow past 4 kB: the system's own refusal, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path, small_disk):
    path = tmp_path / "state.safetensors"
    save_state(path, {"x": jnp.ones(3)}, 1)
    before = path.read_bytes()
    with pytest.raises(ThalwegError, match=r"cannot be written .*: free some space"):
        save_state(path, {"x": jnp.ones(3000)}, 2)
    assert path.read_bytes() == before
    assert temporaries(tmp_path) == []
    with pytest.raises(ThalwegError, match="free some space"), Run.create(tmp_path / "run", {}) as run:
        drive(lambda x: x + 1, jnp.ones(3000), 5, hooks=(Checkpoint(run),))
    assert Run.open(tmp_path / "run").status == "failed"
    assert "free some space" in Run.open(tmp_path / "run").manifest["outcome"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for attempt in (
        lambda: write_atomic(tmp_path / "file" / "x", b""),
        lambda: Run.create(tmp_path / "file" / "run", {}),
        lambda: Run.create(tmp_path / "file", {}),
        lambda: drive(lambda x: x + 1, jnp.ones(3), 5, hooks=(Checkpoint(tmp_path / "file" / "x.safetensors"),)),
    ):
        with pytest.raises(ThalwegError, match="choose another place with --out"):
            attempt()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence_and_still_listed(tmp_path):
    with Run.create(tmp_path / "run", {}):
        pass
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ThalwegError, match="choose another place with --out"):
            Run.create(tmp_path / "other", {})
        assert [info.status for info in list_runs(tmp_path)] == ["done"]
    finally:
        tmp_path.chmod(0o700)
