"""The verb `sample`: bits, resuming, compilations, dtypes, pytrees and spaces."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import AbstractEnergy
from thalweg.core.solution import Outcome
from thalweg.core.space import Box, Frozen, Signs
from thalweg.landscapes import DoubleWell
from thalweg.methods.colouring import colour_classes
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts
from thalweg.methods.heat_bath import HeatBath
from thalweg.methods.metropolis import Metropolis
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.runs import Checkpoint
from thalweg.verbs.sample import sample


def walk(method: Any = None, **change: Any):
    """A short sampling, with some arguments changed."""
    plain: dict[str, Any] = {"energy": DoubleWell(), "x0": jnp.full(2, 0.9), "method": method or Metropolis()}
    plain |= {"key": jax.random.key(0), "steps": 30, "warmup": 20, "chains": 3}
    return sample(**(plain | change))


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


class Ring(AbstractEnergy):
    """Signs on a ring, each of which sees its two neighbours."""

    coupling: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x):
        return -self.coupling.astype(x.dtype) * jnp.sum(x * jnp.roll(x, 1))


# Compiling


def test_an_energy_compiles_once_for_all_its_parameters_and_temperatures():
    traces = []

    class Counted(AbstractEnergy):
        height: jax.Array = eqx.field(converter=jnp.asarray)

        def __call__(self, x):
            traces.append(0)
            return self.height * jnp.sum(x**2)

    walk(energy=Counted(1.0))
    first = len(traces)
    for height in (0.5, 2.0):
        walk(Metropolis(height), energy=Counted(height), temperature=height)
    assert first > 0
    # Only the check of the shape, which compiles nothing, traces again in every call.
    assert len(traces) - first <= 2


# Any pytree, in its own dtype


NETWORK = {"w": np.array([0.5, -1.0], np.float32), "b": np.array([[0.1]], np.float32)}


def mismatch(x):
    hidden = jnp.tanh(jnp.linspace(-1, 1, 5, dtype=x["w"].dtype)[:, None] * x["w"] + x["b"])
    return jnp.sum((hidden.sum(1) - 0.3) ** 2) + 0.5 * jnp.sum(x["w"] ** 2) + 0.5 * jnp.sum(x["b"] ** 2)


TEMPERED = Tempering(Mala(), geometric_ladder(1.0, 2.0, 2))
EVERY = [
    pytest.param(Metropolis(attempts=2), marks=pytest.mark.slow),
    pytest.param(Mala(), marks=pytest.mark.slow),
    pytest.param(Hmc(leapfrogs=3), marks=pytest.mark.slow),
    pytest.param(Nuts(max_doublings=3), marks=pytest.mark.slow),
    pytest.param(Overdamped(), marks=pytest.mark.slow),
    pytest.param(
        Overdamped(mobility=lambda x: jax.tree.map(lambda leaf: 1 / (1 + leaf**2), x)), marks=pytest.mark.slow
    ),
    TEMPERED,
]


@pytest.mark.parametrize("method", EVERY, ids=lambda method: type(method).__name__)
def test_weights_of_a_network_stay_float32_where_float64_is_on(method, x64):
    start = jax.tree.map(jnp.asarray, NETWORK)
    solution = walk(method, energy=mismatch, x0=start)
    assert jax.tree.structure(solution.value) == jax.tree.structure(start)
    for leaf in jax.tree.leaves((solution.value, solution.trace, solution.stats["best"], solution.energy)):
        assert leaf.dtype == jnp.float32
    np.testing.assert_allclose(solution.trace["energy"][-1], jax.vmap(mismatch)(solution.value), rtol=1e-5)
    assert solution.trace["x"]["b"].shape == (30, 3, 1, 1)
    assert solution.stats["ess"]["x"]["w"].shape == (2,)
    best = jax.vmap(mismatch)(solution.stats["best"])
    np.testing.assert_allclose(best, solution.stats["lowest"], rtol=1e-5)  # float32, compiled otherwise
    assert (solution.stats["lowest"] <= solution.trace["energy"].min(0)).all()


# The same bits


def test_chunks_and_checkpoints_change_no_bit(tmp_path, x64):
    start = jax.tree.map(jnp.asarray, NETWORK)
    go = lambda **change: walk(TEMPERED, energy=mismatch, x0=start, **change)  # noqa: E731
    whole = go()
    chunks = []
    # A hook makes the first chunks of one step, its absence of 64.
    hooked = go(on_chunk=lambda report: chunks.append(report.step))
    assert chunks[0] == 1
    same = lambda solution: (solution.value, solution.trace, solution.stats["best"])  # noqa: E731
    assert bits(same(hooked)) == bits(same(whole))
    # Once stopped in the warmup, once after it.
    for stop_at in (7, 31):
        place = tmp_path / str(stop_at)
        place.mkdir()

        def stop(report, stop_at=stop_at):
            return Outcome.CANCELLED if report.step >= stop_at else None

        part = go(on_chunk=(Checkpoint(place), stop), throw=False)
        assert Outcome.of(part.outcome) is Outcome.CANCELLED
        assert part.stats["steps"] < 30
        rest = go(on_chunk=Checkpoint(place))
        assert bits(same(rest)) == bits(same(whole))
    assert bits(same(go(key=jax.random.key(1)))) != bits(same(whole))


def test_chains_may_start_apart():
    starts = jnp.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    solution = walk(x0=starts, chains=None, temperature=1e-3)
    # A well at this temperature is sqrt(1e-3 / 8) = 0.01 wide, and a barrier of 1000 temperatures high.
    np.testing.assert_allclose(solution.value, starts, atol=0.1)
    assert solution.stats["acceptance"].shape == (3,)


def test_inside_a_transformation_lanes_have_their_own_temperature():
    def spread(temperature):
        solution = walk(temperature=temperature, steps=200, throw=False)
        return jnp.mean(solution.trace["energy"] - DoubleWell()(jnp.ones(2)))

    cold, hot = jax.vmap(spread)(jnp.array([0.01, 1.0]))
    assert 0 < float(cold) < 0.1 * float(hot)


# Spaces


FROZEN = Frozen(jnp.array([True, False]))
SIGNS_HELD = Frozen(jnp.array([True, False]), Signs())


@pytest.mark.parametrize(
    ("method", "space"),
    [
        pytest.param(Metropolis(), FROZEN, marks=pytest.mark.slow),
        pytest.param(Hmc(leapfrogs=2), FROZEN, marks=pytest.mark.slow),
        (Mala(), FROZEN),
        pytest.param(Overdamped(), FROZEN, marks=pytest.mark.slow),
        (HeatBath(), SIGNS_HELD),
        pytest.param(Metropolis(), SIGNS_HELD, marks=pytest.mark.slow),
        pytest.param(Metropolis(), Frozen(jnp.array([True, False]), Box(-1.0, 1.0)), marks=pytest.mark.slow),
    ],
)
def test_frozen_coordinates_do_not_move(method, space):
    solution = walk(method, energy=lambda x: x[0] * x[1] + 0.1 * x[0], x0=jnp.array([1.0, -1.0]), space=space)
    x = np.asarray(solution.trace["x"])
    assert (x[..., 1] == -1).all()
    assert np.ptp(x[..., 0]) > 0
    # A number that never varied has no effective size, and does not hide the others'.
    assert np.isnan(solution.stats["ess"]["x"][1])
    assert solution.stats["ess_min"] > 0


def test_colours_are_proper_and_few():
    colours = np.asarray(colour_classes(Ring(), jnp.ones(10)))
    assert set(colours) == {0, 1}
    assert (colours != np.roll(colours, 1)).all()
    quartic = lambda x: x[0] * x[1] * x[2] * x[3] + x[4] * x[0]  # noqa: E731
    four = np.asarray(colour_classes(quartic, jnp.ones(5)))
    assert len(set(four[:4])) == 4
    assert four[4] != four[0]
