"""The network for splice sites: its slopes, its precision, its prior, and reading in chunks as in one piece."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.genome.energy import SpliceLoss, ThroughTime, surprise
from thalweg.genome.model.build import CELLS, Shape, network
from thalweg.genome.model.markov import markov
from thalweg.genome.model.network import padded
from thalweg.genome.model.streaming import CHUNK, each_piece, probabilities
from thalweg.genome.model.window import IGNORED, Window

BASES = 5


def small(cell: Any = "mingru", blocks=2, seed=0, **more):
    shape = Shape(cell=cell, blocks=blocks, channels=6, width=4, window=5, features=5, **more)
    return network(shape, np.log(np.full((2, BASES**2), 0.01)), jax.random.key(seed))


def bases(count, seed=0):
    return np.random.default_rng(seed).integers(0, BASES, count).astype(np.int8)


@eqx.filter_jit
def told(net, seen, carry):
    return surprise(net, seen, carry)


def window(time=40, batch=2, margin=2):
    random = np.random.default_rng(1)
    first, last = np.zeros((2, batch, time), bool)
    first[0, 17] = last[0, 16] = True
    targets = random.integers(IGNORED, 3, (batch, time)).astype(np.int8)
    codes = random.integers(0, BASES, (batch, time + 2 * margin)).astype(np.int8)
    return Window(*map(jnp.asarray, (codes, targets, first, last)))


@pytest.mark.parametrize(("cell", "blocks"), [("mingru", 2), ("gru", 1)])
def test_the_gradient_rule_is_the_slope_of_its_landscape(x64, cell, blocks):
    """Back-propagation through time, both ways and over a border of two genes, against central differences."""
    net = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), small(cell, blocks))
    # A fresh head is so small that little comes back; and away from the corner of the rectifier slopes are smooth.
    net = eqx.tree_at(lambda n: (n.head, n.stem.bias), net, (net.head * 20, net.stem.bias + 6))
    random, seen = np.random.default_rng(2), window()
    along = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), net)
    along = eqx.tree_at(lambda n: n.prior, along, jnp.zeros_like(net.prior))
    carry = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), net.rest(2).ahead)

    # All as arguments: constants would be folded at length by the compiler.
    @jax.jit
    def slope(by, net, along, seen, carry):
        moved = jax.tree.map(lambda a, b: a + by * b, net, along)
        slopes, _, metrics = ThroughTime(True)(moved, seen, carry, 0, None)
        return slopes, metrics["loss"]

    slopes = slope(0.0, net, along, seen, carry)[0]
    loss = lambda by: float(slope(by, net, along, seen, carry)[1])  # noqa: E731
    expected = sum(float(jnp.sum(a * b)) for a, b in zip(*map(jax.tree.leaves, (slopes, along)), strict=True))
    near, far = ((loss(step) - loss(-step)) / (2 * step) for step in (1e-4, 2e-4))
    # Extrapolated central differences: an error of fourth order, 1e-10 here, and rounding of 1e-11.
    assert (4 * near - far) / 3 == pytest.approx(expected, rel=1e-6)
    assert not np.any(slopes.prior)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_in_float32_holds_no_float64(x64, cell):
    net, seen = small(cell), window()
    carry = net.rest(2).ahead
    rule = lambda net: ThroughTime(True)(net, seen, carry, 0, None)  # noqa: E731
    assert "f64" not in str(jax.make_jaxpr(rule)(net))


def test_the_landscape_is_the_mean_over_scored_bases_and_knows_nothing_of_others():
    net, seen = small(), window()
    scores, _ = eqx.filter_jit(net)(seen.codes.T, seen.first.T, seen.last.T)
    chances = np.asarray(jax.nn.log_softmax(scores), np.float64)
    targets = np.asarray(seen.targets.T)
    at = np.nonzero(targets != IGNORED)
    # Sums of 60 numbers around one in float32.
    height = eqx.filter_jit(lambda energy, net: energy(net))
    assert float(height(SpliceLoss(seen), net)) == pytest.approx(-np.mean(chances[(*at, targets[at])]), rel=1e-5)
    nothing = eqx.tree_at(lambda w: w.targets, seen, jnp.full_like(seen.targets, IGNORED))
    assert float(height(SpliceLoss(nothing), net)) == 0.0


def test_carried_states_go_on_where_the_window_before_ended():
    net, seen = small(blocks=1), window()
    half = lambda w, a, b: Window(w.codes[:, a : b + 4], w.targets[:, a:b], w.first[:, a:b], w.last[:, a:b])  # noqa: E731
    rest = net.rest(2).ahead
    _, whole = told(net, seen, rest)
    _, middle = told(net, half(seen, 0, 20), rest)
    _, end = told(net, half(seen, 20, 40), middle)
    np.testing.assert_allclose(end[0], whole[0], rtol=1e-5, atol=1e-6)  # float32
    assert not np.allclose(told(net, half(seen, 20, 40), rest)[1][0], whole[0], rtol=1e-3)


def test_untrained_scores_follow_the_prior_which_forbids_nothing():
    net = small()
    table = np.full((2, BASES**2), np.log(1e-4))
    table[0, 2 * BASES + 3] = np.log(0.2)  # a donor before GT
    table[1, 0 * BASES + 2] = np.log(0.1)  # an acceptor after AG
    net = eqx.tree_at(lambda n: (n.prior, n.head), net, (jnp.asarray(table, jnp.float32), jnp.zeros_like(net.head)))
    codes = np.array([0, 1, 2, 3, 1, 0, 2, 1, 1], np.int8)  # A C G T C A G C C
    chances = probabilities(net, codes)
    likely = lambda kind: np.flatnonzero(chances[:, kind] > 0.05).tolist()  # noqa: E731
    assert (likely(1), likely(2)) == ([1], [7])
    assert chances[1, 1] == pytest.approx(0.2 / (1 + 0.2 + 1e-4), rel=1e-5)  # float32
    assert chances.min() > 5e-5


@pytest.mark.parametrize(("cell", "blocks"), [("mingru", 3), ("lstm", 2)])
def test_chunks_read_back_and_forth_are_one_piece(cell, blocks):
    net = small(cell, blocks)
    # Memories of many chunks, so that a state which is lost anywhere shows.
    if cell == "mingru":
        bias = lambda n: [way.bias for block in n.blocks for way in (block.forward, block.backward)]  # noqa: E731
        net = eqx.tree_at(bias, net, [jnp.asarray([-6.0, -7, -8, -9, 0, 0, 0, 0], jnp.float32)] * 2 * blocks)
    net = eqx.tree_at(lambda n: n.head, net, net.head * 20)
    count = 2 * CHUNK + 777
    codes = bases(count)
    first, last = np.zeros((2, count), bool)
    first[300], last[299] = True, True
    whole = jax.jit(lambda c: net(padded(c, net.margin))[0])(jnp.asarray(codes[:, None]))
    whole = np.asarray(jax.nn.softmax(whole))[:, 0]
    # Float32 through thousands of steps, in the same order but for the sums inside of products: 1e-6 was seen.
    np.testing.assert_allclose(probabilities(net, codes), whole, atol=1e-5)
    np.testing.assert_allclose(probabilities(net, codes, held=0), whole, atol=1e-5)
    parted = probabilities(net, codes, first, last)
    np.testing.assert_allclose(probabilities(net, codes, first, last, held=0), parted, atol=1e-5)
    np.testing.assert_allclose(parted[310:], probabilities(net, codes[300:])[10:], atol=1e-5)
    if cell == "mingru":  # the check can fail: what lies two chunks away is felt
        other = np.concatenate([codes[:CHUNK], np.zeros(count - CHUNK, np.int8)])
        assert np.abs(probabilities(net, other) - whole)[:100].max() > 1e-3
    starts = [start for start, _ in each_piece(net, codes, held=0)]
    assert sorted(starts) == [0, CHUNK, 2 * CHUNK]


def test_a_shape_that_makes_no_sense_is_refused():
    wrong: dict[str, Any]
    for wrong, said in ({"cell": "rnn"}, "mingru"), ({"window": 8}, "odd"), ({"blocks": 0}, "at least 1"):
        with pytest.raises(InputError, match=said):
            Shape(**wrong)


def test_the_markov_chain_finds_a_planted_signal_and_its_odds_are_counts():
    random = np.random.default_rng(3)
    codes, targets = random.integers(0, 4, 60_000).astype(np.int8), np.zeros(60_000, np.int8)
    donors, acceptors = np.arange(100, 59_000, 400), np.arange(300, 59_000, 400)
    targets[donors], targets[acceptors] = 1, 2
    for place, letter in enumerate([2, 2, 1, 2, 3, 0, 0, 2, 3]):
        codes[donors - 2 + place] = letter
    for place, letter in enumerate([3, 3, 3, 1, 0, 2]):
        codes[acceptors - 6 + place] = letter
    chain = markov(codes, targets, np.ones(codes.size, bool))
    chances = chain(codes)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)
    for kind, true in ((1, donors), (2, acceptors)):
        top = np.argsort(-chances[:, kind])[: true.size]
        # Nine planted letters come up 0.2 times by chance in 60,000 bases, six come up 15 times; others resemble them.
        assert np.isin(top, true).mean() > 0.8
    unknown = chain(np.full(40, 4, np.int8))
    np.testing.assert_allclose(unknown, unknown[:1].repeat(40, axis=0), rtol=1e-12)
    assert unknown[0, 1] == pytest.approx(donors.size / codes.size, rel=0.02)  # the rate, to first order
    with pytest.raises(InputError, match="no donor"):
        markov(codes, np.zeros_like(targets), np.ones(codes.size, bool))
