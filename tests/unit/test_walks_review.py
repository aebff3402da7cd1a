"""What a review of the walks found: laws with frozen coordinates, counts, spaces and inputs that were not refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg import sample, simulate
from thalweg.core.errors import InputError
from thalweg.core.space import Box, Frozen, Periodic, Signs
from thalweg.landscapes import square_lattice
from thalweg.methods.baoab import Baoab
from thalweg.methods.cluster import SwendsenWang
from thalweg.methods.hamiltonian import Hmc, Mala
from thalweg.methods.heat_bath import turned
from thalweg.methods.metropolis import Metropolis, proposal
from thalweg.methods.schedule import Geometric
from thalweg.methods.tempering import Tempering


def spring(x):
    """Two ends of a spring, the first one held at the origin."""
    return 1.5 * (x[0] - x[1]) ** 2 + 0.5 * x[0] ** 2


def hill(x):
    return 0.5 * jnp.sum(x**2)


HELD = Frozen(jnp.array([True, False]))


@pytest.mark.parametrize("method", [Mala(0.3), Hmc(0.6, leapfrogs=3)])
def test_the_law_beside_a_frozen_coordinate(method):
    solution = sample(
        spring, jnp.array([1.5, 2.0]), method, key=jax.random.key(1), steps=2000, chains=8, space=HELD, throw=False
    )
    x = solution.trace["x"]
    assert (x[..., 1] == 2).all()
    # The energies are those of the recorded points to the bit, not of points where all coordinates had moved.
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(spring)))(x), solution.trace["energy"])
    # By hand: beside a frozen 2 the law is normal with mean 3/4 * 2 and variance 1/4. The mean of draws worth
    # ess_min independent ones is within 5 standard errors but once in 1.7 million.
    worth = solution.stats["ess_min"]
    assert worth > 1000
    assert abs(float(x[..., 0].mean()) - 1.5) < 5 * 0.5 / np.sqrt(worth)
    # The variance of worth normal draws has the standard error sqrt(2 / worth) of itself; the squares of the draws
    # forget at least as fast as the draws, but may be worth fewer where these alternate: twice the error.
    assert abs(float(x[..., 0].var()) - 0.25) < 2 * 5 * 0.25 * np.sqrt(2 / worth)


@pytest.mark.parametrize("method", [Mala(0.1), Hmc(0.3, leapfrogs=5)])
def test_energies_in_a_cell_are_those_of_the_wrapped_point(method):
    # Not periodic by itself: x^2 has another value one length further, and only the member of the cell counts.
    solution = sample(hill, jnp.array([1.0]), method, key=jax.random.key(2), steps=300, space=Periodic(2.0))
    x = solution.trace["x"]
    assert ((x >= 0) & (x < 2)).all()
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(hill)))(x), solution.trace["energy"])


@pytest.mark.parametrize("rule", ["heat_bath", "metropolis"])
def test_signs_that_feel_nothing_do_not_move_in_step(rule):
    up, odds = turned(
        rule, jnp.ones(4096), jnp.zeros(4096), jnp.asarray(1.0), jax.random.uniform(jax.random.key(4), (4096,))
    )
    np.testing.assert_array_equal(odds, 0.5)
    # A sum of 4096 fair signs has the standard deviation 64: beyond 4 of them once in 16000.
    assert abs(float(up.sum())) < 4 * 64


def test_a_coordinate_frozen_beyond_the_wall_does_not_refuse_every_step():
    space = Frozen(jnp.array([True, False]), Box(-1.0, 1.0))
    x, inside = proposal(space, jnp.array([0.0, 2.0]), jnp.asarray(0.1), jax.random.key(0))
    assert bool(inside)
    assert float(x[1]) == 2
    assert float(x[0]) != 0
    # The wall itself still does.
    assert not bool(proposal(space, jnp.array([0.0, 2.0]), jnp.asarray(1e3), jax.random.key(0))[1])


def test_tempering_forgets_the_divergences_of_the_warmup():
    energy = lambda x: jnp.sum(x**4)  # noqa: E731
    # So long a step that a proposal from anywhere underflows: with a warmup of one step, that one is all there is.
    ladder = Tempering(Mala(1e3), jnp.array([1.0, 2.0]))
    walk = lambda steps: sample(energy, jnp.ones(2), ladder, key=jax.random.key(0), steps=steps, warmup=1)  # noqa: E731
    assert (np.asarray(walk(0).stats["divergences"]) == 0).all()


@pytest.mark.parametrize("space", [Frozen(jnp.arange(16) > 0, Signs()), Box(-1.0, 1.0)])
def test_a_host_sampler_refuses_a_space_that_it_would_ignore(space):
    with pytest.raises(InputError, match="knows no"):
        sample(square_lattice(4), jnp.ones(16), SwendsenWang(), key=jax.random.key(0), steps=2, space=space)


def test_chains_on_the_host_anneal_with_any_schedule():
    def walk(schedule):
        return sample(square_lattice(4), jnp.ones(16), SwendsenWang(), key=jax.random.key(0), steps=9, warmup=3,
                      temperature=schedule)  # fmt: skip

    ours, constant = walk(Geometric(2.0, 2.0, 9)), walk(2.0)
    asks = walk(lambda step: 2.0 if int(step) < 20 else 1.0)
    for other in (constant, asks):
        np.testing.assert_array_equal(ours.trace["x"], other.trace["x"])
    assert ours.stats["steps"] == 9


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": lambda step: 1 - 0.1 * step}, "schedule's temperature at step 25"),
        ({"temperature": jnp.array([1.0, 2.0])}, "all chains have one"),
        ({"chains": 2.0}, "cannot walk"),
    ],
)
def test_sample_refuses(change, sentence):
    with pytest.raises(InputError, match=sentence):
        sample(hill, jnp.ones(2), Metropolis(), **{"key": jax.random.key(0), "steps": 50, **change})


@pytest.mark.parametrize(
    ("method", "change", "sentence"),
    [
        (None, {"dt": np.inf}, "finite"),
        (None, {"steps": 10.5}, "whole number"),
        (Baoab(1.0, 1.0), {"key": 0}, "one random key"),
    ],
)
def test_simulate_refuses(method, change, sentence):
    with pytest.raises(InputError, match=sentence):
        simulate(hill, jnp.ones(2), None, method, **{"dt": 0.1, "steps": 5, **change})


@pytest.mark.parametrize("settings", [(-1.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_baoab_refuses(settings):
    with pytest.raises(InputError, match="not negative"):
        Baoab(*settings)


def test_inside_a_transformation_of_anything_a_walk_cannot_raise():
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(InputError, match="throw=False"):
        jax.vmap(lambda key: sample(hill, jnp.ones(2), Metropolis(), key=key, steps=2).value)(keys)
    with pytest.raises(InputError, match="throw=False"):
        jax.vmap(lambda t: sample(hill, jnp.ones(2), Metropolis(), key=keys[0], steps=2, temperature=t).value)(
            jnp.ones(2)
        )
    with pytest.raises(InputError, match="throw=False"):
        jax.vmap(lambda t: simulate(hill, jnp.ones(2), None, Baoab(t, 1.0), dt=0.1, steps=2, key=keys[0]).value)(
            jnp.ones(2)
        )
