"""Samplers that run on the host, in NumPy and in numba: the same verb, the same solution, the same resume."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.energy import AbstractEnergy
from thalweg.core.solution import Outcome
from thalweg.landscapes import DoubleWell
from thalweg.methods.sampler import AbstractHostSampler, Seen
from thalweg.methods.schedule import Geometric
from thalweg.runs import Checkpoint
from thalweg.verbs.sample import sample


def walk(method: Any, **change: Any):
    """A short sampling, with some arguments changed."""
    plain: dict[str, Any] = {"energy": DoubleWell(), "x0": jnp.full(2, 0.9), "method": method}
    plain |= {"key": jax.random.key(0), "steps": 30, "warmup": 20, "chains": 3}
    return sample(**(plain | change))


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


class Ring(AbstractEnergy):
    """Signs on a ring, each of which sees its two neighbours."""

    def __call__(self, x):
        return -jnp.sum(x * jnp.roll(x, 1))


class Flips(AbstractHostSampler):
    """Metropolis on a ring of signs in NumPy, with its random words in the state."""

    def init(self, energy, x, temperature, words):
        return {"x": x, "words": words[:, :1].copy(), "value": self._heights(x)}

    def _heights(self, x):
        return -np.sum(x * np.roll(x, 1, axis=-1), axis=-1)

    def _uniform(self, state):
        state["words"][:] = state["words"] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        return (state["words"][:, 0] >> np.uint64(40)) / 2.0**24

    def advance(self, state, temperature):
        x, chains = state["x"], np.arange(len(state["x"]))
        for _ in range(x.shape[1]):
            site = (self._uniform(state) * x.shape[1]).astype(int)
            cost = 2 * x[chains, site] * (x[chains, site - 1] + x[chains, (site + 1) % x.shape[1]])
            flip = self._uniform(state) < np.exp(-cost / temperature)
            x[chains[flip], site[flip]] *= -1
        state["value"] = self._heights(x)
        return state

    def observe(self, state):
        return Seen(state["x"], state["value"])


class Kernel(AbstractHostSampler):
    """Gaussian steps in a bowl, by a compiled kernel that works in place."""

    def __init__(self):
        import numba

        @numba.njit
        def sweep(x, value, words, temperature):
            for chain in range(x.shape[0]):
                word = words[chain, 0]
                for site in range(x.shape[1]):
                    word = word * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                    step = 2.0 * (word >> np.uint64(40)) / 2.0**24 - 1.0
                    word = word * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                    new = x[chain, site] + step
                    change = 0.5 * (new**2 - x[chain, site] ** 2)
                    if (word >> np.uint64(40)) / 2.0**24 < np.exp(-change / temperature):
                        x[chain, site] = new
                        value[chain] += change
                words[chain, 0] = word

        self.sweep = sweep

    def init(self, energy, x, temperature, words):
        return {"x": x, "value": 0.5 * (x**2).sum(1), "words": words}

    def advance(self, state, temperature):
        self.sweep(state["x"], state["value"], state["words"], temperature)
        return state

    def observe(self, state):
        return Seen(state["x"], state["value"])


def test_a_numpy_sampler_gives_the_same_solution_and_resumes(tmp_path):
    change = {"energy": Ring(), "x0": jnp.ones(8), "steps": 1500, "temperature": 1.5}
    whole = walk(Flips(), **change)
    # <E> of the ring: -n (tanh K + tanh^(n-1) K) / (1 + tanh^n K), with K = 1/1.5.
    t = np.tanh(1 / 1.5)
    energies = np.asarray(whole.trace["energy"])
    error = energies.std() / np.sqrt(whole.stats["ess"]["energy"])
    # A false alarm of one right sampler in 1e5 seeds.
    assert abs(energies.mean() + 8 * (t + t**7) / (1 + t**8)) < 4.5 * error
    assert whole.trace["x"].shape == (1500, 3, 8)
    np.testing.assert_array_equal(whole.stats["lowest"], [-8, -8, -8])

    def stop(report):
        return Outcome.CANCELLED if report.step >= 40 else None

    part = walk(Flips(), **change, on_chunk=(Checkpoint(tmp_path), stop), throw=False)
    assert part.stats["steps"] < 1500
    rest = walk(Flips(), **change, on_chunk=Checkpoint(tmp_path))
    assert bits((rest.value, rest.trace, rest.stats["best"])) == bits((whole.value, whole.trace, whole.stats["best"]))


def test_a_numba_kernel_samples_and_anneals(x64):
    kernel = Kernel()
    solution = walk(kernel, x0=jnp.zeros(2), steps=3000)
    x = np.asarray(solution.trace["x"])
    error = (x**2).std((0, 1)) / np.sqrt(solution.stats["ess"]["x"].min() / 2)
    assert (np.abs((x**2).mean((0, 1)) - 1) < 4.5 * error).all()  # a false alarm in 1e5 seeds
    cold = walk(kernel, x0=jnp.full(2, 3.0), steps=300, temperature=Geometric(1.0, 1e-3, 300))
    assert float(cold.energy.max()) < 0.1
    assert "ess" not in cold.stats
