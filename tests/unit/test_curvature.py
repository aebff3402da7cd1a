"""Curvature: products with the Hessian, its extreme modes beside NumPy's, and the index with its zero modes."""

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
from thalweg.core.space import Box, Frozen
from thalweg.diagnostics.curvature import index, lowest_modes
from thalweg.landscapes import DoubleWell, LennardJones
from thalweg.methods.curvature import hessian_vector_product


class Quadratic(AbstractEnergy):
    """`x.A x / 2`, whose Hessian is A everywhere."""

    matrix: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return 0.5 * x @ self.matrix @ x


class QuadraticProgramme(AbstractHostField):
    """The same in NumPy."""

    def __init__(self, matrix):
        self.matrix = matrix

    def value_and_force_batch(self, x):
        slopes = np.asarray(x) @ self.matrix
        return 0.5 * np.sum(slopes * np.asarray(x), -1), -slopes


def rotated(values, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return (q * np.asarray(values)) @ q.T


def test_products_are_the_rows_of_the_hessian(x64):
    tree = {"a": jnp.array([0.3, -1.1]), "b": jnp.array([[0.7]])}
    energy = lambda x: DoubleWell()(x["a"]) + jnp.sum(x["a"]) * jnp.sum(x["b"] ** 3)  # noqa: E731
    whole = jax.hessian(energy)(tree)
    direction = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[-1.0]])}
    found = hessian_vector_product(energy, tree, direction)
    by_hand = whole["a"]["a"] @ direction["a"] + (whole["a"]["b"].reshape(2, 1) @ direction["b"].reshape(1))
    np.testing.assert_allclose(found["a"], by_hand, rtol=1e-13)  # the same derivatives in another order
    assert found["b"].shape == (1, 1)


def test_a_host_field_chooses_its_own_step(x64):
    matrix = rotated([-1.0, 2.0, 5.0])
    x, v = jnp.array([0.5, 3.0, -1.0]), jnp.array([1e3, 2e3, -1e3])  # the length of v must not matter
    found = hessian_vector_product(QuadraticProgramme(matrix), x, v)
    # No truncation on a quadratic; rounding of the forces (size 20) over the step 6e-6 * 3: about 2e-10 of |H v|.
    np.testing.assert_allclose(found, matrix @ np.asarray(v), rtol=1e-7, atol=1e-3)
    zero = hessian_vector_product(QuadraticProgramme(matrix), x, jnp.zeros(3))
    np.testing.assert_array_equal(zero, np.zeros(3))


SPECTRA = st.lists(
    st.sampled_from([-3.0, -1.0, -1.0 + 1e-3, 0.0, 0.5, 0.5 + 1e-4, 2.0, 7.0, 40.0]), min_size=12, max_size=12
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(spectrum=SPECTRA, dense=st.booleans(), seed=st.integers(0, 5))
def test_clusters_and_equal_pairs_are_found(spectrum, dense, seed):
    with jax.enable_x64(True):
        matrix = rotated(spectrum, seed)
        modes = lowest_modes(Quadratic(matrix), jnp.zeros(12), count=5, dense=dense, krylov=12)
        exact = np.linalg.eigvalsh(matrix)
        # The residual bounds the error of each; the rest is rounding at a norm of up to 40.
        assert np.all(np.abs(modes.values - exact[:5]) <= np.asarray(modes.residuals) + 1e-10)
        assert abs(float(modes.highest) - exact[-1]) <= float(modes.highest_residual) + 1e-10
        np.testing.assert_allclose(modes.directions @ modes.directions.T, np.eye(5), atol=1e-8)
        images = modes.directions @ matrix
        actual = np.linalg.norm(images - np.asarray(modes.values)[:, None] * np.asarray(modes.directions), axis=1)
        np.testing.assert_allclose(actual, modes.residuals, atol=1e-10)


@pytest.mark.slow
def test_lanczos_beyond_the_dense_size_agrees_with_numpy(x64):
    values = np.concatenate([[-2.0, -2.0, -0.5], np.linspace(0.3, 300, 197)])
    found = index(Quadratic(rotated(values)), jnp.ones(200))
    assert (int(found.negative), bool(found.trusted)) == (3, True)
    modes = lowest_modes(Quadratic(rotated(values)), jnp.ones(200), count=4)
    np.testing.assert_allclose(modes.values, values[:4], atol=1e-6)  # residuals below 1e-6 of the eigenvalue
    assert bool(modes.resolved)


def test_an_index_that_was_cut_short_is_not_trusted(x64):
    energy, x = Quadratic(rotated([-3.0, -2.0, -1.0, 1.0])), jnp.zeros(4)
    assert (int(index(energy, x).negative), bool(index(energy, x).trusted)) == (3, True)
    assert not bool(index(energy, x, count=2).trusted)
    hard = Quadratic(rotated(np.concatenate([[-1e-3], np.linspace(1e-3, 1e3, 199)])))
    assert not bool(lowest_modes(hard, jnp.ones(200), count=1, krylov=3, restarts=0).resolved)


def test_rotations_and_translations_are_zero_modes(x64):
    triangle = jnp.array([[0.0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]]) * 2 ** (1 / 6)
    found = index(LennardJones(), triangle)
    assert (int(found.negative), int(found.zero), bool(found.trusted)) == (0, 6, True)
    line = jnp.array([[-1.1, 0, 0], [0, 0, 0], [1.1, 0, 0]])
    rest = line.at[:, 0].multiply(_by_bisection() / 1.1)
    found = index(LennardJones(), rest)
    assert (int(found.negative), int(found.zero)) == (2, 5)  # it bends in two planes


def _by_bisection():
    """The distance at which the ends of a line of three are at rest."""
    slope = lambda r: 2 * (-12 * r**-13 + 6 * r**-7) + 2 * (-12 * (2 * r) ** -13 + 6 * (2 * r) ** -7)  # noqa: E731
    low, high = 1.0, 1.2
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low


def test_frozen_coordinates_have_no_modes(x64):
    matrix = rotated([-3.0, -1.0, 2.0, 4.0, 9.0])
    free = jnp.array([True, False, True, True, False])
    kept = np.asarray(free)
    exact = np.linalg.eigvalsh(matrix[np.ix_(kept, kept)])
    for dense in (True, False):
        modes = lowest_modes(Quadratic(matrix), jnp.zeros(5), count=3, space=Frozen(free), dense=dense)
        np.testing.assert_allclose(modes.values, exact, atol=1e-10)
        np.testing.assert_allclose(modes.highest, exact[-1], atol=1e-6)  # the residual that Lanczos stops at
        np.testing.assert_array_equal(modes.directions[:, ~kept], np.zeros((3, 2)))
    with pytest.raises(InputError, match="3 directions can move"):
        lowest_modes(Quadratic(matrix), jnp.zeros(5), count=4, space=Frozen(free))
    assert int(index(Quadratic(matrix), jnp.zeros(5), space=Frozen(free)).negative) == int(np.sum(exact < 0))


@pytest.mark.slow
def test_a_host_field_has_modes_too(x64):
    matrix = rotated([-1.0, -0.5, 3.0, 8.0])
    for dense in (True, False):
        modes = lowest_modes(QuadraticProgramme(matrix), jnp.ones(4), count=3, dense=dense)
        np.testing.assert_allclose(modes.values, [-1, -0.5, 3], atol=1e-7)  # differenced forces: about 1e-10


def test_bad_questions_are_one_sentence():
    with pytest.raises(InputError, match="count is 4, but x has 3 coordinates"):
        lowest_modes(DoubleWell(), jnp.zeros(3), count=4)
    with pytest.raises(InputError, match="does not know the walls of Box"):
        lowest_modes(DoubleWell(), jnp.zeros(3), space=Box(-1.0, 1.0))
    with pytest.raises(InputError, match=r"tol is -1\.0"):
        index(DoubleWell(), jnp.zeros(3), tol=-1.0)


def test_modes_are_vmapped_in_float32():
    points = jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = jax.vmap(lambda x: index(DoubleWell(), x))(points)
    assert found.negative.tolist() == [1, 0, 2]
    assert lowest_modes(DoubleWell(), points[0], count=2).values.dtype == jnp.float32
