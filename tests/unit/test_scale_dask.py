"""A Dask cluster as an executor: the same bits, dying workers and drivers, and what goes wrong in one sentence."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import scattered, sweepable

from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Arriving, Executor
from thalweg.scale import DaskPool, executor_for
from thalweg.scale import dask as module
from thalweg.verbs.sweep import sweep


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as started:
        yield started


@pytest.fixture
def pool(cluster):
    return DaskPool(cluster.scheduler_address)


def refused(call: Any, match: str, kind: type[Exception] = InputError) -> str:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cluster_gives_the_bits_of_this_process_in_its_precision(cluster, x64):
    values = np.linspace(-0.6, 0.6, 10)
    ways: dict = {"observe": sweepable.observe, "batch": 2, "seeds": 2, "key": jax.random.key(4)}
    pool = executor_for(f"dask:{cluster.scheduler_address}")
    assert isinstance(pool, Executor)
    assert isinstance(pool, Arriving)
    there = sweep(sweepable.Tilted, values, sweepable.solve, jnp.ones(2), executor=pool, **ways)
    here = sweep(sweepable.Tilted, values, sweepable.solve, jnp.ones(2), **ways)
    assert there[["x", "energy", "outcome"]].equals(here[["x", "energy", "outcome"]])
    assert there.x.dtype == there.wide.dtype == np.float64
    processes = set(there.process.values.ravel().tolist())
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert there.attrs["traces"] == 0


def test_precision_travels_with_a_task_and_stays_with_it(pool):
    # The workers are those of the other tests: one program must not set the precision of the next.
    for wide in (True, False, True):
        with jax.enable_x64(wide):
            array = jnp.arange(1.0, 4.0)
            values, dtype, seen = next(iter(pool.map(functools.partial(scattered.third, array), [0])))
            assert (dtype, seen) == ("float64" if wide else "float32", wide)
            assert values.tobytes() == np.asarray(array / 3).tobytes()


def test_tasks_are_spread_and_come_back_in_order(pool):
    assert len(set(pool.map(scattered.process, [0.3, 0.3]))) == 2
    large = functools.partial(scattered.third, jnp.zeros(100_000))  # goes once to each worker, not with every task
    assert [found[0].shape for found in pool.map(large, range(5))] == [(100_000,)] * 5
    assert list(pool.map(lambda task: -task, range(7))) == [0, -1, -2, -3, -4, -5, -6]
    assert sorted(pool.arrivals(scattered.process, [])) == []


def test_a_worker_of_one_thread_keeps_to_one_core():
    # Its own cluster: XLA reads the number of its threads once. On one core this cannot fail.
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as fresh:
        assert next(iter(DaskPool(fresh).map(scattered.busy_cores, [0]))) < 1.2


def test_a_killed_workers_task_is_run_again(pool, tmp_path):
    found = list(pool.map(functools.partial(scattered.dies_once, tmp_path / "killed"), range(6)))
    assert (tmp_path / "killed").exists()
    assert found == [0, 1, 4, 9, 16, 25]


def test_a_task_that_always_ends_its_worker_is_one_sentence(cluster, pool, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    refused(lambda: list(pool.map(scattered.dies, [0])), "ended its worker 1 times", ThalwegError)


def test_a_killed_driver_goes_on_from_what_was_kept(cluster, tmp_path):
    place, where = tmp_path / "batches", f"dask:{cluster.scheduler_address}"
    paths = [str(Path(__file__).parents[1]), *sys.path]
    driver = subprocess.Popen(
        [sys.executable, "-m", "contract.scattered", str(place), where],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    until = time.monotonic() + 60
    while len(list(place.glob("*.safetensors"))) < 3 and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    kept, heard = len(list(place.glob("*.safetensors"))), []
    assert 3 <= kept < 20
    found = scattered.go(place, where, lambda report: heard.append(report))
    assert heard[-1].first == kept  # so many were not computed again
    assert len(list(place.glob("*.safetensors"))) == 20
    whole = scattered.go(tmp_path / "whole", None)
    assert found.equals(whole)
    # A batch has the same name wherever it was computed.
    assert {path.name for path in place.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}


def test_what_a_task_raises_comes_back(pool):
    assert refused(lambda: list(pool.map(scattered.refuses, [3])), "task 3") == "task 3: refused."


def test_closing_drops_what_has_not_begun(pool, tmp_path):
    results = pool.arrivals(functools.partial(scattered.leaves_a_mark, tmp_path), range(30))
    next(results)
    results.close()
    time.sleep(1.0)
    assert len(list(tmp_path.iterdir())) < 10


def test_what_cannot_travel_is_one_sentence(pool):
    refused(lambda: pool.map(functools.partial(max, threading.Lock()), [0]), "cannot travel")


def test_other_versions_are_one_sentence(pool, monkeypatch):
    assert pool.check() == 2
    here = os.getpid()
    monkeypatch.setattr(module, "versions", lambda: {"jax": "0.1" if os.getpid() == here else "0.2"})
    assert "jax 0.2 there and 0.1 here" in refused(pool.check, "other versions")


def test_workers_refuse_the_tasks_of_other_versions(pool, monkeypatch):
    def sent_by_others(value: Any) -> bytes:
        settings, versions, function = value
        return packed((settings, versions | {"jaxlib": "0.0.1"}, function))

    packed = module._packed
    monkeypatch.setattr(
        module, "_packed", lambda value: sent_by_others(value) if type(value) is tuple else packed(value)
    )
    said = refused(lambda: list(pool.map(scattered.process, [0.0])), "other versions")
    assert "jaxlib" in said


def test_a_lost_scheduler_is_one_sentence():
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as lost:
        results = DaskPool(lost).map(scattered.process, [0.0, 60.0])
        next(results)
    refused(lambda: next(results), "was lost", ThalwegError)
