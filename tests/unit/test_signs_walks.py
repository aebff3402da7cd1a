"""Walks over signs: energies that stay true, lowest states, exact laws, the same bits, and hard graphs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from thalweg.core.errors import InputError
from thalweg.core.hooks import Report
from thalweg.core.solution import Outcome
from thalweg.core.space import Signs
from thalweg.landscapes import PairwiseSigns
from thalweg.methods.registry import named
from thalweg.methods.signs import threads
from thalweg.methods.signs.annealing import Annealing
from thalweg.methods.signs.chromatic import Chromatic
from thalweg.methods.signs.exchange import Exchange
from thalweg.methods.signs.graph import height, local_fields, one_flip_optimal, packed
from thalweg.methods.signs.lanes import heights, narrow, scattered
from thalweg.methods.signs.sweeps import Sweeps
from thalweg.verbs.relax import relax
from thalweg.verbs.sample import sample

ALARM = 1e-4  # per test; the three statistical tests stay below 1e-3 together
SEARCHES = [Annealing(replicas=16, sweeps=200, restarts=1), Exchange(pairs=1)]


def graph_of(first, second, coupling, field) -> Any:
    """The graph as the kernels get it, without the rounding of JAX's float32."""
    from scipy.sparse import coo_array

    field, rows, columns = np.asarray(field, float), np.append(first, second), np.append(second, first)
    shape = (field.size, field.size)
    matrix = coo_array((np.append(coupling, coupling), (rows.astype(int), columns.astype(int))), shape=shape).tocsr()
    return packed(matrix.indptr, matrix.indices, matrix.data, field)


def random_graph(n: int, edges: int, seed: int, kind: str = "integers", fields: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(n, size=(2, edges))
    kept = first != second
    numbers = {
        "integers": lambda count: rng.integers(-3, 4, count),
        "wide": lambda count: rng.integers(-40_000, 40_001, count),
        "real": lambda count: rng.normal(size=count),
        "mixed": lambda count: rng.choice([-1, 1], count) * 10.0 ** rng.choice([-12, -3, 0, 5, 12], count),
    }[kind]
    return graph_of(first[kept], second[kept], numbers(int(kept.sum())), numbers(n) * float(fields))


def lowest_of_all(graph: Any) -> float:
    states = np.array(list(itertools.product((-1.0, 1.0), repeat=graph.size)))
    dense = np.zeros((graph.size, graph.size))
    dense[np.repeat(np.arange(graph.size), np.diff(graph.starts)), graph.neighbours] = graph.couplings
    return graph.unit * float((-0.5 * np.einsum("ki,ij,kj->k", states, dense, states) - states @ graph.field).min())


def glass() -> tuple[Any, float]:
    """The sample glass on a torus, and its proven lowest energy."""
    folder = files("thalweg") / "samples"
    rows = np.loadtxt((folder / "glass_torus_12x12.txt").read_text().splitlines(), skiprows=1)
    proven = json.loads((folder / "glass_torus_12x12.json").read_text())["ground_state_energy"]
    return graph_of(rows[:, 0] - 1, rows[:, 1] - 1, rows[:, 2], np.zeros(144)), proven


def walked(method: Any, graph: Any, units: int) -> Any:
    state = method.init(graph, None, np.random.SeedSequence(method.seed).generate_state(256, np.uint64))
    for _ in range(units):
        state = method.advance(graph, state)
    return state


# Energies and fields stay true


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("kind", ["integers", "wide", "real", "mixed"])
def test_what_the_kernels_keep_is_what_the_graph_says(method, kind):
    graph = random_graph(60, 200, 1, kind)
    assert graph.exact == (kind in ("integers", "wide"))
    assert narrow(graph).field.dtype == (np.int16 if kind == "integers" else np.float64)
    state = walked(method, graph, 2)
    found = method.found(graph, state)
    assert set(np.unique(found.signs)) <= {-1, 1}
    scale = graph.unit * (np.abs(graph.couplings).sum() + np.abs(graph.field).sum())
    # Whole numbers exactly; floats within the rounding of a few hundred terms.
    allowed = 0 if graph.exact else 1e-13 * scale
    assert abs(height(graph, found.signs) - found.height) <= allowed
    kept = state.lanes
    for block, lane in itertools.product(range(len(kept.signs)), (0, 7, 15)):
        signs = kept.signs[block, :, lane].astype(np.int8)
        felt = local_fields(graph, signs)
        # A few thousand flips happened since the fields of floats were computed anew.
        np.testing.assert_allclose(kept.fields[block, :, lane], felt, rtol=0, atol=1e4 * allowed)
        own = heights(narrow(graph), kept)[block, lane] * graph.unit
        assert abs(own - height(graph, signs)) <= 1e4 * allowed


def test_a_flip_that_is_certain_by_the_table_is_certain_in_the_kernel():
    """The logarithm in vector instructions, against the exact one, through the acceptance that it decides."""
    from thalweg.methods.signs.anneal_kernels import sweep_metropolis

    sites, cost = 20_000, 1.0
    fields, step = np.full((sites, 16), cost), np.zeros(16)
    words = np.random.SeedSequence(3).generate_state(16, np.uint64).reshape(2, 8)
    alone = np.zeros(sites + 1, np.int64), np.zeros(0, np.int32), np.zeros(0)
    for beta in (0.02, 0.5, 2.0):
        signs, heat = np.ones((sites, 16)), np.full((1, 16), 0.5 / beta)
        sweep_metropolis(signs, fields, words, step, heat, *alone)
        turned, chance = (signs < 0).mean(axis=0), np.exp(-2 * beta * cost)
        # 16 lanes of independent draws at three betas: chi-squared of 16, each at a third of the rate.
        spread = ((turned - chance) ** 2 * sites / (chance * (1 - chance))).sum()
        assert chi2.sf(spread, 16) > ALARM / 3
        assert chi2.cdf(spread, 16) > ALARM / 3


# Lowest states


@pytest.mark.parametrize("method", SEARCHES)
def test_the_sample_glass_reaches_its_proven_energy(method):
    graph, proven = glass()
    end = relax(graph, None, replace(method, target=proven, seed=4), space=Signs(), max_steps=200)
    assert end.stats["energy"] == proven == float(end.energy)
    assert int(end.outcome) == Outcome.DONE.code
    assert end.stats["one_flip_optimal"]


@pytest.mark.parametrize("kind", ["integers", "real", "mixed"])
def test_small_graphs_are_solved_as_enumeration_does(kind):
    for seed in range(3):
        graph = random_graph(12, 30, seed, kind)
        for method in SEARCHES:
            found = method.found(graph, walked(method, graph, 1))
            # The order of the sum differs, and with it the last digits.
            assert found.height == pytest.approx(lowest_of_all(graph), rel=1e-12)


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize(
    ("graph", "lowest"),
    [
        (graph_of([], [], [], [0.0]), 0.0),
        (graph_of([], [], [], [-2.5]), -2.5),
        (graph_of([], [], [], np.zeros(7)), 0.0),
        (graph_of([], [], [], [1e-12, -3.0, 1e12]), -(1e12 + 3 + 1e-12)),
        (graph_of([0, 3], [1, 4], [1e-12, -1e12], np.zeros(6)), -(1e12 + 1e-12)),
        (graph_of([0, 1, 4], [1, 2, 5], [2.0, -1.0, 0.5], np.zeros(8)), -3.5),
    ],
)
def test_graphs_of_no_pairs_of_many_parts_and_of_all_scales(method, graph, lowest):
    end = relax(graph, None, replace(method, target=lowest), space=Signs(), max_steps=3)
    assert end.stats["energy"] == lowest
    assert end.stats["one_flip_optimal"]


def test_annealing_ends_a_round_where_no_flip_gains_and_counts_its_looks():
    graph = random_graph(3000, 100_000, 2, "real")
    method = Annealing(replicas=20, sweeps=5, restarts=1)
    end = relax(graph, None, method, space=Signs())
    assert int(end.outcome) == Outcome.DONE.code
    assert end.stats["one_flip_optimal"]
    assert end.stats["updates"] == 3000 * 32 * 5  # 20 replicas fill two blocks of 16
    state = walked(method, graph, 0)
    while not method.found(graph, state).whole:
        state = method.advance(graph, state)
    for lane in range(16):
        assert one_flip_optimal(graph, state.lanes.signs[1, :, lane].astype(np.int8))


def test_a_start_that_is_lowest_already_is_kept():
    graph, proven = glass()
    truth = json.loads((files("thalweg") / "samples" / "glass_torus_12x12.json").read_text())["ground_state"]
    for method in (*SEARCHES, Chromatic(replicas=16, sweeps=2)):
        end = relax(graph, np.array(truth), replace(method, target=proven), space=Signs(), max_steps=0)
        assert end.stats["energy"] == proven


# The same bits


@pytest.mark.parametrize("method", [Annealing(replicas=64, sweeps=40), Exchange(pairs=3)])
@pytest.mark.parametrize("kind", ["integers", "real"])
def test_threads_do_not_change_bits_but_seeds_do(method, kind, monkeypatch):
    graph = random_graph(300, 900, 5, kind)
    ends = []
    for cores in (1, 4):
        monkeypatch.setattr(threads, "usable_cores", lambda cores=cores: cores)
        ends.append(walked(method, graph, 3))
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (walked(replace(method, seed=1), graph, 3).lanes.signs != ends[0].lanes.signs).any()


class Interrupt:
    """A hook that keeps the state at some step and stops the walk there; as a resumer it hands it out again."""

    def __init__(self, step: int, kept: Any = None):
        self.step, self.kept = step, kept

    def __call__(self, report: Report) -> Outcome | None:
        if self.kept is None and report.step >= self.step:
            self.kept = jax.tree.map(lambda leaf: np.array(leaf), report.whole), report.step
            return Outcome.CANCELLED
        return None

    def restore(self, template: Any) -> Any:
        return self.kept


@pytest.mark.parametrize("method", [Annealing(replicas=16, sweeps=50), Exchange(pairs=1)])
def test_an_interrupted_search_goes_on_with_the_same_bits(method, tmp_path):
    from thalweg.runs.checkpoint import load_state, save_state

    graph = random_graph(200, 600, 6)
    whole = relax(graph, None, method, space=Signs(), max_steps=6)
    hook = Interrupt(2)
    relax(graph, None, method, space=Signs(), max_steps=6, throw=False, on_chunk=hook)
    state, step = hook.kept
    assert 2 <= step < 6
    path = save_state(tmp_path / "state.safetensors", state, step)
    again = relax(graph, None, method, space=Signs(), max_steps=6, on_chunk=Interrupt(99, load_state(path, state)))
    np.testing.assert_array_equal(again.value, whole.value)
    assert again.stats["updates"] == whole.stats["updates"]


# The law


def chances_of(energy: PairwiseSigns, n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    states = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    lowest = np.asarray(jax.vmap(energy)(jnp.asarray(states, float)), float)
    chances = np.exp(-(lowest - lowest.min()) / temperature)
    return states, chances / chances.sum()


def numbered(signs: np.ndarray) -> np.ndarray:
    return (signs > 0) @ (2 ** np.arange(signs.shape[-1])[::-1])


@pytest.mark.parametrize("whole", [True, False])
def test_sweeps_reach_the_exact_law_of_twelve_signs(whole, x64):
    rng = np.random.default_rng(7)
    first, second = np.triu_indices(12, 1)
    coupling = rng.choice([-0.5, 0.25, 0.5], first.size) if whole else 0.3 * rng.normal(size=first.size)
    field = rng.choice([-0.5, 0.0, 0.75], 12) if whole else 0.3 * rng.normal(size=12)
    energy = PairwiseSigns(first, second, coupling, field)
    _, chances = chances_of(energy, 12, 1.5)
    chains, method = 40_000, Sweeps(sweeps=60)  # far longer than the memory of a dozen signs at this heat
    words = rng.integers(2**64, size=(chains, 4), dtype=np.uint64)
    state = method.advance(method.init(energy, np.ones((chains, 12)), 1.5, words), 1.5)
    expected, counts = chains * chances, np.bincount(numbered(state.x), minlength=2**12)
    rare = expected < 5  # counted together, as the chi-squared approximation asks for
    counts, expected = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1) > ALARM
    np.testing.assert_allclose(state.value, jax.vmap(energy)(jnp.asarray(state.x)), atol=1e-12)  # a few dozen terms


def test_a_sweep_and_the_sweep_backwards_have_the_same_flows(x64):
    """Reversibility of sweeps in order: pi(a) P(a -> b) is pi(b) times the chance of b -> a in the opposite order."""
    energy = PairwiseSigns(
        np.array([0, 1, 2, 2]), np.array([1, 2, 0, 3]), np.array([0.7, 0.4, -0.5, 0.3]), np.full(4, 0.2)
    )
    mirrored = PairwiseSigns(3 - energy.first, 3 - energy.second, energy.coupling, energy.field[::-1])
    states, chances = chances_of(energy, 4, 0.9)
    chains, flows = 40_000, []
    for seed, (landscape, order) in enumerate([(energy, slice(None)), (mirrored, slice(None, None, -1))]):
        rng = np.random.default_rng(seed)
        start = states[rng.choice(16, chains, p=chances)]
        words = rng.integers(2**64, size=(chains, 4), dtype=np.uint64)
        method = Sweeps()
        state = method.init(landscape, np.ascontiguousarray(start[:, order]), 0.9, words)
        end = method.advance(state, 0.9).x[:, order]
        counts = np.zeros((16, 16))
        np.add.at(counts, (numbered(start), numbered(end)), 1)
        flows.append(counts)
        expected = chains * chances
        # The law stays as it is: starts are in equilibrium and chains independent. Three such sums share the rate.
        assert chi2.sf(((counts.sum(axis=0) - expected) ** 2 / expected).sum(), 15) > ALARM / 3
    seen, across = flows[0] + flows[1].T, (flows[0] - flows[1].T) ** 2
    often = seen > 10
    assert chi2.sf((across[often] / seen[often]).sum(), often.sum()) > ALARM / 3


def test_the_verb_samples_with_sweeps_by_name_and_refuses_what_has_no_law():
    graph, _ = glass()
    end = sample(_energy_of(graph), jnp.ones(144), "sweeps", key=jax.random.key(1), steps=20, temperature=1.0)
    assert set(np.unique(end.value)) == {-1.0, 1.0}
    assert end.energy.shape == (4,)
    words = np.ones((2, 4), np.uint64)
    with pytest.raises(InputError, match="temperature is 0"):
        Sweeps().init(graph, np.ones((2, 144)), 0.0, words)
    with pytest.raises(InputError, match="other numbers"):
        Sweeps().init(graph, np.zeros((2, 144)), 1.0, words)
    with pytest.raises(InputError, match="at least one"):
        Sweeps(sweeps=0)


def _energy_of(graph: Any) -> PairwiseSigns:
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    once = rows < graph.neighbours
    coupling = graph.unit * graph.couplings[once]
    return PairwiseSigns(
        rows[once], graph.neighbours[once], coupling.astype(float), graph.unit * graph.field.astype(float)
    )


def test_cluster_moves_keep_the_sum_of_two_energies():
    from thalweg.methods.signs.exchange_kernels import _cluster_move

    for fields in (False, True):
        graph = random_graph(100, 130, 8, fields=fields)
        small, lanes = narrow(graph), scattered(narrow(graph), 2, np.arange(8, dtype=np.uint64))
        cluster, inside, word, sizes = np.empty(100, np.int64), np.zeros(100, np.bool_), np.uint64(5), []
        before = heights(small, lanes)
        for _ in range(200):
            word, size = _cluster_move(
                lanes.signs, lanes.fields, np.array([2, 9]), np.uint64(word), cluster, inside, not fields, *small[:3]
            )
            sizes.append(size)
            after = heights(small, lanes)
            assert after[0, 2] + after[1, 9] == before[0, 2] + before[1, 9]
            assert not inside.any()
        assert max(sizes) > 1
        assert (np.delete(after, [2, 9], axis=1) == np.delete(before, [2, 9], axis=1)).all()
        for half, lane in ((0, 2), (1, 9)):
            felt = local_fields(graph, lanes.signs[half, :, lane].astype(np.int8))
            np.testing.assert_array_equal(lanes.fields[half, :, lane], felt)


# By colours


def test_colour_classes_find_the_ground_state_of_a_small_torus():
    rng, sites = np.random.default_rng(9), np.arange(16).reshape(4, 4)
    first = np.concatenate([sites.ravel(), sites.ravel()])
    second = np.concatenate([np.roll(sites, -1, 1).ravel(), np.roll(sites, -1, 0).ravel()])
    graph = graph_of(first, second, rng.choice([-1.0, 1.0], 32), np.zeros(16))
    method = Chromatic(replicas=32, sweeps=60, restarts=1)
    end = relax(graph, None, method, space=Signs())
    assert end.stats["energy"] == lowest_of_all(graph)
    assert end.stats["one_flip_optimal"]
    assert end.stats["updates"] == 16 * 32 * 60
    np.testing.assert_array_equal(relax(graph, None, method, space=Signs()).value, end.value)


# Refusals and names


def test_unusable_settings_are_refused_and_names_are_known():
    for call in (
        lambda: Annealing(replicas=0),
        lambda: Annealing(restarts=0),
        lambda: Annealing(betas=(2.0, 1.0)),
        lambda: Exchange(pairs=0),
        lambda: Exchange(betas=(0.0, 1.0)),
        lambda: Chromatic(sweeps=0),
        lambda: Chromatic(restarts=0),
    ):
        with pytest.raises(InputError):
            call()
    known = [named("relax", "annealing"), named("relax", "exchange"), named("relax", "chromatic")]
    assert known == [Annealing(), Exchange(), Chromatic()]
    assert named("sample", "sweeps") == Sweeps()
