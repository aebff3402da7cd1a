"""Disconnectivity graphs against brute force, and their drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.diagnostics.disconnectivity import disconnectivity
from thalweg.report.tree import disconnectivity_figure


@st.composite
def networks(draw):
    """Minima and saddles with many equal heights, loops, parallel saddles and several parts."""
    count = draw(st.integers(1, 9))
    energies = draw(st.lists(st.integers(-4, 0), min_size=count, max_size=count))
    place = st.integers(0, count - 1)
    saddles = draw(st.lists(st.tuples(place, place, st.integers(0, 5)), max_size=16))
    return np.array(energies, float), np.array([top for *_, top in saddles], float), [pair[:2] for pair in saddles]


def minimax(energies, heights, pairs):
    """Floyd and Warshall's algorithm with the larger height for a sum."""
    table = np.full((len(energies),) * 2, np.inf)
    np.fill_diagonal(table, energies)
    for (a, b), height in zip(pairs, heights, strict=True):
        if a != b:
            table[a, b] = table[b, a] = min(table[a, b], height)
    for k in range(len(energies)):
        table = np.minimum(table, np.maximum(table[:, k : k + 1], table[k : k + 1]))
    return table


@settings(max_examples=200, deadline=None)
@given(networks())
def test_barriers_routes_and_basins_are_those_of_brute_force(network):
    energies, heights, pairs = network
    tree, table = disconnectivity(*network), minimax(*network)
    assert tree.connected == np.isfinite(table).all()
    for a in range(len(energies)):
        for b in range(len(energies)):
            assert tree.barrier(a, b) == table[a, b]
            if a == b or np.isinf(table[a, b]):
                continue
            here = a
            for saddle in tree.route(a, b):
                assert here in pairs[saddle]
                here = sum(pairs[saddle]) - here
            assert here == b
            assert max(heights[tree.route(a, b)]) == table[a, b]
    levels = np.arange(-5, 7) + 0.5
    for level, names in zip(levels, tree.at_levels(levels), strict=True):
        together = (table <= level) & (energies <= level)[:, None]
        below = energies <= level
        assert np.array_equal(names >= 0, below)
        np.testing.assert_array_equal((names[:, None] == names)[below][:, below], together[below][:, below])
        assert all(energies[name] == energies[names == name].min() for name in names[below])


@settings(max_examples=100, deadline=None)
@given(networks())
def test_no_lines_cross(network):
    tree = disconnectivity(*network)
    x, count = tree.layout(), len(tree.energies)
    assert sorted(x[:count]) == list(range(count))
    below = [{leaf} for leaf in range(count)]
    for main, side in tree.children:
        below.append(below[main] | below[side])
    for members in below:
        # The minima of a basin stand next to each other, and its line above the lowest of them.
        assert np.ptp(x[list(members)]) == len(members) - 1
    assert all(x[node] == x[tree.lowest[node]] for node in range(len(x)))


def test_a_small_graph_by_hand():
    """Two valleys: 0 and 1 meet at 1, 2 and 3 at 2, all at 5; 4 stands alone."""
    tree = disconnectivity([-3, -1, -2, 0, -1], [5, 1, 2, 6], [(1, 2), (0, 1), (3, 2), (0, 3)])
    assert tree.barrier(0, 3) == 5
    assert tree.route(0, 3) == [1, 0, 2]
    assert tree.barrier(0, 4) == np.inf
    assert not tree.connected
    np.testing.assert_array_equal(tree.at_levels([1.5, -1.5]), [[0, 0, 2, 3, 4], [0, -1, 2, -1, -1]])
    with pytest.raises(InputError, match="no saddles lead from minimum 0 to 4"):
        tree.route(0, 4)
    with pytest.raises(InputError, match="no minimum 5"):
        tree.barrier(0, 5)
    figure = disconnectivity_figure(tree, marked={0: "lowest"}, groups=[0, 0, 1, 1, 2])
    assert figure.svg.count("<path") > 9  # nine nodes, each a line of its own
    assert figure.svg == disconnectivity_figure(tree, marked={0: "lowest"}, groups=[0, 0, 1, 1, 2]).svg
    with pytest.raises(InputError, match="no minimum 7 to mark"):
        disconnectivity_figure(tree, marked={7: "x"})
    with pytest.raises(InputError, match="2 groups for 5 minima"):
        disconnectivity_figure(tree, groups=[0, 1])


BAD = [
    (([], [], []), "do not fit"),
    (([0.0], [1.0], []), "do not fit"),
    (([0.0, np.nan], [], []), "not finite"),
    (([0.0, 0.0], [1.0], [(0, 2)]), "not among the 2 given"),
    (([0.0, 2.0], [1.0], [(0, 1)]), "lies below a minimum"),
]


@pytest.mark.parametrize(("network", "sentence"), BAD)
def test_bad_networks_are_one_sentence(network, sentence):
    with pytest.raises(InputError, match=sentence):
        disconnectivity(*network)
