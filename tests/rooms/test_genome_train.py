"""Training splice-site finders: it learns, goes on after a kill, measures itself honestly, and refuses nonsense."""

from __future__ import annotations

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.genome.data.labels import ACCEPTOR, DONOR
from thalweg.genome.model.build import Shape
from thalweg.genome.model.window import IGNORED
from thalweg.genome.tasks.evaluate import evaluate, glance
from thalweg.genome.tasks.metrics import average_precision, ranked, reliability, top_k, with_intervals
from thalweg.genome.tasks.plan import planned, settings
from thalweg.genome.tasks.prepare import crops, packed, prior, streams
from thalweg.genome.tasks.train import Recipe, learnt, started
from thalweg.genome.tasks.trained import FILE, load_trained, save_trained
from thalweg.genome.tasks.training import begun, kept, material, trained_network
from thalweg.runs.hooks import Checkpoint

SMALL = Shape(blocks=1, channels=8, width=8, window=9, features=16)
SHORT = Recipe(steps=400, batch=2, length=256, rate=1e-2, average=0.9)


@pytest.fixture(scope="module")
def given():
    return material("fly", "fly", holdout=["fly_chr4_locus:240000-334154"])


@pytest.fixture(scope="module")
def learnt_network(given):
    return trained_network(given, shape=SMALL, recipe=SHORT, seed=0, hooks=lambda words, name, read: ())


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_genes_are_parted_by_position(given):
    training, validation, held_out = ({gene.gene.name for gene in part} for part in given[:3])
    assert training
    assert validation
    assert held_out
    assert not training & (validation | held_out)
    assert not validation & held_out
    # The region counts from 1, as its author does.
    assert min(gene.gene.start for gene in given.held_out) >= 239_999
    assert max(gene.gene.end for gene in given.training) <= 239_999
    with pytest.raises(InputError, match="hold out less"):
        material("fly", "fly", holdout=["fly_chr4_locus"])


def test_packed_genes_keep_every_base_and_every_site(given):
    margin = 4
    found = packed(given.training, margin)
    assert found.scored == sum(gene.labels.size - 2 * gene.flank for gene in given.training)
    for kind in (DONOR, ACCEPTOR):
        assert np.count_nonzero(found.targets == kind) == sum(np.sum(gene.labels == kind) for gene in given.training)
    starts, ends = np.flatnonzero(found.first), np.flatnonzero(found.last)
    for gene, start, end in zip(given.training, starts, ends, strict=True):
        assert np.array_equal(found.codes[start : end + 1], gene.codes)
        assert np.all(found.codes[start - margin : start] == 4)
        assert np.all(found.targets[start : start + gene.flank] == IGNORED)
    with pytest.raises(InputError, match="no gene"):
        packed([], margin)


def test_crops_show_every_base_once_in_a_pass_and_streams_in_order(given):
    found = packed(given.training, 4)
    data = crops(found, 4, 256, 2)
    cut, seen = eqx.filter_jit(lambda at: data.next(at)), []
    cursor = data.init(jax.random.key(0))
    for _ in range(data.order.arrays.shape[0] // 2):
        window, cursor = cut(cursor)
        seen.append(np.asarray(window.targets))
        assert window.codes.shape == (2, 256 + 8)
    sites = np.count_nonzero(found.targets > 0)
    shown = np.count_nonzero(np.concatenate(seen) > 0)
    # All but what lies before the shift of this pass, one crop at most, and a batch that is not full.
    assert sites - np.count_nonzero(found.targets[:256] > 0) - 20 <= shown <= sites
    again, _ = cut(data.init(jax.random.key(0)))
    assert np.array_equal(again.targets, seen[0])
    ordered = streams(found, 4, 64, 3)
    first, cursor = ordered.next(ordered.init(jax.random.key(0)))
    second, _ = ordered.next(cursor)
    assert np.array_equal(first.codes[:, 64:], second.codes[:, :8])
    assert bool(jnp.all(first.first[:, 0]))
    assert np.array_equal(first.codes[0, 4:-4], found.codes[:64])


def test_the_prior_is_counted(given):
    found = packed(given.training, 4)
    table = np.exp(prior(found))
    at = np.flatnonzero(found.targets == DONOR)
    before_gt = np.sum((found.codes[at + 1] == 2) & (found.codes[at + 2] == 3))
    every = np.flatnonzero(found.targets != IGNORED)
    gt = np.sum((found.codes[every + 1] == 2) & (found.codes[every + 2] == 3))
    assert table[0, 2 * 5 + 3] == pytest.approx((before_gt + 0.5) / (gt + 1))
    assert np.all(table > 0)
    # Next to an unknown base a site is as likely as anywhere.
    assert table[0, 24] == pytest.approx(at.size / every.size, rel=0.02)


def test_training_learns(given, learnt_network):
    seen = packed(given.training, SMALL.window // 2)
    fresh = started(SMALL, seen, seed=0)
    before, after = glance(fresh, seen), glance(learnt_network.net, seen)
    # The prior alone ranks by two bases and finds next to nothing; a tiny network learns the words around them.
    assert after["donor_ap"] > 4 * before["donor_ap"]
    assert after["acceptor_ap"] > 4 * before["acceptor_ap"]
    figures = learnt_network.card["validation_figures"]
    assert figures["donors"] == sum(int(np.sum(gene.labels == DONOR)) for gene in given.validation)
    assert np.array_equal(fresh.prior, learnt_network.net.prior)


def goes_on(place, start, seen, recipe, whole):
    def stop(report):
        return Outcome.CANCELLED if report.step >= 5 else None

    with pytest.raises(WalkError, match="resume"):
        learnt(start, seen, recipe, seed=0, hooks=(Checkpoint(place, every_steps=1), stop))
    return same(learnt(start, seen, recipe, seed=0, hooks=(Checkpoint(place),)).value, whole)


def test_a_training_that_was_stopped_goes_on_bit_for_bit(given, learnt_network, tmp_path):
    seen = packed(given.training, SMALL.window // 2)
    start = started(SMALL, seen, seed=0)
    assert goes_on(tmp_path / "state.safetensors", start, seen, SHORT, learnt_network.net)
    assert not same(learnt(start, seen, SHORT, seed=1).value, learnt_network.net)


def test_a_truncated_training_goes_on_bit_for_bit_with_the_states_it_carried(given, tmp_path):
    recipe = dataclasses.replace(SHORT, steps=12, bptt=64)
    seen = packed(given.training, SMALL.window // 2)
    start = started(SMALL, seen, seed=0)
    end = learnt(start, seen, recipe, seed=0)
    assert goes_on(tmp_path / "state.safetensors", start, seen, recipe, end.value)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(end.stats["carry"]))


def test_another_training_begins_where_one_ended(given, learnt_network):
    net, shape = begun(given, Shape(), seed=5, init=learnt_network)
    assert shape == SMALL
    assert same(net, learnt_network.net)


def test_a_network_comes_back_from_its_file_bit_for_bit(learnt_network, tmp_path):
    kept(tmp_path, learnt_network)
    back = load_trained(tmp_path)
    assert same(back.net, learnt_network.net)
    assert (back.shape, back.card) == (SMALL, json.loads(json.dumps(learnt_network.card)))
    assert json.loads((tmp_path / FILE).with_suffix(".json").read_text())["card"] == back.card
    save_trained(tmp_path / "gru.safetensors", learnt_network._replace(shape=dataclasses.replace(SMALL, cell="gru")))
    with pytest.raises(InputError):
        load_trained(tmp_path / "gru.safetensors")
    damaged = bytearray((tmp_path / FILE).read_bytes())
    damaged[-100] ^= 1
    (tmp_path / FILE).write_bytes(bytes(damaged))
    with pytest.raises(InputError, match="damaged"):
        load_trained(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_trained("nowhere")


def test_an_evaluation_counts_what_is_there(given, learnt_network):
    found = evaluate(learnt_network.net, given.held_out)
    keys = "donor_topk acceptor_topk donor_ap acceptor_ap donors acceptors bases kbp_per_cpu_second calibration_error"
    assert set(keys.split()) <= set(found)
    assert found["bases"] == sum(gene.labels.size - 2 * gene.flank for gene in given.held_out)
    assert found["donors"] == sum(int(np.sum(gene.labels == DONOR)) for gene in given.held_out)
    for name in ("donor_topk", "acceptor_ap"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high
        assert found[f"{name}_masked"] >= found[name] - 1e-9  # sites of other transcripts were only false alarms
    json.dumps(found, allow_nan=False)


def test_the_network_that_comes_with_the_package_finds_most_sites():
    given = material("cress", "cress", holdout=["cress_chr1_start:2700000-3001362"])
    trained = load_trained("arabidopsis")  # it has learnt these very genes: a check of the file, not of its worth
    found = evaluate(trained.net, given.held_out)
    assert min(found["donor_topk"], found["acceptor_topk"]) > 0.85


def test_without_a_site_nothing_is_evaluated_and_one_gene_has_no_interval(given, learnt_network):
    split = next(gene for gene in given.held_out if gene.labels.any())
    found = evaluate(learnt_network.net, [split])
    assert found["donor_topk_interval"] is None
    assert found["donors"] == np.count_nonzero(split.labels == DONOR)
    with pytest.raises(InputError, match="has an intron"):
        evaluate(learnt_network.net, [split._replace(labels=np.zeros_like(split.labels))])


def test_figures_of_merit_are_those_of_the_definitions():
    random = np.random.default_rng(4)
    count, genes = 3000, 20
    hits, gene = random.random(count) < 0.05, np.sort(random.integers(0, genes, count))
    scores = np.round(random.normal(size=count) + 2 * hits, 1)  # with ties
    order = np.lexsort((hits, -scores))
    k = int(hits.sum())
    precision = np.cumsum(hits[order]) / np.arange(1, count + 1)
    one = ranked(scores, hits, gene, genes)
    assert top_k(one) == pytest.approx(hits[order][:k].mean(), rel=1e-12)
    assert average_precision(one) == pytest.approx(precision[hits[order]].mean(), rel=1e-12)
    # A gene that is drawn twice counts like two copies of it.
    times = random.integers(0, 3, genes)
    rows = np.repeat(np.arange(count), times[gene])
    copies = ranked(scores[rows], hits[rows], gene[rows], genes)
    assert top_k(one, times) == pytest.approx(top_k(copies), rel=1e-12)
    # Copies stand beside each other; counted at once the last of them speaks for all: a hundredth at most.
    assert average_precision(one, times) == pytest.approx(average_precision(copies), rel=0.01)
    low, high = with_intervals(one)["ap_interval"]  # type: ignore[misc]
    assert low < average_precision(one) < high
    nothing = ranked(scores, np.zeros(count, bool), gene, genes)
    assert np.isnan(top_k(nothing))


def test_a_calibrated_finder_has_no_calibration_error():
    random = np.random.default_rng(5)
    chance = random.uniform(0.01, 1, 100_000)
    hits = random.random(chance.size) < chance
    # Fifteen bins of 6,700 draws: each mean is off by 0.006 at most (one standard deviation), their mean far less.
    assert reliability(chance, hits).error < 0.01
    assert reliability(chance**2, hits).error > 0.1


def test_a_plan_is_kept_and_settings_are_checked(given, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"steps": 77, "steps_per_second": 1.0}))
    assert planned(tmp_path, given, SMALL, SHORT, 60.0, note=print).steps == 77
    file = tmp_path / "recipe.toml"
    file.write_text('[shape]\ncell = "gru"\n[recipe]\nrate = 0.001\n')
    shape, recipe = settings(file, cell=None, steps=9, bptt=50)
    assert (shape.cell, recipe.rate, recipe.steps, recipe.bptt) == ("gru", 0.001, 9, 50)
    for text, said in (("[shape]\nwidht = 3\n", "widht"), ("[recipe]\nbatch = 'x'\n", "kind of"), ("[more]\n", "more")):
        file.write_text(text)
        with pytest.raises(InputError, match=said):
            settings(file)
    with pytest.raises(InputError, match="horizon"):
        settings(None, bptt=-1)
