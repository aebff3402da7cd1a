"""Constrained relaxation on quadratics whose constrained minima are known exactly."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box
from thalweg.verbs.constrained import relax_constrained

TOL = 1e-7  # near what descents that compare energies can reach in float64, the root of its rounding
# The walk stops where force and breach are below TOL. The multiplier errs by the breach times the stiffness (up to 8
# here), x by the force over the curvature (at least 0.6) besides: twenty times TOL bounds both.
CLOSE = 20 * TOL


class Bowl(AbstractEnergy):
    """`(x - centre) A (x - centre) / 2`."""

    curvature: jax.Array = eqx.field(converter=jnp.asarray)
    centre: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        away = x - self.centre
        return 0.5 * away @ self.curvature @ away


class Plane(AbstractEnergy):
    """`normal . x - offset`: negative below the plane."""

    normal: jax.Array = eqx.field(converter=jnp.asarray)
    offset: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return self.normal @ x - self.offset


class Ball(AbstractEnergy):
    """`(|x|^2 - radius^2) / 2`: negative inside; with an imaginary radius no point is."""

    squared: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return 0.5 * (x @ x - self.squared)


ROUND = Bowl(np.eye(3), np.array([2.0, -1.0, 0.5]))
SKEW = Bowl(np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]]), np.array([2.0, -1.0, 0.5]))
PLANE = Plane(np.array([1.0, 0.5, -0.25]), 0.4)
START = np.zeros(3)


@pytest.mark.parametrize("bowl", [ROUND, SKEW], ids=["round", "skew"])
def test_a_linear_constraint_against_the_solved_conditions(bowl, x64):
    solution = relax_constrained(bowl, PLANE, START, "projected", stiffness=8.0, tol=TOL)
    normal, curvature = PLANE.normal, bowl.curvature
    # A (x - centre) + multiplier normal = 0 and normal . x = offset: one linear system.
    system = jnp.block([[curvature, normal[:, None]], [normal[None, :], jnp.zeros((1, 1))]])
    exact = jnp.linalg.solve(system, jnp.append(curvature @ bowl.centre, PLANE.offset))
    assert exact[3] > 0.1  # the constraint does hold the walk
    np.testing.assert_allclose(solution.value, exact[:3], atol=CLOSE)
    np.testing.assert_allclose(solution.stats["multiplier"], exact[3], atol=CLOSE)
    np.testing.assert_allclose(solution.energy, bowl(exact[:3]), atol=CLOSE)
    assert solution.done
    assert abs(float(PLANE(solution.value))) < CLOSE
    assert float(solution.stats["breach"]) < CLOSE
    assert 1 < int(solution.stats["stages"]) <= int(solution.stats["steps"])


def test_a_quadratic_constraint_against_its_closed_form(x64):
    solution = relax_constrained(ROUND, Ball(1.0), START, "projected", stiffness=4.0, tol=TOL)
    # The nearest point of the unit ball lies on the ray to the centre; centre - x = multiplier x.
    far = jnp.linalg.norm(ROUND.centre)
    np.testing.assert_allclose(solution.value, ROUND.centre / far, atol=CLOSE)
    np.testing.assert_allclose(solution.stats["multiplier"], far - 1, atol=CLOSE)


@pytest.mark.parametrize("start", [START, np.array([5.0, 5.0, 5.0])], ids=["from inside", "from outside"])
def test_a_constraint_that_holds_anyway_has_no_say(start, x64):
    solution = relax_constrained(SKEW, Ball(100.0), start, "projected", stiffness=4.0, tol=TOL)
    np.testing.assert_allclose(solution.value, SKEW.centre, atol=CLOSE)
    assert float(solution.stats["multiplier"]) == 0
    assert solution.done


def test_a_constraint_that_no_point_meets_ends_with_its_sentence(x64):
    impossible, options = Ball(-1.0), {"stiffness": 4.0, "tol": TOL, "stages": 5}
    solution = relax_constrained(ROUND, impossible, START, "projected", throw=False, **options)
    assert int(solution.outcome) == Outcome.STEPS.code
    assert not solution.done
    assert solution.sentence == Outcome.STEPS.value
    assert float(solution.stats["breach"]) > 0.1
    with pytest.raises(WalkError, match=r"^relax_constrained: The step budget ran out") as caught:
        relax_constrained(ROUND, impossible, START, "projected", **options)
    np.testing.assert_array_equal(caught.value.solution.value, solution.value)


def nearest_in_the_box_below(centre: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """The exact projection onto box and half-space: `clip(centre - m normal)` for the one m that meets the plane."""
    low, high = 0.0, 1e3
    for _ in range(200):
        middle = 0.5 * (low + high)
        short = normal @ np.clip(centre - middle * normal, 0, 1) > offset
        low, high = (middle, high) if short else (low, middle)
    return np.clip(centre - high * normal, 0, 1)


def test_a_batch_of_problems_in_a_box_against_exact_projections(x64):
    words = np.random.default_rng(0)
    centres, normals = words.uniform(-0.3, 1.3, (24, 5)), words.normal(size=(24, 5))
    corner = np.where(normals > 0, 0.0, 1.0)  # the least of normal . x in the box: any more leaves room
    offsets = np.sum(normals * corner, 1) + words.uniform(0.2, 3.0, 24)

    @jax.jit
    @jax.vmap
    def solved(centre, normal, offset):
        bowl, plane = Bowl(jnp.eye(5), centre), Plane(normal, offset)
        stiffness = 8 / jnp.sum(normal**2)
        # Walls that hold most of the normal leave the plane soft: more stages than usual.
        return relax_constrained(
            bowl, plane, centre, "projected", stiffness=stiffness, space=Box(0.0, 1.0), tol=TOL, stages=100, throw=False
        )

    solution = solved(centres, normals, offsets)
    exact = np.array([nearest_in_the_box_below(*problem) for problem in zip(centres, normals, offsets, strict=True)])
    assert solution.done, solution.sentence
    np.testing.assert_allclose(solution.value, exact, atol=CLOSE)
    walls = ((exact == 0) | (exact == 1)).any(1)
    pressed = np.asarray(solution.stats["multiplier"]) > 0
    # The batch holds problems of every kind, or the comparison would say little.
    assert (walls & pressed).sum() > 3
    assert (~pressed).sum() > 3
    assert solution.energy.shape == solution.outcome.shape == (24,)


def test_nothing_is_raised_inside_a_transformation():
    with pytest.raises(InputError, match=r"^relax_constrained: nothing can be raised inside jit or vmap: pass throw="):
        jax.vmap(lambda x: relax_constrained(ROUND, PLANE, x, stiffness=1.0))(jnp.zeros((2, 3)))


def test_a_descent_cut_short_is_not_an_arrival_even_where_the_constraint_has_no_say(x64):
    options: Any = {"stiffness": 4.0, "tol": TOL, "max_steps": 5}
    short = relax_constrained(SKEW, Ball(100.0), START, "projected", stages=1, throw=False, **options)
    assert int(short.outcome) == Outcome.STEPS.code
    assert float(jnp.linalg.norm(short.value - SKEW.centre)) > 0.01
    # Given more steps it arrives.
    whole = relax_constrained(SKEW, Ball(100.0), START, "projected", stages=80, **(options | {"max_steps": 500}))
    np.testing.assert_allclose(whole.value, SKEW.centre, atol=CLOSE)


class Cliff(AbstractEnergy):
    """A slope that ends: not a number beyond x[0] = 1."""

    depth: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x):
        return -self.depth * jnp.sum(x) + jnp.where(x[0] > 1, jnp.nan, 0.0)


def test_a_landscape_that_breaks_off_is_not_called_an_arrival(x64):
    solution = relax_constrained(Cliff(), Ball(100.0), START, "fire", stiffness=1.0, stages=3, throw=False)
    assert int(solution.outcome) == Outcome.NONFINITE.code
    assert np.isfinite(np.asarray(solution.value)).all()
    with pytest.raises(WalkError, match=r"^relax_constrained: step 1 made .* non-finite"):
        relax_constrained(Cliff(), Ball(100.0), START, "fire", stiffness=1.0, stages=3)


BAD = [
    ({"stiffness": 0.0}, "stiffness is 0.0, but it must be positive"),
    ({"stiffness": -2.0}, "stiffness is -2.0, but it must be positive"),
    ({"constraint": lambda x: x}, r"constraint: the energy returned shape \[\(3,\)\], not one floating-point number"),
    ({"energy": lambda x: x[:2]}, r"the energy returned shape \[\(2,\)\]"),
    ({"x0": np.array([1, np.nan, 2], np.float32)}, "x0 is not finite"),
    ({"x0": np.arange(3)}, "x0 holds int32, which has no gradient"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    arguments = {"energy": ROUND, "constraint": PLANE, "x0": np.zeros(3, np.float32), "stiffness": 1.0} | change
    with pytest.raises(InputError, match=f"^relax_constrained: .*{sentence}"):
        relax_constrained(**arguments)
