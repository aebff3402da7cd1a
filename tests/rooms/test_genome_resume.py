"""A training of the splice-site finder that is killed or stopped: resumed, it makes the same network, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from tests.command_line import call, isolate
from tests.toy_genome import bases, fasta, gff3, put
from thalweg.genome.tasks.trained import FILE, load_trained
from thalweg.runs import Run, read_metrics
from thalweg.runs.checkpoint import read_tensors, saved_step

# Checkpoints after every fourth step, for nobody waits half a minute here; the signal comes while the third one is
# about to get its name: who is killed there leaves a whole but nameless file.
STRUCK = """
import os, sys
from pathlib import Path
import thalweg.runs
from thalweg.cli import main

number, rename, renamed, keeper = int(sys.argv[1]), os.replace, [], thalweg.runs.Checkpoint

def strike(source, target):
    if Path(target).name == "state.safetensors":
        renamed.append(target)
        if len(renamed) == 3:
            os.kill(os.getpid(), number)
    rename(source, target)

os.replace = strike
thalweg.runs.Checkpoint = lambda place, **_: keeper(place, every_seconds=None, every_steps=4)
main(sys.argv[2:])
"""
STEPS = 60
RECIPE = """
[shape]
blocks = 1
channels = 4
width = 4
window = 5
features = 4

[recipe]
batch = 2
length = 64
rate = 1e-2
average = 0.9
"""
# Of the clock and of the calendar.
FREE = {"seconds", "compile_seconds", "out", "file", "date", "cpu_seconds", "kbp_per_cpu_second"}


class Found(NamedTuple):
    """What a training leaves behind, without times."""

    result: dict[str, Any]
    card: dict[str, Any]
    net: list[bytes]
    state: dict[str, bytes]
    last: tuple[int, float]


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(each) for key, each in value.items() if key not in FREE}
    return value


def found(folder: Path) -> Found:
    """Read what a training has left behind: its network, its last checkpoint and its last loss."""
    trained = load_trained(folder)
    metrics = read_metrics(folder / "metrics.jsonl")
    steps = [row["step"] for row in metrics]
    assert steps == sorted(set(steps))
    return Found(
        untimed(json.loads((folder / "result.json").read_text())),
        untimed(trained.card),
        [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trained.net)],
        {name: bytes(raw) for name, raw in read_tensors(folder / "state.safetensors")[0].items()},
        (steps[-1], metrics[-1]["loss"]),
    )


def line(folder: Path, out: str) -> list[str]:
    """The command; its paths are whole ones, which the card tells as they were given."""
    files = ("--fasta", str(folder / "toy.fa"), "--annotation", str(folder / "toy.gff3"))
    more = ("--validation", "toy:671-1020", "--paralogs", "--config", "recipe.toml", "--steps", str(STEPS))
    return ["genome", "train", *files, *more, "--json", "--quiet", "--out", out]


def beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder whose runs share what they have compiled."""
    isolate(folder, monkeypatch)
    monkeypatch.setenv("THALWEG_CACHE", str(folder / "compiled"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Found]:
    """The folder of a made genome, and the training on it to which nothing happens."""
    folder = tmp_path_factory.mktemp("genome")
    put(folder, "toy.fa", fasta(bases()))
    put(folder, "toy.gff3", gff3())
    put(folder, "recipe.toml", RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        beside(folder, patch)
        ran = call(*line(folder, "whole"))
    assert ran.exit_code == 0, ran.output
    return folder, found(folder / "whole")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_was_struck_goes_on_to_the_same_network(whole, number, monkeypatch):
    folder, expected = whole
    beside(folder, monkeypatch)
    out = folder / number.name
    command = [sys.executable, "-c", STRUCK, str(int(number)), *line(folder, out.name)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    reached = saved_step(out / "state.safetensors") or 0
    nameless = list(out.glob(".state.safetensors.*.tmp"))
    if number == signal.SIGKILL:
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert len(nameless) == 1
        assert Run.open(out).status == "interrupted"
    else:
        assert ended.returncode == 130, ended.stderr
        assert not nameless
        assert Run.open(out).status == "cancelled"
        assert "resumes it" in json.loads(ended.stdout)["error"]
        assert "Traceback" not in ended.stderr
    assert 8 <= reached < STEPS
    assert not (out / FILE).exists()
    assert not (out / "result.json").exists()
    before = [row for row in read_metrics(out / "metrics.jsonl") if row["step"] <= reached]
    assert before

    resumed = call("runs", "resume", str(out), "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.output
    assert Run.open(out).status == "done"
    assert not list(out.glob(".*.tmp"))
    # The seconds in these rows would be others if the training had begun anew.
    assert [row for row in read_metrics(out / "metrics.jsonl") if row["step"] <= reached] == before
    assert found(out) == expected
