"""Tasks of the rooms that run elsewhere: the same numbers as here, and the option that says where."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from command_line import call, isolate
from contract.posted import Posted

from thalweg.learning.model.families import family
from thalweg.learning.tasks.many.slowing import slowing_down
from thalweg.learning.tasks.many.trainings import trainings
from thalweg.spins.data.lattices import aligned, lattice
from thalweg.spins.tasks.critical import critical


@pytest.mark.parametrize(
    "words",
    [
        "atoms label",
        "atoms compare",
        "genome memory",
        "genome plasticity",
        "learning transition",
        "portfolio backtest",
        "portfolio forecast",
        "spins critical",
    ],
)
def test_the_commands_say_where(words):
    assert "--where PLACE" in call(*words.split(), "--help").output


def test_a_forecast_is_the_same_elsewhere(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ["portfolio", "forecast", "--holdings", "itr", "--horizon", "1", "--model", "drift", "--json", "--quiet"]
    told = [call(*words, "--out", name, *more) for name, more in (("a", []), ("b", ["--where", "local:2"]))]
    assert [one.exit_code for one in told] == [0, 0], [one.output for one in told]
    here, there = (json.loads(one.stdout) for one in told)
    changing = {"seconds", "compile_seconds", "out", "files", "report"}
    assert {key: here[key] for key in here if key not in changing} == {key: there[key] for key in changing ^ set(there)}
    assert sorted(path.name for path in (tmp_path / "a" / "parts").iterdir()) == sorted(
        path.name for path in (tmp_path / "b" / "parts").iterdir()
    )


def test_a_run_is_gone_on_with_elsewhere_and_no_place_is_one_sentence(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ["portfolio", "forecast", "--holdings", "itr", "--horizon", "1", "--model", "drift", "--quiet"]
    assert call(*words, "--out", "a").exit_code == 0
    for place in (tmp_path / "a" / "parts").iterdir():
        place.unlink()
    assert call(*words, "--out", "a", "--where", "local:1").exit_code == 0  # not refused as another run
    assert list((tmp_path / "a" / "parts").iterdir())
    refused = call(*words, "--out", "b", "--where", "moon")
    assert refused.exit_code == 1
    assert "'moon' is no place to compute" in refused.output
    assert not (tmp_path / "b").exists()


def test_trainings_and_relaxation_times_travel(x64):
    data = np.array([[1.0], [-1.0]]), np.array([[0.8], [-0.8]])
    problem, executor, key = family("linear", data, width=2), Posted(), jax.random.key(0)
    ways: dict = {"seeds": 2, "steps": 20, "batch": 2, "key": key}
    here, there = (trainings(problem, [0.1, 0.2, 0.3], executor=one, **ways) for one in (None, executor))
    assert here.drop_attrs().equals(there.drop_attrs())
    assert executor.tasks == 3
    near = 0.8 * np.array([0.9, 1.1, 1.2])
    slow = [slowing_down(problem, near, key=key, starts=2, lambda_c=0.8, executor=one) for one in (None, executor)]
    np.testing.assert_array_equal(slow[0].measured, slow[1].measured)
    assert executor.tasks == 6


@pytest.mark.slow
def test_looks_at_sizes_travel(x64):
    systems = {length: aligned(lattice("square", length)).landscape for length in (4, 8)}
    executor = Posted()
    here, there = (critical(systems, draws=400, executor=one) for one in (None, executor))
    assert float(here.crossings.critical.value) == float(there.crossings.critical.value)
    assert executor.tasks > 10
