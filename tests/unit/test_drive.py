"""The step loop: chunks never change bits, and a fault never passes for a result."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import force
from thalweg.core.errors import InputError
from thalweg.core.solution import Outcome
from thalweg.landscapes import MullerBrown
from thalweg.methods.drive import drive
from thalweg.methods.trace import Trace

START = (0.6, 0.1)
CHUNKS = [1, 7, 100, None]


def descend(energy, x):
    return x + 1e-4 * force(energy, x)


def descend_on_host(x):
    return x - np.float32(0.01) * (x**3 - x)


def count(state):
    """Counts; the leaf `b` breaks in the step from 41 to 42."""
    n = state["n"] + 1
    return {"n": n, "b": jnp.where(n >= 42, jnp.nan, state["b"] + n)}


def count_on_host(state):
    n = state["n"] + 1
    return {"n": n, "b": np.where(n >= 42, np.nan, state["b"] + n)}


def overflowing(state):
    return jnp.where(state["n"] >= 42, Outcome.CAPACITY.code, Outcome.WALKING.code)


def tick(state):
    return {"n": state["n"] + 1}


def arriving(state):
    return jnp.where(state["n"] >= 42, Outcome.DONE.code, Outcome.WALKING.code)


def zero(host=False):
    return (
        {"n": np.zeros((), np.float32), "b": np.zeros((), np.float32)}
        if host
        else jax.tree.map(jnp.asarray, zero(True))
    )


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunk_size_never_changes_bits(chunk):
    step = eqx.Partial(descend, MullerBrown())
    end = drive(step, jnp.array(START), 300, chunk=chunk)
    reference = drive(step, jnp.array(START), 300, chunk=300)
    assert end.step == reference.step == 300
    assert int(end.outcome) == Outcome.STEPS.code
    np.testing.assert_array_equal(end.state, reference.state)
    assert not np.array_equal(end.state, np.array(START, np.float32))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunk_size_never_changes_the_bits_of_a_host_walk(chunk):
    start = np.linspace(-0.9, 0.8, 5, dtype=np.float32)
    end = drive(descend_on_host, start, 60, host=True, chunk=chunk)
    expected = start
    for _ in range(60):
        expected = descend_on_host(expected)
    np.testing.assert_array_equal(end.state, expected)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_trace_is_the_same_for_every_chunk_size(chunk):
    trace = Trace(lambda x: {"x": x, "sum": jnp.sum(x)}, every=3)
    end = drive(eqx.Partial(descend, MullerBrown()), jnp.array(START), 20, chunk=chunk, trace=trace)
    records: Any = end.records
    assert records["x"].shape == (7, 2)  # the start and steps 3, 6, ..., 18
    np.testing.assert_array_equal(records["x"][0], np.array(START, np.float32))
    six = drive(eqx.Partial(descend, MullerBrown()), jnp.array(START), 6, chunk=6)
    np.testing.assert_array_equal(records["x"][2], six.state)
    whole = drive(eqx.Partial(descend, MullerBrown()), jnp.array(START), 20)
    np.testing.assert_array_equal(end.state, whole.state)


@pytest.mark.parametrize("chunk", [1, 10, 100])
def test_a_host_trace_ends_with_the_last_good_step(chunk):
    trace = Trace(lambda state: state["b"], every=10)
    end = drive(count_on_host, zero(True), 100, host=True, chunk=chunk, trace=trace)
    assert end.step == 41
    np.testing.assert_array_equal(end.records, [n * (n + 1) / 2 for n in (0, 10, 20, 30, 40)])


def test_a_host_kernel_may_work_in_place_and_the_start_stays_whole():
    def in_place(state):
        state += 1
        if state[0] == 42:
            state[1] = np.nan
        return state

    start = np.zeros(2)
    end = drive(in_place, start, 100, host=True, chunk=10)
    np.testing.assert_array_equal(start, 0)
    np.testing.assert_array_equal(end.state, [41, 41])
    assert (end.step, int(end.outcome)) == (41, Outcome.NONFINITE.code)


def test_a_walk_can_be_mended_and_goes_on():
    asked = []

    def enlarge(state, outcome):
        asked.append((float(state["n"]), outcome))
        return {"n": state["n"] + 100} if outcome is Outcome.CAPACITY else None

    def overflow(state):
        return jnp.where(state["n"] == 42, Outcome.CAPACITY.code, Outcome.WALKING.code)

    end = drive(tick, {"n": jnp.array(0.0)}, 50, judge=overflow, chunk=9, mend=enlarge)
    assert asked == [(41, Outcome.CAPACITY)]
    assert (end.step, float(end.state["n"]), int(end.outcome)) == (50, 150, Outcome.STEPS.code)


@pytest.mark.parametrize("chunk", [1, 10, 42, 100])
@pytest.mark.parametrize("host", [False, True], ids=["compiled", "host"])
def test_the_first_bad_step_is_named_and_rolled_back(host, chunk):
    end = drive(count_on_host if host else count, zero(host), 100, host=host, chunk=chunk)
    assert int(end.outcome) == Outcome.NONFINITE.code
    assert end.bad_leaves == ("['b']",)
    assert end.step == 41  # the last good one; the next is the fault
    assert float(end.state["n"]) == 41
    assert float(end.state["b"]) == 41 * 42 / 2


@pytest.mark.parametrize("host", [False, True], ids=["compiled", "host"])
def test_an_overflow_is_rolled_back_too(host):
    start = {"n": zero(host)["n"]}
    end = drive(tick, start, 100, judge=overflowing, host=host, chunk=9)
    assert int(end.outcome) == Outcome.CAPACITY.code
    assert (end.step, float(end.state["n"]), end.bad_leaves) == (41, 41, ())


@pytest.mark.parametrize("host", [False, True], ids=["compiled", "host"])
def test_a_walk_that_arrives_keeps_its_last_step(host):
    end = drive(tick, {"n": zero(host)["n"]}, 100, judge=arriving, host=host, chunk=9)
    assert int(end.outcome) == Outcome.DONE.code
    assert (end.step, float(end.state["n"])) == (42, 42)


@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("host", [False, True], ids=["compiled", "host"])
def test_the_start_is_judged_before_the_first_step(host, steps):
    there = {"n": zero(host)["n"] + np.float32(50)}
    end = drive(tick, there, steps, judge=arriving, host=host)
    assert (end.step, float(end.state["n"]), int(end.outcome)) == (0, 50, Outcome.DONE.code)
    broken = {"n": zero(host)["n"] + np.float32(np.nan)}
    end = drive(tick, broken, steps, host=host)
    assert (end.step, int(end.outcome), end.bad_leaves) == (0, Outcome.NONFINITE.code, ("['n']",))


@pytest.mark.parametrize("number", [0, 0.0])
def test_a_plain_number_that_would_move_is_refused(number):
    with pytest.raises(InputError, match=r"n.*array"):
        drive(tick, {"n": number}, 10)


def test_a_plain_number_that_stays_is_left_alone():
    end = drive(lambda state: {"n": state["n"] + 1, "k": state["k"]}, {"n": jnp.array(0.0), "k": 3}, 10)
    assert (float(end.state["n"]), end.state["k"]) == (10, 3)
    assert type(end.state["k"]) is int


class Listener:
    """Remembers the reports and may stop the walk."""

    def __init__(self, stop_at=None, outcome=Outcome.CANCELLED):
        self.heard, self.closed, self.stop_at, self.outcome = [], [], stop_at, outcome

    def __call__(self, report):
        self.heard.append((report.step, float(report.state["n"]), report.outcome))
        return self.outcome if self.stop_at is not None and report.step >= self.stop_at else None

    def close(self, report):
        self.closed.append((report.step, report.outcome))


def test_hooks_hear_every_chunk_boundary_and_the_end():
    listener = Listener()
    drive(tick, {"n": jnp.array(0.0)}, 25, hooks=(listener,), chunk=10)
    assert [(step, n) for step, n, _ in listener.heard] == [(10, 10), (20, 20), (25, 25)]
    assert listener.closed == [(25, Outcome.STEPS)]


def test_a_hook_stops_the_walk_and_all_hooks_hear_it():
    first, second = Listener(stop_at=15, outcome=Outcome.TIME), Listener(stop_at=15)
    end = drive(tick, {"n": jnp.array(0.0)}, 100, hooks=(first, second), chunk=10)
    assert (end.step, float(end.state["n"]), int(end.outcome)) == (20, 20, Outcome.TIME.code)
    assert len(first.heard) == len(second.heard) == 2
    assert second.closed == [(20, Outcome.TIME)]


def test_hooks_are_never_told_of_a_fault_as_if_it_were_good():
    listener = Listener()
    drive(count, zero(), 100, hooks=(listener,), chunk=10)
    assert [step for step, _, _ in listener.heard] == [10, 20, 30, 40]
    assert listener.closed == [(41, Outcome.NONFINITE)]


class Restorer(Listener):
    """Puts the walk at a step it is said to have reached before."""

    def restore(self, template):
        assert set(template) == {"n"}
        return {"n": jnp.array(30.0)}, 30


def test_a_walk_goes_on_where_a_hook_says_that_it_was():
    end = drive(tick, {"n": jnp.array(0.0)}, 35, hooks=(Restorer(),), chunk=10)
    assert (end.step, float(end.state["n"])) == (35, 35)


def test_a_walk_that_was_over_is_still_over_when_it_is_resumed():
    class Over(Listener):
        def restore(self, template):
            return {"n": jnp.array(42.0)}, 42

    end = drive(tick, {"n": jnp.array(0.0)}, 42, judge=arriving, hooks=(Over(),))
    assert (end.step, int(end.outcome)) == (42, Outcome.DONE.code)


def test_lanes_of_a_batch_end_separately():
    def until(limit):
        walk = drive(eqx.Partial(lanes_step, limit), {"n": jnp.array(0.0), "b": jnp.array(0.0)}, 60, judge=lanes_judge)
        return walk.state, walk.step, walk.outcome

    state, step, outcome = jax.vmap(until)(jnp.array([10.0, 45.0, 1000.0]))
    codes = [Outcome.NONFINITE.code, Outcome.DONE.code, Outcome.DONE.code]
    assert outcome.tolist() == codes
    np.testing.assert_array_equal(step, [9, 42, 42])
    np.testing.assert_array_equal(state["n"], [9, 42, 42])
    assert np.isfinite(state["b"]).all()


def lanes_step(limit, state):
    n = state["n"] + 1
    return {"n": n, "b": jnp.where(n >= limit, jnp.nan, 0.0)}


def lanes_judge(state):
    return jnp.where(jnp.isnan(state["b"]), Outcome.NONFINITE.code, arriving(state))


def test_a_traced_walk_has_the_bits_of_a_plain_one():
    step = eqx.Partial(descend, MullerBrown())
    inside = jax.jit(lambda x: drive(step, x, 50).state)(jnp.array(START))
    np.testing.assert_array_equal(inside, drive(step, jnp.array(START), 50).state)
