"""Energies and their combinators, spaces, solutions, and what is refused before the first step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.checks import bad_leaves, check_scalar, floating, positive
from thalweg.core.energy import AbstractHostField, Restrict, Scaled, Sum, force, height, value_and_force
from thalweg.core.errors import InputError, MissingExtra, PrecisionError, WalkError, require
from thalweg.core.paths import Bent, Curve, Polygon, Straight, tangent
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import Box, Euclidean, Frozen, Periodic, Signs
from thalweg.landscapes import DoubleWell, MullerBrown
from thalweg.testing import check_space
from thalweg.verbs.relax import relax

POINT = np.array([0.3, -0.2], np.float32)


class HostWell(AbstractHostField):
    """The double well of height 1, computed by NumPy."""

    def value_and_force_batch(self, x):
        x = np.asarray(x)
        return np.sum((x**2 - 1) ** 2, -1), -4 * x * (x**2 - 1)


# Energies


def test_sum_and_scaled_add_and_multiply_values_and_forces():
    a, b, x = DoubleWell(), MullerBrown(scale=0.01), jnp.asarray(POINT)
    both = Sum(a, Scaled(b, 3.0))
    # A few float32 roundings of terms of order one.
    np.testing.assert_allclose(both(x), a(x) + 3 * b(x), rtol=1e-6)
    np.testing.assert_allclose(force(both, x), force(a, x) + 3 * force(b, x), rtol=1e-5)


def test_scaled_keeps_the_dtype_of_the_landscape(x64):
    assert Scaled(DoubleWell(), np.float64(2.0))(jnp.asarray(POINT)).dtype == jnp.float32


def test_restrict_is_the_landscape_on_the_plane_and_its_force_is_projected(x64):
    base, directions = {"a": jnp.array([0.1, 0.2])}, {"a": jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])}
    energy = lambda x: DoubleWell()(x["a"])  # noqa: E731
    plane, z = Restrict(energy, base, directions), jnp.array([0.3, -0.1, 0.2])
    here = {"a": base["a"] + z @ directions["a"]}
    np.testing.assert_allclose(plane.lift(z)["a"], here["a"], rtol=1e-15)
    np.testing.assert_allclose(plane(z), energy(here), rtol=1e-15)
    np.testing.assert_allclose(force(plane, z), directions["a"] @ force(energy, here)["a"], rtol=1e-14)


def test_the_force_has_the_structure_of_x():
    x = {"a": jnp.ones(2), "b": (jnp.ones((2, 2)),)}
    push = force(lambda x: jnp.sum(x["a"] ** 2) + jnp.sum(x["b"][0]), x)
    assert jax.tree.structure(push) == jax.tree.structure(x)
    np.testing.assert_array_equal(push["a"], -2.0)
    np.testing.assert_array_equal(push["b"][0], -1.0)


def test_a_host_field_has_a_height_and_a_force():
    x = jnp.asarray(POINT)
    for host, ours in zip(value_and_force(HostWell(), x), value_and_force(DoubleWell(), x), strict=True):
        np.testing.assert_allclose(host, ours, rtol=1e-6)  # float32, few operations
    np.testing.assert_allclose(height(HostWell(), x), height(DoubleWell(), x), rtol=1e-6)


# Spaces

NUMBERS = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4).map(lambda xs: np.array(xs, np.float32))
SPACES = {
    "euclidean": Euclidean,
    "box": lambda: Box(-0.7, np.array([0.1, 1.0, 2.0, 3.0], np.float32)),
    "periodic": lambda: Periodic(np.array([0.1, 1.3, 1 / 3, 10.3], np.float32)),
    "signs": Signs,
    "frozen": lambda: Frozen(np.array([True, False, True, False])),
    "frozen box": lambda: Frozen(np.array([True, False, True, True]), Box(-0.5, 0.5)),
    "frozen periodic": lambda: Frozen(np.array([True, False, True, True]), Periodic(1.3)),
}


@pytest.mark.parametrize("name", SPACES)
@given(x=NUMBERS, seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_spaces_keep_their_promises_everywhere(name, x, seed):
    check_space(SPACES[name](), jnp.asarray(x), key=jax.random.key(seed))


@pytest.mark.parametrize("length", [0.1, 1.3, 1 / 3, 10.3])
def test_periodic_points_lie_in_the_cell(length):
    # Next to multiples of the length, where the quotient rounds to a whole number.
    length = np.float32(length)
    multiples = np.arange(-1000, 1000, dtype=np.float32) * length
    near = [multiples, np.nextafter(multiples, np.float32(-np.inf)), np.nextafter(multiples, np.float32(np.inf))]
    space = Periodic(length)
    inside = space.wrap(jnp.asarray(np.stack(near)))
    # XLA takes numbers too small for full precision for zero, so that one of them may keep its sign.
    assert ((np.asarray(inside) >= -np.finfo(np.float32).tiny) & (np.asarray(inside) < length)).all()
    np.testing.assert_array_equal(space.wrap(inside), inside)


@given(a=NUMBERS, b=NUMBERS)
@settings(max_examples=100, deadline=None)
def test_the_shortest_way_is_at_most_half_a_cell(a, b):
    space = Periodic(1.3)
    step = np.asarray(space.displacement(space.wrap(jnp.asarray(a)), space.wrap(jnp.asarray(b))))
    assert (np.abs(step) <= 0.65 * (1 + 1e-6)).all()  # half a cell, and the rounding of the float32 length


def test_a_box_takes_a_prefix_of_the_pytree_and_stops_only_what_pushes_outward():
    space = Box({"a": -1.0, "b": 0.0}, {"a": 1.0, "b": jnp.array([1.0, 2.0])})
    x = space.wrap({"a": jnp.array([-3.0, 0.5, 3.0]), "b": jnp.array([-1.0, 5.0])})
    np.testing.assert_array_equal(x["a"], [-1, 0.5, 1])
    np.testing.assert_array_equal(x["b"], [0, 2])
    push = space.project(x, {"a": jnp.array([-1.0, -1.0, -1.0]), "b": jnp.array([jnp.nan, 1.0])})
    np.testing.assert_array_equal(push["a"], [0, -1, -1])
    assert np.isnan(push["b"][0])  # a wall stops a number, never a NaN
    assert push["b"][1] == 0


def test_frozen_coordinates_stay_even_outside_the_walls():
    space = Frozen(jnp.array([True, False]), Box(0.0, 1.0))
    x = jnp.array([3.0, 3.0])
    np.testing.assert_array_equal(space.wrap(x), [1, 3])
    np.testing.assert_array_equal(space.shift(space.wrap(x), jnp.array([-0.5, -0.5])), [0.5, 3])
    np.testing.assert_array_equal(space.project(x, jnp.array([-1.0, -1.0])), [-1, 0])


# Solutions


def test_outcomes_survive_the_trip_through_their_codes():
    assert [Outcome.of(outcome.code) for outcome in Outcome] == list(Outcome)
    assert len({outcome.value for outcome in Outcome}) == len(Outcome)


def test_a_solution_says_how_it_ended():
    assert Solution(1, jnp.array(0.0), jnp.array(Outcome.DONE.code)).done
    ended = Solution(1, jnp.array(0.0), jnp.array(Outcome.STEPS.code))
    assert not ended.done
    assert ended.sentence == Outcome.STEPS.value


def test_a_batch_of_solutions_counts_its_endings():
    codes = jnp.array([Outcome.DONE.code, Outcome.DONE.code, Outcome.STALLED.code])
    batch = jax.vmap(lambda code: Solution(code, 0.0 * code, code))(codes)
    assert not batch.done
    assert f"2 of 3: {Outcome.DONE.value}" in batch.sentence
    assert f"1 of 3: {Outcome.STALLED.value}" in batch.sentence
    assert jax.vmap(lambda code: Solution(code, 0.0 * code, code))(codes[:2]).done


def test_errors_carry_their_sentence_and_solution():
    solution = Solution(1, jnp.array(0.0), jnp.array(Outcome.STEPS.code))
    error = WalkError("relax: no.", solution)
    assert str(error) == "relax: no."
    assert error.solution is solution
    assert type(error)(*error.args).sentence == "relax: no."


def test_a_missing_package_is_named_with_its_install_line():
    with pytest.raises(MissingExtra, match=r"no_such_module.*pip install 'thalweg\[atoms\]'"):
        require("no_such_module", extra="atoms")


# Checks

BAD = [
    ({}, "holds no arrays"),
    (None, "holds no arrays"),
    ("text", "is a str, not an array of floats"),
    (jnp.array([1, 2]), "which has no gradient"),
    (jnp.array([True]), "which has no gradient"),
    (jnp.zeros((0, 3)), "is empty"),
    ({"a": jnp.ones(2), "b": jnp.array([1.0, jnp.nan])}, r"\['b'\] is not finite"),
    (jnp.array([jnp.inf]), "is not finite"),
]


@pytest.mark.parametrize(("x", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_starts_are_refused_with_their_place(x, sentence):
    with pytest.raises(InputError, match=rf"^here: x0.*{sentence}"):
        floating(x, "here")


def test_float64_without_x64_is_refused_and_never_narrowed():
    with pytest.raises(PrecisionError, match=r"float64 but this process computes in float32.*jax_enable_x64"):
        floating({"a": np.zeros(2)}, "here")


def test_float64_with_x64_passes(x64):
    assert floating(np.zeros(2), "here").dtype == jnp.float64


def test_a_landscape_must_return_one_number():
    x = jnp.ones(3)
    with pytest.raises(InputError, match=r"shape \[\(3,\)\], not one floating-point number: sum it first"):
        check_scalar(lambda x: x, x, "here")
    with pytest.raises(InputError, match="not one floating-point number"):
        check_scalar(lambda x: jnp.argmax(x), x, "here")
    with pytest.raises(InputError, match="cannot be evaluated on an x of this shape"):
        check_scalar(lambda x: jnp.sum(x @ jnp.ones((4, 4))), x, "here")
    with pytest.raises(InputError, match="cannot be evaluated"):
        check_scalar(DoubleWell(), [0.5, 0.4], "here")


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_what_must_be_positive_is(value):
    with pytest.raises(InputError, match=r"here: tol is .* must be positive"):
        positive(value, "tol", "here")


def test_bad_leaves_are_named_as_one_would_write_them():
    state = {"a": [jnp.ones(2), jnp.array([1.0, jnp.nan])], "b": jnp.array(3), "key": jax.random.key(0)}
    assert bad_leaves(state) == ["['a'][1]"]
    assert bad_leaves(jnp.array(jnp.inf)) == ["the array itself"]


# Paths


@pytest.mark.parametrize(
    "path",
    [
        Straight(np.zeros(2), np.array([1.0, 2.0])),
        Bent(np.zeros(2), np.array([1.0, 2.0]), np.array([-2.0, 1.0])),
        Polygon(np.array([[0.0, 0.0], [3.0, -1.0], [1.0, 2.0]])),
        Curve(lambda t: t * jnp.array([1.0, 2.0])),
    ],
    ids=lambda path: type(path).__name__,
)
def test_paths_begin_and_end_where_they_say(path, x64):
    np.testing.assert_allclose(path(jnp.array(0.0)), [0, 0], atol=1e-15)
    np.testing.assert_allclose(path(jnp.array(1.0)), [1, 2], rtol=1e-15)


def test_a_polygon_turns_at_its_breaks_and_a_parabola_bulges_in_the_middle(x64):
    polygon = Polygon(jnp.array([[0.0, 0.0], [3.0, -1.0], [1.0, 2.0]]))
    assert polygon.breaks == (0.5,)
    np.testing.assert_allclose(polygon(jnp.array(0.5)), [3, -1], rtol=1e-15)
    np.testing.assert_allclose(tangent(polygon, jnp.array(0.25))[1], [6, -2], rtol=1e-15)
    np.testing.assert_allclose(tangent(polygon, jnp.array(0.75))[1], [-4, 6], rtol=1e-15)
    bent = Bent(jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(bent(jnp.array(0.5)), [0.5, 0.3], rtol=1e-15)


def test_constants_are_checked_inside_a_transformation_too():
    start, box = jnp.array([0.5, 0.7]), (jnp.zeros(2), jnp.ones(2))

    def end(height, x0):
        return relax(DoubleWell(height), x0, space=Box(*box), throw=False).energy

    assert float(jax.jit(lambda height: end(height, start))(jnp.array(2.0))) < 1e-5
    broken = jnp.array([0.5, jnp.nan])
    with pytest.raises(InputError, match="not finite"):
        jax.jit(lambda height: end(height, broken))(jnp.array(2.0))
