"""One finite-size scaling holds the exact critical temperature of a magnet and critical decay of a training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg
from thalweg.diagnostics.critical import moments
from thalweg.diagnostics.crossing import crossings
from thalweg.landscapes import square_lattice
from thalweg.learning.model.exact import linear_transitions
from thalweg.learning.model.families import family
from thalweg.learning.tasks.many.sizes import sampled, windows
from thalweg.methods.cluster import SwendsenWang

pytestmark = pytest.mark.usefixtures("x64")


def holds(found, exact: float, within: float) -> None:
    """The 95 % interval holds the exact value, and is narrow enough to say something; the seeds are fixed."""
    part = found.critical
    assert part.low <= exact <= part.high, (float(part.low), float(part.high))
    assert part.high - part.low < within


def test_the_magnets_temperature_is_onsagers():
    temperatures, key = [2.25, 2.29], jax.random.key(0)
    record = thalweg.Trace(lambda chains: (chains.x.mean(axis=1), chains.value))

    def drawn(size: int, key):
        runs = [
            thalweg.sample(
                square_lattice(size), jnp.ones(size**2), SwendsenWang(), key=each, steps=1500, warmup=150, chains=8,
                temperature=heat, trace=record,
            ).trace
            for each, heat in zip(jax.random.split(key, 2), temperatures, strict=True)
        ]  # fmt: skip
        return [np.stack(part) for part in zip(*runs, strict=True)]

    of = {size: drawn(size, jax.random.fold_in(key, size)) for size in (8, 16, 32)}
    order, energies = ({size: parts[kind] for size, parts in of.items()} for kind in (0, 1))
    grid = np.linspace(2.22, 2.32, 101)
    found = crossings(moments(order, temperatures, energies=energies, grid=grid, key=key))
    holds(found, 2 / np.log(1 + np.sqrt(2)), within=0.03)


def test_the_trainings_decay_is_its_singular_value():
    x = np.array([[-1.0], [1.0]])
    data = x, 0.8 * x
    exact = linear_transitions(data, 2)[0].coexistence
    assert exact is not None
    assert exact == pytest.approx(0.8)
    problem, sizes = family("linear", data, width=1, form="columns"), (50, 100, 200)
    values = windows(exact + 0.02, 0.25, sizes, values=7)
    draws = sampled(problem, values, order="norm", steps=1500, warmup=300, chains=32, key=jax.random.key(1))
    found = crossings(moments(draws, values, key=jax.random.key(2)))
    holds(found, exact, within=0.12)


@pytest.mark.slow
def test_the_branch_of_the_collapsed_network_says_the_same():
    x = np.array([[-1.0], [1.0]])
    problem = family("linear", (x, 0.8 * x), width=1)
    collapsed = jax.tree.map(jnp.zeros_like, problem.start(jax.random.key(0)))
    branch = thalweg.follow_branch(problem.at, collapsed, 1.2, bounds=(0.3, 1.2), direction="down")
    assert [point.kind for point in branch.points] == ["pitchfork"]
    assert branch.points[0].value == pytest.approx(0.8, abs=1e-9)
