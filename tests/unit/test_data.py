"""Where batches come from: keyed orders of any number of items, and windows of a sequence laid out by hand."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.methods.data import Batches, Drawn, Whole, Windows


def drawn(data: Batches, seed: int, passes: int) -> np.ndarray:
    """The batches of so many passes, `[passes, batches, size]`, all drawn at once in a vmapped call."""
    a_pass = jax.tree.leaves(data.arrays)[0].shape[0] // data.size
    return np.asarray(_drawn(data, jax.random.key(seed), np.arange(passes * a_pass))).reshape(passes, a_pass, -1)


@eqx.filter_jit
def _drawn(data: Batches, key: jax.Array, taken: jax.Array) -> jax.Array:
    return jax.vmap(lambda at: data.next(Drawn(at, key))[0])(taken)


# Batches


@st.composite
def sizes(draw) -> tuple[int, int]:
    items = draw(st.integers(1, 300))
    return items, draw(st.integers(1, items))


# Each example compiles a program of its own, so that there are few of them, and none is timed.
@settings(max_examples=5, deadline=None, derandomize=True)
@given(sizes(), st.integers(0, 2**31))
def test_no_pass_shows_an_item_twice_or_one_that_does_not_exist(sized, seed):
    items, size = sized
    for one in drawn(Batches(jnp.arange(items), size), seed, passes=2):
        shown = np.sort(one.ravel())
        assert len(shown) == items // size * size
        assert (np.diff(shown) > 0).all()
        assert shown[0] >= 0
        assert shown[-1] < items


# A power of four and one more: where the cipher's domain is tightest and widest.
@pytest.mark.parametrize(("items", "size"), [(1, 1), (17, 1), (64, 16)])
def test_every_item_is_shown_exactly_once_per_pass_where_the_size_divides(items, size):
    for one in drawn(Batches(jnp.arange(items), size), 3, passes=3):
        np.testing.assert_array_equal(np.sort(one.ravel()), np.arange(items))


def test_passes_differ_keys_differ_and_the_same_key_repeats():
    data = Batches(jnp.arange(64), 16)
    first, again, other = drawn(data, 0, 4), drawn(data, 0, 4), drawn(data, 1, 4)
    np.testing.assert_array_equal(first, again)
    orders = {tuple(one.ravel()) for one in [*first, *other]}
    assert len(orders) == 8  # 64! orders: that two of them agree by chance has no chance
    assert tuple(range(64)) not in orders


def test_every_item_comes_first_and_is_left_out_as_often_as_any_other():
    passes, items, size = 4000, 10, 4
    batches = drawn(Batches(jnp.arange(items), size), 5, passes)
    for shown, share in ((batches[:, 0], size / items), (batches.reshape(passes, -1), 2 * size / items)):
        counts = np.bincount(shown.ravel(), minlength=items)
        # Five standard deviations of a binomial count, for ten of them: a false alarm in about 2e5 seeds.
        assert np.abs(counts - passes * share).max() < 5 * np.sqrt(passes * share * (1 - share)), counts


def test_a_cursor_walks_through_the_same_batches():
    data = Batches({"x": jnp.arange(12.0), "y": -jnp.arange(12.0)}, 5)
    cursor, step = data.init(jax.random.key(7)), jax.jit(lambda at: data.next(at))
    for expected in drawn(Batches(jnp.arange(12.0), 5), 7, 3).reshape(6, 5):
        batch, cursor = step(cursor)
        np.testing.assert_array_equal(batch["x"], expected)
        np.testing.assert_array_equal(batch["y"], -expected)
    assert int(cursor.taken) == 6


def test_a_vmapped_training_draws_what_each_would_draw_alone():
    data, keys = Batches(jnp.arange(20), 4), jax.random.split(jax.random.key(0), 3)
    first = jax.jit(lambda key: data.next(data.init(key))[0])
    together, alone = jax.jit(jax.vmap(first))(keys), [first(key) for key in keys]
    np.testing.assert_array_equal(together, alone)
    assert len({tuple(batch.tolist()) for batch in alone}) == 3


def test_a_fixed_order_must_show_every_item():
    data = Batches(jnp.arange(6), 3, shuffle=False)
    np.testing.assert_array_equal(drawn(data, 0, 2), [[[0, 1, 2], [3, 4, 5]]] * 2)
    with pytest.raises(InputError, match=r"would never show the last 2 of 8 items: choose a divisor\."):
        Batches(jnp.arange(8), 3, shuffle=False)


# Windows


def windows(count: int, starts: Any, streams: int, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    data = Windows(jnp.arange(len(starts)), np.asarray(starts, bool), streams, length)
    cursor, seen, step = data.init(jax.random.key(0)), [], jax.jit(lambda at: data.next(at))
    for _ in range(count):
        (window, fresh), cursor = step(cursor)
        seen.append((np.asarray(window), np.asarray(fresh)))
    return seen


def test_windows_follow_a_hand_made_layout():
    # Thirteen items in two streams of two windows of three: the thirteenth fills no window. Sequences begin at 0, 4, 8.
    starts = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    layout = [
        ([[0, 1, 2], [6, 7, 8]], [[1, 0, 0], [1, 0, 1]]),  # the second stream begins inside a sequence: fresh as well
        ([[3, 4, 5], [9, 10, 11]], [[0, 1, 0], [0, 0, 0]]),  # carried on from the last batch, but for item 4
    ]
    # The wrap: both streams begin again, and what they carry from their ends must go.
    for (window, fresh), (expected, flags) in zip(windows(5, starts, 2, 3), [*layout, *layout, layout[0]], strict=True):
        np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(fresh, np.asarray(flags, bool))


def test_a_stream_of_one_window_is_fresh_each_time():
    for window, fresh in windows(3, [0, 0, 1, 0, 0], 1, 4):
        np.testing.assert_array_equal(window, [[0, 1, 2, 3]])
        np.testing.assert_array_equal(fresh, [[True, False, True, False]])


def test_windows_keep_the_leaves_together_and_their_trailing_axes():
    time = jnp.arange(12)
    data = Windows({"t": time, "x": jnp.stack([time, -time], 1)}, jnp.zeros(12, bool), 3, 2)
    (window, fresh), _ = data.next(jnp.asarray(2, jnp.int32))
    assert window["x"].shape == (3, 2, 2)
    np.testing.assert_array_equal(window["t"], [[2, 3], [6, 7], [10, 11]])
    np.testing.assert_array_equal(window["x"], np.stack([window["t"], -window["t"]], 2))
    assert not fresh.any()


@pytest.mark.parametrize(("streams", "length"), [(2, 4), (8, 1), (1, 8), (0, 2), (2, 0), (-1, 2)])
def test_a_sequence_too_short_for_its_windows_is_refused(streams, length):
    sentence = rf"^{streams} streams of windows of {length} do not fit a sequence of 7\.$"
    with pytest.raises(InputError, match=sentence):
        Windows(jnp.arange(7), jnp.zeros(7, bool), streams, length)


@pytest.mark.parametrize("lengths", [(5, 7), (9, 7)])
def test_a_sequence_and_its_starts_must_be_equally_long(lengths):
    # A slice beyond the end of an array is moved back inside by JAX: items would be shown under wrong flags, silently.
    time, starts = lengths
    with pytest.raises(InputError, match=rf"leading axes \['\({time},\)'\] and its starts \({starts},\): make them"):
        Windows(jnp.arange(time), jnp.zeros(starts, bool), 2, 2)


# What no training can use

MAKERS = {
    "Whole": Whole,
    "Batches": lambda arrays: Batches(arrays, 1),
    "Windows": lambda arrays: Windows(arrays, jnp.zeros(4, bool), 2, 2),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({}, "the data is empty"),
        ({"x": np.ones((4, 2), np.float32), "y": np.zeros((4, 0), np.float32)}, "the data is empty"),
        ({"x": np.array([1, 2, np.nan, 4], np.float32)}, "holds NaN or infinity"),
        ({"x": np.arange(4), "y": np.array([1, -np.inf, 2, 3], np.float32)}, "holds NaN or infinity"),
    ],
)
def test_empty_and_broken_data_is_refused(make, arrays, sentence):
    with pytest.raises(InputError, match=sentence):
        make(arrays)
