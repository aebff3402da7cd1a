"""The classic landscapes have their published stationary points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import force
from thalweg.landscapes import DoubleWell, LennardJones, MullerBrown

# Minima and saddles of Muller & Brown (1979) in today's digits: the place, the height, the number of ways down.
STATIONARY = [
    ((-0.558224, 1.441726), -146.699517, 0),
    ((0.623499, 0.028038), -108.166724, 0),
    ((-0.050011, 0.466694), -80.767818, 0),
    ((-0.822002, 0.624313), -40.664844, 1),
    ((0.212487, 0.292988), -72.248940, 1),
]


@pytest.mark.parametrize(("place", "height", "index"), STATIONARY)
def test_muller_brown_has_its_published_stationary_points(place, height, index, x64):
    x = jnp.array(place)
    # Six decimals of x move the height in second order only: below 1e-8 at curvatures of a few thousand.
    assert abs(float(MullerBrown()(x)) - height) < 1e-6
    np.testing.assert_allclose(force(MullerBrown(), x), 0, atol=5e-3)  # half a last decimal times the curvature
    assert int((np.linalg.eigvalsh(jax.jit(jax.hessian(MullerBrown()))(x)) < 0).sum()) == index


def test_muller_brown_scales():
    x = jnp.array([0.1, 0.2])
    np.testing.assert_allclose(MullerBrown(scale=0.5)(x), 0.5 * MullerBrown()(x), rtol=1e-6)  # float32


def test_the_double_well_has_two_minima_and_a_ridge(x64):
    well = DoubleWell(height=3.0)
    assert float(well(jnp.array([1.0, -1.0]))) == 0
    assert float(well(jnp.array([0.0, 1.0]))) == 3
    np.testing.assert_array_equal(force(well, jnp.array([1.0, -1.0, 0.0])), 0)
    np.testing.assert_allclose(jax.hessian(well)(jnp.array([1.0])), [[24.0]], rtol=1e-15)


def test_a_pair_of_lennard_jones_rests_at_its_distance_and_depth(x64):
    pair = LennardJones(depth=2.0, size=1.5)
    rest = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5 * 2 ** (1 / 6)]])
    np.testing.assert_allclose(pair(rest), -2.0, rtol=1e-14)
    np.testing.assert_allclose(force(pair, rest), 0, atol=1e-12)
    np.testing.assert_allclose(pair(rest / 2 ** (1 / 6)), 0, atol=1e-13)


def test_lennard_jones_sums_every_pair_once(x64):
    x = jax.random.normal(jax.random.key(0), (5, 3))
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(5) for j in range(i)]
    expected = sum(4 * (1 / r**12 - 1 / r**6) for r in distances)
    np.testing.assert_allclose(LennardJones()(x), expected, rtol=1e-12)


def test_lennard_jones_does_not_change_when_it_is_moved_and_turned(x64):
    x = jax.random.normal(jax.random.key(1), (6, 3))
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (3, 3)))[0]
    np.testing.assert_allclose(LennardJones()(x @ turn + 3.0), LennardJones()(x), rtol=1e-11)
