"""Line integrals: closed forms, honest errors, kinks, and fields that are no gradient."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.energy import AbstractEnergy, AbstractHostField
from thalweg.core.errors import InputError
from thalweg.core.paths import Bent, Curve, Polygon, Straight
from thalweg.diagnostics.closure import closure, loop
from thalweg.landscapes import DoubleWell, MullerBrown
from thalweg.verbs.work import work

CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0))


def spiral(t):
    return jnp.stack([-0.5 + t, 1.4 - 1.4 * t]) + 0.1 * jnp.sin(2 * jnp.pi * t)


def paths():
    a, b = jnp.array([-0.5, 1.4]), jnp.array([0.5, 0.0])
    corners = jnp.stack([a, jnp.array([0.2, 1.0]), jnp.array([-0.3, 0.3]), b])
    return {
        "straight": Straight(a, b),
        "bent": Bent(a, b, jnp.array([0.2, 0.3])),
        "polygon": Polygon(corners),
        "given": Curve(spiral),
    }


def circle(t):
    return jnp.stack([jnp.cos(2 * jnp.pi * t), jnp.sin(2 * jnp.pi * t)])


def rotation(x):
    """A field with curl 2 everywhere: its circulation is twice the area."""
    return jnp.stack([-x[1], x[0]])


@pytest.mark.parametrize("name", ["straight", "bent", "polygon", "given"])
def test_a_smooth_field_closes(name, x64):
    result = closure(MullerBrown(), paths()[name], tol=1e-11)
    assert result.work.reached
    # The error aimed at, 1e-11 of a fall of 80, with room.
    assert abs(float(result.gap)) < 1e-9
    assert abs(float(result.gap)) <= float(result.work.error) + 1e-12
    assert abs(float(result.fall)) > 10
    assert float(result.relative) < 1e-10


def test_the_work_of_a_force_field_and_of_its_landscape_are_one(x64):
    field = lambda x: -jax.grad(MullerBrown())(x)  # noqa: E731
    path = paths()["bent"]
    np.testing.assert_allclose(work(field, path).value, work(MullerBrown(), path).value, rtol=1e-13)


def test_the_circulation_of_a_rotation_is_twice_the_area(x64):
    around = work(rotation, Curve(circle))
    assert abs(float(around.value) - 2 * np.pi) < 1e-9
    assert abs(float(around.value) - 2 * np.pi) <= float(around.error)
    square = work(rotation, Polygon(jnp.array(CORNERS)))
    assert abs(float(square.value) - 2) < 1e-12
    np.testing.assert_allclose(square.absolute, 2, rtol=1e-12)
    triangle, error = loop(
        rotation, Polygon(jnp.array(CORNERS[:3])), Straight(jnp.array(CORNERS[0]), jnp.array(CORNERS[2]))
    )
    assert abs(float(triangle) - 1) <= float(error) < 1e-9


def test_a_field_that_is_no_gradient_does_not_close(x64):
    field = lambda x: -jax.grad(DoubleWell())(x) + 0.01 * rotation(x)  # noqa: E731
    result = closure(DoubleWell(), Bent(jnp.zeros(2), jnp.ones(2), jnp.array([0.3, -0.3])), field)
    # The area between the parabola and its chord is two thirds of chord times sagitta.
    area = 2 / 3 * np.sqrt(2) * np.sqrt(0.18)
    np.testing.assert_allclose(abs(float(result.gap)), 0.02 * area, rtol=1e-8)
    assert abs(float(result.gap)) > 100 * float(result.work.error)


class Kinked(AbstractEnergy):
    """A net of rectifiers, piecewise linear with kinks at places that no quadrature knows."""

    weights: jax.Array
    bias: jax.Array

    def __call__(self, x):
        return jnp.sum(jax.nn.relu(self.weights @ x + self.bias))


@pytest.mark.parametrize("seed", range(3))
def test_kinks_cost_accuracy_but_not_honesty(seed, x64):
    first, second = jax.random.split(jax.random.key(seed))
    energy = Kinked(jax.random.normal(first, (40, 2)), jax.random.normal(second, (40,)))
    result = closure(energy, Bent(-jnp.ones(2), jnp.ones(2), jnp.array([0.5, -0.5])), tol=1e-6, max_pieces=2000)
    assert abs(float(result.gap)) <= float(result.work.error)
    assert bool(result.work.reached)


class Waves(AbstractEnergy):
    """A sum of plane waves: smooth, and as wiggly as its wave vectors are long."""

    vectors: jax.Array
    phases: jax.Array

    def __call__(self, x):
        return jnp.sum(jnp.sin(self.vectors @ x + self.phases))


@pytest.mark.parametrize("tol", [1e-4, 1e-10])
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 60.0))
@settings(max_examples=40, deadline=None)
def test_the_stated_error_is_honest(tol, seed, scale):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        waves = Waves(jnp.asarray(scale * rng.normal(size=(6, 3))), jnp.asarray(rng.uniform(0, 6, 6)))
        a, b, bulge = (jnp.asarray(rng.normal(size=3)) for _ in range(3))
        result = closure(waves, Bent(a, b, bulge), tol=tol)
        # The fall itself is a difference of sums of six sines, whose arguments of size |k x| lose digits.
        rounding = 50 * np.finfo(np.float64).eps * (1 + scale) * 6
        assert abs(float(result.gap)) <= 2 * float(result.work.error) + rounding
        if bool(result.work.reached):
            assert float(result.work.error) <= 2 * tol * max(1.0, abs(float(result.work.value)))


def test_a_tolerance_out_of_reach_is_said_to_be(x64):
    wild = Waves(jnp.full((1, 2), 4000.0), jnp.zeros(1))
    result = work(wild, Straight(jnp.zeros(2), jnp.array([1.0, 1.3])), tol=1e-12, max_pieces=4)
    assert not bool(result.reached)
    assert float(result.error) > 1e-12


def test_many_paths_are_integrated_at_once(x64):
    ends = jnp.array([[1.0, 0.5], [0.3, -0.2], [2.0, 1.0]])
    one = lambda b: work(DoubleWell(), Straight(jnp.zeros(2), b)).value  # noqa: E731
    expected = DoubleWell()(jnp.zeros(2)) - jax.vmap(DoubleWell())(ends)
    np.testing.assert_allclose(jax.vmap(one)(ends), expected, atol=1e-9)


def test_float32_stays_float32_and_states_its_rounding():
    result = closure(MullerBrown(), Straight(jnp.array([-0.5, 1.4]), jnp.array([0.5, 0.0])), tol=1e-4)
    assert result.work.value.dtype == jnp.float32
    # Besides the work's error, the two float32 heights of order 100 carry a rounding each.
    assert abs(float(result.gap)) <= float(result.work.error) + 4 * 100 * np.finfo(np.float32).eps


class Programme(AbstractHostField):
    """The double well in NumPy; counts its calls and the configurations in them."""

    def __init__(self):
        self.calls = self.asked = 0

    def value_and_force_batch(self, x):
        x = np.asarray(x)
        self.calls, self.asked = self.calls + 1, self.asked + len(x)
        return np.sum((x**2 - 1) ** 2, -1), -4 * x * (x**2 - 1)


def test_a_host_field_does_the_same_work_in_batches(x64):
    path, host = Bent(jnp.zeros(2), jnp.array([1.5, -0.7]), jnp.array([0.2, 0.4])), Programme()
    theirs, ours = work(host, path), work(DoubleWell(), path)
    np.testing.assert_allclose(theirs.value, ours.value, rtol=1e-13)
    assert bool(theirs.reached)
    assert host.calls < host.asked / 10  # the 21 nodes of an interval come together
    result = closure(Programme(), path)
    assert abs(float(result.gap)) < 1e-9


def test_pytrees_are_walked_too(x64):
    energy = lambda x: DoubleWell()(x["a"]) + jnp.sum(x["b"] ** 3)  # noqa: E731
    a = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}
    b = {"a": jnp.array([0.5, 1.0]), "b": jnp.full((2, 2), 0.7)}
    assert abs(float(closure(energy, Straight(a, b)).gap)) < 1e-9


def test_the_work_compiles_once_for_all_parameters(x64):
    traces = []

    class Counted(AbstractEnergy):
        stiffness: jax.Array = eqx.field(converter=jnp.asarray)

        def __call__(self, x):
            traces.append(1)
            return self.stiffness * jnp.sum(x**2)

    for stiffness in (1.0, 2.0, 3.0):
        before = len(traces)
        value = work(Counted(stiffness), Straight(jnp.zeros(2), jnp.ones(2))).value
        np.testing.assert_allclose(value, -2 * stiffness, rtol=1e-13)
    assert len(traces) - before == 1  # for the check of the output's shape, which never compiles


BAD = [
    ((lambda x: x, Straight(np.float32(0), np.float32(1))), {}, "look alike: give x the shape"),
    ((lambda x: x[:1], Straight(np.zeros(2, np.float32), np.ones(2, np.float32))), {}, "neither one number"),
    ((lambda x: (x, x), Straight(np.zeros(2, np.float32), np.ones(2, np.float32))), {}, "neither one number"),
    ((DoubleWell(), Straight(np.zeros(2, np.float32), np.ones(2, np.float32))), {"tol": 0.0}, "tol is 0.0"),
    ((DoubleWell(), Straight(np.full(2, np.nan, np.float32), np.ones(2, np.float32))), {}, "the (start of the )?path"),
    ((DoubleWell(), Straight(np.zeros(2), np.ones(2))), {}, "float64 but this process computes in float32"),
    ((DoubleWell(), Straight(np.zeros(2, int), np.ones(2, int))), {}, "the (start of the )?path"),
]


@pytest.mark.parametrize(("arguments", "options", "sentence"), BAD, ids=[sentence for *_, sentence in BAD])
def test_bad_arguments_are_one_sentence(arguments, options, sentence):
    with pytest.raises(InputError, match=f"^work: .*{sentence}"):
        work(*arguments, **options)
