"""The words for where work runs, and what is said of those that are wrong."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
from contract import scattered

from thalweg.core.errors import InputError, MissingExtra, ThalwegError
from thalweg.core.hooks import Arriving
from thalweg.scale import DaskPool, ProcessPool, executor_for
from thalweg.scale.settings import usable_cores


def test_words_and_their_executors():
    assert executor_for(None) is None
    for words, workers in (("local", usable_cores()), ("local:3", 3)):
        pool = executor_for(words)
        assert isinstance(pool, ProcessPool)
        assert isinstance(pool, Arriving)
        assert pool.workers == workers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("moon", "no place to compute"),
        ("", "no place to compute"),
        ("Local", "no place to compute"),
        ("local:", "number of processes"),
        ("local:0", "number of processes"),
        ("local:-1", "number of processes"),
        ("local:two", "number of processes"),
        ("dask", "no scheduler"),
        ("dask:", "no scheduler"),
        ("dask:host", "no scheduler"),
        ("dask:host:port", "no scheduler"),
        ("dask:host:99999", "no scheduler"),
        ("dask::8786", "no scheduler"),
        ("dask:tcp://", "no scheduler"),
        ("dask:://host:8786", "no scheduler"),
        ("dask:nothing/here.json", "no scheduler"),
    ],
)
def test_wrong_words_are_one_sentence(words, said):
    with pytest.raises(InputError, match=said) as caught:
        executor_for(words)
    assert "\n" not in str(caught.value)


def test_nobody_at_the_address_is_one_sentence(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://127.0.0.1:9", "type": "Scheduler", "id": "x", "workers": {}}')
    for cluster in ("tcp://127.0.0.1:9", "udp://127.0.0.1:9", str(file)):
        with pytest.raises(InputError, match=r"no scheduler answers at .*within 0.3 s") as caught:
            DaskPool(cluster, timeout=0.3).check()
        assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'thalweg\[dask\]'"):
        executor_for("dask:tcp://127.0.0.1:8786")


def test_neither_dask_nor_jax_is_loaded_before_it_is_used():
    words = "import sys, thalweg.scale; sys.exit(any(name in sys.modules for name in ('dask', 'distributed', 'jax')))"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def test_a_process_pool_hands_over_what_is_finished_first(tmp_path):
    first = functools.partial(scattered.waits_for_the_last, tmp_path)
    assert [place for place, _ in ProcessPool(2).arrivals(first, [0, 1])] == [1, 0]
    assert list(ProcessPool(2).map(first, [0, 1])) == [0, 1]


def test_a_cluster_object_serves_as_well():
    class Gone:
        scheduler_address = "tcp://127.0.0.1:9"

    with pytest.raises(ThalwegError, match=r"127\.0\.0\.1:9"):
        DaskPool(Gone(), timeout=0.3).check()
