"""Simulation: exact trajectories, the right ensembles, and every way in which it can refuse."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box, Frozen, Periodic, Signs
from thalweg.landscapes import DoubleWell, LennardJones, MullerBrown
from thalweg.methods.baoab import Baoab
from thalweg.methods.dynamics import maxwell_velocities
from thalweg.methods.trace import Trace
from thalweg.methods.verlet import Verlet
from thalweg.verbs.simulate import simulate

KEY = 7


class Bowl(eqx.Module):
    """`k x^2 / 2`, summed."""

    k: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return 0.5 * self.k.astype(x.dtype) * jnp.sum(x**2)


def observed(walk) -> dict[str, Any]:
    return {"x": walk.x, "v": walk.v, "conserved": walk.conserved, "time": walk.time, "kinetic": walk.kinetic}


WATCH = Trace(observed)


# Newton's equations


def test_the_harmonic_oscillator_is_the_exact_discrete_one(x64):
    k, m, dt, steps = 2.0, 3.0, 0.4, 500
    x0, v0 = jnp.array([0.7, -1.2]), jnp.array([0.3, 0.0])
    found = simulate(Bowl(k), x0, v0, dt=dt, steps=steps, mass=m, trace=WATCH)
    # Hairer, Lubich & Wanner, Acta Numerica 12, 399 (2003): cos(angle) = 1 - k dt^2 / 2m, and the amplitude of v is
    # that of x times sqrt(k / m (1 - k dt^2 / 4m)).
    square = k * dt**2 / m
    angle, rate = np.arccos(1 - square / 2), np.sqrt(k / m * (1 - square / 4))
    n = np.arange(steps + 1)[:, None]
    exact = x0 * np.cos(n * angle) + v0 / rate * np.sin(n * angle)
    # 500 steps with a rounding of 2^-53 each, on a phase that adds them up: 500^2 * 1e-16.
    np.testing.assert_allclose(found.trace["x"], exact, atol=3e-11)
    shadow = 0.5 * m * found.trace["v"] ** 2 + 0.5 * k * (1 - square / 4) * found.trace["x"] ** 2
    np.testing.assert_allclose(shadow, np.broadcast_to(shadow[0], shadow.shape), rtol=1e-12)  # 500 roundings
    assert found.stats["steps"] == steps
    np.testing.assert_allclose(found.stats["time"], steps * dt, rtol=1e-15)
    np.testing.assert_array_equal(found.value, found.trace["x"][-1])
    np.testing.assert_array_equal(found.stats["velocity"], found.trace["v"][-1])
    np.testing.assert_allclose(found.stats["temperature"], 2 * np.mean(found.trace["kinetic"]) / 2, rtol=1e-12)
    # The line through the conserved quantity is the least-squares line through its records.
    slope = np.polyfit(found.trace["time"], found.trace["conserved"], 1)[0]
    np.testing.assert_allclose(found.stats["drift"].slope, slope, rtol=1e-6, atol=1e-15)  # it is 1e-5 of its noise


def test_halving_the_step_quarters_the_error(x64):
    start, push = jnp.array([-0.5, 1.4]), jnp.array([4.0, 1.0])
    ends = [simulate(MullerBrown(), start, push, dt=4e-3 / n, steps=40 * n).value for n in (1, 2, 4)]
    ratio = float(jnp.linalg.norm(ends[0] - ends[1]) / jnp.linalg.norm(ends[1] - ends[2]))
    # The next order is dt^4: curvatures of 600 at dt = 4e-3 make it (600 dt^2)^1 / 12 of the leading one, about 1e-3,
    # times 16 for the trajectory's five half-periods.
    assert abs(ratio - 4) < 0.1


ICOSAHEDRON = [(0, a, b * 1.618) for a in (1, -1) for b in (1, -1)]


def cluster() -> jax.Array:
    """Thirteen points close to the minimum of Wales & Doye, an icosahedron with one point in the middle."""
    corners = [np.roll(corner, turn) for corner in ICOSAHEDRON for turn in range(3)]
    return 0.5688 * jnp.asarray(np.array([*corners, np.zeros(3)]))


def test_a_cluster_keeps_its_energy_and_finds_its_way_back(x64):
    rest = cluster()
    v = maxwell_velocities(jax.random.key(KEY), rest, 1.0, 0.2)
    v = v - jnp.mean(v, 0)
    steps, dt = 2000, 0.005
    there = simulate(LennardJones(), rest, v, dt=dt, steps=steps)
    fine = simulate(LennardJones(), rest, v, dt=dt / 2, steps=2 * steps)
    drift, finer = there.stats["drift"], fine.stats["drift"]
    # A symplectic step conserves a shadow energy, which differs from the energy by an oscillation of order dt^2 and
    # does not drift (Hairer, Lubich & Wanner 2003): over the whole run the line rises by less than the oscillation,
    # and the oscillation falls by four when dt is halved, but for the next order and two different trajectories.
    assert abs(float(drift.slope)) * steps * dt < float(drift.fluctuation)
    assert 3 < float(drift.fluctuation / finer.fluctuation) < 5
    # Per coordinate half the kinetic energy of the start, whose other half went into the landscape; 36 coordinates
    # scatter by sqrt(2 / 36) = 0.24, and 39 are counted.
    assert 0.03 < float(there.stats["temperature"]) < 0.2
    short = simulate(LennardJones(), rest, v, dt=dt, steps=400)
    back = simulate(LennardJones(), short.value, jax.tree.map(jnp.negative, short.stats["velocity"]), dt=dt, steps=400)
    # Reversible but for rounding: 800 roundings of 2^-53, spread by a solid's unstable directions by less than 1e4.
    np.testing.assert_allclose(back.value, rest, atol=1e-9)
    np.testing.assert_allclose(back.stats["velocity"], -v, atol=1e-8)


# Langevin


def test_baoab_has_the_exact_harmonic_variances_at_a_large_step(x64):
    k, m, heat_bath, dt, n, steps = 2.0, 0.5, 1.7, 0.6, 20_000, 40
    square = k * dt**2 / m  # 1.44, where other splittings are wrong by tens of percent
    first, second = jax.random.split(jax.random.key(KEY))
    x0 = jnp.sqrt(heat_bath / k) * jax.random.normal(first, (n,))
    width = jnp.sqrt(heat_bath / m * (1 - square / 4))
    v0 = width * jax.random.normal(second, (n,))
    found = simulate(
        Bowl(k), x0, v0, Baoab(heat_bath, 1.0), dt=dt, steps=steps, mass=m, key=jax.random.key(KEY + 1), trace=WATCH
    )
    # Leimkuhler & Matthews (2013): <x^2> = T / k and m <v^2> = T (1 - k dt^2 / 4m), exactly. Each coordinate is an
    # independent draw, so that n <x^2> k / T is chi-squared: each of four tests is false once in 10,000 seeds.
    low, high = (stats.chi2.ppf(tail, n) / n for tail in (5e-5, 1 - 5e-5))
    assert low < float(jnp.mean(found.value**2)) * k / heat_bath < high
    assert low < float(jnp.mean(found.stats["velocity"] ** 2)) / float(width**2) < high
    # The mean over the steps scatters less than one of them.
    assert low < float(found.stats["temperature"]) / (heat_bath * (1 - square / 4)) < high
    # What a start out of equilibrium becomes: with dt = 0.6 and friction 1, 40 steps forget all but exp(-12).
    cold = simulate(
        Bowl(k), 0 * x0, None, Baoab(heat_bath, 1.0), dt=dt, steps=steps, mass=m, key=jax.random.key(0), trace=WATCH
    )
    assert low < float(jnp.mean(cold.value**2)) * k / heat_bath < high
    assert float(cold.stats["heat"]) > 0
    # Heat is taken off: what is left is the error of the step, bounded, where the total energy has risen by n T.
    assert float(jnp.ptp(found.trace["conserved"])) < 0.1 * n * heat_bath


@pytest.mark.slow
def test_baoab_fills_a_double_well_as_boltzmann_says(x64):
    n, heat_bath = 4000, 1.0
    noise = Baoab(heat_bath, 2.0)
    found = simulate(DoubleWell(), jnp.ones(n), None, noise, dt=0.1, steps=400, key=jax.random.key(KEY))
    weight = lambda x: np.exp(-((x**2 - 1) ** 2) / heat_bath)  # noqa: E731
    norm, second, fourth = (integrate.quad(lambda x, p=p: x**p * weight(x), -4, 4)[0] for p in (0, 2, 4))
    mean, scatter = second / norm, np.sqrt((fourth / norm - (second / norm) ** 2) / n)
    # 3.9 standard errors are exceeded once in 10,000 seeds; the error of the step, of order dt^4 in the strong
    # friction and 1e-3 here, is a tenth of one.
    assert abs(float(jnp.mean(found.value**2)) - mean) < 3.9 * scatter + 1e-3
    # A barrier of one temperature is crossed about ten times in 40 time units: both wells are equally full.
    assert abs(float(jnp.mean(found.value < 0)) - 0.5) < 3.9 * 0.5 / np.sqrt(n)


def cooling(step):
    return jnp.where(step < 100, 1.0, 1e-8)


def test_a_schedule_of_temperatures_and_the_same_key_give_the_same_bits(x64):
    go = lambda seed: simulate(  # noqa: E731
        Bowl(1.0), jnp.ones(50), None, Baoab(cooling, 1.0), dt=0.2, steps=300, key=jax.random.key(seed), trace=WATCH
    )
    first, again, other = go(0), go(0), go(1)
    np.testing.assert_array_equal(first.trace["x"], again.trace["x"])
    assert not np.array_equal(first.value, other.value)
    # 50 coordinates at T = 1 have a kinetic energy of 25 +- 5; 200 steps of 0.2 at friction 1 leave exp(-40) of it.
    assert 5 < float(first.trace["kinetic"][100]) < 50
    assert float(first.trace["kinetic"][-1]) < 1e-6


def test_maxwell_velocities_have_the_variance_of_their_masses(x64):
    x = {"a": jnp.zeros((3000, 2)), "b": jnp.zeros(5000, jnp.float32)}
    mass = {"a": jnp.linspace(1, 4, 3000), "b": 3.0}
    v = maxwell_velocities(jax.random.key(KEY), x, mass, 2.0)
    assert v["b"].dtype == jnp.float32
    for scaled, n in ((v["a"] ** 2 * mass["a"][:, None], 6000), (v["b"] ** 2 * 3.0, 5000)):
        low, high = (stats.chi2.ppf(tail, n) / n for tail in (5e-5, 1 - 5e-5))  # false once in 10,000 seeds each
        assert low < float(jnp.mean(scaled)) / 2 < high


# Anything that is a pytree, in any space, on any field


def test_the_weights_of_a_net_move_like_anything_else():
    inputs = jnp.linspace(-1, 1, 16)
    weights = {"w": jnp.array([0.5, -1.0, 2.0]), "v": jnp.array([[1.0], [0.5], [-0.5]])}
    loss = lambda x: jnp.mean((jnp.tanh(inputs[:, None] * x["w"]) @ x["v"] - inputs[:, None] ** 2) ** 2)  # noqa: E731
    mass = {"w": jnp.array([1.0, 2.0, 3.0]), "v": 0.5}
    with jax.enable_x64(True):  # float32 stays what it is also there
        found = simulate(loss, weights, None, Baoab(1e-3, 0.1), dt=0.05, steps=50, mass=mass, key=jax.random.key(0))
    assert jax.tree.structure(found.value) == jax.tree.structure(weights)
    for tree in (found.value, found.stats["velocity"]):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}
    assert found.energy.dtype == found.stats["time"].dtype == found.stats["drift"].slope.dtype == jnp.float32
    assert np.isfinite(float(found.stats["temperature"]))


def test_frozen_coordinates_have_no_velocity_and_no_noise(x64):
    free = jnp.array([True, False, True])
    start = jnp.array([0.5, 0.4, 0.3])
    found = simulate(
        DoubleWell(), start, jnp.ones(3), Baoab(1.0, 1.0), dt=0.05, steps=200, space=Frozen(free), key=jax.random.key(0)
    )
    assert float(found.value[1]) == 0.4
    assert float(found.stats["velocity"][1]) == 0
    assert float(jnp.abs(found.value - start)[free].min()) > 1e-3
    # Two coordinates at T = 1 over 10 time units.
    assert 0.2 < float(found.stats["temperature"]) < 3


def test_a_periodic_trajectory_is_the_free_one_brought_back(x64):
    wave = lambda x: -jnp.sum(jnp.cos(2 * jnp.pi * x))  # noqa: E731
    start, push = jnp.array([0.1, 0.7]), jnp.array([5.0, 0.5])
    inside = simulate(wave, start, push, dt=0.01, steps=300, space=Periodic(1.0))
    free = simulate(wave, start, push, dt=0.01, steps=300)
    assert float(free.value[0]) > 5
    np.testing.assert_allclose(inside.value, jnp.mod(free.value, 1), atol=1e-10)  # 300 roundings at a height of ten


class Programme(AbstractHostField):
    """The double well in NumPy; counts its calls."""

    def __init__(self):
        self.calls = 0

    def value_and_force_batch(self, x):
        self.calls += 1
        x = np.asarray(x)
        return np.sum((x**2 - 1) ** 2, -1), -4 * x * (x**2 - 1)


@pytest.mark.parametrize("method", [pytest.param(Verlet, marks=pytest.mark.slow), lambda: Baoab(0.5, 1.0)])
def test_a_host_field_moves_like_its_compiled_twin(method, x64):
    start, host = jnp.array([0.5, -0.3, 1.7]), Programme()
    go: dict[str, Any] = {"dt": 0.02, "steps": 100, "key": jax.random.key(0), "trace": WATCH}
    space = Frozen(jnp.array([True, True, False]))
    theirs, ours = (simulate(field, start, None, method(), space=space, **go) for field in (host, DoubleWell()))
    np.testing.assert_allclose(theirs.trace["x"], ours.trace["x"], atol=1e-12)  # 100 roundings
    np.testing.assert_allclose(theirs.stats["drift"].slope, ours.stats["drift"].slope, atol=1e-11)
    assert host.calls == 101


# Endings and refusals


def cliff(x):
    """A slope that ends in NaN beyond 2."""
    return jnp.where(x["a"][0] < 2, -x["a"][0], jnp.nan)


def test_a_value_that_stops_being_finite_is_named_with_its_step():
    start = {"a": jnp.zeros(1)}
    # x = t^2 / 2 passes 2 at t = 2: step 20 is the first at or beyond it, up to rounding.
    sentence = r"^simulate: step (20|21) made \.motion\.value.* non-finite; no checkpoint was kept\."
    with pytest.raises(WalkError, match=sentence) as caught:
        simulate(cliff, start, dt=0.1, steps=100)
    solution = caught.value.solution
    assert 1.7 < float(solution.value["a"][0]) < 2
    assert np.isfinite(float(solution.energy))
    assert simulate(cliff, start, dt=0.1, steps=100, throw=False).sentence == Outcome.NONFINITE.value


def test_no_steps_is_the_start():
    found = simulate(DoubleWell(), jnp.array([0.5]), jnp.array([2.0]), dt=0.1, steps=0)
    assert found.done
    assert float(found.value[0]) == 0.5
    assert float(found.stats["kinetic"]) == 2.0
    assert float(found.stats["drift"].error) == np.inf


def test_a_batch_of_time_steps_compiles_once_and_ends_lane_by_lane():
    go = lambda dt, s: simulate(DoubleWell(), s * jnp.ones(2), dt=dt, steps=50, throw=False)  # noqa: E731
    batch = jax.vmap(go)(jnp.array([0.01, 0.02, 0.5]), jnp.array([0.5, 0.5, 30.0]))
    assert [Outcome.of(code) for code in batch.outcome] == [Outcome.DONE, Outcome.DONE, Outcome.NONFINITE]
    np.testing.assert_allclose(batch.stats["time"][:2], [0.5, 1.0], rtol=1e-6)


BAD = [
    ({"x0": lambda: jnp.array([1, 2])}, "no gradient"),
    ({"v0": lambda: jnp.ones(3)}, r"v0 is \[\(\(3,\), 'float32'\)\], but x0 is"),
    ({"v0": lambda: jnp.array([jnp.nan, 0])}, "v0 is not finite"),
    ({"energy": lambda: lambda x: x}, "sum it first"),
    ({"dt": lambda: 0.0}, "dt is 0.0, but it must be positive"),
    ({"steps": lambda: -1}, "steps is -1"),
    ({"mass": lambda: 0.0}, "a mass is not positive and finite: freeze"),
    ({"mass": lambda: jnp.ones(3)}, "mass does not fit x0"),
    ({"mass": lambda: {"a": 1.0}}, "mass does not fit x0"),
    (
        {"method": lambda: "baoab"},
        r"'baoab' cannot be had by its name alone: .* Baoab\(temperature=1.0, friction=1.0\)",
    ),
    ({"method": lambda: "euler"}, "no method 'euler': choose one of baoab, cell_rescaling, verlet"),
    ({"method": lambda: Baoab(1.0, 1.0)}, r"Baoab draws random numbers: pass key=jax.random.key\(seed\)"),
    ({"method": lambda: Baoab}, "method is a "),
    ({"space": lambda: Box(-2.0, 2.0)}, "cannot end at the walls of a Box"),
    ({"space": lambda: Frozen(True, Signs())}, "signs have no velocity: use sample"),
    ({"space": lambda: Periodic(jnp.ones(3))}, "shape"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    plain: dict[str, Any] = {"energy": DoubleWell(), "x0": jnp.array([0.5, 0.4]), "dt": 0.1, "steps": 3}
    with pytest.raises(InputError, match=sentence):
        simulate(**(plain | {name: make() for name, make in change.items()}))


def test_inside_a_transformation_nothing_can_be_thrown():
    with pytest.raises(InputError, match="pass throw=False"):
        jax.vmap(lambda x: simulate(DoubleWell(), x, dt=0.1, steps=3))(jnp.ones((2, 2)))
