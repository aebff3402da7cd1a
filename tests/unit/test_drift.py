"""Drift: the running line is the least-squares line, and float32 keeps its digits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.diagnostics.drift import Drift, drift, running


def run(values: jax.Array, dt: float) -> Drift:
    line, _ = jax.lax.scan(lambda line, value: (line.saw(value), None), running(values[0]), values[1:])
    return line.drift(dt)


def reference(values: np.ndarray, times: np.ndarray) -> tuple[float, float, float]:
    """Slope, standard error and fluctuation by NumPy's own polynomial fit."""
    (slope, offset), covariance = np.polyfit(times, values, 1, cov="unscaled")
    residual = values - slope * times - offset
    variance = np.sum(residual**2) / (len(values) - 2)
    return slope, np.sqrt(covariance[0, 0] * variance), np.sqrt(np.mean(residual**2))


@pytest.mark.parametrize("count", [3, 4, 1000])
def test_both_ways_give_the_least_squares_line(count, x64):
    times = 0.25 * np.arange(count)
    values = -7.0 + 0.003 * times + 0.1 * np.sin(times + 0.3)
    for found in (drift(jnp.asarray(values), jnp.asarray(times)), run(jnp.asarray(values), 0.25)):
        # Rounding of sums of up to 1000 terms of order one.
        np.testing.assert_allclose([*jax.tree.leaves(found)], reference(values, times), rtol=1e-9)


def test_a_small_drift_on_a_large_energy_survives_float32():
    # 1e-6 per record on a height of 100: the change between two records is far below the rounding of the height,
    # 100 * 2^-24 = 6e-6, which is all the noise that the slope of 20,000 records may have.
    count, slope = 20_000, 1e-6
    values = (-100 + slope * np.arange(count)).astype(np.float32)
    found = run(jnp.asarray(values), 1.0)
    assert found.slope.dtype == jnp.float32
    # The rounded series itself has this slope; the running line adds roundings of relative size 2^-24 * sqrt(count).
    exact = reference(values.astype(float), np.arange(count))
    np.testing.assert_allclose(float(found.slope), exact[0], rtol=1e-4)
    np.testing.assert_allclose(float(found.fluctuation), exact[2], rtol=1e-3)


def test_the_error_of_the_slope_is_that_of_independent_residuals(x64):
    # 400 series of 200 records: the scatter of the slopes has a relative error of 1 / sqrt(800), 3.5 percent; four of
    # these are exceeded once in 16,000 seeds.
    noise = jax.random.normal(jax.random.key(0), (400, 200))
    found = jax.vmap(lambda series: run(series, 0.1))(noise)
    scatter, told = float(jnp.std(found.slope)), float(jnp.sqrt(jnp.mean(found.error**2)))
    assert abs(scatter / told - 1) < 4 / np.sqrt(2 * 400)


def test_short_and_unusable_series():
    assert float(drift(jnp.array([1.0, 3.0]), jnp.array([0.0, 4.0])).slope) == 0.5
    assert float(running(jnp.array(2.0)).saw(jnp.array(3.0)).drift(0.5).slope) == 2.0
    assert float(running(jnp.array(2.0)).drift(0.5).error) == np.inf
    for energies, times in [
        (jnp.ones(3), jnp.ones(2)),
        (jnp.ones(1), jnp.ones(1)),
        (jnp.ones((2, 2)), jnp.ones((2, 2))),
    ]:
        with pytest.raises(InputError, match="two series of one length"):
            drift(energies, times)
    with pytest.raises(InputError, match="times are all equal"):
        drift(jnp.arange(3.0), jnp.ones(3))


def test_a_random_walk_knows_how_little_its_slope_says(x64):
    steps = jax.random.normal(jax.random.key(0), (400, 1600))
    walks = jnp.concatenate([jnp.zeros((400, 1)), jnp.cumsum(steps, axis=1)], axis=1)

    def seen(values):
        line, _ = jax.lax.scan(
            lambda line, value: (line.saw(value), None), running(values[0], jnp.array(50)), values[1:]
        )
        return line.drift(1.0)

    found = jax.jit(jax.vmap(seen))(walks)
    scatter, told = float(jnp.std(found.slope)), float(jnp.sqrt(jnp.mean(found.error**2)))
    # 400 walks know their scatter to 3.5 %, and 400 variances of 32 stretches theirs to 0.6 %: five of the former.
    assert abs(told / scatter - 1) < 0.18
