"""Checkpoints: every bit comes back, and what does not fit is named."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, PrecisionError
from thalweg.runs import (
    load_state,
    save_state,
)
from thalweg.runs.checkpoint import saved_step

ON_HOST = (
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 complex64 complex128 "
    "bfloat16 float8_e4m3fn int4"
).split()
ON_DEVICE = [name for name in ON_HOST if name not in {"int64", "uint64", "float64", "complex128"}]
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def arrays(draw, names: Sequence[str]) -> np.ndarray:
    """Arrays of any bits that the dtype can have, NaN with payloads and subnormals included."""
    dtype, shape = jnp.dtype(draw(st.sampled_from(names))), draw(shapes)
    size = math.prod(shape)
    if dtype.name in {"bool", "int4"}:  # not every byte is one of these
        low, high = (0, 1) if dtype.name == "bool" else (-8, 7)
        return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)), dtype).reshape(shape)
    raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    return np.frombuffer(raw, dtype).reshape(shape)


def bits(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return leaf.dtype.name, leaf.shape, np.asarray(leaf).tobytes()


def round_trip(state: Any, template: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = save_state(Path(folder, "a.safetensors"), state, 12)
        found, step = load_state(path, template)
        assert step == saved_step(path) == 12
        return found


@settings(max_examples=120, deadline=None)
@given(
    host=st.dictionaries(st.text(max_size=3), arrays(ON_HOST), max_size=3),
    device=st.lists(arrays(ON_DEVICE), max_size=3),
)
@example(host={}, device=[])
@example(host={"'": np.array(True), '"\n': np.zeros((0, 2), np.int64)}, device=[np.float32(0.5).reshape(())])
def test_every_bit_comes_back(host, device):
    state = {"host": host, "device": [jnp.asarray(array) for array in device]}
    template = {
        "host": jax.tree.map(np.zeros_like, host),
        "device": [jnp.asarray(np.zeros_like(array)) for array in device],
    }
    found = round_trip(state, template)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(found), strict=True):
        assert bits(old) == bits(new)
        assert isinstance(new, np.ndarray) == isinstance(old, np.ndarray)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_typed_keys_come_back(impl):
    state = {"one": jax.random.key(7, impl=impl), "many": jax.random.split(jax.random.key(8, impl=impl), 3)}
    template = {"one": jax.random.key(0, impl=impl), "many": jax.random.split(jax.random.key(0, impl=impl), 3)}
    found = round_trip(state, template)
    assert found["one"].dtype == state["one"].dtype
    np.testing.assert_array_equal(jax.random.bits(found["many"][1], (4,)), jax.random.bits(state["many"][1], (4,)))
    assert bits(found["one"]) == bits(state["one"])


def test_what_is_no_array_comes_from_the_template():
    template = {"f": abs, "n": 3, "x": jnp.zeros(2), "s": np.float32(0)}
    found = round_trip({"f": max, "n": 3, "x": jnp.ones(2), "s": np.float32(2.5)}, template)
    assert found["f"] is abs
    assert found["n"] == 3
    assert (found["s"], type(found["s"])) == (2.5, np.float32)


def test_host_arrays_keep_their_memory_order_and_can_be_written():
    state = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f8"),
        "t": np.eye(3)[::2],
    }
    found = round_trip(state, state)
    assert found["f"].flags.f_contiguous
    assert found["big"].dtype == np.dtype(">f8")
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name])
        array[...] = 0


def test_a_64_bit_state_needs_a_64_bit_process(tmp_path, x64):
    state = {"x": jnp.array([0.1, 0.2], jnp.float64)}
    path = save_state(tmp_path / "a", state, 1)
    assert bits(load_state(path, {"x": jnp.zeros(2)})[0]["x"]) == bits(state["x"])
    with jax.enable_x64(False), pytest.raises(PrecisionError, match=r"state\['x'\] as float64 .*jax_enable_x64"):
        load_state(path, {"x": jnp.zeros(2)})
    # The host's arrays have their width whatever JAX computes in.
    with jax.enable_x64(False):
        assert load_state(path, {"x": np.zeros(2)})[0]["x"].dtype == np.float64


MISFITS = [
    ({"a": jnp.ones((2, 3)), "n": 2, "b": jnp.ones(1)}, r"has no state\['b'\]"),
    ({"n": 2}, r"holds state\['a'\], which is unknown here"),
    ({"a": jnp.ones((3, 2)), "n": 2}, r"state\['a'\] is float32\[2, 3\] in the file and float32\[3, 2\] here"),
    ({"a": jnp.ones((2, 3), jnp.bfloat16), "n": 2}, r"float32\[2, 3\] in the file and bfloat16\[2, 3\] here"),
    ({"a": jnp.ones((2, 3)), "n": 4}, r"state\['n'\] is 2 in the file and 4 here"),
    ({"a": jnp.ones((2, 3))}, r"state\['n'\] is 2 in the file and absent here"),
    ({"a": jnp.ones(()), "n": 2}, r"float32\[\] here"),
]


@pytest.mark.parametrize(("template", "sentence"), MISFITS)
def test_a_template_that_does_not_fit_is_named(tmp_path, template, sentence):
    path = save_state(tmp_path / "a", {"a": jnp.ones((2, 3)), "n": 2}, 1)
    with pytest.raises(InputError, match=f"does not fit this walk.*{sentence}"):
        load_state(path, template)


def test_a_key_of_another_kind_is_named(tmp_path):
    path = save_state(tmp_path / "a", jax.random.key(1), 1)
    with pytest.raises(InputError, match=r"state is uint32\[2\] \(a threefry2x32 key\) .* rbg key"):
        load_state(path, jax.random.key(1, impl="rbg"))
    with pytest.raises(InputError, match=r"threefry2x32 key\) in the file and uint32\[2\] here"):
        load_state(path, jnp.zeros(2, jnp.uint32))


@pytest.mark.parametrize("leaf", [np.array(["a"]), np.array([object()]), np.array("2020", "M8[D]")])
def test_arrays_of_no_numbers_are_refused(tmp_path, leaf):
    with pytest.raises(InputError, match=r"state is an array of .* convert it to numbers"):
        save_state(tmp_path / "a", leaf, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_a_foreign_and_an_empty_file_are_one_sentence(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(InputError, match="no checkpoint to go on from"):
        load_state(tmp_path / "a", jnp.ones(1))
    assert saved_step(tmp_path / "a") is None
    save_file({"state": np.ones(1, np.float32)}, tmp_path / "b")
    with pytest.raises(InputError, match="no checkpoint of a walk"):
        load_state(tmp_path / "b", jnp.ones(1))
    (tmp_path / "c").touch()
    for reads in (lambda path: load_state(path, jnp.ones(1)), saved_step):
        with pytest.raises(InputError, match=r"is damaged .* delete it to start afresh"):
            reads(tmp_path / "c")
