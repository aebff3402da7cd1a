"""Steps that fit into a given time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from thalweg.core.hooks import Hook, Report
from thalweg.core.solution import Outcome
from thalweg.runs.pace import paced


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hook], None]:
    """A trial of a hundred steps per second, on a clock of its own."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def trial(watch: Hook) -> None:
        step = 0
        while watch(Report(step, 10**6, None, Outcome.DONE, now[0])) is not Outcome.TIME:
            now[0] += 0.5
            step += 50

    return trial


def test_the_time_is_filled_and_the_plan_is_kept(clock, tmp_path):
    said: list[str] = []
    assert paced(tmp_path, clock, 106.0, least=100, note=said.append) == 10_000  # six seconds go to the trial
    assert said[-1] == "100 steps per second: 10,000 steps are planned."
    assert paced(tmp_path, clock, 7.0, least=100, note=said.append) == 10_000


def test_no_more_steps_than_do_good_and_no_fewer_than_are_a_training(clock, tmp_path):
    said: list[str] = []
    for name in ("most", "least"):
        (tmp_path / name).mkdir()
    assert paced(tmp_path / "most", clock, 106.0, least=100, most=400, note=said.append) == 400
    assert "by heart" in said[-2]
    assert paced(tmp_path / "least", clock, 6.1, least=100, most=400, note=said.append) == 100
    assert "take longer" in said[-2]
