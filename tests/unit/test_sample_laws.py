"""Sampling: the laws of the samplers against enumerated and closed-form averages."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from thalweg.core.energy import AbstractEnergy
from thalweg.core.space import Box, Periodic, Signs
from thalweg.diagnostics.convergence import standard_error
from thalweg.landscapes import DoubleWell
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts
from thalweg.methods.heat_bath import HeatBath
from thalweg.methods.metropolis import Metropolis
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample

# The rate at which one right sampler would fail one test here, whatever the seed: seeds are fixed, so that it either
# does or does not. Errors of means are estimated from the draws, which makes z a little wider than normal.
FALSE_ALARMS = 1e-4


def deviations(draws, expected) -> np.ndarray:
    """How many standard errors the means of `draws [records, chains, numbers]` are off."""
    draws = np.asarray(draws, np.float64)
    return (draws.mean((0, 1)) - expected) / standard_error(draws)


def agree(draws, expected) -> None:
    z = deviations(draws, expected)
    assert np.abs(z).max() < norm.isf(FALSE_ALARMS / 2 / z.size), z


class Glass(AbstractEnergy):
    """Signs with a coupling between every two of them, and a field on each."""

    couplings: jax.Array
    field: jax.Array

    def __call__(self, x):
        return -x @ self.couplings.astype(x.dtype) @ x - self.field.astype(x.dtype) @ x


def glass(size: int, seed: int = 0) -> Glass:
    random = np.random.default_rng(seed)
    couplings = np.triu(random.normal(size=(size, size)), 1) / np.sqrt(size)
    return Glass(jnp.asarray(couplings, jnp.float32), jnp.asarray(0.3 * random.normal(size=size), jnp.float32))


def states(size: int) -> np.ndarray:
    return np.array(list(itertools.product([-1.0, 1.0], repeat=size)))


def boltzmann(energies, temperature: float) -> np.ndarray:
    weights = np.exp(-(energies - energies.min()) / temperature)
    return weights / weights.sum()


# Averages


slow = pytest.mark.slow
SIGN_METHODS = [
    pytest.param(HeatBath, id="heat bath", marks=slow),
    pytest.param(lambda: HeatBath(rule="metropolis"), id="metropolis classes", marks=slow),
    pytest.param(lambda: Metropolis(attempts=12), id="flips"),
    pytest.param(lambda: Tempering(HeatBath(), geometric_ladder(1.0, 3.0, 4)), id="tempering"),
]


@pytest.mark.parametrize("method", SIGN_METHODS)
def test_twelve_signs_have_their_enumerated_averages(method):
    energy, all_states, temperature = glass(12), states(12), 1.3
    heights = np.asarray(jax.vmap(energy)(jnp.asarray(all_states, jnp.float32)), np.float64)
    weights = boltzmann(heights, temperature)
    pairs = all_states[:, 0] * all_states[:, 5]
    expected = weights @ np.column_stack([heights, heights**2, all_states, pairs])
    solution = sample(
        energy, jnp.ones(12), method(), key=jax.random.key(1), steps=1500, warmup=100, chains=8, space=Signs(),
        temperature=temperature,
    )  # fmt: skip
    x, value = np.asarray(solution.trace["x"]), np.asarray(solution.trace["energy"])
    assert set(np.unique(x)) == {-1.0, 1.0}
    recomputed = jax.vmap(jax.vmap(energy))(solution.trace["x"])
    np.testing.assert_allclose(value, recomputed, atol=1e-5)  # float32 sums of 78 terms of order one
    agree(np.concatenate([np.stack([value, value**2], -1), x, x[..., :1] * x[..., 5:6]], axis=-1), expected)
    assert solution.stats["r_hat_max"] < 1.05
    np.testing.assert_allclose(solution.stats["lowest"], heights.min(), atol=1e-5)


class Mixture(AbstractEnergy):
    """Minus the logarithm of two normal densities in the plane, with weights 0.6 and 0.4 and the variance 0.49."""

    centres: jax.Array = eqx.field(default=((1.2, 0.0), (-0.8, 1.0)), converter=jnp.asarray)

    def __call__(self, x):
        squares = jnp.sum((x - self.centres.astype(x.dtype)) ** 2, axis=-1)
        return -jax.nn.logsumexp(jnp.log(jnp.asarray([0.6, 0.4], x.dtype)) - squares / (2 * 0.49))


# First and second moments in closed form.
MIXTURE_MOMENTS = [
    0.6 * 1.2 - 0.4 * 0.8,
    0.4,
    0.49 + 0.6 * 1.2**2 + 0.4 * 0.8**2,
    0.49 + 0.4,
    -0.4 * 0.8,
]
PLANE_METHODS = [
    pytest.param(Metropolis, id="metropolis", marks=slow),
    pytest.param(Mala, id="mala", marks=slow),
    pytest.param(Hmc, id="hmc"),
    pytest.param(Nuts, id="nuts", marks=slow),
    pytest.param(lambda: Tempering(Mala(), geometric_ladder(1.0, 4.0, 3)), id="tempered mala", marks=slow),
]


@pytest.mark.parametrize("method", PLANE_METHODS)
def test_a_mixture_has_its_moments(method):
    made = method()
    solution = sample(Mixture(), jnp.zeros(2), made, key=jax.random.key(2), steps=1500, warmup=300, chains=8)
    x = np.asarray(solution.trace["x"])
    moments = [x[..., 0], x[..., 1], x[..., 0] ** 2, x[..., 1] ** 2, x[..., 0] * x[..., 1]]
    agree(np.stack(moments, -1), MIXTURE_MOMENTS)
    assert solution.stats["ess_min"] > 100
    np.testing.assert_allclose(solution.trace["energy"], jax.vmap(jax.vmap(Mixture()))(solution.trace["x"]), atol=1e-5)


@pytest.mark.slow
def test_a_temperature_scales_the_law_of_hmc():
    # A bowl of stiffness 2 at temperature 0.3 has the variance 0.15.
    energy = lambda x: jnp.sum(x**2)  # noqa: E731
    solution = sample(energy, jnp.zeros(3), Hmc(), key=jax.random.key(0), steps=1000, warmup=200, temperature=0.3)
    x = np.asarray(solution.trace["x"])
    agree(np.concatenate([x, x**2], -1), [0, 0, 0, 0.15, 0.15, 0.15])


def test_random_steps_do_not_heap_up_at_walls():
    # Uniform on [0, 1] and on [0, 2): mean and mean square. Clipping at the walls would put weight onto them.
    solution = sample(
        lambda x: 0 * jnp.sum(x), jnp.full(2, 0.5), Metropolis(scale=0.5, attempts=3), key=jax.random.key(3),
        steps=1500, chains=8, space=Box(0.0, jnp.array([1.0, 2.0])),
    )  # fmt: skip
    x = np.asarray(solution.trace["x"])
    agree(np.concatenate([x, x**2], -1), [0.5, 1, 1 / 3, 4 / 3])
    assert not np.isin(x, [0.0, 1.0, 2.0]).any()


@pytest.mark.slow
def test_a_ring_is_sampled_around_its_border():
    # exp(cos(x)/T) on a ring, T = 1: <cos> = I1(1)/I0(1).
    solution = sample(
        lambda x: -jnp.sum(jnp.cos(x)), jnp.zeros(2), Hmc(), key=jax.random.key(4), steps=1000, warmup=200,
        space=Periodic(2 * np.pi),
    )  # fmt: skip
    x = np.asarray(solution.trace["x"])
    assert x.min() >= 0
    assert x.max() < 2 * np.pi + 1e-6  # float32 of two pi
    agree(np.concatenate([np.cos(x), np.sin(x)], -1), [0.4463899659, 0.4463899659, 0, 0])


# Overdamped motion, whose law has an error of its time step


class Hill(eqx.Module):
    """A mobility of 0.2 far away and 1 on the ridge, where it changes the most."""

    def __call__(self, x):
        return 0.2 + 0.8 * jnp.exp(-2 * x**2)


class HillMatrix(eqx.Module):
    """The same as a matrix."""

    def __call__(self, x):
        return jnp.diag(Hill()(x))


def crossing_z(method, temperature=0.5) -> np.ndarray:
    """Deviations of <x^2>, <x^4> and of the weight on the ridge, by chains that are independent of each other."""
    trace = Trace(lambda state: jnp.stack([state.x[0] ** 2, state.x[0] ** 4, jnp.abs(state.x[0]) < 0.5]), every=5)
    solution = sample(
        DoubleWell(), jnp.ones(1), method, key=jax.random.key(5), steps=3000, warmup=600, chains=256,
        temperature=temperature, trace=trace,
    )  # fmt: skip
    grid = np.linspace(-3, 3, 6001)
    weights = boltzmann((grid**2 - 1) ** 2, temperature)
    expected = weights @ np.stack([grid**2, grid**4, np.abs(grid) < 0.5], -1)
    means = np.asarray(solution.trace, np.float64).mean(0)
    return (means.mean(0) - expected) / (means.std(0, ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize(
    "mobility", [pytest.param(Hill(), id="diagonal"), pytest.param(HillMatrix(), id="matrix", marks=slow)]
)
def test_a_varying_mobility_keeps_the_boltzmann_law(mobility):
    # 1500 chains measured a bias of the weight on the ridge of 0.0051(12) at dt = 0.02 and 0.0082(12) at dt = 0.04:
    # about 0.0013 at dt = 0.005, below 0.4 of the standard error of 256 chains (0.0037). The moments have less.
    z = crossing_z(Overdamped(dt=0.005, mobility=mobility))
    assert np.abs(z).max() < norm.isf(FALSE_ALARMS / 2 / z.size) + 0.4, z


def test_without_its_drift_a_varying_mobility_has_another_law():
    z = crossing_z(Overdamped(dt=0.005, mobility=Hill(), divergence=jnp.zeros_like))
    assert np.abs(z).min() > 10, z


def test_the_second_order_scheme_is_exact_on_a_bowl_where_the_first_is_not():
    # Stationary variances on x^2/2 with T = 1: Euler-Maruyama 1/(1 - dt/2), Leimkuhler-Matthews 1.
    found = {}
    for scheme, variance in (("euler_maruyama", 1 / 0.8), ("leimkuhler_matthews", 1.0)):
        solution = sample(
            lambda x: 0.5 * jnp.sum(x**2), jnp.zeros(8), Overdamped(dt=0.4, scheme=scheme), key=jax.random.key(6),
            steps=1500, warmup=50,
        )  # fmt: skip
        squares = np.asarray(solution.trace["x"]) ** 2
        agree(squares, variance)
        found[scheme] = deviations(squares, 1.0)
    assert found["euler_maruyama"].min() > 5


@pytest.mark.slow
def test_a_mobility_matrix_shapes_the_motion_and_not_the_law():
    mobility = jnp.array([[1.0, 0.8], [0.8, 1.0]])
    energy = lambda x: 0.5 * (x["a"][0] ** 2 + 4 * x["b"] ** 2)  # noqa: E731
    solution = sample(
        energy, {"a": jnp.zeros(1), "b": jnp.array(0.0)}, Overdamped(dt=0.1, mobility=mobility), key=jax.random.key(7),
        steps=3000, warmup=50,
    )  # fmt: skip
    a, b = np.asarray(solution.trace["x"]["a"])[..., 0], np.asarray(solution.trace["x"]["b"])
    # Leimkuhler & Matthews is exact on a bowl for every matrix.
    agree(np.stack([a**2, b**2, a * b], -1), [1, 0.25, 0])
