"""Elimination, the memetic search, and the choice of a search, against all configurations of small graphs."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.methods.signs.choose import chosen
from thalweg.methods.signs.eliminate import eliminated, restored
from thalweg.methods.signs.graph import SignGraph, height, local_fields, one_flip_optimal, packed
from thalweg.methods.signs.memetic import Memetic

pytest.importorskip("numba")


def graph_of(n, pairs, couplings, field=None) -> SignGraph:
    from scipy.sparse import coo_array

    first, second = np.asarray(pairs, int).reshape(-1, 2).T
    both = np.concatenate([couplings, couplings]).astype(float)
    matrix = coo_array((both, (np.r_[first, second], np.r_[second, first])), shape=(n, n)).tocsr()
    return packed(matrix.indptr, matrix.indices, matrix.data, np.zeros(n) if field is None else np.asarray(field))


def random_graph(rng, n, density, kind, fields) -> SignGraph:
    pairs = [pair for pair in itertools.combinations(range(n), 2) if rng.random() < density]
    draw = {
        "units": lambda size: rng.choice([-1.0, 1.0], size),
        "integers": lambda size: rng.integers(-9, 10, size).astype(float),
        "floats": lambda size: rng.normal(size=size),
    }[kind]
    return graph_of(n, pairs, draw(len(pairs)), draw(n) if fields else None)


def configurations(n: int) -> np.ndarray:
    return (1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)).astype(np.int8)


def lowest(graph: SignGraph) -> float:
    """The minimum over all configurations, by a product with all of them."""
    states, dense = configurations(graph.size).astype(float), np.zeros((graph.size, graph.size))
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    np.add.at(dense, (rows, graph.neighbours), graph.couplings)
    return graph.unit * float((-((states @ dense) * states).sum(1) / 2 - states @ graph.field).min())


def searched(graph, method, units, start=None):
    words = np.random.SeedSequence(method.seed).generate_state(256, np.uint64)
    state = method.init(graph, start, words)
    for _ in range(units):
        state = method.advance(graph, state)
    return state


def close(graph: SignGraph) -> float:
    """How far two ways to sum may differ: nothing for integers, else 5e4 roundings of the largest partial sum."""
    return 0.0 if graph.exact else 1e-11 * float(np.abs(graph.couplings).sum() + np.abs(graph.field).sum())


@pytest.mark.parametrize("kind", ["units", "integers", "floats"])
@pytest.mark.parametrize("fields", [False, True])
def test_elimination_keeps_the_minimum_and_puts_back_a_state_that_attains_it(kind, fields):
    rng = np.random.default_rng(3)
    sizes = []
    for trial in range(30):
        graph = random_graph(rng, 10, (0.15, 0.3, 0.5)[trial % 3], kind, fields)
        less = eliminated(graph)
        sizes.append(less.kernel.size)
        assert less.kernel.exact or not graph.exact
        assert not less.kernel.field.any()
        assert less.constant + lowest(less.kernel) == pytest.approx(lowest(graph), abs=close(graph), rel=0)
        best = min(configurations(less.kernel.size), key=lambda signs: height(less.kernel, signs))
        whole = restored(best, less.kept, less.order, less.partners, less.held, graph.size)
        assert height(graph, whole) == pytest.approx(lowest(graph), abs=close(graph), rel=0)
    assert 0 in sizes
    assert max(sizes) > 3


def test_elimination_is_exact_for_every_state_of_the_kernel():
    rng = np.random.default_rng(5)
    for _ in range(10):
        graph = random_graph(rng, 12, 0.35, "integers", True)
        less = eliminated(graph)
        for _ in range(5):
            signs = rng.choice(np.array([-1, 1], np.int8), less.kernel.size)
            whole = restored(signs, less.kept, less.order, less.partners, less.held, graph.size)
            assert height(graph, whole) == height(less.kernel, signs) + less.constant


def test_trees_and_ladders_are_solved_by_elimination_alone():
    rng = np.random.default_rng(7)
    tree = [(int(rng.integers(child)), child) for child in range(1, 300)]
    rungs = 200
    ladder = [(k, k + 1) for k in range(2 * rungs - 1) if k != rungs - 1] + [(k, k + rungs) for k in range(rungs)]
    for n, pairs in ((300, tree), (2 * rungs, ladder)):
        graph = graph_of(n, pairs, rng.integers(1, 6, len(pairs)) * rng.choice([-1, 1], len(pairs)))
        method = Memetic()
        state = searched(graph, method, 1)
        found = method.found(graph, state)
        assert found.whole
        assert one_flip_optimal(graph, found.signs)
        assert found.height == height(graph, found.signs) == eliminated(graph).constant
    # The ladder is frustrated, a tree is not.
    assert found.height > -np.abs(graph.couplings).sum() / 2
    tree_graph = graph_of(300, tree, np.ones(299))
    assert method.found(tree_graph, searched(tree_graph, method, 0)).height == -299


def test_couplings_finer_than_the_kernels_integers_are_not_made():
    # Nested triangles halve the couplings at every level; the kernel must stay in integers.
    rng = np.random.default_rng(11)
    n = 400
    pairs = sorted({tuple(sorted(map(int, rng.choice(n, 2, replace=False)))) for _ in range(3 * n // 2)})
    graph = graph_of(n, pairs, rng.integers(-(2**20), 2**20, len(pairs)) * 2 + 1)
    less = eliminated(graph)
    assert graph.exact
    assert less.kernel.exact
    assert less.kernel.size < n
    signs = rng.choice(np.array([-1, 1], np.int8), less.kernel.size)
    whole = restored(signs, less.kept, less.order, less.partners, less.held, n)
    assert height(graph, whole) == height(less.kernel, signs) + less.constant


RECIPES = [
    {"improve": "tabu", "crossover": "relinking"},
    {"improve": "tabu", "crossover": "uniform"},
    {"improve": "annealing"},
]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", ["units", "integers", "floats"])
def test_it_finds_the_lowest_of_all_states(kind, recipe):
    rng = np.random.default_rng(13)
    for fields in (False, True):
        graph = random_graph(rng, 12, 0.8, kind, fields)
        method = Memetic(seed=1, patience=200, **recipe)
        found = method.found(graph, searched(graph, method, 2))
        assert found.height == pytest.approx(lowest(graph), abs=close(graph), rel=0)
        assert found.height == height(graph, found.signs)
        assert one_flip_optimal(graph, found.signs)


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1.0])
def test_the_size_of_couplings_does_not_matter(scale):
    rng = np.random.default_rng(17)
    plain = random_graph(rng, 12, 0.8, "floats", True)
    graph = packed(plain.starts, plain.neighbours, plain.couplings * scale, plain.field * scale)
    method = Memetic(patience=200)
    found = method.found(graph, searched(graph, method, 1))
    assert found.height == pytest.approx(lowest(graph), rel=1e-12)  # a few dozen roundings
    assert one_flip_optimal(graph, found.signs)


def test_corners():
    method, none = Memetic(patience=200), np.zeros((0, 2), int)
    one = graph_of(1, none, [], [0.0])
    assert method.found(one, searched(one, method, 1)).height == 0
    fields = graph_of(5, none, [], [1.0, -2.0, 0.0, 3.5, -1.0])
    found = method.found(fields, searched(fields, method, 1))
    assert (found.height, found.whole) == (-7.5, True)
    assert list(found.signs[[0, 1, 3, 4]]) == [1, -1, 1, -1]
    rng = np.random.default_rng(19)
    pairs = [(i + 6 * k, j + 6 * k) for k in range(2) for i, j in itertools.combinations(range(6), 2)]
    apart = graph_of(12, pairs, rng.integers(-9, 10, len(pairs)))
    assert method.found(apart, searched(apart, method, 1)).height == lowest(apart)
    with pytest.raises(InputError, match="members is 1"):
        Memetic(members=1)


def bits(state) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_state_holds_everything_and_threads_change_no_bit(recipe, monkeypatch):
    rng = np.random.default_rng(23)
    graph = random_graph(rng, 120, 0.3 if recipe["improve"] == "tabu" else 0.06, "units", True)
    method = Memetic(seed=4, patience=3000, members=4, **recipe)
    straight = searched(graph, method, 5)
    assert straight.counts[0] == 4  # children of two parents were made
    kept = jax.tree.map(np.array, searched(graph, method, 2))
    monkeypatch.setattr("thalweg.methods.signs.threads.usable_cores", lambda: 1)
    for _ in range(3):
        kept = Memetic(seed=4, patience=3000, members=4, **recipe).advance(graph, kept)
    assert bits(kept) == bits(straight)
    assert bits(searched(graph, Memetic(seed=5, patience=3000, members=4, **recipe), 5)) != bits(straight)


def test_the_best_is_at_rest_and_never_rises():
    rng = np.random.default_rng(29)
    graph = random_graph(rng, 200, 0.04, "integers", True)
    method = Memetic(seed=2)
    start = rng.choice(np.array([-1, 1], np.int8), graph.size)
    state, before = searched(graph, method, 0, start), np.inf
    for _ in range(4):
        found = method.found(graph, state)
        assert found.height <= before
        assert found.height == height(graph, found.signs)
        assert (local_fields(graph, found.signs) * found.signs >= 0).all()
        before, state = found.height, method.advance(graph, state)
    assert method.found(graph, searched(graph, method, 0, start)).height <= height(graph, start)


def test_the_choice_and_its_reason():
    rng = np.random.default_rng(31)

    def torus(*sides):
        places = np.arange(np.prod(sides)).reshape(sides)
        pairs = [np.stack([places.ravel(), np.roll(places, -1, axis).ravel()], 1) for axis in range(len(sides))]
        return np.concatenate(pairs)

    def units(n, pairs):
        return graph_of(n, pairs, rng.choice([-1.0, 1.0], len(pairs)))

    square = places = np.arange(900).reshape(30, 30)
    diagonal = np.stack([square.ravel(), np.roll(places, (-1, -1), (0, 1)).ravel()], 1)
    sparse = np.unique(np.sort(rng.integers(0, 2000, (5000, 2)), 1), axis=0)
    sparse = sparse[sparse[:, 0] != sparse[:, 1]]
    cases = [
        (units(12, torus(3, 4)), "Exhaustive"),
        (units(400, torus(20, 20)), "Exchange"),
        (units(512, torus(8, 8, 8)), "Exchange"),
        (units(900, np.concatenate([torus(30, 30), diagonal])), "Exchange"),
        (units(2000, sparse), "Memetic"),
        (random_graph(rng, 150, 0.5, "integers", True), "Memetic"),
        (units(40_000, torus(200, 200)), "Annealing"),
    ]
    for graph, name in cases:
        method, why = chosen(graph, seed=7, target=-3.0)
        assert type(method).__name__ == name, why
        assert (method.seed, method.target) == (7, -3.0)
        assert why.startswith(name.lower())
        assert str(graph.size) in why


def test_known_cuts_and_values(data):
    for name, cut in (("gset/G1", 11624), ("qubo/be120.3.1.mc", 13067), ("qubo/bqp250-8.mc", 35726)):
        rows = np.loadtxt(data / "spins" / name, skiprows=1)
        n = int((data / "spins" / name).read_text().split()[0])
        graph = graph_of(n, rows[:, :2].astype(int) - 1, -rows[:, 2])
        method, target = Memetic(seed=1), rows[:, 2].sum() - 2 * cut
        state, units = searched(graph, method, 0), 0
        while state.lowest > target and units < 400:  # some 20 times what it takes
            state, units = method.advance(graph, state), units + 1
        assert state.lowest == target
