"""What we ask of other people's samplers and dynamics holds for ours, and each promise can be seen broken."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.methods.baoab import Baoab
from thalweg.methods.dynamics import AbstractDynamics
from thalweg.methods.hamiltonian import Mala
from thalweg.methods.metropolis import Metropolis, MetropolisState
from thalweg.methods.sampler import AbstractTunedSampler, gaussian_like
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.methods.verlet import Verlet
from thalweg.testing import check_dynamics, check_sampler

slow = pytest.mark.slow

# Ours pass


@pytest.mark.parametrize(
    "method",
    [
        "mala",
        pytest.param("metropolis", marks=slow),
        pytest.param("hmc", marks=slow),
        pytest.param("nuts", marks=slow),
        pytest.param("overdamped", marks=slow),
        pytest.param(lambda: Tempering(Mala(), geometric_ladder(1.0, 3.0, 3)), marks=slow, id="tempering"),
    ],
)
def test_our_samplers_keep_their_promises(method: Any):
    made: Any = method() if callable(method) else method
    check_sampler(made)


@pytest.mark.parametrize("method", ["heat_bath", pytest.param("metropolis", marks=slow)])
def test_our_samplers_of_signs_keep_their_promises(method):
    check_sampler(method, signs=True)


@pytest.mark.parametrize("method", [pytest.param("verlet", marks=slow), lambda: Baoab(1.0, 1.0)])
def test_our_dynamics_keep_their_promises(method: Any):
    made: Any = method() if callable(method) else method
    check_dynamics(made)


# Broken promises


class Tally:
    """A count that a static field may hold, because it is only equal to itself."""

    count = 0

    def noise(self, like: Any) -> Any:
        self.count += 1
        return np.full(like.shape, 1e-3 * (self.count % 7), like.dtype)


def remembered(tally: Tally | None, like: jax.Array) -> jax.Array:
    """A number that depends on how often it was asked for, or zero."""
    if tally is None:
        return jnp.zeros_like(like)
    shape = jax.ShapeDtypeStruct(like.shape, like.dtype)
    return jax.pure_callback(tally.noise, shape, like, vmap_method="broadcast_all")


# Faults are numbers in an array, so that all of them share one compilation.
SAMPLER_FAULTS = ["none", "takes all", "ignores the temperature", "moves one leaf", "learns on", "loses its energy"]
DYNAMICS_FAULTS = ["none", "half a drift", "one kick", "unseen friction"]


def fault_of(names: list[str], name: str) -> jax.Array:
    return jnp.asarray(names.index(name), jnp.int32)


class Crooked(AbstractTunedSampler):
    """Random steps with a fault of choice."""

    fault: jax.Array
    tally: Tally | None = eqx.field(static=True, default=None)
    wide: str = ""

    bibtex: ClassVar[str] = "@misc{crooked}"

    def ready(self, energy, space, x):
        return self

    def init(self, energy, space, x, temperature, key):
        state = Metropolis(0.7).init(energy, space, x, temperature, key)
        return self._widened(state) if self.wide == "start" else state

    def _widened(self, state):
        return eqx.tree_at(lambda s: s.x["a"], state, state.x["a"].astype(jnp.float64))

    def _has(self, name):
        return self.fault == SAMPLER_FAULTS.index(name)

    def step(self, energy, space, state, temperature, key):
        key_step, key_accept = jax.random.split(key)
        noise = gaussian_like(key_step, state.x)
        share = {"a": jnp.float32(1), "b": jnp.where(self._has("moves one leaf"), jnp.float32(0), 1)}
        x = jax.tree.map(lambda here, push, part: here + jnp.float32(0.7) * part * push, state.x, noise, share)
        value = energy(x)
        odds = jnp.exp((state.value - value) / jnp.where(self._has("ignores the temperature"), 1, temperature))
        odds = odds * (1 + remembered(self.tally, state.value))
        taken = (jax.random.uniform(key_accept, (), odds.dtype) < odds) | self._has("takes all")
        x = jax.tree.map(lambda new, old: jnp.where(taken, new, old), x, state.x)
        value = jnp.where(taken, value, state.value) + jnp.where(self._has("loses its energy"), jnp.float32(1e-2), 0)
        after = MetropolisState(x, value, jnp.minimum(odds, 1), state.tuning, None)
        return self._widened(after) if self.wide == "step" else after

    def tune(self, state, step, warmup):
        grown = jnp.where(self._has("learns on"), jnp.float32(1.001), 1)
        return eqx.tree_at(lambda s: s.tuning.size, state, grown * state.tuning.size)

    def counted(self, state, steps):
        return {}


class Swinging(AbstractDynamics):
    """Velocity Verlet with a fault of choice."""

    fault: jax.Array
    tally: Tally | None = eqx.field(static=True, default=None)
    wide: bool = False

    random: ClassVar[bool] = False
    bibtex: ClassVar[str] = "@misc{swinging}"

    def _share(self, name, wrong, right) -> Any:
        return jnp.where(self.fault == DYNAMICS_FAULTS.index(name), wrong, right)

    def init(self, setting, x, v):
        return None

    def move(self, setting, now):
        v = setting.kick(now.v, now.force, self._share("one kick", 1.0, 0.5))
        x = setting.drift(now.x, v, self._share("half a drift", 0.5, 1.0))
        x = jax.tree.map(lambda leaf: leaf + remembered(self.tally, now.value).astype(leaf.dtype), x)
        if self.wide:
            x = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), x)
        return eqx.tree_at(lambda to: (to.x, to.v), now, (x, v))

    def finish(self, setting, now):
        v = setting.kick(now.v, now.force, self._share("one kick", 0.0, 0.5))
        kept = self._share("unseen friction", 0.99, 1.0)
        return eqx.tree_at(lambda to: to.v, now, jax.tree.map(lambda leaf: kept.astype(leaf.dtype) * leaf, v))


class UncitedSampler(AbstractTunedSampler):
    bibtex: ClassVar[str] = ""
    ready = Crooked.ready
    init = Crooked.init
    step = Crooked.step
    tune = Crooked.tune
    counted = Crooked.counted


class UncitedDynamics(AbstractDynamics):
    random: ClassVar[bool] = False
    bibtex: ClassVar[str] = " "
    init = Verlet.init
    move = Verlet.move
    finish = Verlet.finish


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("none", None),
        ("takes all", r"another law than Boltzmann's: a moment is .* standard errors off"),
        ("ignores the temperature", r"another law than Boltzmann's: a moment is .* standard errors off"),
        ("moves one leaf", "some coordinate never moves"),
        ("learns on", "the constants still change after the warmup"),
        ("loses its energy", "the energy that the state holds is .* from that of its configuration"),
    ],
)
def test_a_crooked_sampler_is_found_out(fault, sentence):
    method = Crooked(fault_of(SAMPLER_FAULTS, fault))
    if sentence is None:
        check_sampler(method)
        return
    with pytest.raises(AssertionError, match=sentence):
        check_sampler(method)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("none", None),
        ("half a drift", "by another way than velocity times dt: the two differ by"),
        ("one kick", "the method is not of second order"),
        ("unseen friction", "or a thermostat does not count its heat"),
    ],
)
def test_a_crooked_dynamics_is_found_out(fault, sentence):
    method = Swinging(fault_of(DYNAMICS_FAULTS, fault))
    if sentence is None:
        check_dynamics(method)
        return
    with pytest.raises(AssertionError, match=sentence):
        check_dynamics(method)


def test_a_walk_without_a_citation_is_found_out():
    with pytest.raises(AssertionError, match="the sampler carries no BibTeX"):
        check_sampler(UncitedSampler())
    with pytest.raises(AssertionError, match="the dynamics carries no BibTeX"):
        check_dynamics(UncitedDynamics())


def test_a_walk_that_widens_is_found_out():
    right = jnp.asarray(0, jnp.int32)
    for when, words in (("start", "at the start"), ("step", "after a step")):
        with pytest.raises(AssertionError, match=rf"configuration {words}\['a'\] is float64, but x is float32"):
            check_sampler(Crooked(right, wide=when))
    with pytest.raises(AssertionError, match=r"configuration after a step\['a'\] is float64, but x is float32"):
        check_dynamics(Swinging(right, wide=True))


def test_a_walk_with_a_memory_outside_its_state_is_found_out():
    right = jnp.asarray(0, jnp.int32)
    with pytest.raises(AssertionError, match="end with other bits than chunks of 1000"):
        check_sampler(Crooked(right, Tally()))
    with pytest.raises(AssertionError, match="end with other bits than one long chunk"):
        check_dynamics(Swinging(right, Tally()))
