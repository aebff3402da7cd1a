"""Run directories, their files and their index."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.atomic import remove_stale
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome, Solution
from thalweg.runs import (
    Run,
    config_hash,
    find,
    list_runs,
    write_atomic,
)
from thalweg.runs.config import first_difference, plain
from thalweg.runs.index import INDEX


@pytest.mark.parametrize("content", ["text \u00e9\n", b"\x00\xff", ""])
def test_write_atomic_writes_and_replaces(tmp_path, content):
    path = tmp_path / "new" / "file"
    write_atomic(path, "old")
    assert write_atomic(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_only_temporary_files_of_the_dead_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [f".a.{dead.pid}-01234567.tmp", f".a.{os.getpid()}-01234567.tmp", f".a.{10**30}-01234567.tmp"]
    kept = [".a.1-01234567.tmp", ".a.tmp", "a.1.tmp", ".a.x-01234567.tmp"]
    for name in left + kept:
        (tmp_path / name).touch()
    assert sorted(path.name for path in remove_stale(tmp_path)) == sorted(left)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


keys = st.text(min_size=1, max_size=4)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
configs = st.dictionaries(keys, values, max_size=4)


@settings(max_examples=50, deadline=None)
@given(config=configs)
def test_a_configuration_survives_its_file(config):
    with tempfile.TemporaryDirectory() as folder:
        with Run.create(Path(folder, "a"), config) as run:
            pass
        found = Run.open(run.path)
        assert first_difference(found.config, plain(config)) is None
        assert found.hash == run.hash
        with Run.create(Path(folder, "a"), dict(reversed(config.items()))) as again:
            assert again.was == "done"
    assert config_hash(config) == config_hash(dict(reversed(config.items())))


def test_different_configurations_have_different_hashes():
    spellings = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": {"a": 1}}, {"b": 1}, {}]
    assert len({config_hash(config) for config in spellings}) == len(spellings)


def test_a_configuration_is_made_plain():
    config = {"path": Path("a/b"), "none": None, "n": np.int64(3), "x": np.float32(0.5), "t": (1, 2), "f": jnp.array(2)}
    assert plain(config) == {"path": "a/b", "n": 3, "x": 0.5, "t": [1, 2], "f": 2}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"a": {"b": object()}}, r"config\.a\.b is a object"),
        ({"a": [1, None]}, r"config\.a\[1\] is a NoneType"),
        ({"a": np.ones(2)}, r"config\.a is a ndarray"),
        ({1: 2}, "has the key 1"),
        ({"a": "\udcff"}, "is no valid text"),
    ],
)
def test_what_a_configuration_cannot_hold_is_named(value, sentence):
    with pytest.raises(InputError, match=sentence):
        config_hash(value)


def test_a_new_run_describes_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_RUNS", str(tmp_path / "all"))
    source = tmp_path / "couplings.txt"
    source.write_bytes(b"1 2 3\n")
    command = ["spins", "solve", str(source), "--beta", "0.5"]
    with Run.create(None, {"beta": 0.5}, command=command, inputs=[source], seed=4, dtype=jnp.float32) as run:
        assert run.status == "running"
        run.finish("Converged.", result={"energy": -1.5})
    assert re.fullmatch(r"\d{8}-\d{6}-spins-solve-[0-9a-f]{4}", run.id)
    assert run.path.parent == tmp_path / "all"
    found = Run.open(run.path)
    assert (found.command, found.seed, found.dtype, found.config) == (command, 4, "float32", {"beta": 0.5})
    assert found.read_result() == {"energy": -1.5}
    seen = found.manifest
    digest = "1def07dbe06eeb097aafec8a40329937cd20c93a83634b8221ea2b41a894310c"  # of sha256sum
    assert seen["inputs"] == [{"path": str(source), "bytes": 6, "sha256": digest}]
    assert (seen["status"], seen["outcome"]) == ("done", "Converged.")
    assert seen["versions"]["jax"] == jax.__version__
    assert seen["started"] <= seen["finished"]
    assert seen["device"].startswith("cpu")
    assert {"python", "platform", "cpu", "cores", "seconds"} <= set(seen)
    assert tomllib.loads((run.path / "config.toml").read_text())["command"] == command


def test_another_configuration_is_refused_by_its_first_key(tmp_path):
    with Run.create(tmp_path / "a", {"beta": 0.5, "depth": {"x": 1}, "seconds": 5}, seed=1, dtype="float32"):
        pass
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    same: dict[str, Any] = {"config": {"beta": 0.5, "depth": {"x": 1}, "seconds": 5}, "seed": 1, "dtype": "float32"}
    for change, sentence in [
        ({"config": {"beta": 0.6, "depth": {"x": 2}, "seconds": 5}}, "beta = 0.5, not 0.6: choose another --out"),
        ({"config": {"beta": 0.5, "depth": {"x": 2}, "seconds": 5}}, "depth.x = 1, not 2"),
        ({"config": {"beta": 0.5, "seconds": 5}}, 'depth = {"x":1}, not "absent"'),
        ({"seed": 2}, "seed = 1, not 2"),
        ({"dtype": jnp.float64}, 'dtype = "float32", not "float64"'),
        ({"config": {"beta": 0.5, "depth": {"x": 1}, "seconds": 9}}, "seconds = 5, not 9"),
    ]:
        with pytest.raises(InputError, match=re.escape(sentence)):
            Run.create(tmp_path / "a", **same | change)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    longer = same["config"] | {"seconds": 9}
    with Run.create(tmp_path / "a", longer, seed=1, dtype="float32", free=["seconds"], command=["more"]) as run:
        assert run.was == "done"
    assert (Run.open(run.path).config["seconds"], Run.open(run.path).command) == (9, ["more"])
    assert len(Run.open(run.path).manifest["resumed"]) == 1


def test_other_inputs_are_refused(tmp_path):
    (tmp_path / "data").write_text("1")
    with Run.create(tmp_path / "a", {}, inputs=[tmp_path / "data"]):
        pass
    with pytest.raises(InputError, match="1 input files, not 0"):
        Run.create(tmp_path / "a", {})
    (tmp_path / "data").write_text("2")
    with pytest.raises(InputError, match=r"is not the file that the run in .* began with"):
        Run.create(tmp_path / "a", {}, inputs=[tmp_path / "data"])
    for name in ("missing", "a"):
        with pytest.raises(InputError, match=f"{name} (cannot be read|is a folder)"):
            Run.create(tmp_path / "b", {}, inputs=[tmp_path / name])
    assert not (tmp_path / "b").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds thesis\.tex and no run"):
        Run.create(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="holds no run"):
        Run.open(tmp_path)


def test_how_a_run_ends_is_written(tmp_path):
    solution = Solution(jnp.ones(1), jnp.array(0.0), jnp.array(Outcome.CANCELLED.code))
    for error, status, outcome in [
        (InputError("a.txt, line 3: no number."), "failed", "a.txt, line 3: no number."),
        (ValueError("odd\nmore"), "failed", "ValueError: odd"),
        (KeyboardInterrupt(), "cancelled", "Stopped at once on request."),
        (WalkError(f"relax: {Outcome.CANCELLED.value}", solution), "cancelled", f"relax: {Outcome.CANCELLED.value}"),
        (WalkError(f"relax: {Outcome.STALLED.value}", solution), "failed", f"relax: {Outcome.STALLED.value}"),
    ]:
        with pytest.raises(type(error)), Run.create(tmp_path / "a", {}):
            raise error
        found = Run.open(tmp_path / "a")
        assert (found.status, found.manifest["outcome"]) == (status, outcome)
    with Run.create(tmp_path / "a", {}) as run:
        with pytest.raises(InputError, match="result cannot be written as JSON"):
            run.finish("x", result={"energy": math.nan})
        with pytest.raises(InputError, match="a run ends as one of"):
            run.finish("x", status="running")
    assert not run.result_path.exists()
    with pytest.raises(InputError, match="run it again"):
        run.read_result()


def test_finished_work_is_found_again_untouched(tmp_path):
    config = {"value": 0.3, "seeds": 8}
    folder = tmp_path / config_hash(config)
    with Run.create(folder, config) as run:
        run.finish("Done.", result={"m": 1})
    before = (folder / "manifest.json").read_bytes()
    again = Run.create(folder, config)
    assert (again.was, again.read_result()) == ("done", {"m": 1})
    again.close()
    assert (folder / "manifest.json").read_bytes() == before


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("20260101-000000-tour-00aa", "20260101-000000-tour-00ab", "20260202-000000-ui-1111"):
        with Run.create(tmp_path / name, {}, command=["tour", "--quick"]) as run:
            run.finish("Fine.")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").touch()
    return tmp_path


def test_runs_are_listed_and_followed(root):
    infos = list_runs(root)
    assert [info.id[-4:] for info in infos] == ["00aa", "00ab", "1111"]
    assert {(info.status, info.command, info.outcome) for info in infos} == {("done", "tour --quick", "Fine.")}
    assert list_runs(root) == infos
    with pytest.raises(InputError), Run.create(infos[0].path, {}):
        raise InputError("It broke.")
    (infos[1].path / "manifest.json").write_text("{")
    (infos[2].path / "manifest.json").unlink()
    (infos[2].path / "config.toml").unlink()
    again = list_runs(root)
    assert {info.id[-4:]: info.status for info in again} == {"00aa": "failed", "00ab": "broken"}
    assert "manifest.json is not JSON" in next(info.outcome or "" for info in again if info.status == "broken")
    assert list_runs(root) == again
    assert list_runs(root / "nowhere") == []


@pytest.mark.parametrize("damage", ["deleted", "nonsense", "cut", "other table", "a folder"])
def test_the_index_is_only_a_cache(root, damage):
    infos, index = list_runs(root), root / INDEX
    raw = index.read_bytes()
    index.unlink()
    if damage == "nonsense":
        index.write_bytes(b"nonsense" * 1000)
    elif damage == "cut":
        index.write_bytes(raw[: len(raw) // 2 + 7])
    elif damage == "other table":
        with sqlite3.connect(index) as other:
            other.execute("CREATE TABLE runs (id, colour)")
        other.close()
    elif damage == "a folder":
        index.mkdir()  # as unwritable as a read-only disk, for root too
    assert list_runs(root) == infos
    assert index.is_dir() or index.read_bytes()[:6] == b"SQLite"


def test_the_index_saves_reading_the_directories(root, monkeypatch):
    infos = list_runs(root)
    monkeypatch.setattr(Run, "open", lambda path: pytest.fail(f"{path} was read again"))
    assert list_runs(root) == infos


def test_a_run_is_found_by_the_beginning_of_its_id(root):
    assert find(root, "20260202").id == "20260202-000000-ui-1111"
    assert find(root, "20260101-000000-tour-00ab").id[-2:] == "ab"
    with pytest.raises(InputError, match=r"2 runs in .* begin with '2026010'.*00aa, 20260101-000000-tour-00ab"):
        find(root, "2026010")
    with pytest.raises(InputError, match=r"no run in .* begins with 'x'.*choose one of .*1111"):
        find(root, "x")
    with pytest.raises(InputError, match=r"there are no runs in .* THALWEG_RUNS"):
        find(root / "notes", "x")


def test_runs_are_listed_without_jax_or_numpy():
    code = "import sys, thalweg.runs as r; r.list_runs(); print({'jax', 'numpy', 'rich'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "set()\n", run.stderr
