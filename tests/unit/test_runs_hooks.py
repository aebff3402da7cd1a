"""What a run hangs into a walk, each hook on its own."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.hooks import Closer, Keeper, Report, Resumer
from thalweg.core.solution import Outcome
from thalweg.methods.drive import drive
from thalweg.runs import (
    Cancel,
    Checkpoint,
    Metrics,
    Progress,
    Run,
    TimeLimit,
    read_metrics,
    save_state,
)
from thalweg.runs.checkpoint import saved_step


def report(step: int, seconds: float = 0.0, outcome: Outcome = Outcome.WALKING, state: Any = None) -> Report:
    return Report(step, 100, {"x": jnp.full(2, float(step))} if state is None else state, outcome, seconds)


def test_hooks_are_what_the_core_asks_for(tmp_path):
    checkpoint, progress = Checkpoint(tmp_path), Progress("walk")
    assert isinstance(checkpoint, Resumer)
    assert isinstance(checkpoint, Closer)
    assert isinstance(checkpoint, Keeper)
    assert isinstance(progress, Closer)


def test_a_checkpoint_is_saved_when_it_is_due(tmp_path):
    path = tmp_path / "state.safetensors"
    keeper = Checkpoint(tmp_path, every_seconds=None, every_steps=10)
    assert keeper.restore({"x": jnp.zeros(2)}) is None
    saved = []
    for step in (4, 9, 11, 15, 20, 21, 40):
        assert keeper(report(step)) is None
        saved.append(saved_step(path))
    assert saved == [None, None, 11, 11, 11, 21, 40]
    for outcome in (Outcome.NONFINITE, Outcome.CAPACITY, Outcome.STALLED):
        keeper.close(report(50, outcome=outcome))
        assert saved_step(path) == 40
    for step, outcome in enumerate((Outcome.DONE, Outcome.STEPS, Outcome.TIME, Outcome.CANCELLED), start=60):
        keeper.close(report(step, outcome=outcome))
        assert saved_step(path) == step
    assert keeper.kept == f"{path} at step 63"
    always = Checkpoint(path, every_seconds=0.0)
    found = always.restore({"x": jnp.zeros(2)})
    assert found is not None
    assert found[1] == 63
    always(report(64))
    assert saved_step(path) == 64
    never = Checkpoint(path, every_seconds=1e6)
    never(report(70))
    assert saved_step(path) == 64
    for seconds, steps in [(-1.0, None), (math.nan, None), (1.0, 0)]:
        with pytest.raises(InputError, match="makes no sense"):
            Checkpoint(path, seconds, steps)


def test_a_run_that_is_only_looked_at_is_not_written(tmp_path):
    with Run.create(tmp_path / "a", {}):
        pass
    run = Run.open(tmp_path / "a")
    with pytest.raises(InputError, match="only looked at: enter it"):
        Checkpoint(run)
    with run:
        Checkpoint(run).close(report(3))
    assert saved_step(run.state_path) == 3


def test_a_number_that_a_walk_changes_is_refused_when_it_is_saved(tmp_path):
    keeper = Checkpoint(tmp_path, every_steps=1)
    with pytest.raises(InputError, match=r"state\['n'\] changes in the walk but is no array"):
        drive(lambda s: {"n": s["n"] + 1, "x": s["x"]}, {"n": 0, "x": np.ones(1)}, 3, host=True, hooks=(keeper,))
    assert list(tmp_path.iterdir()) == []


def test_a_host_walk_goes_on_with_its_random_words(tmp_path):
    def advance(state):
        words = state["words"] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        return {"words": words, "x": state["x"] + (words >> np.uint64(40)).astype(np.float64)}

    begin = {"words": np.arange(3, dtype=np.uint64), "x": np.zeros(3)}
    drive(advance, begin, 10, host=True, hooks=(Checkpoint(tmp_path),))
    rest = drive(advance, begin, 25, host=True, hooks=(Checkpoint(tmp_path),))
    whole = drive(advance, begin, 25, host=True)
    assert {name: leaf.tobytes() for name, leaf in rest.state.items()} == {
        name: leaf.tobytes() for name, leaf in whole.state.items()
    }


def test_a_time_limit_counts_seconds():
    limit = TimeLimit(2.0)
    assert limit(report(1, 1.99)) is None
    assert limit(report(2, 2.0)) is Outcome.TIME
    sparing = TimeLimit(2.0, lambda: 1.5)
    assert sparing(report(2, 3.49)) is None
    assert sparing(report(2, 3.5)) is Outcome.TIME
    for wrong in (-1.0, math.nan):
        with pytest.raises(InputError, match="makes no sense"):
            TimeLimit(wrong)


def test_cancel_by_request_needs_no_signal():
    cancel = Cancel()
    assert cancel(report(1)) is None
    cancel.request()
    assert cancel(report(2)) is Outcome.CANCELLED


def test_metrics_are_lines_that_a_resume_cuts_back(tmp_path):
    with Run.create(tmp_path / "a", {}) as run:
        metrics = Metrics(
            run, lambda s: {"x": s["x"][0], "n": np.int64(3), "bad": jnp.inf, "flag": True, "low": jnp.bfloat16(2)}
        )
        for step in (2, 4, 6):
            metrics(report(step, step / 2))
        save_state(run.state_path, {"x": jnp.zeros(2)}, 4)
    with open(run.metrics_path, "ab") as file:
        file.write(b'{"step": 8, "sec')  # a kill cut it short
    rows = read_metrics(run.metrics_path)
    assert rows[0] == {"step": 2, "seconds": 1.0, "x": 2.0, "n": 3, "bad": "inf", "flag": True, "low": 2.0}
    assert [row["step"] for row in rows] == [2, 4, 6]
    with Run.create(tmp_path / "a", {}) as run:
        metrics = Metrics(run, lambda s: {"x": s["x"][0]})
        save_state(run.state_path, {"x": jnp.zeros(2)}, 9)
        metrics(report(9))
    assert [row["step"] for row in read_metrics(run.metrics_path)] == [2, 4, 9]
    # A walk that begins anew drops them all.
    Metrics(run, lambda s: {"x": s["x"][0]})(report(1))
    assert [row["step"] for row in read_metrics(run.metrics_path)] == [1]


def test_metrics_that_are_no_numbers_are_refused(tmp_path):
    with Run.create(tmp_path / "a", {}) as run:
        for read, sentence in [
            (lambda s: {"x": s["x"]}, r"'x' is float32\[2\], not one number"),
            (lambda s: {"x": "high"}, "'x' is <U4"),
            (lambda s: {"step": 1}, "'step', which every line has already"),
        ]:
            with pytest.raises(InputError, match=sentence):
                Metrics(run, read)(report(1))
    assert not run.metrics_path.exists()
    run.metrics_path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        read_metrics(run.metrics_path)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_at_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress("cooling [x]", read=lambda state: {"energy": state["x"][0]})
    progress(report(10, 1.0))
    progress(report(30, 2.0))
    progress._bar.refresh()
    assert "20 steps/s" in sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    progress.close(report(100, 5.0, Outcome.DONE))
    shown = sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "cooling [x]" in shown
    assert "30/100" in shown
    assert shown.endswith("cooling [x]: 100 of 100 steps, 22.5 steps/s, energy 100\n")
    assert shown.count("\x1b[?25h") == 1  # the cursor is given back


def test_progress_is_a_line_now_and_then_elsewhere(capsys):
    progress = Progress("cooling", total=50)
    for step in range(1, 6):
        progress(report(step, 10.0 * step))
    progress.close(report(50, 55.0))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["cooling: 3 of 50 steps, 0.1 steps/s", "cooling: 50 of 50 steps, 1.09 steps/s"]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_quiet_progress_says_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    progress = Progress("cooling", quiet=True)
    progress(report(1, 100.0))
    progress.close(report(2, 200.0))
    assert sys.stderr.getvalue() == ""  # pyright: ignore[reportAttributeAccessIssue]
