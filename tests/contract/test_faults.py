"""Kills, NaN and damaged files, as they befall a training; and proof that the tools for them can fail."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from contract import trainable
from faults import Attempt, ForkServer, kill_and_resume, mutations, only_our_errors, planted_nan, truncations
from safetensors import deserialize

from thalweg.core.errors import InputError, WalkError
from thalweg.runs.checkpoint import load_state, save_state, saved_step


@pytest.fixture(scope="module")
def server():
    with ForkServer("contract.trainable:go_slowly") as started:
        yield started


def kept(content: bytes) -> dict[str, bytes]:
    """What a checkpoint holds, by name; the order in its header is random."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {"step": header["__metadata__"]["step"], **dict(deserialize(content))}


@pytest.fixture(scope="module")
def uninterrupted(server, tmp_path_factory) -> dict[str, bytes]:
    """The last state of a training that nobody disturbed, compiled without a cache."""
    folder = tmp_path_factory.mktemp("whole")
    assert server.start(str(folder), "").ended(120) == 0
    return kept((folder / "state.safetensors").read_bytes())


def test_a_training_killed_fifteen_times_ends_with_the_bits_of_an_undisturbed_one(server, uninterrupted, tmp_path):
    folder, cache, steps = make(tmp_path / "run"), tmp_path / "cache", []
    state = folder / "state.safetensors"

    def start():
        steps.append(saved_step(state) or 0)
        return server.start(str(folder), str(cache))

    files = kill_and_resume(start, folder, progress=state, kills=15, seed=7)
    assert steps == sorted(steps)
    assert len({step for step in steps if 0 < step < trainable.STEPS}) >= 5, steps  # kills in the middle, not beside it
    assert set(files) == {"state.safetensors"}
    # Model, optimiser, key, cursor and metrics; compiled without a cache there, and from one here.
    assert kept(files["state.safetensors"]) == uninterrupted
    assert any(cache.iterdir())


def test_chunks_have_no_say_in_the_bits(uninterrupted, tmp_path):
    # No naps, in this process: other chunks altogether.
    trainable.go(tmp_path)
    assert kept((tmp_path / "state.safetensors").read_bytes()) == uninterrupted


def test_a_planted_nan_names_step_leaf_and_checkpoint(tmp_path):
    rule = planted_nan(trainable.RULE, 137, lambda slopes: slopes.outer)
    sentence = (
        rf"^train: step 137 made .*\.model\.outer.* non-finite; the last good checkpoint is {re.escape(str(tmp_path))}"
    )
    with pytest.raises(WalkError, match=sentence) as caught:
        trainable.go(tmp_path, steps=200, rule=rule)
    place = re.search(r"state\.safetensors at step (\d+)", str(caught.value))
    assert place
    assert saved_step(tmp_path / "state.safetensors") == int(place[1]) <= 136
    assert caught.value.solution.stats["steps"] == 136
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(caught.value.solution.value))
    # The fault removed, the checkpoint leads to where an undisturbed training ends.
    harmless = planted_nan(trainable.RULE, -1, lambda slopes: slopes.outer)
    mended = trainable.go(tmp_path, steps=200, rule=harmless)
    whole = trainable.go(make(tmp_path / "whole"), steps=200, rule=harmless)
    for ours, theirs in zip(jax.tree.leaves(mended.value), jax.tree.leaves(whole.value), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    state = {"x": np.linspace(0, 1, 7, dtype=np.float32), "n": np.arange(3)}
    return save_state(tmp_path_factory.mktemp("kept") / "state.safetensors", state, 5)


def test_a_damaged_checkpoint_is_refused_in_one_sentence(checkpoint, tmp_path):
    template = {"x": np.zeros(7, np.float32), "n": np.zeros(3, int)}
    refused = only_our_errors(lambda path: load_state(path, template), checkpoint, tmp_path)
    assert len(refused) > 30


# The tools can fail


TABLE = "name,weight\n" + "".join(f"row{i},{i}.25\n" for i in range(30))


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path / "table.csv"


def careless(path: Path) -> list[float]:
    return [float(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]


def careful(path: Path) -> list[float]:
    try:
        return careless(path)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not a table: repair it.") from error


def test_a_careless_parser_is_caught_and_a_careful_one_passes(table, tmp_path):
    with pytest.raises(AssertionError, match=r"table\.csv, .*(ValueError|IndexError)"):
        only_our_errors(careless, table, make(tmp_path / "a"))
    refused = only_our_errors(careful, table, make(tmp_path / "b"))
    assert any("made oops" in name for name in refused)


def test_a_sentence_without_the_file_is_caught(table, tmp_path):
    def mute(path: Path) -> None:
        raise InputError("something is wrong.")

    with pytest.raises(AssertionError, match="does not name the file"):
        only_our_errors(mute, table, make(tmp_path / "a"))


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_damages_are_many_different_and_repeatable(table):
    found = [*truncations(table), *mutations(table)]
    contents = {damage.content for damage in found}
    assert len(contents) > 60
    assert found == [*truncations(table), *mutations(table)]
    text = {damage.content for damage in found if "made nan" in damage.name}
    assert text
    assert all(b"nan" in content for content in text)
    assert any(b"\r\n" in damage.content for damage in found)


FORGETFUL = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / ".half.tmp").write_text("half")
for _ in range(int(sys.argv[2])):
    (folder / "new").write_text("on the way")
    os.replace(folder / "new", folder / "result")
    time.sleep(0.1)
"""


def test_stale_files_and_early_ends_are_caught(tmp_path):
    def start(tenths: str):
        return lambda: Attempt([sys.executable, "-c", FORGETFUL, str(tmp_path), tenths])

    result = tmp_path / "result"
    with pytest.raises(AssertionError, match=r"temporary files were left behind: \.half\.tmp"):
        kill_and_resume(start("20"), tmp_path, progress=result, kills=2, seed=0)
    with pytest.raises(AssertionError, match="the run ended with 0 after 0 of 2 kills: make it longer"):
        kill_and_resume(start("0"), tmp_path, progress=result, kills=2, seed=0, window=(20, 30))
    failing = lambda: Attempt([sys.executable, "-c", "raise SystemExit(1)"])  # noqa: E731
    with pytest.raises(AssertionError, match="did not finish: exit code 1"):
        kill_and_resume(failing, tmp_path, progress=result, kills=0, seed=0)


def test_a_planted_nan_is_planted_where_and_when_it_is_asked_for():
    def rule(model, batch, carry, step, key):
        return eqx.filter_grad(lambda m: (m["a"] ** 2 + m["b"] ** 2).sum())(model), carry, {"loss": 0.0}

    planted = planted_nan(rule, 3, lambda slopes: slopes["b"])
    model = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    model = jax.tree.map(jax.numpy.asarray, model)
    for step in range(4):
        slopes = planted(model, None, None, step, None)[0]
        assert np.isfinite(slopes["a"]).all()
        assert np.isfinite(slopes["b"]).all() == (step != 2)
