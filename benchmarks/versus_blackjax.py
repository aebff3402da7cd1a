"""What `sample` costs on top of BlackJAX: the same kernels, called bare in one compiled scan, and through the verb.

Both record every configuration and energy of every chain; constants are fixed beforehand, so that the work is equal.
Runs alternate, each rate is the best of several, compilation is left out. The verb's effective sample sizes and R-hat
are timed apart (`diagnostics_seconds`): BlackJAX called bare has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
from _machine import described, write_result
from jaxtyping import Array, Float, PyTree

from thalweg import AbstractEnergy, sample
from thalweg.diagnostics.convergence import effective_sample_size, r_hat
from thalweg.methods.hamiltonian import Hmc, Mala, Nuts

CHAINS, REPEATS = 4, 5


class Valley(AbstractEnergy):
    """A correlated Gaussian: curvatures from 1 to 100 along rotated axes."""

    precision: Float[Array, "d d"]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        return 0.5 * x @ self.precision @ x


def valley(d: int) -> Valley:
    """The valley in `d` dimensions."""
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (d, d)))
    return Valley((turn * jnp.linspace(1.0, 100.0, d)) @ turn.T)


def bare(make: Callable, energy: Valley, x0: Array, steps: int) -> Callable[[Array], PyTree]:
    """BlackJAX's own way: `build a kernel, scan it, vmap over chains`."""
    algorithm = make(lambda x: -energy(x))

    @jax.jit
    def run(key: Array) -> PyTree:
        def chain(key: Array) -> PyTree:
            def step(state, key):
                state, _ = algorithm.step(key, state)
                return state, (state.position, -state.logdensity)

            return jax.lax.scan(step, algorithm.init(x0), jax.random.split(key, steps))[1]

        return jax.vmap(chain)(jax.random.split(key, CHAINS))

    return run


def compared(name: str, d: int, steps: int) -> dict[str, Any]:
    """Chain-steps per second of both, and their ratio."""
    energy, x0, mass = valley(d), jnp.zeros(d), jnp.ones(d)
    pairs = {
        "mala": (Mala(step_size=0.01), lambda log: blackjax.mala(log, 0.01)),
        "hmc": (Hmc(step_size=0.1, leapfrogs=10), lambda log: blackjax.hmc(log, 0.1, mass, 10)),
        "nuts": (Nuts(step_size=0.1), lambda log: blackjax.nuts(log, 0.1, mass)),
    }
    method, make = pairs[name]
    theirs = bare(make, energy, x0, steps)
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    draws: Any = None
    for repeat in range(REPEATS + 1):
        began = time.perf_counter()
        jax.block_until_ready(theirs(jax.random.key(repeat)))
        middle = time.perf_counter()
        end = sample(energy, x0, method, key=jax.random.key(repeat), steps=steps, chains=CHAINS)
        draws = end.trace
        if repeat:  # the first of each compiles
            seconds["bare"].append(middle - began)
            seconds["ours"].append(end.stats["seconds"])
    began = time.perf_counter()
    effective_sample_size(draws), r_hat(draws)
    diagnostics = time.perf_counter() - began
    rates = {who: CHAINS * steps / min(spent) for who, spent in seconds.items()}
    return {
        "method": name,
        "dimensions": d,
        "steps": steps,
        "chain_steps_per_second": {who: round(rate) for who, rate in rates.items()},
        "ours_over_bare": round(rates["ours"] / rates["bare"], 3),
        "diagnostics_seconds": round(diagnostics, 3),
    }


def main() -> None:
    """Measure and write `results/versus_blackjax.json`."""
    cases = [("mala", 2, 20_000), ("mala", 100, 20_000), ("hmc", 2, 10_000), ("hmc", 100, 5_000), ("nuts", 100, 500)]
    results = [compared(*case) for case in cases]
    write_result("versus_blackjax", described() | {"chains": CHAINS, "cases": results})


if __name__ == "__main__":
    main()
