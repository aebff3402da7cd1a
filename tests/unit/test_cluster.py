"""Cluster updates: the exact distribution of small graphs, reversibility, the same bits, and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from thalweg.core.energy import force
from thalweg.core.errors import InputError
from thalweg.diagnostics.convergence import standard_error
from thalweg.landscapes import PairwiseSigns, square_lattice
from thalweg.methods.cluster import SwendsenWang, Wolff
from thalweg.methods.drive import drive
from thalweg.methods.registry import named
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample

METHODS = [SwendsenWang(), Wolff(), Wolff(clusters=3)]
EXACT_AT_FOUR = -10.007778
ALARM = 1e-4  # per test; nine such tests stay below 1e-3


def frustrated(fields: bool = True) -> PairwiseSigns:
    """Four signs, a triangle that cannot be satisfied, a pair listed twice, and a field of either sign."""
    coupling = np.array([0.7, 0.4, -0.5, 0.3, 0.6])
    field = np.array([0.3, -0.2, 0.0, 0.5]) if fields else np.zeros(4)
    return PairwiseSigns(np.array([0, 1, 2, 2, 3]), np.array([1, 2, 0, 3, 2]), coupling, field)


def words(seed: int, chains: int) -> np.ndarray:
    return np.asarray(jax.random.bits(jax.random.key(seed), (chains, 8), jnp.uint32)).view(np.uint64)


def walked(method: Any, state: Any, temperature: float, steps: int, chunk: int | None = None) -> Any:
    advance = eqx.Partial(type(method).advance, method, temperature=temperature)
    return drive(advance, state, steps, host=True, chunk=chunk).state


def states(n: int) -> np.ndarray:
    return np.array(list(itertools.product((-1.0, 1.0), repeat=n)))


def numbered(signs: np.ndarray) -> np.ndarray:
    """The row of each configuration in `states`."""
    return (signs > 0) @ (2 ** np.arange(signs.shape[1])[::-1])


def heights(energy: Any, n: int) -> np.ndarray:
    return np.asarray(jax.vmap(energy)(jnp.asarray(states(n), float)))


def stationary(energy: Any, n: int, temperature: float, chains: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact chances of all states, and that many independent draws from them."""
    chances = np.exp(-heights(energy, n) / temperature)
    chances /= chances.sum()
    return chances, states(n)[np.random.default_rng(seed).choice(2**n, chains, p=chances)]


# The distribution


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_state_keeps_its_exact_chance_and_every_flow_its_reverse(method, fields, x64):
    chains, temperature, energy = 40_000, 0.9, frustrated(fields)
    chances, start = stationary(energy, 4, temperature, chains, seed=1)
    state = method.advance(method.init(energy, start, temperature, words(2, chains)), temperature)
    counts = np.zeros((16, 16))
    np.add.at(counts, (numbered(start), numbered(state.x)), 1)
    # Chains are independent and start in equilibrium, so that both sums are chi-squared, without correlation.
    expected = chains * chances
    assert chi2.sf(((counts.sum(axis=0) - expected) ** 2 / expected).sum(), 15) > ALARM
    across, seen = (counts - counts.T) ** 2, counts + counts.T
    pairs = np.triu(seen > 10, 1)
    assert chi2.sf((across[pairs] / seen[pairs]).sum(), pairs.sum()) > ALARM
    assert counts.trace() < chains  # it does move


@pytest.mark.parametrize("method", METHODS)
def test_from_anywhere_the_exact_averages_are_reached(method, x64):
    energy = PairwiseSigns(*np.triu_indices(6, 1), 0.25 * np.cos(np.arange(15)) + 0.15, 0.1 * np.arange(6) - 0.2)
    for heat in (0.8, 2.0):
        state = method.init(energy, np.ones((4000, 6)), heat, words(3, 4000))
        # 60 steps forget the start: the slowest rate of this graph at 0.8 is below 0.9 per step, 0.9^60 = 2e-3 of a
        # first difference, which a chi-squared of 4000 chains cannot see.
        state = walked(method, state, heat, 60)
        chances, _ = stationary(energy, 6, heat, 1, seed=0)
        expected, counts = 4000 * chances, np.bincount(numbered(state.x), minlength=64)
        rare = expected < 5  # counted together, as the chi-squared approximation asks for
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
        assert chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1) > ALARM


def test_the_energy_that_travels_is_the_energy_of_the_signs(x64):
    energy = frustrated()
    for method in METHODS:
        state = method.init(energy, np.ones((50, 4)), 1.0, words(4, 50))
        assert state.value[0] == pytest.approx(float(energy(jnp.ones(4))), abs=1e-12)
        state = walked(method, state, 1.0, 20)
        again = jax.vmap(energy)(jnp.asarray(state.x, float))
        np.testing.assert_allclose(state.value, again, atol=1e-12)  # rounding of a handful of terms of order one


# The same bits


@pytest.mark.parametrize("method", METHODS)
def test_chunks_do_not_change_bits_and_the_start_stays_whole(method):
    start, seeds = np.ones((3, 36), np.float32), words(5, 3)
    begun = method.init(square_lattice(6), start, 2.3, seeds)
    ends = [walked(method, begun, 2.3, 50, chunk) for chunk in (1, 7, 100)]
    for end in ends[1:]:
        assert eqx.tree_equal(end, ends[0])
    assert (begun.x == 1).all()
    assert (start == 1).all()
    assert (ends[0].x[0] != ends[0].x[1]).any()  # chains have words of their own
    assert ends[0].x.dtype == np.float32
    alone = method.init(square_lattice(6), start[1:2], 2.3, seeds[1:2])
    np.testing.assert_array_equal(walked(method, alone, 2.3, 50).x[0], ends[0].x[1])


@pytest.mark.parametrize("method", METHODS)
def test_the_verb_samples_with_clusters(method):
    lattice, key, both = square_lattice(4), jax.random.key(6), Trace(lambda chains: (chains.x, chains.value))
    end = sample(lattice, jnp.ones(16), method, key=key, steps=2000, warmup=100, temperature=4.0, trace=both)
    signs, energies = end.trace
    assert signs.shape == (2000, 4, 16)
    # The exact mean energy, by summing all 65,536 states in the test below; a rate of 1e-5 each.
    assert abs(energies.mean() - EXACT_AT_FOUR) < 4.5 * standard_error(energies)


def test_the_exact_energy_of_the_small_lattice(x64):
    height = heights(square_lattice(4), 16)
    chances = np.exp(-(height - height.min()) / 4.0)
    assert (height * chances).sum() / chances.sum() == pytest.approx(EXACT_AT_FOUR, abs=1e-6)


def test_random_words_are_those_of_the_published_generator():
    from thalweg.methods.cluster_kernels import uniform

    def published(s: list[int]) -> int:
        # The reference program of Blackman & Vigna in Python's unbounded integers.
        mask = 2**64 - 1
        turned = lambda x, k: ((x << k) | (x >> (64 - k))) & mask  # noqa: E731
        result, t = (turned(s[1] * 5 & mask, 7) * 9) & mask, (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turned(s[3], 45)
        return result

    mine = words(6, 1)[0].copy()
    theirs = [int(word) for word in mine]
    for _ in range(100):
        assert uniform(mine) == (published(theirs) >> 11) * 2.0**-53
    assert [int(word) for word in mine] == theirs


# The landscapes they walk on


def test_sign_energies_are_multilinear_and_count_exactly(x64):
    energy = frustrated()
    s = jnp.asarray([1.0, -1.0, -1.0, 1.0])
    for i in range(4):
        cost = float(energy(s.at[i].multiply(-1)) - energy(s))
        assert cost == pytest.approx(2 * float(s[i] * force(energy, s)[i]), abs=1e-12)  # rounding
    starts, neighbours, couplings, field = energy.to_csr()
    dense = np.zeros((4, 4))
    for i in range(4):
        dense[i, neighbours[starts[i] : starts[i + 1]]] = couplings[starts[i] : starts[i + 1]]
    np.testing.assert_array_equal(dense, dense.T)
    assert float(energy(s)) == pytest.approx(float(-0.5 * s @ dense @ s - field @ s), abs=1e-12)
    lattice = square_lattice(5, 2.0)
    assert lattice.exact_energy(np.ones(25, np.int8)) == -100 == float(lattice(jnp.ones(25)))
    assert (np.diff(lattice.to_csr()[0]) == 4).all()
    with pytest.raises(InputError, match="not integers"):
        energy.exact_energy(np.ones(4))


def test_sign_energies_follow_the_dtype_of_the_signs(x64):
    assert square_lattice(4)(jnp.ones(16, jnp.float32)).dtype == jnp.float32


# Refusals


@pytest.mark.parametrize(
    ("energy", "x", "temperature", "message"),
    [
        (lambda s: s.sum(), np.ones((2, 4)), 1.0, "does not offer its couplings"),
        (frustrated(), np.ones(4), 1.0, r"must be one array \[4\]"),
        (frustrated(), np.ones((2, 5)), 1.0, r"must be one array \[4\]"),
        (frustrated(), 0.5 * np.ones((2, 4)), 1.0, "other numbers than -1 and \\+1"),
        (frustrated(), np.ones((2, 4)), 0.0, "temperature is 0.0"),
        (frustrated(), np.ones((2, 4)), np.nan, "temperature is nan"),
        (PairwiseSigns([0], [1], [np.inf], [0.0, 0.0]), np.ones((2, 2)), 1.0, "not finite"),
    ],
)
def test_unusable_starts_are_refused_in_one_sentence(energy, x, temperature, message):
    for method in METHODS[:2]:
        with pytest.raises(InputError, match=message):
            method.init(energy, x, temperature, words(0, 2))
    begun = METHODS[0].init(frustrated(), np.ones((2, 4)), 1.0, words(0, 2))
    with pytest.raises(InputError, match="temperature is 0"):
        METHODS[0].advance(begun, 0.0)


def test_unusable_graphs_and_settings_are_refused_and_names_are_known():
    with pytest.raises(InputError, match="coupled to itself"):
        PairwiseSigns(np.array([1]), np.array([1]), np.array([1.0]), np.zeros(3))
    with pytest.raises(InputError, match="leaves the 2 signs"):
        PairwiseSigns(np.array([0]), np.array([2]), np.array([1.0]), np.zeros(2))
    with pytest.raises(InputError, match="differ in length"):
        PairwiseSigns(np.array([0]), np.array([1]), np.array([1.0, 2.0]), np.zeros(2))
    with pytest.raises(InputError, match="at least 3"):
        square_lattice(2)
    with pytest.raises(InputError, match="at least one"):
        Wolff(clusters=0)
    assert (named("sample", "wolff"), named("sample", "swendsen_wang")) == (Wolff(), SwendsenWang())
