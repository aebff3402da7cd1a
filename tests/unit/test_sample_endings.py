"""How a sampling is cooled, tuned, ended and refused."""

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
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts
from thalweg.methods.heat_bath import HeatBath, turned
from thalweg.methods.metropolis import Metropolis
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.schedule import Constant, Geometric, Linear
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.methods.trace import Trace
from thalweg.methods.tuning import windows
from thalweg.verbs.sample import sample


def walk(method: Any = None, **change: Any):
    """A short sampling, with some arguments changed."""
    plain: dict[str, Any] = {"energy": DoubleWell(), "x0": jnp.full(2, 0.9), "method": method or Metropolis()}
    plain |= {"key": jax.random.key(0), "steps": 30, "warmup": 20, "chains": 3}
    return sample(**(plain | change))


class Ring(AbstractEnergy):
    """Signs on a ring, each of which sees its two neighbours."""

    coupling: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, x):
        return -self.coupling.astype(x.dtype) * jnp.sum(x * jnp.roll(x, 1))


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


class Hole(AbstractEnergy):
    """A bowl with these widths, NaN where its first coordinate is beyond `edge`."""

    widths: jax.Array = eqx.field(converter=jnp.asarray)
    edge: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return jnp.where(jnp.abs(x[0]) < self.edge, 0.5 * jnp.sum((x / self.widths) ** 2), jnp.nan)


def tuned(state):
    return {"x": state.x, "size": state.tuning.steps.size, "odds": state.accepted} | (
        {} if state.tuning.masses is None else {"inverse": state.tuning.masses.inverse}
    )


def bowl(method, widths, edge):
    """The records and the counts of a long sampling in a bowl; one compilation for all bowls."""
    found = walk(method, energy=Hole(widths, edge), x0=jnp.zeros(3), steps=200, warmup=600, trace=Trace(tuned))
    return jax.tree.map(np.asarray, found.trace), found.stats


def test_the_warmup_finds_masses_and_step_sizes_and_then_keeps_them():
    widths = np.array([0.01, 1.0, 30.0])
    seen, stats = bowl(Hmc(), widths, np.inf)
    assert (seen["size"] == seen["size"][:1]).all()
    assert (seen["inverse"] == seen["inverse"][:1]).all()
    # Variances from a window of 350 correlated draws, within a factor of two; the narrowest one feels the shrinkage.
    ratio = seen["inverse"][0, :, 1:] / widths[1:] ** 2
    assert ((ratio > 0.5) & (ratio < 2)).all()
    assert 0.6 < seen["odds"].mean() < 0.99
    np.testing.assert_array_equal(stats["divergences"], 0)
    np.testing.assert_allclose(stats["acceptance"], seen["odds"].mean(0), rtol=1e-5)  # float32 sums of 200


@pytest.mark.parametrize(
    "method",
    [Hmc(), pytest.param(Nuts(1.0), marks=pytest.mark.slow)],
    ids=lambda method: type(method).__name__,
)
def test_samplers_that_refuse_a_nan_count_it(method):
    seen, stats = bowl(method, np.ones(3), 1.0)
    assert (stats["divergences"] > 0).all()
    assert np.abs(seen["x"][..., 0]).max() < 1.0


# Endings


def cliff(x):
    """A bowl with a hole of NaN beyond 1.5."""
    return jnp.where(jnp.abs(x[0]) < 1.5, 0.5 * jnp.sum(x**2), jnp.nan)


@pytest.mark.parametrize(
    "method",
    [
        Metropolis(),
        pytest.param(Mala(1.0), marks=pytest.mark.slow),
        pytest.param(Overdamped(dt=0.1), marks=pytest.mark.slow),
        pytest.param(Tempering(Metropolis(), jnp.array([1.0, 2.0])), marks=pytest.mark.slow),
    ],
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


def test_a_broken_field_breaks_its_sign_and_no_other():
    field, cold = jnp.array([jnp.nan, 1e3]), jnp.asarray(1.0)
    moved, odds = turned("heat_bath", -jnp.ones(2), field, cold, jnp.full(2, 0.5))
    np.testing.assert_array_equal(moved, [np.nan, 1.0])
    np.testing.assert_array_equal(odds, [np.nan, 1.0])
    _, odds = turned("metropolis", -jnp.ones(2), field, cold, jnp.full(2, 0.5))
    np.testing.assert_array_equal(odds, [np.nan, 1.0])


@pytest.mark.slow
def test_signs_that_break_are_named_too():
    broken = lambda x: jnp.where(jnp.sum(x) > -6, -jnp.sum(x * jnp.roll(x, 1)), jnp.nan)  # noqa: E731
    with pytest.raises(WalkError, match=r"^sample: step \d+ made .*value.* non-finite"):
        walk(
            HeatBath(colours=jnp.arange(8)), energy=broken, x0=jnp.ones(8), space=Signs(), temperature=50.0, steps=2000
        )


def test_hooks_can_stop_it_and_throw_says_so():
    with pytest.raises(WalkError, match="Stopped on request"):
        walk(on_chunk=lambda report: Outcome.CANCELLED)


def test_a_thinner_trace_records_what_it_was_asked_for():
    thin = walk(trace=Trace(lambda state: state.value, every=4))
    full = walk()
    assert thin.trace.shape == (7, 3)
    np.testing.assert_array_equal(thin.trace, full.trace["energy"][3::4])


@pytest.mark.slow
def test_an_empty_trace_is_none():
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
    ({"method": Nuts(), "space": Frozen(jnp.array([True, False]))}, "does not know frozen coordinates"),
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
