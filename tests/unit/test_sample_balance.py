"""Sampling: the exact balance of single moves, for every state and any couplings and temperatures."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thalweg.core.energy import AbstractEnergy, force
from thalweg.methods.heat_bath import turned
from thalweg.methods.metropolis import attempt
from thalweg.methods.tempering import exchanges, geometric_ladder


class Glass(AbstractEnergy):
    """Signs with a coupling between every two of them, and a field on each."""

    couplings: jax.Array
    field: jax.Array

    def __call__(self, x):
        return -x @ self.couplings.astype(x.dtype) @ x - self.field.astype(x.dtype) @ x


def states(size: int) -> np.ndarray:
    return np.array(list(itertools.product([-1.0, 1.0], repeat=size)))


def boltzmann(energies, temperature: float) -> np.ndarray:
    weights = np.exp(-(energies - energies.min()) / temperature)
    return weights / weights.sum()


# Odds are read off the kernels themselves: a move is taken below some uniform number, which is found by bisection


def threshold(taken, shape) -> jax.Array:
    """The uniform number below which each move of a batch is taken; `taken` must change once, from yes to no."""

    def halve(_, ends):
        middle = (ends[0] + ends[1]) / 2
        yes = taken(middle)
        return jnp.where(yes, middle, ends[0]), jnp.where(yes, ends[1], middle)

    return jax.lax.fori_loop(0, 60, halve, (jnp.zeros(shape), jnp.ones(shape)))[0]


NUMBERS = st.floats(-3, 3, allow_subnormal=False)
TEMPERATURES = st.floats(0.2, 5)
ROUNDING = 1e-9  # of float64 exponents up to about 100, and 60 halvings


@jax.jit
def _thresholds(couplings, field, temperature):
    """Four signs: energies of all states, and by state and site the odds of a flip, three times over."""
    energy, every = Glass(couplings, field), jnp.asarray(states(4))
    fields = jax.vmap(lambda x: force(energy, x))(every)

    def flip_taken(x, which, uniform):
        x_new = x.at[which].multiply(-1)
        after, _, _ = attempt(energy, x, energy(x), x_new, jnp.array(True), temperature, uniform)
        return after[which] != x[which]

    each_site = jax.vmap(flip_taken, in_axes=(None, 0, 0))
    flips = threshold(lambda u: jax.vmap(lambda x, row: each_site(x, jnp.arange(4), row))(every, u), (16, 4))
    classes = threshold(lambda u: turned("metropolis", every, fields, temperature, u)[0] != every, (16, 4))
    up = threshold(lambda u: turned("heat_bath", every, fields, temperature, u)[0] > 0, (16, 4))
    return jax.vmap(energy)(every), flips, classes, jnp.where(every > 0, 1 - up, up)


COUPLED = st.tuples(st.lists(NUMBERS, min_size=16, max_size=16), st.lists(NUMBERS, min_size=4, max_size=4))


def balanced(weights: np.ndarray, rates: np.ndarray) -> None:
    """`pi_i rate(i, site) == pi_j rate(j, site)`, where j is i with the sign at `site` flipped."""
    for site in range(4):
        partner = np.arange(16) ^ (1 << (3 - site))
        flow = weights * rates[:, site]
        np.testing.assert_allclose(flow, flow[partner], rtol=ROUNDING, atol=1e-15)


@settings(deadline=None, max_examples=25)
@given(numbers=COUPLED, temperature=TEMPERATURES)
def test_every_flip_of_every_state_is_in_detailed_balance(numbers, temperature):
    with jax.enable_x64(True):
        couplings = jnp.triu(jnp.asarray(numbers[0]).reshape(4, 4), 1)
        field, degrees = jnp.asarray(numbers[1]), jnp.asarray(temperature)
        heights, *rates = _thresholds(couplings, field, degrees)
        weights = boltzmann(np.asarray(heights), temperature)
        for rate in rates:
            balanced(weights, np.asarray(rate))


@jax.jit
def _swap_odds(heights, temperatures, parity):
    lower = jnp.arange(heights.size - 1)
    return threshold(lambda u: exchanges(heights, temperatures, parity, u)[0][:-1] > lower, lower.shape)


@settings(deadline=None, max_examples=40)
@example(heights=[0.0, -20.0, 0.0, 0.0, 0.0], ends=(0.3046875, 5.0), parity=0)  # odds of 4e-10
@given(
    heights=st.lists(st.floats(-20, 20), min_size=5, max_size=5),
    ends=st.tuples(st.floats(0.3, 2), st.floats(1.1, 10)),
    parity=st.integers(0, 1),
)
def test_exchanges_keep_the_joint_law(heights, ends, parity):
    with jax.enable_x64(True):
        rungs, turn = geometric_ladder(ends[0], ends[0] * ends[1], 5), jnp.asarray(parity)
        before = jnp.asarray(heights)

        forth = _swap_odds(before, rungs, turn)
        for pair in range(4):
            after = before.at[pair].set(before[pair + 1]).at[pair + 1].set(before[pair])
            back = _swap_odds(after, rungs, turn)
            if pair % 2 != parity:
                assert forth[pair] == back[pair] == 0
                continue
            # log of the joint weight after and before; the flow is the same both ways.
            parts = np.stack([before, after]) / np.asarray(rungs)
            gain = float(parts[0].sum() - parts[1].sum())
            rare, common = (forth, back) if gain < 0 else (back, forth)
            assert common[pair] > 1 - 1e-12
            # exp makes a relative error of what its argument E/T, up to 66, is off by: eleven roundings of 2^-53 of
            # the parts, here and in the kernel, and two of exp itself. 60 halvings resolve 2^-60 of an odd below one.
            rounding = 2.0**-53 * (16 * np.abs(parts).sum() + 4)
            np.testing.assert_allclose(rare[pair], common[pair] * np.exp(-abs(gain)), rtol=rounding, atol=2.0**-59)
        # Whatever is swapped, every configuration is somewhere once.
        source, _, _ = exchanges(before, rungs, turn, jnp.zeros(4))
        assert sorted(np.asarray(source).tolist()) == [0, 1, 2, 3, 4]
