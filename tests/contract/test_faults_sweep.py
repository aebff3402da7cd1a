"""Kills, damaged files and dead workers, as they befall a sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faults import ForkServer, kill_and_resume, only_our_errors

from thalweg.runs.points import Points


@pytest.fixture(scope="module")
def server():
    with ForkServer("contract.sweepable:go_slowly") as started:
        yield started


def result(folder: Path) -> dict[str, bytes]:
    with np.load(folder / "result.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


@pytest.mark.parametrize("way", ["scattered", pytest.param("follow", marks=pytest.mark.slow)])
def test_a_sweep_killed_six_times_is_the_same_dataset(server, tmp_path, way):
    whole, killed, cache, counts = tmp_path / "whole", tmp_path / "killed", str(tmp_path / "cache"), []
    whole.mkdir()
    killed.mkdir()
    assert server.start(str(whole), way, cache).ended(120) == 0

    def start():
        counts.append(len(list((killed / "points").glob("*.safetensors"))))
        return server.start(str(killed), way, cache)

    # The folder's own stamp changes with every finished batch.
    kill_and_resume(start, killed, progress=killed / "points", kills=6, seed=5, window=(0.02, 0.15))
    total = len(list((whole / "points").glob("*.safetensors")))
    assert counts == sorted(counts)
    assert len({count for count in counts if 0 < count < total}) >= 2, counts  # kills in the middle, not beside it
    assert result(killed) == result(whole)
    files = [{path.name for path in (place / "points").iterdir()} for place in (whole, killed)]
    assert files[0] == files[1]


def test_a_damaged_batch_is_refused_in_one_sentence(tmp_path):
    points = Points(tmp_path / "kept")
    points.put("part", {"x": np.linspace(0, 1, 7, dtype=np.float32), "outcome": np.arange(3), "flag": np.array(True)})
    refused = only_our_errors(lambda path: Points(path.parent).get(path.stem), points.path("part"), tmp_path)
    assert len(refused) > 30
