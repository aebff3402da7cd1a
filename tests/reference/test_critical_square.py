"""The critical point of the square lattice, simulated by clusters and found by crossings of the Binder cumulant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.published import published

from thalweg.diagnostics.critical import moments
from thalweg.diagnostics.crossing import crossings
from thalweg.landscapes import square_lattice
from thalweg.methods.cluster import SwendsenWang
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample

EXACT = published("onsager_temperature").value
UNIVERSAL = published("square_binder")
TEMPERATURES = [2.25, 2.29]


def order_and_energy(chains):
    return chains.x.mean(axis=1), chains.value


def observed(size: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Order parameter and energy `[temperatures, draws, chains]`."""
    lattice, start, trace, records = square_lattice(size), jnp.ones(size * size), Trace(order_and_energy), []
    for each, heat in zip(jax.random.split(key, len(TEMPERATURES)), TEMPERATURES, strict=True):
        settings = {"steps": 3000, "warmup": 200, "chains": 8, "temperature": heat, "trace": trace}
        records.append(sample(lattice, start, SwendsenWang(), key=each, **settings).trace)
    order, energy = zip(*records, strict=True)
    return np.stack(order), np.stack(energy)


def test_the_published_temperature_is_the_closed_form():
    published("onsager_temperature").agrees(2 / np.log(1 + np.sqrt(2)))


@pytest.mark.slow
def test_the_critical_temperature_of_the_square_lattice():
    sizes, key = (8, 16, 32, 64), jax.random.key(0)
    order, energies = {}, {}
    for size in sizes:
        order[size], energies[size] = observed(size, jax.random.fold_in(key, size))
    of = moments(order, TEMPERATURES, energies=energies, grid=np.linspace(2.235, 2.305, 141), key=key)
    # Crossings close in as L^-(1/nu + omega): nu = 1, and 7/4 is the first correction of the cumulant.
    found = crossings(of, power=2.75)
    assert found.extrapolated
    # The statistical error is near 0.05 %, so that 0.2 % are four of it: a rate of 1e-4.
    assert found.critical.error < 1e-3 * EXACT
    assert abs(found.critical.value - EXACT) < 2e-3 * EXACT
    # An interval of 95 % misses for one seed in twenty; for this one it does not.
    assert found.critical.low < EXACT < found.critical.high
    # The statistical error is near 0.0015, of which the tolerance is four: a rate of 1e-4.
    UNIVERSAL.agrees(found.universal.value)
    assert found.universal.error < 0.003
    # Without any knowledge of exponents the limit is less sharp, and as true.
    plain = crossings(of).critical
    assert plain.low < EXACT < plain.high
    assert plain.error > found.critical.error
