"""Host functions as force fields, and a user's own object by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import force, value_and_force
from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.space import Box
from thalweg.interop import HostField, host_field, load_object, numerical_hessian_vector_product
from thalweg.verbs.relax import relax

CENTRE = (0.3, -1.2, 2.0)


def quartic(x):
    """Sum of (x - c)^2 / 2 + (x - c)^4 / 4, in NumPy, batch axis first."""
    away = x - np.asarray(CENTRE, x.dtype)
    return (away**2 / 2 + away**4 / 4).sum(1), away + away**3


def quartic_in_jax(x):
    away = x - jnp.asarray(CENTRE, x.dtype)
    return jnp.sum(away**2 / 2 + away**4 / 4)


def test_forces_are_negated_gradients(x64):
    x = jax.random.normal(jax.random.key(0), (5, 3))
    values, forces = HostField(quartic).value_and_force_batch(x)
    # The two sides do the same float64 arithmetic, in another order: a few units in the last place.
    np.testing.assert_allclose(values, jax.vmap(quartic_in_jax)(x), rtol=1e-14)
    np.testing.assert_allclose(forces, -jax.vmap(jax.grad(quartic_in_jax))(x), rtol=1e-13)
    np.testing.assert_allclose(force(HostField(quartic), x[0]), forces[0], rtol=0)
    assert HostField(quartic)(x[0]) == values[0]


def test_pytrees_keep_their_structure():
    def spring(x):
        return (x["a"] ** 2).sum(1) + (x["b"] ** 2).sum((1, 2)), {"a": 2 * x["a"], "b": 2 * x["b"]}

    x = {"a": jnp.ones(3), "b": jnp.full((2, 2), 2.0)}
    value, push = value_and_force(HostField(spring), x)
    assert float(value) == 19
    assert jax.tree.map(lambda leaf: leaf.tolist(), push) == {"a": [-2.0] * 3, "b": [[-4.0] * 2] * 2}


def test_calls_evaluations_and_gradients_are_counted():
    field = HostField(quartic, lambda x: quartic(x)[0])
    x = jnp.ones((7, 3))
    field.value_and_force_batch(x)
    field.value_batch(x[:2])
    field(x[0])
    assert (field.calls, field.evaluations, field.gradients) == (3, 10, 7)


@pytest.mark.parametrize(("method", "space"), [("fire", None), ("lbfgs", None), ("projected", Box(-1.0, 1.0))])
def test_relax_finds_the_minimum_of_the_compiled_twin(x64, method, space):
    start = jnp.zeros(3)
    ours = relax(HostField(quartic), start, method, space=space, tol=1e-9)
    twin = relax(quartic_in_jax, start, method, space=space, tol=1e-9)
    # Curvature is at least 1, so a force below 1e-9 leaves each point within 1e-9 of the minimum.
    np.testing.assert_allclose(ours.value, twin.value, atol=2e-9)
    inside = np.clip(CENTRE, -1, 1) if space is not None else CENTRE
    np.testing.assert_allclose(ours.value, inside, atol=1e-9)


def test_a_gradient_flow_is_refused():
    with pytest.raises(InputError, match="gradient flow needs a compiled landscape"):
        relax(HostField(quartic), jnp.zeros(3), "flow")


def test_the_step_that_made_a_nan_is_named():
    asked = []

    def fails_at_the_fourth(x):
        asked.append(x)
        values, slopes = quartic(x)
        return (values * np.float32(np.nan) if len(asked) == 4 else values), slopes

    with pytest.raises(WalkError, match=r"step 3 made .* non-finite"):
        # The first question is about the start, the fourth about the third step; chunks of one are never walked again.
        relax(HostField(fails_at_the_fourth), jnp.zeros(3), "fire")


@pytest.mark.parametrize("planted", [np.nan, np.inf])
def test_values_that_are_not_finite_pass_through(planted):
    field = HostField(lambda x: (np.full(len(x), planted, x.dtype), x))
    np.testing.assert_equal(np.asarray(field.value_batch(jnp.ones((2, 3)))), [planted, planted])


def aligned(*shape):
    """Float32 zeros that begin at a multiple of 64 bytes, which is where JAX takes memory over without a copy."""
    raw = np.zeros(4 * int(np.prod(shape)) + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : len(raw) - 64 + start].view(np.float32).reshape(shape)


@pytest.mark.parametrize("hand_out", [np.asarray, jax.dlpack.from_dlpack], ids=["numpy", "dlpack"])
def test_a_buffer_that_the_function_reuses_is_copied(hand_out):
    values, slopes = aligned(64), aligned(64, 16)

    def reuses(x):
        values[:], slopes[:] = x.sum(1), x
        return hand_out(values), hand_out(slopes)

    field = HostField(reuses)
    first = field.value_and_force_batch(jnp.ones((64, 16)))
    field.value_and_force_batch(jnp.full((64, 16), 5.0))
    assert float(first[0][0]) == 16
    assert float(first[1][0, 0]) == -1


BAD_ANSWERS = {
    "the pair": lambda x: x,
    "one gradient per leaf": lambda x: (x.sum(1), [x]),
    r"values of shape \[\], not \[2\]": lambda x: (x.sum(), x),
    r"gradients of shape \[3\], not \[2, 3\]": lambda x: (x.sum(1), x[0]),
    "values of dtype float64, but x is float32": lambda x: (x.sum(1, dtype=np.float64), x),
    "gradients of dtype float64, but x is float32": lambda x: (x.sum(1), x.astype(np.float64)),
    "values of type list": lambda x: (x.sum(1).tolist(), x),
}


@pytest.mark.parametrize("sentence", BAD_ANSWERS)
def test_a_bad_answer_is_one_sentence(sentence):
    with pytest.raises(InputError, match=sentence):
        HostField(BAD_ANSWERS[sentence]).value_and_force_batch(jnp.ones((2, 3)))


def test_bad_questions_are_one_sentence():
    field = HostField(quartic)
    with pytest.raises(InputError, match="one leading batch axis"):
        field.value_and_force_batch({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))})
    with pytest.raises(InputError, match="int32: pass an array of floats"):
        field.value_and_force_batch(jnp.ones((2, 3), jnp.int32))
    with pytest.raises(PrecisionError, match="jax_enable_x64"):
        field.value_and_force_batch(np.ones((2, 3)))
    with pytest.raises(InputError, match="cannot be called inside jit"):
        jax.jit(field)(jnp.ones(3))
    assert field.calls == 0


def test_a_function_of_one_configuration_is_called_for_each(x64):
    def single(x):
        away = x - np.asarray(CENTRE)
        return float((away**2).sum()), 2 * away

    field = host_field(single)
    x = jax.random.normal(jax.random.key(1), (4, 3))
    values, forces = field.value_and_force_batch(x)
    np.testing.assert_allclose(values, ((np.asarray(x) - CENTRE) ** 2).sum(1), rtol=1e-15)
    assert forces.shape == (4, 3)
    np.testing.assert_allclose(relax(field, x[0], "lbfgs", tol=1e-10).value, CENTRE, atol=1e-10)


def test_randomness_and_mixing_are_found():
    random = np.random.default_rng(0)
    x = jax.random.normal(jax.random.key(0), (4, 3))
    HostField(quartic).check_deterministic(x)
    with pytest.raises(InputError, match="two answers to one input"):
        HostField(lambda x: (x.sum(1) + random.normal(size=len(x)).astype(x.dtype), x)).check_deterministic(x)
    with pytest.raises(InputError, match="alone and in a batch"):
        HostField(lambda x: (x.sum(1) - x.mean(), x)).check_deterministic(x)
    with pytest.raises(InputError, match="at least two"):
        HostField(quartic).check_deterministic(x[:1])


def test_differenced_gradients_have_second_order(x64):
    x, v = jax.random.normal(jax.random.key(2), (2, 3))
    exact = jax.jvp(jax.grad(quartic_in_jax), (x,), (v,))[1]

    def error(step):
        found = numerical_hessian_vector_product(HostField(quartic), x, v, step)
        return float(jnp.max(jnp.abs(found - exact)))

    # The gradient is cubic, so the error is exactly h^2 v^3: a hundredth for a tenth of the step.
    assert error(1e-1) == pytest.approx(1e-2 * float(jnp.max(jnp.abs(v**3))), rel=1e-6)
    assert error(1e-2) == pytest.approx(1e-2 * error(1e-1), rel=1e-4)
    with pytest.raises(InputError, match="step is 0"):
        error(0.0)


def test_objects_are_loaded_by_file_and_by_module(tmp_path):
    (tmp_path / "beside_it.py").write_text("offset = 2\n")
    net = tmp_path / "net.py"
    net.write_text("import beside_it\nclass Zoo:\n    def small(x): return x + beside_it.offset\n")
    assert load_object(f"{net}:Zoo.small")(1) == 3
    assert load_object("math:tau") == pytest.approx(6.283185307)


def test_loading_calls_nothing(tmp_path):
    net = tmp_path / "net.py"
    net.write_text("def build(): raise RuntimeError('called')\nif __name__ == '__main__': build()\n")
    assert callable(load_object(f"{net}:build"))


BROKEN = {
    "1/0": ("x = 1\n1 / 0\n", "net.py:2: importing .* failed with ZeroDivisionError: division by zero"),
    "syntax": ("x = 1\n\ndef (:\n", "net.py:3: importing .* failed with SyntaxError"),
    "import": ("import no_such_package_here\n", "net.py:1: .* ModuleNotFoundError: No module named 'no_such_package"),
    "library": ("import json\n\njson.loads('[')\n", "net.py:3: importing .* failed with JSONDecodeError"),
    "exit": ("import sys\nsys.exit(3)\n", "net.py:2: importing .* failed with SystemExit: 3"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_imported_is_one_sentence(tmp_path, kind):
    source, sentence = BROKEN[kind]
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(InputError, match=sentence) as caught:
        load_object(f"{tmp_path / 'net.py'}:model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model", "write package.module:attribute or file.py:attribute"),
        ("nowhere/net.py:model", "there is no file nowhere/net.py"),
        ("no_such_package_here.net:model", "there is no module 'no_such_package_here.net'"),
        ("json.no_such_module:model", "there is no module 'json.no_such_module'"),
        ("math:tua", "math has no attribute 'tua': did you mean"),
        ("json:decoder.none_like_it", "no attribute 'decoder.none_like_it': check the spelling"),
    ],
)
def test_a_wrong_name_is_one_sentence(name, sentence):
    with pytest.raises(InputError, match=sentence):
        load_object(name)
