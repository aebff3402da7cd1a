"""Two processes share every batch: the training of one, with hooks in the first and its checkpoint for both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from contract import teamwork

from thalweg.core.errors import InputError
from thalweg.core.hooks import Closer, Hook, Pacer, Resumer
from thalweg.scale import together
from thalweg.scale.distributed import _Led
from thalweg.scale.meeting import meet


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("team")
    address = free_address()
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    # Each process has its own device; a forced number of devices is not for them.
    settings = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": paths}
    team = [
        subprocess.Popen(
            [sys.executable, "-m", "contract.teamwork", address, str(rank), str(folder)],
            env=settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ends = [process.communicate(timeout=200)[1] for process in team]
    finally:
        for process in team:
            process.kill()  # where they wait for each other; otherwise they have ended
    assert [process.returncode for process in team] == [0, 0], "\n".join(end[-2000:] for end in ends)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_have_the_loss_curve_of_one(told):
    alone = teamwork.curve(teamwork.learnt(None, 60))
    for one in told:
        assert one["devices"] == 2
        assert len(one["curve"]) == 60
        # Sums over halves of a batch round otherwise, in float32; the curve falls from 2.2 to 0.06.
        np.testing.assert_allclose(one["curve"], alone, rtol=0, atol=1e-6)
    assert alone[0] > 10 * alone[-1]


def test_processes_keep_in_step_and_stop_together(told):
    assert told[0]["curve"] == told[1]["curve"]
    assert told[0]["stopped"] == told[1]["stopped"]
    assert 20 < told[0]["stopped"] < 60


def test_the_checkpoint_of_the_first_serves_both(told):
    assert [one["wrote"] for one in told] == [True, False]
    assert [one["same"] for one in told] == [True, True]
    assert told[1]["gone_on"] == told[1]["curve"][-1]


def test_devices_of_others_without_a_common_pace_are_refused(told):
    assert all("team.hooks" in one["refused"] for one in told)


def refused(call: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_makes_no_sense_is_one_sentence():
    jnp.zeros(1).block_until_ready()  # JAX has started here, which is too early
    wrong = [("127.0.0.1:1", 2, None, "none of them"), ("127.0.0.1:1", 2, 2, "ranks from 0 to 1"),
             ("127.0.0.1:1", 2, 1, "before anything computes")]  # fmt: skip
    for *arguments, said in wrong:
        refused(together(*arguments, timeout=2).__enter__, said)
    refused(lambda: meet("nowhere", 2, 1, 1.0), "no address")


def test_who_does_not_come_is_one_sentence():
    refused(lambda: meet(free_address(), 2, 0, 0.2), "1 of 2 processes did not come within 0.2 s")
    refused(lambda: meet(free_address(), 2, 1, 0.2), "rank 0 does not answer")
    with socket.create_server(("", 0)) as taken:
        refused(lambda: meet(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0, 0.2), "choose another")


def test_processes_that_were_started_otherwise_are_sent_away():
    address = free_address()
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(meet, address, processes, rank, 10.0) for processes, rank in ((2, 0), (3, 1))]
        for one in both:
            refused(one.result, "number 1 of 3, but 2 are awaited")
        both = [threads.submit(meet, address, 2, rank, 10.0) for rank in (1, 0)]
        assert [one.result() for one in both] == [None, None]


def test_a_led_hook_is_a_hook_of_every_kind():
    assert all(isinstance(_Led(()), kind) for kind in (Hook, Pacer, Resumer, Closer))
