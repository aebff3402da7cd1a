"""Numbers that others published, and what the code makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.published import published, tables

from thalweg.landscapes import LennardJones, MullerBrown
from thalweg.spins.data.lattices import lattice
from thalweg.spins.data.problem import problem
from thalweg.spins.tasks.solve import solve
from thalweg.verbs.relax import relax
from thalweg.verbs.saddle import find_saddle

HERE = Path(__file__).parent


def ground(of) -> float:
    return solve(of, units=400).result["energy"] / of.size


def test_every_number_says_whence_it_is_and_is_computed_by_a_test():
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    for name, entry in tables().items():
        assert entry["tolerance"] >= 0
        assert entry["why"]
        assert re.search(r"\(\d{4}\)", entry["source"]), f"{name} does not say when it was published."
        assert f'published("{name}")' in tests, f"no test computes {name}."


def test_ground_states_of_lattices():
    published("square_ferromagnet").agrees(ground(lattice("square", 6)))
    published("cubic_ferromagnet").agrees(ground(lattice("cubic", 4)))
    published("triangular_antiferromagnet").agrees(ground(lattice("triangular", 6, -1)))


@pytest.mark.slow
def test_the_bimodal_glass_of_the_square_lattice():
    random, plain = np.random.default_rng(7), lattice("square", 10)
    energies = []
    for _ in range(24):
        signs = random.choice([-1, 1], plain.coupling.size)
        energies.append(ground(problem(plain.first, plain.second, signs, plain.field)))
    published("square_glass").agrees(np.mean(energies))


def test_the_sherrington_kirkpatrick_glass():
    size, random = 16, np.random.default_rng(8)
    first, second = np.triu_indices(size, 1)
    energies = []
    for _ in range(60):
        couplings = random.normal(size=first.size) / np.sqrt(size)
        of = problem(first, second, couplings, np.zeros(size))
        energies.append(solve(of, method="exhaustive").result["energy"] / size)
    # S. Boettcher, Eur. Phys. J. B 46, 501 (2005): e(N) = e + 0.70 N^(-2/3).
    published("sherrington_kirkpatrick").agrees(np.mean(energies) - 0.70 * size ** (-2 / 3))


def test_muller_and_brown(x64):
    starts = [(-0.5, 1.4), (0.6, 0.1), (-0.1, 0.5)]
    minima = [float(relax(MullerBrown(), jnp.array(start), tol=1e-8).energy) for start in starts]
    published("muller_brown_minima").agrees(minima)
    saddles = [float(find_saddle(MullerBrown(), jnp.array(at), tol=1e-9).energy) for at in [(-0.6, 1.0), (0.3, 0.2)]]
    published("muller_brown_saddles").agrees(saddles)


def icosahedron() -> np.ndarray:
    ratio = (1 + 5**0.5) / 2
    corners = np.array([(0, a, b * ratio) for a in (-1, 1) for b in (-1, 1)])
    corners = np.vstack([corners, np.roll(corners, 1, 1), np.roll(corners, 2, 1)])
    return np.vstack([np.zeros(3), corners / np.linalg.norm(corners[0])])


KNOWN = {6: lambda: 0.8 * np.vstack([np.eye(3), -np.eye(3)]), 13: lambda: 1.08 * icosahedron()}


def test_small_clusters_of_lennard_jones(x64):
    entry, random, lowest = published("lennard_jones_minima"), np.random.default_rng(9), []
    for points in tables()["lennard_jones_minima"]["points"]:
        starts = random.normal(size=(12, points, 3))
        if points in KNOWN:  # basins that are rarely hit, from their published shapes
            starts = KNOWN[points]()[None]
        below = jax.jit(jax.vmap(lambda x: relax(LennardJones(), x, tol=1e-7, max_steps=2000, throw=False).energy))
        energies = np.asarray(below(jnp.asarray(starts)))
        lowest.append(np.min(energies[energies > -60]))  # two points on one spot are no minimum but a pole
    entry.agrees(lowest)


@pytest.mark.parametrize("name", ["square_ferromagnet", "muller_brown_minima"])
def test_a_number_that_is_off_is_seen(name):
    entry = published(name)
    entry.agrees(entry.value)
    with pytest.raises(AssertionError, match=re.escape(entry.source)):
        entry.agrees(np.asarray(entry.value) + 1e-3)
