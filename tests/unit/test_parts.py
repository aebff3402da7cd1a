"""Long tasks in parts: what is kept is not computed again, and who stops one hears how far it got."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import WalkError
from thalweg.core.solution import Outcome
from thalweg.methods.parts import in_parts, part_name
from thalweg.runs import Points, Progress


def test_finished_parts_are_not_computed_again(tmp_path):
    calls: list[str] = []

    def compute(name: str) -> dict[str, np.ndarray]:
        calls.append(name)
        return {"length": np.asarray(len(name))}

    names = [part_name("part", seed=seed, of=np.arange(3.0)) for seed in range(4)]
    assert len(set(names)) == 4
    seen: list[tuple[int, int, int]] = []
    hear = lambda report: seen.append((report.step, report.steps, report.first))  # noqa: E731
    first = in_parts(names[:2], compute, done=Points(tmp_path), hooks=(hear,))
    again = in_parts(names, compute, done=Points(tmp_path), hooks=(hear,))
    assert calls == names
    assert seen == [(1, 2, 0), (2, 2, 0), (1, 4, 1), (2, 4, 2), (3, 4, 2), (4, 4, 2)]
    assert [int(part["length"]) for part in again.values()] == [len(name) for name in names]
    assert list(first) == names[:2]


def test_a_part_is_named_by_all_that_it_follows_from():
    known = {"seed": 0, "couplings": np.arange(4)}
    assert part_name("look", **known) == part_name("look", **known)
    assert part_name("look", **known) != part_name("look", **known | {"couplings": np.arange(4)[::-1]})
    assert part_name("look", **known) != part_name("look", **known | {"seed": 1})


def test_a_hook_stops_a_task_between_parts():
    class Stopper:
        closed = 0

        def __call__(self, report):
            return Outcome.CANCELLED if report.step == 2 else None

        def close(self, report):
            self.closed = report.step

    stopper = Stopper()
    with pytest.raises(WalkError, match="the look: stopped after 2 of 3 parts, which are kept") as caught:
        in_parts(["a", "b", "c"], lambda name: {}, hooks=(stopper,), task="the look")
    assert stopper.closed == 2
    assert Outcome.of(caught.value.solution.outcome) is Outcome.CANCELLED


def test_progress_against_a_time_limit_counts_seconds(capsys):
    from thalweg.core.hooks import Report

    progress = Progress("searching", seconds=20.0)
    report = Report(7, 10**9, None, Outcome.WALKING, 12.4)
    progress(report)
    progress.close(report._replace(seconds=25.0))
    assert "searching: 20 of 20 s" in capsys.readouterr().err
