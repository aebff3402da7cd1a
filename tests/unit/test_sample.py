"""The verb `sample`: bits, resuming, dtypes, pytrees, spaces, host kernels, schedules, and how it refuses and ends."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import AbstractEnergy, AbstractHostField
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box, Frozen, Periodic, Signs
from thalweg.landscapes import DoubleWell
from thalweg.methods.colouring import colour_classes
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts
from thalweg.methods.heat_bath import HeatBath
from thalweg.methods.metropolis import Metropolis
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.schedule import Constant, Geometric, Linear
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.methods.trace import Trace
from thalweg.methods.tuning import windows
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


# Bits


def test_chunks_and_checkpoints_change_no_bit(tmp_path):
    method = Tempering(Hmc(leapfrogs=3), geometric_ladder(1.0, 3.0, 3))
    whole = walk(method)
    chunks = []
    # A hook makes the first chunks of one step, its absence of 64.
    hooked = walk(method, on_chunk=lambda report: chunks.append(report.step))
    assert chunks[0] == 1
    same = lambda solution: (solution.value, solution.trace, solution.stats["best"])  # noqa: E731
    assert bits(same(hooked)) == bits(same(whole))
    # Once stopped in the warmup, once after it.
    for stop_at in (7, 31):
        place = tmp_path / str(stop_at)
        place.mkdir()

        def stop(report, stop_at=stop_at):
            return Outcome.CANCELLED if report.step >= stop_at else None

        part = walk(method, on_chunk=(Checkpoint(place), stop), throw=False)
        assert Outcome.of(part.outcome) is Outcome.CANCELLED
        assert part.stats["steps"] < 30
        rest = walk(method, on_chunk=Checkpoint(place))
        assert bits(same(rest)) == bits(same(whole))
    assert bits(same(walk(method, key=jax.random.key(1)))) != bits(same(whole))


def test_an_energy_compiles_once_for_all_its_parameters_and_temperatures():
    traces = []

    class Counted(AbstractEnergy):
        height: jax.Array = eqx.field(converter=jnp.asarray)

        def __call__(self, x):
            traces.append(0)
            return self.height * jnp.sum(x**2)

    walk(Hmc(), energy=Counted(1.0))
    first = len(traces)
    for height in (0.5, 2.0):
        walk(Hmc(step_size=height), energy=Counted(height), temperature=height)
    assert first > 0
    # Only the check of the shape, which compiles nothing, traces again in every call.
    assert len(traces) - first <= 2


# Any pytree, in its own dtype


NETWORK = {"w": np.array([0.5, -1.0], np.float32), "b": np.array([[0.1]], np.float32)}


def mismatch(x):
    hidden = jnp.tanh(jnp.linspace(-1, 1, 5, dtype=x["w"].dtype)[:, None] * x["w"] + x["b"])
    return jnp.sum((hidden.sum(1) - 0.3) ** 2) + 0.5 * jnp.sum(x["w"] ** 2) + 0.5 * jnp.sum(x["b"] ** 2)


EVERY = [
    Metropolis(attempts=2),
    pytest.param(Mala(), marks=pytest.mark.slow),
    pytest.param(Hmc(leapfrogs=3), marks=pytest.mark.slow),
    Nuts(max_doublings=3),
    pytest.param(Overdamped(), marks=pytest.mark.slow),
    Overdamped(mobility=lambda x: jax.tree.map(lambda leaf: 1 / (1 + leaf**2), x)),
    Tempering(Mala(), geometric_ladder(1.0, 2.0, 2)),
]


@pytest.mark.parametrize("method", EVERY, ids=lambda method: type(method).__name__)
def test_weights_of_a_network_stay_float32_where_float64_is_on(method, x64):
    start = jax.tree.map(jnp.asarray, NETWORK)
    solution = walk(method, energy=mismatch, x0=start, steps=8, warmup=21)
    assert jax.tree.structure(solution.value) == jax.tree.structure(start)
    for leaf in jax.tree.leaves((solution.value, solution.trace, solution.stats["best"], solution.energy)):
        assert leaf.dtype == jnp.float32
    np.testing.assert_allclose(solution.trace["energy"][-1], jax.vmap(mismatch)(solution.value), rtol=1e-5)
    assert solution.trace["x"]["b"].shape == (8, 3, 1, 1)
    assert solution.stats["ess"]["x"]["w"].shape == (2,)
    best = jax.vmap(mismatch)(solution.stats["best"])
    np.testing.assert_allclose(best, solution.stats["lowest"], rtol=1e-5)  # float32, compiled otherwise
    assert (solution.stats["lowest"] <= solution.trace["energy"].min(0)).all()


def test_chains_may_start_apart():
    starts = jnp.array([[-1.0, 1.0], [1.0, 1.0]])
    solution = walk(Metropolis(scale=1e-4), x0=starts, chains=None, warmup=0)
    np.testing.assert_allclose(solution.value, starts, atol=0.01)  # 30 steps of 1e-4
    assert solution.stats["acceptance"].shape == (2,)


def test_inside_a_transformation_lanes_have_their_own_temperature():
    def spread(temperature):
        solution = walk(Hmc(), temperature=temperature, steps=200, throw=False)
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
        (Hmc(leapfrogs=2), FROZEN),
        pytest.param(Mala(), FROZEN, marks=pytest.mark.slow),
        pytest.param(Overdamped(), FROZEN, marks=pytest.mark.slow),
        (HeatBath(), SIGNS_HELD),
        pytest.param(Metropolis(), SIGNS_HELD, marks=pytest.mark.slow),
        (Metropolis(), Frozen(jnp.array([True, False]), Box(-1.0, 1.0))),
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


# Schedules


def test_annealing_ends_cold_and_keeps_the_best():
    schedule = Geometric(4.0, 0.05, 200)
    solution = walk(HeatBath(), energy=Ring(), x0=jnp.ones(10).at[::3].set(-1), space=Signs(), steps=200,
                    temperature=schedule)  # fmt: skip
    np.testing.assert_array_equal(solution.stats["lowest"], [-10, -10, -10])
    assert not {"ess", "r_hat", "ess_min"} & solution.stats.keys()
    np.testing.assert_array_equal(jax.vmap(Ring())(solution.stats["best"]), solution.stats["lowest"])
    # Hot at first: ten signs at T = 4 lie far above the bottom.
    assert float(solution.trace["energy"][:20].mean()) > -5


def test_schedules_reach_their_ends():
    for schedule in (Linear(3.0, 1.0, 5), Geometric(4.0, 1.0, 3)):
        values = [float(schedule(jnp.asarray(step))) for step in range(7)]
        assert values[0] == pytest.approx(float(schedule.start))
        np.testing.assert_allclose(values[5:], 1.0, rtol=1e-6)
    assert float(Linear(3.0, 1.0, 5)(jnp.asarray(2))) == pytest.approx(2.0)
    assert float(Geometric(4.0, 1.0, 3)(jnp.asarray(1))) == pytest.approx(2.0)
    assert float(Constant(0.5)(jnp.asarray(9))) == 0.5


# Tuning


def test_the_windows_of_the_warmup_are_those_of_stan():
    assert windows(1000) == (75, [100, 150, 250, 450, 950])
    assert windows(150) == (75, [100])
    assert windows(100) == (15, [90])
    assert windows(19) == (19, [])


def test_the_warmup_finds_masses_and_step_sizes_and_then_keeps_them():
    widths = jnp.array([0.01, 1.0, 30.0])
    trace = Trace(lambda state: (state.tuning.steps.size, state.tuning.masses.inverse, state.accepted))
    solution = walk(Hmc(), energy=lambda x: 0.5 * jnp.sum((x / widths) ** 2), x0=jnp.zeros(3), steps=200, warmup=600,
                    trace=trace)  # fmt: skip
    size, inverse, accepted = (np.asarray(part) for part in solution.trace)
    assert (size == size[:1]).all()
    assert (inverse == inverse[:1]).all()
    # Variances from a window of 350 correlated draws, within a factor of two; the narrowest one feels the shrinkage.
    ratio = inverse[0, :, 1:] / np.asarray(widths[1:]) ** 2
    assert ((ratio > 0.5) & (ratio < 2)).all()
    assert 0.6 < accepted.mean() < 0.99
    np.testing.assert_array_equal(solution.stats["divergences"], 0)
    np.testing.assert_allclose(solution.stats["acceptance"], accepted.mean(0), rtol=1e-5)  # float32 sums of 200


# Endings


def cliff(x):
    """A bowl with a hole of NaN beyond 1.5."""
    return jnp.where(jnp.abs(x[0]) < 1.5, 0.5 * jnp.sum(x**2), jnp.nan)


@pytest.mark.parametrize(
    "method", [Metropolis(), Mala(1.0), Overdamped(dt=0.1), Tempering(Metropolis(), jnp.array([1.0, 2.0]))]
)
def test_a_nan_is_named_with_its_step_and_the_good_state_is_kept(method):
    with pytest.raises(
        WalkError, match=r"^sample: step \d+ made .*value.* non-finite; no checkpoint was kept"
    ) as caught:
        walk(method, energy=cliff, x0=jnp.zeros(2), steps=3000, warmup=0)
    solution = caught.value.solution
    assert Outcome.of(solution.outcome) is Outcome.NONFINITE
    assert np.isfinite(np.asarray(solution.value)).all()
    assert len(solution.trace["energy"]) == solution.stats["steps"] < 3000
    assert np.isfinite(np.asarray(solution.trace["energy"])).all()


def test_signs_that_break_are_named_too():
    broken = lambda x: jnp.where(jnp.sum(x) > -6, -jnp.sum(x * jnp.roll(x, 1)), jnp.nan)  # noqa: E731
    with pytest.raises(WalkError, match=r"^sample: step \d+ made .*value.* non-finite"):
        walk(
            HeatBath(colours=jnp.arange(8)), energy=broken, x0=jnp.ones(8), space=Signs(), temperature=50.0, steps=2000
        )


@pytest.mark.parametrize(
    "method", [Hmc(1.0), pytest.param(Nuts(1.0), marks=pytest.mark.slow)], ids=lambda method: type(method).__name__
)
def test_samplers_that_refuse_a_nan_count_it(method):
    solution = walk(method, energy=cliff, x0=jnp.zeros(2), steps=200, warmup=0)
    assert (solution.stats["divergences"] > 0).all()
    assert np.abs(np.asarray(solution.trace["x"])[..., 0]).max() < 1.5


def test_hooks_can_stop_it_and_throw_says_so():
    with pytest.raises(WalkError, match="Stopped on request"):
        walk(on_chunk=lambda report: Outcome.CANCELLED)


def test_a_thinner_trace_records_what_it_was_asked_for():
    thin = walk(Hmc(), trace=Trace(lambda state: state.value, every=4))
    full = walk(Hmc())
    assert thin.trace.shape == (7, 3)
    np.testing.assert_array_equal(thin.trace, full.trace["energy"][3::4])
    assert walk(trace=Trace(lambda state: ())).trace is None


# Refusals


class Programme(AbstractHostField):
    """Somebody else's program."""

    def value_and_force_batch(self, x):
        raise NotImplementedError


SIGNED = {"space": Signs(), "x0": jnp.ones(3)}
BAD = [
    ({"method": "newton"}, "no method 'newton': choose one of heat_bath, hmc, mala"),
    ({"method": 3}, "int is no sampler"),
    ({"steps": -1}, "steps is -1"),
    ({"warmup": 1.5}, "warmup is 1.5"),
    ({"chains": 0}, "0 chains"),
    ({"chains": None, "x0": {"a": jnp.ones(2), "b": jnp.ones(3)}}, "same leading axis"),
    ({"key": 3}, "jax.random.key"),
    ({"temperature": 0.0}, "temperature is 0.0, but it must be positive"),
    ({"temperature": -1.0}, "must be positive"),
    ({"temperature": float("inf")}, "must be finite"),
    ({"x0": jnp.array([jnp.nan])}, "not finite"),
    ({"energy": lambda x: x}, "sum it first"),
    ({"energy": Programme()}, "host field cannot be compiled"),
    ({"steps": 2**27}, "GiB: pass a trace"),
    ({"method": Hmc(), "space": Box(-1.0, 1.0)}, "Hmc would have the wrong law in the space Box"),
    ({"method": Mala(), **SIGNED}, "wrong law in the space Signs"),
    ({"method": Overdamped(), "space": Box(-1.0, 1.0)}, "wrong law in the space Box"),
    ({"method": Nuts(), "space": FROZEN}, "does not know frozen coordinates"),
    ({"method": HeatBath()}, "HeatBath moves signs"),
    ({"method": HeatBath(), "energy": lambda x: jnp.sum(x**2), **SIGNED}, "linear in each sign"),
    ({"method": HeatBath(colours=jnp.zeros(2)), "energy": Ring(), **SIGNED}, "colours for 2 signs, but x has 3"),
    ({"method": HeatBath(colours=jnp.zeros(3)), "energy": Ring(), **SIGNED}, "same colour"),
    ({"method": Overdamped(mobility=jnp.ones(5))}, "fits no x of 2 coordinates"),
    ({"method": lambda: Overdamped(mobility=abs, scheme="leimkuhler_matthews")}, "constant mobility"),
    ({"method": lambda: Tempering(Mala(), jnp.array([2.0, 1.0]))}, "must be positive and increase"),
    ({"method": lambda: Tempering(Mala(), jnp.array([1.0]))}, "two rungs"),
    ({"method": lambda: geometric_ladder(2.0, 1.0, 3)}, "no ladder"),
    ({"method": lambda: Metropolis(attempts=0)}, "0 attempts"),
    ({"space": Periodic(jnp.ones(3))}, "shape"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[f"{[*change]} {sentence}" for change, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        built(change)


def built(change: dict[str, Any]) -> Any:
    """Sample with some arguments changed; a method that is refused when it is built is built here."""
    late = lambda name, part: part() if name == "method" and callable(part) else part  # noqa: E731
    return walk(**{name: late(name, part) for name, part in change.items()})


def test_inside_a_transformation_nothing_can_be_thrown():
    with pytest.raises(InputError, match="pass throw=False"):
        jax.vmap(lambda x: walk(x0=x))(jnp.ones((2, 2)))
