"""Plasticity in the room of genomes: maps from methylation, and the experiment on made species with known answers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.diagnostics.paired import paired
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.window import Window
from thalweg.genome.tasks.plasticity.analysis import analysed
from thalweg.genome.tasks.plasticity.arms import ARMS, MAPS, map_of, optimiser_of, permuted_levels, ranked
from thalweg.genome.tasks.plasticity.experiment import joined, repeatability, run
from thalweg.genome.tasks.plasticity.lab import AbstractLab, Outcomes, Plan
from thalweg.genome.tasks.plasticity.loci import base_marks, owned
from thalweg.genome.tasks.plasticity.measure import SquaredSlopes, of_mean_one, watched
from thalweg.genome.tasks.plasticity.network_taps import network_energies, scores_with_taps
from thalweg.methods.anchoring import pull_to
from thalweg.methods.data import Whole
from thalweg.methods.gradient_energy import Energies, gradient_energies
from thalweg.methods.parts import World
from thalweg.methods.plasticity import followed, scale_by_plasticity
from thalweg.runs import Points
from thalweg.verbs.train import from_loss, train

GENES, BASES, FEATURES = 16, 16, 3


def same(one: Any, other: Any, **tolerance: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


# Made species: each gene has a row of weights of its own, so that a connection belongs to one gene


class Rows(eqx.Module):
    """`y_t = sum_k weight[gene(t), k] x_t,k`: a linear map of inputs that each belong to one gene."""

    weight: jax.Array

    def __call__(self, gene, x, taps: Any = lambda name, a, z: z):
        a = (jax.nn.one_hot(gene, GENES, dtype=x.dtype)[..., None] * x[..., None, :]).reshape(*gene.shape, -1)
        return taps("rows", a, a @ self.weight.reshape(-1, 1))[..., 0]


def miss(model, batch, key=None):
    gene, x, y = batch
    return jnp.mean((model(gene, x) - y) ** 2)


def energies_of(model, batch):
    gene, x, y, marks = batch
    half = jnp.broadcast_to(jnp.arange(BASES) % 2 == 0, marks.shape)  # of the bases of each gene
    loss = lambda taps: jnp.mean((model(gene, x, taps) - y) ** 2)  # noqa: E731
    found = gradient_energies(loss, marks, half, ~half)
    return tuple(Energies(*(Rows(part["rows"].reshape(GENES, FEATURES)) for part in each)) for each in found)


LOSS, FISHER, ADAM = from_loss(miss), SquaredSlopes(miss), optax.adam(0.05)


class Made(AbstractLab):
    """Two species of which the second has learnt something new only in some genes.

    In the other, settled genes its labels are those of the first species under noise: moving there forgets and gains
    nothing. If methylation marks these (`true`), it is the right map by construction. Otherwise levels, genes that are
    scored as methylated, and settled genes are independent of each other, in a balanced design.
    """

    def __init__(self, true: bool, steps: int = 60):
        random, number = np.random.default_rng(0), np.arange(GENES)
        settled = number < GENES // 2
        self._marked = settled if true else number // 2 % 2 == 0
        self._levels = np.where(settled if true else number % 2 == 0, 0.95, 0.05)
        self._first = random.normal(size=(GENES, FEATURES))
        self._second = self._first + np.where(settled[:, None], 0.0, 0.7 * random.normal(size=(GENES, FEATURES)))
        self.noise = 1.0 * settled[:, None]
        self.true, self.steps, self.asked = true, steps, []

    @property
    def told(self):
        return {"true": self.true, "steps": self.steps, "first": self._first}

    @property
    def levels(self):
        return self._levels

    @property
    def optimiser(self):
        return ADAM

    def _species(self, truth, seed, noise):
        random = np.random.default_rng([seed, 5])
        gene = np.tile(np.arange(GENES)[:, None], (1, BASES))
        x = random.normal(size=(GENES, BASES, FEATURES))
        y = np.einsum("gbk,gk->gb", x, truth) + noise * random.normal(size=(GENES, BASES))
        return jnp.asarray(gene), jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

    def pretrained(self, seed, hooks):
        self.asked.append(("pretrained", seed))
        random = np.random.default_rng([seed, 6])
        return Rows(jnp.asarray(self._first + 0.02 * random.normal(size=self._first.shape), jnp.float32))

    def template(self):
        return Rows(jnp.zeros((GENES, FEATURES), jnp.float32))

    def energies(self, model, levels, seed):
        self.asked.append(("energies", seed))
        marks = jnp.broadcast_to(jnp.asarray(levels, jnp.float32)[:, None], (GENES, BASES))
        # Labels under noise, so that every gene has a gradient at a network that has learnt them.
        data = Whole((*self._species(self._first, seed, 0.5), marks))
        return watched(energies_of, model, data, steps=2, key=jax.random.key(seed), decay=0.5)

    def fisher(self, model, seed):
        data = Whole(self._species(self._first, seed, 0.5))
        return watched(FISHER, model, data, steps=2, key=jax.random.key(seed))

    def tuned(self, model, optimiser, seed, hooks):
        self.asked.append(("tuned", seed))
        data = Whole(self._species(self._second, 100 + seed, self.noise))
        return train(model, LOSS, data, optimiser, key=jax.random.key(seed), steps=self.steps, on_chunk=hooks).value

    def scores(self, model):
        weight = np.asarray(model.weight, np.float64)
        first, second = (-np.sum((weight - truth) ** 2, -1) for truth in (self._first, self._second))
        return {
            "gain": second.mean(),
            "retained": first.mean(),
            "retained_methylated": first[self._marked].mean(),
            "retained_unmethylated": first[~self._marked].mean(),
        }


PLAN = Plan(seeds=5, betas=(0.5, 0.9), l2sp=(0.1, 1.0), ewc=(0.1, 1.0))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[Made, Outcomes, Any]:
    lab, folder = Made(true=True), tmp_path_factory.mktemp("parts")
    return lab, run(lab, PLAN, World(done=Points(folder))), folder


# The maps


def test_where_inputs_belong_to_genes_the_share_is_literally_the_methylation(found):
    lab = found[0]
    model = lab.pretrained(0, ())
    held = joined(*lab.energies(model, lab.levels, 0))
    expected = owned(lab.levels, np.arange(GENES), axes=2)
    # Sums over batches in float32, of which both have the same terms.
    np.testing.assert_allclose(held.weight, np.broadcast_to(expected, held.weight.shape), rtol=1e-5)
    # A level that varies along a gene is weighted by the squared gradients at each base.
    gene, x, y = lab._species(lab._first, 3, 0.5)
    marks = np.random.default_rng(1).uniform(size=gene.shape)
    one = joined(*jax.jit(energies_of)(model, (gene, x, y, jnp.asarray(marks, jnp.float32)))).weight
    slopes = np.asarray((model(gene, x) - y)[..., None] * x, np.float64) ** 2
    np.testing.assert_allclose(one, np.einsum("gb,gbk->gk", marks, slopes) / slopes.sum(1), rtol=1e-4)


def test_owners_name_their_loci():
    held = owned(np.array([0.2, np.nan, 1.0]), np.array([2, 0, -1, 1]), axis=1, axes=2)
    np.testing.assert_array_equal(held, [[1.0, 0.2, 0.0, 0.0]])
    with pytest.raises(InputError, match="divide percentages by 100"):
        owned(np.array([0.2, 80.0]), np.array([0]))
    with pytest.raises(InputError, match="owners run from 0 to 3, but there are 3 loci"):
        owned(np.zeros(3), np.array([0, 3]))


def test_marks_of_bases():
    random = np.random.default_rng(0)
    positions = np.sort(random.choice(300, 60, replace=False))
    coverage = random.integers(1, 9, 60)
    methylated = random.binomial(coverage, 0.4)
    marks, known = base_marks(positions, methylated, coverage, 40, 260, reach=5, least=8)
    for base in range(40, 260):
        near = np.abs(positions - base) <= 5
        assert known[base - 40] == (coverage[near].sum() >= 8)
        expected = methylated[near].sum() / coverage[near].sum() if known[base - 40] else 0.0
        assert abs(marks[base - 40] - expected) < 1e-12
    assert known.any()
    assert not known.all()
    with pytest.raises(InputError, match="not in rising order"):
        base_marks(positions[::-1], methylated, coverage, 0, 10)
    with pytest.raises(InputError, match="more methylated reads than reads"):
        base_marks(positions, coverage + 1, coverage, 0, 10)


@pytest.mark.parametrize("cell", ["mingru", pytest.param("gru", marks=pytest.mark.slow)])
def test_the_tapped_network_is_the_network(cell):
    shape = Shape(cell=cell, blocks=1, channels=6, width=4, window=5, features=7)
    random = np.random.default_rng(0)
    # Only its form: to draw its weights takes longer to compile than all that follows.
    form = eqx.filter_eval_shape(lambda: network(shape, np.zeros((2, 25)), jax.random.key(0)))
    drawn = lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    model = jax.tree.map(lambda leaf: drawn(leaf) if hasattr(leaf, "shape") else leaf, form)
    codes = jnp.asarray(random.integers(0, 5, (40 + 2 * model.margin, 2)), jnp.int8)
    labels = jnp.asarray(random.choice([-1, 0, 1, 2], (40, 2), p=[0.2, 0.6, 0.1, 0.1]), jnp.int8)
    full = jnp.full(labels.shape, 0.25, jnp.float32)
    half = np.repeat([[1.0, 0.0]], 40, axis=0).astype(np.float32)  # of two sequences, the first
    first, last = (jnp.asarray(np.arange(40)[:, None] == np.array(at)) for at in ((0, 7), (39, 20)))
    window = Window(codes.T, labels.T, first.T, last.T)

    @eqx.filter_jit  # together: they share what is compiled
    def looked(net):
        tapped = scores_with_taps(net, codes, lambda name, a, z: z, first, last)
        held = joined(*network_energies(net, window, full.T, jnp.asarray(half.T)))
        rule: Any = scale_by_plasticity(held, 0.5)
        params = eqx.filter(net, eqx.is_inexact_array)
        moved = rule.update(params, rule.init(params), params)[0]
        return net(codes, first, last)[0], tapped, held, moved

    plain, tapped, held, moved = jax.tree.map(np.asarray, looked(model))
    # A convolution and a product of matrices sum in another order: float32 sums of tens of terms of order one.
    np.testing.assert_allclose(tapped, plain, atol=2e-5)
    # With the whole sequence marked alike, every share is that mark; a map with every leaf that has energies.
    leaves = jax.tree.leaves(held)
    assert len(leaves) == 3 + 2 + 5  # stem, head, and of each block two directions with their biases, and out
    for leaf in leaves:
        assert ((np.abs(leaf - 0.25) < 1e-5) | (leaf == 0)).all()
    assert float(held.blocks[0].forward.matrix.min()) > 0.24
    # As a map of the model as it is, it slows what it holds, and nothing else.
    np.testing.assert_allclose(moved.blocks[0].out, 0.875 * model.blocks[0].out, rtol=1e-5)
    np.testing.assert_array_equal(moved.scale, model.scale)


def test_repeatability_is_the_correlation_of_two_measurements():
    random = np.random.default_rng(0)
    total, share, noise = random.uniform(0.5, 2, 500), random.uniform(size=500), random.uniform(size=500)
    one = Energies({"w": total * share}, {"w": total})
    other = Energies({"w": (share + noise) / 2}, {"w": np.ones(500)})
    expected = np.corrcoef(share, share + noise)[0, 1]
    assert repeatability(one, other) == pytest.approx(expected, abs=1e-12)
    # What one of both has not reached does not compare; an even map has no pattern.
    total[:100] = 0
    seen = np.corrcoef(share[100:], (share + noise)[100:])[0, 1]
    assert repeatability(Energies({"w": total * share}, {"w": total}), other) == pytest.approx(seen, abs=1e-12)
    even = Energies({"w": np.full(500, 0.2)}, {"w": np.ones(500)})
    assert np.isnan(repeatability(even, other))


# The arms


def test_every_arm_differs_from_methylation_in_one_respect():
    random = np.random.default_rng(0)
    drawn = lambda *size: random.uniform(size=size).astype(np.float32)  # noqa: E731
    held = {"a": drawn(5, 4), "b": None, "c": drawn(7)}
    other = {"a": np.zeros((5, 4), np.float32), "b": None, "c": np.zeros(7, np.float32)}
    arms = {arm: map_of(arm, held, other, seed=3) for arm in MAPS}
    pooled = {arm: np.concatenate([tree["a"].ravel(), tree["c"]]) for arm, tree in arms.items()}
    assert arms["methylation"] is held
    assert arms["permuted"] is other
    np.testing.assert_allclose(pooled["uniform"], pooled["methylation"].mean(), rtol=1e-6)
    np.testing.assert_array_equal(np.sort(pooled["random"]), np.sort(pooled["methylation"]))
    assert (pooled["random"] != pooled["methylation"]).any()
    assert arms["random"]["a"].shape == (5, 4)
    assert arms["random"]["b"] is None
    ranks = ranked(held)
    pool = np.concatenate([ranks["a"].ravel(), ranks["c"]])
    np.testing.assert_allclose(np.sort(pool), np.linspace(0, 1, 27), atol=1e-7)  # float32
    assert (np.argsort(pool) == np.argsort(pooled["methylation"])).all()


def test_levels_are_permuted_across_genes_within_strata():
    levels, strata = np.linspace(0, 1, 20), np.arange(20) % 3
    moved = permuted_levels(levels, 4, strata)
    for stratum in range(3):
        np.testing.assert_array_equal(np.sort(moved[strata == stratum]), levels[strata == stratum])
    assert (moved != levels).any()
    np.testing.assert_array_equal(moved, permuted_levels(levels, 4, strata))
    assert (permuted_levels(levels, 5) != permuted_levels(levels, 4)).any()


def test_springs_pull_as_their_penalty_does(x64):
    random = np.random.default_rng(0)
    anchor, here, weights, slope = (jnp.asarray(random.uniform(size=4)) for _ in range(4))
    penalty = lambda x: 0.3 * 0.5 * jnp.sum(weights * (x - anchor) ** 2)  # noqa: E731
    rule: Any = pull_to(anchor, 0.3, weights)
    pulled = jax.jit(rule.update)(slope, jax.jit(rule.init)(here), here)[0]
    np.testing.assert_allclose(pulled, slope + jax.grad(penalty)(here), rtol=1e-12)
    none: Any = pull_to(anchor, 0.0)
    np.testing.assert_array_equal(none.update(slope, none.init(here), here)[0], slope)
    # On a quadratic loss the rest is the known compromise, b / (b + 0.3) of the way; EWC of Fisher b rests at 1 / 1.3.
    bend, target = jnp.array([0.5, 1.0, 2.0, 3.0]), jnp.zeros(4)
    for fisher, expected in ((None, 0.3 / (bend + 0.3)), (bend, 0.3 / 1.3 + jnp.zeros(4))):
        spring: Any = followed(pull_to(jnp.ones(4), 0.3, fisher), optax.sgd(0.2))
        state, x = spring.init(jnp.ones(4)), jnp.ones(4)
        for _ in range(300):
            x = x + spring.update(bend * (x - target), state, x)[0]
        np.testing.assert_allclose(x, expected, atol=1e-12)
    with pytest.raises(InputError, match=r"a strength of -1\.0 would push away"):
        pull_to(anchor, -1.0)
    with pytest.raises(InputError, match="there is no arm 'dropout'"):
        optimiser_of("dropout", ADAM, strength=1.0)


def test_squared_gradients_are_summed_item_by_item(found):
    lab = found[0]
    model, data = lab.pretrained(0, ()), lab._species(lab._first, 2, 0.5)
    summed = watched(FISHER, model, Whole(data), steps=2, key=jax.random.key(0))
    _, x, y = (np.asarray(part, np.float64) for part in data)
    slopes = 2 * np.einsum("gb,gbk->gk", np.asarray(model(*data[:2])) - y, x) / BASES
    np.testing.assert_allclose(summed.weight, 2 * slopes**2, rtol=1e-3, atol=1e-6)  # float32 sums with cancellation
    np.testing.assert_allclose(float(of_mean_one(summed).weight.mean()), 1.0, rtol=1e-6)


# The experiment


def test_the_right_map_is_found_to_help_where_it_does_by_construction(found):
    # Settled genes hold noise alone: moving them costs retention and gain. Holding them must win over both controls.
    result = analysed(found[1])
    assert result["verdict"] == "supported", result["reason"]
    for arm in ("uniform", "permuted"):
        contrast = result["contrasts"]["retained_methylated"][arm]
        assert contrast["low"] > 0
        assert contrast["p"] == 2 / 2**5  # all five seeds, the least there is
        assert contrast["adjusted"] is None
    for arm in MAPS:
        assert result["maps"][arm]["mean"] == pytest.approx(0.5, abs=0.1)
    assert result["maps"]["uniform"]["sd"] < 1e-6
    told = result["maps"]["methylation"]
    # Here the share is the level, whichever bases are looked at.
    assert told["repeatability"]["mean"] == pytest.approx(1, abs=1e-6)
    assert sum(told["histogram"]) == 5 * GENES * FEATURES
    assert result["maps"]["uniform"]["repeatability"]["mean"] is None
    assert abs(result["maps"]["random"]["likeness"]["mean"]) < 0.5  # about 0.14 each; the mean of five
    # Retention where it is methylated, more than elsewhere, at the strength that slows most.
    assert result["curves"]["methylation"][-1]["specific_over_uniform"]["low"] > 0


def test_a_map_that_means_nothing_is_not_found_to_help():
    plan = PLAN._replace(arms=("methylation", "uniform", "permuted", "plain"))
    result = analysed(run(Made(true=False), plan))
    # Here methylation is one more permutation, so that it beats the permuted arm at this level for 1 in 10,000 seeds.
    against = paired(np.array(result["contrasts"]["retained_methylated"]["permuted"]["values"]), level=1 - 2e-4)
    assert against.low <= 0
    assert result["verdict"] == "null", result["reason"]
    # That any uneven map beats an even one here is why the uniform arm alone would not do.
    assert result["contrasts"]["retained_methylated"]["uniform"]["low"] > 0


def test_parts_are_kept_and_a_stopped_run_goes_on_to_the_same_bits(found, tmp_path):
    lab, whole, folder = found
    asked = len(lab.asked)
    again = run(lab, PLAN, World(done=Points(folder)))
    assert len(lab.asked) == asked  # nothing is computed again
    same(again[1:], whole[1:], rtol=0)
    small = PLAN._replace(seeds=2, arms=("methylation", "plain"), betas=(0.5,))

    def stopping(words):
        return (lambda report: Outcome.CANCELLED if report.step == 2 else None,) if words == "fine-tuning" else ()

    with pytest.raises(WalkError, match="stopped after 2 of 4 parts"):
        run(Made(true=True), small, World(done=Points(tmp_path), parts=stopping))
    lab, walked = Made(true=True), []
    ended = run(lab, small, World(Points(tmp_path), walk=lambda words, name, steps: walked.append(words) or ()))
    assert lab.asked == [("tuned", 1)] * 2
    assert walked == ["fine-tuning: methylation, 0.5, 1", "fine-tuning: plain, 0.0, 1"]
    # The same trainings as in the whole plan, whatever else is in it.
    np.testing.assert_array_equal(ended.after["plain"]["gain"][0], whole.after["plain"]["gain"][0, :2])
    np.testing.assert_array_equal(ended.after["methylation"]["gain"][0], whole.after["methylation"]["gain"][0, :2])


def test_plans_that_make_no_sense_are_refused():
    lab = Made(true=True)
    for plan, sentence in (
        (PLAN._replace(seeds=1), "1 seed gives no interval"),
        (PLAN._replace(arms=("plain", "dropout")), "there is no arm 'dropout'"),
        (PLAN._replace(arms=("methylation",)), "leave it in"),
        (PLAN._replace(l2sp=(1.0,)), "give all equally many"),
        (PLAN._replace(strata=(1, 2)), "2 strata do not fit 16 genes"),
    ):
        with pytest.raises(InputError, match=sentence):
            run(lab, plan)
    lab._levels = 100 * lab._levels
    with pytest.raises(InputError, match=r"must be shares in \[0, 1\]"):
        run(lab, PLAN)


def test_all_arms_were_run(found):
    assert set(found[1].after) == set(ARMS)
    assert found[1].after["ewc"]["retained"].shape == (2, 5)
    result = analysed(found[1])
    assert set(result["contrasts"]["retained"]) == set(ARMS) - {"methylation"}
    # Both penalties forget less than the plain arm, and the stronger the less.
    for arm in ("l2sp", "ewc"):
        kept = [point["retained"]["mean"] for point in result["curves"][arm]]
        assert result["curves"]["plain"][0]["retained"]["mean"] < kept[0] < kept[1]
