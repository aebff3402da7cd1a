"""The pool of processes: the same bits as here, its settings, a dead worker, and what cannot travel."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import sweepable

from thalweg.core.errors import InputError, ThalwegError
from thalweg.core.hooks import Executor
from thalweg.runs import Points
from thalweg.scale import ProcessPool
from thalweg.verbs.sweep import sweep

KEY = 4


def go(family: Any = sweepable.Tilted, **options):
    options = {"observe": sweepable.observe, "batch": 5, "seeds": 2} | options
    values = np.linspace(-0.6, 0.6, 10)
    return sweep(family, values, sweepable.solve, jnp.ones(2), key=jax.random.key(KEY), **options)


def test_a_pool_gives_the_bits_of_this_process_in_its_precision(x64):
    assert isinstance(ProcessPool(), Executor)
    there, here = go(executor=ProcessPool(2)), go()
    # XLA compiles the same program for the same machine in each process.
    assert there[["x", "energy", "outcome"]].equals(here[["x", "energy", "outcome"]])
    assert there.x.dtype == there.wide.dtype == np.float64
    processes = set(there.process.values.ravel().tolist())
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
    assert there.attrs["traces"] == 0  # nothing was compiled here
    assert there.attrs["compile_seconds"] > 0


@pytest.mark.slow
def test_a_dead_worker_is_one_sentence_and_the_next_call_goes_on(tmp_path):
    points = Points(tmp_path)
    family = functools.partial(sweepable.Deadly, maker=os.getpid())
    ways = {"observe": sweepable.seen, "done": points, "label": "deadly"}
    heard = []
    with pytest.raises(ThalwegError, match="a process of the pool died") as caught:
        go(family, executor=ProcessPool(1), **ways)
    assert "\n" not in str(caught.value)
    table = go(family, on_chunk=lambda report: heard.append(report.step), **ways)
    assert heard == [1, 2, 3, 4]
    assert table.sizes["value"] == 10


def test_what_cannot_travel_is_one_sentence():
    with pytest.raises(InputError, match="top of a module") as caught:
        go(lambda tilt: sweepable.Tilted(tilt), executor=ProcessPool(1))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="at least 1"):
        ProcessPool(0)
    assert list(ProcessPool(1).map(lambda task: task, [])) == []
