"""Bounds below which no signs go, and searches that look at all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.core.space import Signs
from thalweg.methods.signs import bound
from thalweg.methods.signs.bound import lower_bound
from thalweg.methods.signs.exhaustive import Exhaustive
from thalweg.methods.signs.graph import height, local_fields, one_flip_optimal, packed, sign_graph
from thalweg.verbs.relax import relax


def graph_of(matrix: np.ndarray, field: np.ndarray):
    """The graph of a symmetric matrix of couplings."""
    rows, columns = np.nonzero(matrix)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(field)))])
    return packed(starts, columns, matrix[rows, columns].astype(float), field.astype(float))


def enumerated(matrix: np.ndarray, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    signs = np.array(list(itertools.product((-1, 1), repeat=len(field))))
    return signs, -np.einsum("si,ij,sj->s", signs, matrix, signs) / 2 - signs @ field


def random_problem(seed: int, size: int, whole: bool, with_field: bool, share: float) -> tuple[np.ndarray, np.ndarray]:
    words = np.random.default_rng(seed)
    draw = (lambda *shape: words.integers(-4, 5, shape)) if whole else (lambda *shape: words.normal(size=shape))
    upper = np.triu(draw(size, size) * (words.random((size, size)) < share), 1)
    return upper + upper.T, draw(size) * with_field


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.4, 1.0]))
def test_no_state_is_below_the_bound_and_looking_at_all_finds_the_lowest(seed, size, whole, with_field, share):
    matrix, field = random_problem(seed, size, whole, with_field, share)
    graph, (signs, heights) = graph_of(matrix, field), enumerated(matrix, field)
    assert graph.exact or not whole
    # Rounding of sums of some tens of terms.
    slack = 1e-12 * (1 + np.abs(heights).max())
    assert lower_bound(graph).energy <= heights.min() + slack
    found = relax(graph, None, Exhaustive(), space=Signs())
    assert found.done
    assert abs(found.stats["energy"] - heights.min()) <= slack
    assert found.stats["one_flip_optimal"]
    assert found.stats["updates"] == 2 ** (size if field.any() else size - 1)
    assert abs(height(graph, signs[0].astype(np.int8)) - heights[0]) <= slack


def test_the_spectral_bound_holds_too(monkeypatch):
    matrix, field = random_problem(3, 10, True, True, 0.7)
    graph, (_, heights) = graph_of(matrix, field), enumerated(matrix, field)
    close = lower_bound(graph)
    monkeypatch.setattr(bound, "_SEMIDEFINITE", 4)
    wide = lower_bound(graph)
    assert (close.method, wide.method) == ("semidefinite", "spectral")
    assert wide.energy <= close.energy <= heights.min()


def test_couplings_that_agree_are_proven_at_once():
    ring = np.roll(np.eye(12), 1, axis=1)
    graph = graph_of(ring + ring.T, np.zeros(12))
    found = lower_bound(graph)
    assert found.energy == -12
    assert found.proof == "factorised"


# Helmberg & Rendl, SIAM J. Optim. 10, 673 (2000): the semidefinite values, here rounded down to whole cuts.
@pytest.mark.parametrize(("name", "most"), [("G11", 629), ("G14", 3191)])
def test_the_semidefinite_bound_of_known_graphs(data, name, most):
    from thalweg.spins.data.read import read

    of = read(data / "spins" / "gset" / name)
    weight = -int(of.coupling.sum())
    assert (weight - lower_bound(sign_graph(of)).energy) / 2 == most


def test_a_large_sparse_bound_is_factorised(monkeypatch):
    words = np.random.default_rng(0)
    matrix, field = random_problem(int(words.integers(99)), 60, True, False, 0.05)
    graph = graph_of(matrix, field)
    dense = lower_bound(graph)
    monkeypatch.setattr(bound, "_DENSE", 10)
    assert lower_bound(graph) == dense


def test_what_cannot_be_searched_is_refused():
    matrix, field = random_problem(0, 4, True, False, 1.0)
    graph = graph_of(matrix, field)
    with pytest.raises(InputError, match="4 signs, or None"):
        relax(graph, np.ones(3), Exhaustive(), space=Signs())
    with pytest.raises(InputError, match="other numbers than -1 and"):
        relax(graph, np.zeros(4), Exhaustive(), space=Signs())
    with pytest.raises(InputError, match="pass space=Signs"):
        relax(graph, None, Exhaustive())
    with pytest.raises(InputError, match="no `tol` and no `trace`"):
        relax(graph, None, Exhaustive(), space=Signs(), tol=1.0)
    with pytest.raises(InputError, match="does not offer its couplings"):
        relax(lambda x: x.sum(), None, Exhaustive(), space=Signs())
    with pytest.raises(InputError, match="not finite"):
        relax(NotFinite(), None, Exhaustive(), space=Signs())
    large = graph_of(np.zeros((40, 40)), np.ones(40))
    with pytest.raises(InputError, match="too many to look at all"):
        relax(large, None, Exhaustive(), space=Signs())


class NotFinite:
    def to_csr(self):
        return np.array([0, 1, 2]), np.array([1, 0]), np.array([np.nan, np.nan]), np.zeros(2)


def test_couplings_of_any_scale_keep_their_exact_numbers():
    matrix = np.array([[0, 0.25, 0], [0.25, 0, -3.5], [0, -3.5, 0]])
    graph = graph_of(matrix, np.zeros(3))
    assert graph.exact
    assert graph.unit == 0.25
    tiny = graph_of(np.array([[0, 1e-12], [1e-12, 0]]), np.zeros(2))
    assert not tiny.exact
    huge = graph_of(np.array([[0, 1e12], [1e12, 0]]), np.zeros(2))
    assert not huge.exact
    for one, expected in ((tiny, -1e-12), (huge, -1e12)):
        found = relax(one, None, Exhaustive(), space=Signs())
        assert found.stats["energy"] == expected
        assert one_flip_optimal(one, np.asarray(found.value).astype(np.int8))
    assert (local_fields(graph, np.ones(3, np.int8)) == [1, -13, -14]).all()
