"""Spectra: the stochastic density beside dense eigenvalues and exact traces, and both ends."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg.core.energy import AbstractEnergy, AbstractHostField
from thalweg.core.errors import InputError
from thalweg.core.space import Box, Frozen
from thalweg.diagnostics.spectrum import extreme_modes, spectral_density

# Five standard errors of a mean over 20 probes: with 19 degrees of freedom two sides of Student's law hold 8e-5.
ERRORS = 5


class Quadratic(AbstractEnergy):
    """`sum(values x^2) / 2` along rotated axes."""

    values: jax.Array = eqx.field(converter=jnp.asarray)
    axes: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return 0.5 * jnp.sum(self.values * (self.axes @ x) ** 2)


class Net(AbstractEnergy):
    """Half the mean squared residual of a small net."""

    inputs: jax.Array = eqx.field(converter=jnp.asarray)
    targets: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return 0.5 * jnp.mean((jnp.tanh(self.inputs @ x["w"] + x["b"]) @ x["v"] - self.targets) ** 2)


class QuadraticProgramme(AbstractHostField):
    """`x.A x / 2` in NumPy."""

    def __init__(self, matrix):
        self.matrix = matrix

    def value_and_force_batch(self, x):
        slopes = np.asarray(x) @ self.matrix
        return 0.5 * np.sum(slopes * np.asarray(x), -1), -slopes


def net(hidden=12, dtype=np.float64):
    numbers = np.random.default_rng(3)
    draw = lambda *shape: jnp.asarray(numbers.normal(size=shape).astype(dtype))  # noqa: E731
    energy = Net(draw(40, 3), draw(40))
    return energy, {"w": draw(3, hidden), "b": draw(hidden), "v": draw(hidden)}


def eigenvalues(energy, x):
    flat, unravel = ravel_pytree(x)
    return np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(lambda v: energy(unravel(v))))(flat), np.float64))


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_the_density_of_a_net_has_the_moments_and_edges_of_its_eigenvalues(x64, dtype):
    energy, x = net(dtype=dtype)
    exact = eigenvalues(*net(dtype=dtype))
    found = spectral_density(energy, x, key=jax.random.key(0), probes=20, krylov=40)
    assert found.density.dtype == dtype
    assert int(found.free) == exact.size == 60
    for order in (1, 2, 3):
        mean, error = found.moment(order)
        assert abs(mean - np.mean(exact**order)) < ERRORS * error
        assert 0 < error < np.mean(np.abs(exact) ** order)  # an error bar that says something
    # Ritz values lie inside of the spectrum, up to rounding, and an eigenvalue within the residual of each.
    rounding = 100 * np.finfo(dtype).eps * np.abs(exact).max()
    assert exact.max() - found.highest + rounding >= 0
    assert found.lowest - exact.min() + rounding >= 0
    assert np.min(np.abs(exact - float(found.highest))) <= found.highest_residual + rounding
    assert np.min(np.abs(exact - float(found.lowest))) <= found.lowest_residual + rounding
    np.testing.assert_allclose(jnp.trapezoid(found.density, found.points), 1, atol=1e-3)  # four widths: 6e-5 outside
    share, error = found.below(0.0)
    # At a small random net many eigenvalues crowd at zero: those within a width of it may fall on either side.
    crowd = np.mean(np.abs(exact) < float(found.width))
    assert abs(share - np.mean(exact < 0)) < ERRORS * error + crowd


def rotated(values, width):
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values), len(values))))
    settings = {"key": jax.random.key(1), "probes": 20, "krylov": 40, "width": width}
    return spectral_density(Quadratic(values, axes), jnp.zeros(len(values)), **settings)


def test_a_smoothed_density_agrees_with_the_smoothed_eigenvalues(x64):
    values = np.concatenate([np.linspace(-1, 0, 45), np.linspace(2, 5, 15)])
    found = rotated(values, 0.3)
    points = np.asarray(found.points)
    exact = np.mean(np.exp(-0.5 * ((points[:, None] - values) / 0.3) ** 2), axis=1) / (0.3 * np.sqrt(2 * np.pi))
    # Where there is density, at some thirty independent points: 6.5 of Student's errors hold them all but for 1e-4.
    there = exact > 0.01
    assert np.all(np.abs(found.density - exact)[there] < 6.5 * found.error[there])
    assert np.max(found.error) < 0.1 * np.max(exact)
    np.testing.assert_allclose([found.lowest, found.highest], [-1, 5], atol=1e-3)  # 40 of 60 Lanczos vectors


def test_a_run_that_exhausts_its_space_adds_no_nodes(x64):
    """Three eigenvalues: every Krylov space has three dimensions, whatever was asked for."""
    found = rotated(np.repeat([-2.0, 1.0, 7.0], 20), 0.1)
    heavy = np.asarray(found.nodes)[np.asarray(found.weights) > 1e-10]
    np.testing.assert_allclose(heavy, np.array([-2.0, 1.0, 7.0])[np.abs(heavy[:, None] - [-2, 1, 7]).argmin(1)])
    np.testing.assert_allclose([found.lowest, found.highest], [-2, 7])
    share, error = found.below(0.0)
    assert abs(share - 1 / 3) < ERRORS * error


@pytest.mark.slow
def test_frozen_coordinates_are_left_out(x64):
    energy, free = Quadratic([1.0, 3.0, 100.0], np.eye(3)), Frozen(jnp.array([True, True, False]))
    found = spectral_density(energy, jnp.zeros(3), key=jax.random.key(0), probes=1, krylov=3, space=free)
    assert int(found.free) == 2
    np.testing.assert_allclose([found.lowest, found.highest], [1, 3], rtol=1e-12)
    assert np.isnan(found.error).all()  # one probe has no error bar


@pytest.mark.slow
def test_a_host_field_has_a_density(x64):
    matrix = np.diag([1.0, 100.0])
    programme = spectral_density(QuadraticProgramme(matrix), jnp.ones(2), key=jax.random.key(0), probes=1, krylov=2)
    # Differences of the forces of a quadratic are exact but for rounding, eps^(2/3).
    np.testing.assert_allclose([programme.lowest, programme.highest], [1, 100], rtol=1e-8)


@pytest.mark.slow
def test_both_ends_are_those_of_the_dense_spectrum(x64):
    energy, x = net()
    exact = eigenvalues(energy, x)
    ends = extreme_modes(energy, x, top=3, bottom=3)
    accuracy = 1e-12 * exact.max()  # rounding
    np.testing.assert_allclose(ends.top.values, exact[::-1][:3], atol=accuracy)
    np.testing.assert_allclose(ends.bottom.values, exact[:3], atol=accuracy)
    np.testing.assert_allclose(ends.top.highest, exact[0], atol=accuracy)


def test_bad_input_is_one_sentence(x64):
    energy, x = Quadratic(np.ones(3), np.eye(3)), jnp.zeros(3)
    ask = lambda **given: spectral_density(energy, x, key=jax.random.key(0), **given)  # noqa: E731
    for given, said in (({"probes": 0}, "probes"), ({"width": -1.0}, "width"), ({"space": Box(0.0, 1.0)}, "walls")):
        with pytest.raises(InputError, match=said):
            ask(**given)
    with pytest.raises(InputError, match="lowest_modes"):
        extreme_modes(QuadraticProgramme(np.eye(3)), x)
