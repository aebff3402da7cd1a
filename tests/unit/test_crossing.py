"""The nearest crossing: exact for planes and spheres, in both norms, with and without walls."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box
from thalweg.interop import HostField
from thalweg.methods.crossing import BallDescent, PlaneSteps, ShrinkingBall
from thalweg.methods.crossing.plane import nearest_on_plane
from thalweg.verbs.crossing import nearest_crossing

pytestmark = pytest.mark.usefixtures("x64")
DIMENSIONS = 6
UNIT = (0.0, 1.0)
NEAREST = eqx.filter_jit(nearest_on_plane)


class Plane(AbstractEnergy):
    """`normal . x - offset`."""

    normal: jnp.ndarray
    offset: jnp.ndarray

    def __call__(self, x):
        return self.normal @ x - self.offset


class Inside(AbstractEnergy):
    """Below zero within an ellipsoid about the point (2, 2, ...)."""

    axes: jnp.ndarray

    def __call__(self, x):
        return jnp.sum(((x - 2) / self.axes) ** 2) - 1


def planes(seed: int = 3, count: int = 10) -> tuple[Plane, jnp.ndarray]:
    words = np.random.default_rng(seed)
    normal = words.normal(size=DIMENSIONS)
    x = words.uniform(0.05, 0.95, (count, DIMENSIONS))
    # Every origin is above, and the box reaches below.
    offset = 0.6 * (x @ normal).min() + 0.4 * np.minimum(normal, 0).sum()
    return Plane(jnp.asarray(normal), jnp.asarray(offset)), jnp.asarray(x)


def exact(plane: Plane, x: Any, norm: str, low: float, high: float) -> np.ndarray:
    """The distance to the plane in the box, by bisection on the multiplier or the radius."""
    normal, offset = np.asarray(plane.normal), float(plane.offset)
    if norm == "l2":
        moved = lambda item, m: np.clip(item - m * normal, low, high)  # noqa: E731
    else:
        moved = lambda item, m: np.clip(item - m * np.sign(normal), low, high)  # noqa: E731
    found = []
    for item in np.asarray(x):
        least, most = 0.0, 1e3
        for _ in range(100):
            middle = 0.5 * (least + most)
            least, most = (middle, most) if normal @ moved(item, middle) > offset else (least, middle)
        step = moved(item, most) - item
        found.append(np.linalg.norm(step) if norm == "l2" else np.abs(step).max())
    return np.array(found)


@pytest.mark.parametrize(("low", "high"), [UNIT, (-50.0, 50.0)])
def test_a_plane_is_met_at_its_exact_projection(low, high):
    plane, x = planes()
    found = nearest_crossing(plane, x, ((PlaneSteps(probes=4), 6),), space=Box(low, high))
    distances = exact(plane, x, "l2", low, high)
    # The last probe lies a hair beyond the plane: a share of 0.01 of a bracket that shrank four times.
    np.testing.assert_allclose(found.distance, distances, rtol=1e-5)
    assert (np.asarray(found.distance) >= distances * (1 - 1e-12)).all()
    assert (np.asarray(found.height) < 0).all()
    if (low, high) == UNIT:  # some are held by walls, or this would be the other case
        assert (distances > 1.001 * exact(plane, x, "l2", -50.0, 50.0)).any()


def test_the_shrinking_ball_closes_in_on_the_largest_change_that_is_needed():
    plane, x = planes()
    for low, high in (UNIT, (-50.0, 50.0)):
        ball = ShrinkingBall(norm="linf", shrink=(0.1, 0.001))
        found = nearest_crossing(plane, x, ((ball, 60),), space=Box(low, high))
        distances = exact(plane, x, "linf", low, high)
        # The ball shrinks by 0.1 % at the end, and by what the slope promises before.
        np.testing.assert_allclose(found.distance, distances, rtol=3e-3)
        assert (np.asarray(found.distance) >= distances * (1 - 1e-12)).all()


def test_a_curved_crossing_is_met_where_the_step_is_normal_to_it():
    axes = jnp.asarray(np.linspace(0.3, 0.9, DIMENSIONS))
    origin = jnp.zeros((1, DIMENSIONS))
    found = nearest_crossing(Inside(axes), origin, ((ShrinkingBall(), 20), (PlaneSteps(probes=6), 30)))
    step, slope = np.asarray(found.x[0]), 2 * (np.asarray(found.x[0]) - 2) / np.asarray(axes) ** 2
    cosine = -step @ slope / np.linalg.norm(step) / np.linalg.norm(slope)
    # The first-order condition, approached linearly; distances are right to the square of its error.
    assert 1 - cosine < 1e-6


@given(
    normal=arrays.arrays(np.float64, DIMENSIONS, elements=st.floats(-2, 2)),
    origin=arrays.arrays(np.float64, DIMENSIONS, elements=st.floats(0, 1)),
    offset=st.floats(-3, 3),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_projection_onto_a_plane_is_the_nearest_point_of_the_box(normal, origin, offset):
    there = np.asarray(NEAREST(Box(*UNIT), jnp.asarray(origin), jnp.asarray(normal), jnp.asarray(offset)))
    assert ((there >= 0) & (there <= 1)).all()
    lowest = np.minimum(normal, 0).sum()
    if np.abs(normal).max() < 1e-3:
        return  # no plane to speak of: in the box is all that can be asked
    if lowest > offset:  # the box does not reach the plane
        steep = np.abs(normal) > 1e-2
        np.testing.assert_allclose(there[steep], (normal < 0)[steep], atol=1e-6)
        return
    assert normal @ there <= offset + 1e-7 or abs(lowest - offset) < 1e-4
    # No random point of the box that is below the plane is nearer.
    others = np.random.default_rng(0).uniform(0, 1, (2000, DIMENSIONS))
    below = others[others @ normal <= offset]
    if len(below):
        assert np.linalg.norm(there - origin) <= np.linalg.norm(below - origin, axis=1).min() + 1e-7


def test_a_host_field_is_searched_like_a_compiled_landscape():
    plane, x = planes()
    normal, offset = np.asarray(plane.normal), float(plane.offset)
    field = HostField(
        lambda batch: (batch @ normal - offset, np.broadcast_to(normal, batch.shape).copy()),
        lambda batch: batch @ normal - offset,
    )
    methods = ((ShrinkingBall(), 8), (PlaneSteps(), 4))
    ours = nearest_crossing(plane, x, methods, space=Box(*UNIT))
    theirs = nearest_crossing(field, x, methods, space=Box(*UNIT))
    np.testing.assert_allclose(theirs.distance, ours.distance, rtol=1e-12)
    # What is counted is what was asked for.
    assert (theirs.slopes, theirs.heights) == (12, 12)
    assert (field.gradients, field.evaluations) == (12 * len(x), 24 * len(x))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_ball_holds_a_crossing_exactly_if_it_is_larger_than_the_distance(norm):
    plane, x = planes()
    distances = exact(plane, x, norm, *UNIT)
    for factor, held in ((1.05, True), (0.95, False)):
        for item, distance in zip(x[:3], distances, strict=False):
            ball = BallDescent(radius=factor * distance, norm=norm)
            found = nearest_crossing(plane, item[None], ((ball, 40),), space=Box(*UNIT))
            assert bool(np.isfinite(found.distance[0])) is held
            if held:
                assert float(found.distance[0]) <= factor * distance * (1 + 1e-12)


def test_known_crossings_are_only_ever_replaced_by_nearer_ones():
    plane, x = planes()
    first = nearest_crossing(plane, x, ((ShrinkingBall(), 4),), space=Box(*UNIT))
    second = nearest_crossing(plane, x, ((PlaneSteps(), 3),), known=first, space=Box(*UNIT))
    assert (second.distance <= first.distance).all()
    assert second.slopes == first.slopes + 3
    both = first.nearer(second)
    np.testing.assert_array_equal(both.distance, second.distance)


def test_what_cannot_be_searched_is_one_sentence():
    plane, x = planes()
    with pytest.raises(InputError, match=r"^nearest_crossing: the searches measure distance in different norms"):
        nearest_crossing(plane, x, ((ShrinkingBall(norm="linf"), 2), (PlaneSteps(), 2)))
    with pytest.raises(WalkError, match="non-finite"):
        nearest_crossing(lambda one: jnp.log(one[0] - 2), x, ((ShrinkingBall(), 3),))
    with pytest.raises(WalkError, match=r"^nearest_crossing: "):
        nearest_crossing(plane, x, ((ShrinkingBall(), 9),), on_chunk=lambda report: Outcome.CANCELLED)
