"""Simulation-based calibration: where the truth is drawn from the prior, its rank among posterior draws is uniform.

S. Talts, M. Betancourt, D. Simpson, A. Vehtari & A. Gelman, arXiv:1804.06788 (2018).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from thalweg.core.energy import AbstractEnergy
from thalweg.methods.baoab import Baoab
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample
from thalweg.verbs.simulate import simulate

TRUTHS, CHAINS, BINS = 1024, 31, 8  # 31 draws make 32 ranks, four in a bin
FALSE_ALARM = 1e-4


class Posterior(AbstractEnergy):
    """Counts of a Poisson law whose log rate has a normal prior: independent problems, one in each coordinate."""

    counts: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, x):
        return jnp.sum(0.5 * x**2 + jnp.exp(x) - self.counts.astype(x.dtype) * x)


def drawn() -> tuple[np.ndarray, Posterior]:
    random = np.random.default_rng(2018)
    truths = random.normal(size=TRUTHS)
    return truths, Posterior(random.poisson(np.exp(truths)).astype(np.float32))


def evenness(truths: np.ndarray, draws: np.ndarray) -> float:
    """The probability of ranks as uneven as these; `draws [chains, truths]` are independent of each other."""
    ranks = (draws < truths).sum(axis=0)
    return chisquare(np.bincount(ranks * BINS // (len(draws) + 1), minlength=BINS)).pvalue


def last(method, temperature: float = 1.0, steps: int = 120) -> tuple[np.ndarray, np.ndarray]:
    truths, posterior = drawn()
    found = sample(
        posterior, jnp.zeros(TRUTHS), method, key=jax.random.key(4), steps=1, warmup=steps, chains=CHAINS,
        temperature=temperature, trace=Trace(lambda chains: chains.x),
    )  # fmt: skip
    return truths, np.asarray(found.trace).reshape(-1, TRUTHS)[-CHAINS:]


# Step sizes by hand, small enough for some thousand coordinates at once; the bias of the two without acceptance is of
# second order in them and far below what this many ranks can show.
METHODS = {
    "hmc": (lambda: Hmc(step_size=0.12, leapfrogs=12), 60),
    "overdamped": (lambda: Overdamped(dt=0.05), 200),
    "mala": (lambda: Mala(step_size=0.01), 900),
    "nuts": (lambda: Nuts(step_size=0.15), 40),
}
SLOW = ("mala", "nuts")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in METHODS])
def test_ranks_are_even(name):
    method, steps = METHODS[name]
    assert evenness(*last(method(), steps=steps)) > FALSE_ALARM


def test_langevin_dynamics_have_even_ranks():
    truths, posterior = drawn()
    at = jnp.zeros(TRUTHS)
    ends = [
        simulate(posterior, at, at, Baoab(temperature=1.0, friction=1.0), dt=0.1, steps=150, key=key).value
        for key in jax.random.split(jax.random.key(5), CHAINS)
    ]
    assert evenness(truths, np.stack(ends)) > FALSE_ALARM


@pytest.mark.parametrize("temperature", [0.7, 1.4])
def test_a_sampler_of_another_law_is_caught(temperature):
    assert evenness(*last(Overdamped(dt=0.05), temperature, 200)) < FALSE_ALARM
