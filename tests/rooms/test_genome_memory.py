"""How far errors travel and whether it is used: slopes, cuts, shuffled flanks, and the command over all of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import isolate
from scipy.special import gammaincinv
from toy_genome import GENES, bases, fasta, gff3, put

from thalweg.core.errors import InputError
from thalweg.genome.data.genes import Gene
from thalweg.genome.data.labels import LabelledGene
from thalweg.genome.data.shuffle import shuffled
from thalweg.genome.energy import ThroughTime
from thalweg.genome.memory_command import memory
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.window import Window
from thalweg.genome.tasks.evaluate import predict
from thalweg.genome.tasks.horizon import CutThroughTime, effort, remembering
from thalweg.genome.tasks.lag import Slopes, after_stem, lag_figures, slopes
from thalweg.genome.tasks.metrics import ranked, top_k
from thalweg.genome.tasks.shuffled_flanks import Sample, chances, shuffled_flanks, weighted_top_k
from thalweg.genome.tasks.site_windows import Places, around, batches
from thalweg.genome.tasks.train import Recipe
from thalweg.genome.tasks.trained import FILE, Trained, save_trained
from thalweg.methods.recurrence import MinimalGRU
from thalweg.methods.recurrence_cut import Cut, Forgetful
from thalweg.methods.recurrence_gated import LSTM

SHAPE = Shape(blocks=1, channels=6, width=4, window=5, features=5)
RATE = 1e-4  # of false alarms of a statistical test


@functools.cache
def small(cell: Any = "mingru", blocks: int = 1) -> SpliceNetwork:
    """A network of random numbers, none of which is so small that little would come back."""
    shape, random = dataclasses.replace(SHAPE, cell=cell, blocks=blocks), np.random.default_rng(0)
    template = eqx.filter_eval_shape(network, shape, np.zeros((2, 25)), jax.random.key(0))
    fill = lambda leaf: jnp.asarray(random.normal(size=leaf.shape, scale=0.7).astype(np.float32))  # noqa: E731
    net = jax.tree.map(fill, template)
    # Donors are likely where acceptors are not.
    head = net.head[:, 1] / 10
    new = jnp.stack([0 * head, head, -head], axis=1), net.prior * 0 - 4.6
    net = eqx.tree_at(lambda n: (n.head, n.prior), net, new)
    # What is far is felt: states that fade slowly, and weigh more than what is near.
    inner = lambda n: [leaf for b in n.blocks for leaf in (b.forward.bias, b.backward.bias, b.out)]  # noqa: E731
    slow = jnp.asarray(np.where(np.arange(net.blocks[0].forward.bias.size) < shape.width, -2.5, 0), jnp.float32)
    return eqx.tree_at(inner, net, [leaf * 8 if leaf.ndim == 2 else leaf + slow for leaf in inner(net)])


def made(count: int, seed: int = 0) -> LabelledGene:
    """A gene of random bases with some sites."""
    random = np.random.default_rng(seed)
    codes, labels = random.integers(0, 4, count).astype(np.int8), np.zeros(count, np.int8)
    for kind, places in ((1, range(20, count - 20, 40)), (2, range(40, count - 20, 40))):
        labels[list(places)] = kind
    return LabelledGene(Gene(f"g{seed}", "", "toy", 0, count, 1, (), ()), codes, labels, np.zeros_like(codes), 5)


@pytest.mark.parametrize(("cell", "blocks"), [("mingru", 1), pytest.param("lstm", 2, marks=pytest.mark.slow)])
def test_slopes_are_those_of_finite_differences_of_letters(x64, cell, blocks):
    """Letters of bases all over a window that reaches past one end of its gene are moved."""
    net = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), small(cell, blocks))
    # Away from the corner of the rectifier slopes are smooth.
    net = eqx.tree_at(lambda n: n.stem.bias, net, net.stem.bias + 9)
    margin, reach, kind = net.margin, 12, jnp.asarray([1])
    seen = around([made(60)], Places(np.array([0]), np.array([8])), reach, margin)
    codes, first, last = (jnp.asarray(leaf.T) for leaf in seen[:3])

    def stem(letters):
        time = letters.shape[0] - 2 * margin
        near = jnp.concatenate([letters[at : at + time] for at in range(2 * margin + 1)], axis=-1)
        window, _, features = net.stem.kernel.shape
        return jax.nn.relu(near @ net.stem.kernel.reshape(4 * window, features) + net.stem.bias) @ net.stem.mix

    @jax.jit
    def odds(letters):
        scores = after_stem(net, stem(letters), codes, first, last)[reach, 0]
        return scores[1] - scores[0]

    @jax.jit
    def told(letters):
        taps = slopes(net, codes, first, last, kind)
        scores = net(codes, first, last)[0][reach, 0]
        return taps, jax.vjp(stem, letters)[1](taps)[0], scores[1] - scores[0]

    letters = np.asarray(jax.nn.one_hot(codes, 4, dtype=jnp.float64))
    taps, by_letters, whole = map(np.asarray, told(letters))
    assert odds(letters) == pytest.approx(float(whole), rel=1e-12)
    for base in (0, 2, 5, 6, 9, 13, 14, 15, 20, 26, 28):
        for letter in range(4):
            way = np.zeros_like(letters)
            way[base, 0, letter] = 1e-5
            found = (float(odds(letters + way)) - float(odds(letters - way))) / 2e-5
            # The error is about 1e-10 of the third derivative, and rounding 1e-16 / 1e-5.
            assert by_letters[base, 0, letter] == pytest.approx(found, rel=1e-6, abs=1e-9)
    assert not taps[:4].any()  # nothing comes back from before the gene, and something from each of its bases
    assert np.abs(taps[4:]).max(axis=(1, 2)).min() > 0


def test_windows_are_read_like_whole_genes_and_the_last_batch_is_filled():
    net, genes = small(), [made(70, 1), made(90, 2)]
    at = Places(np.array([0, 1, 1, 0, 1, 0]), np.array([6, 30, 80, 50, 5, 64]))
    seen = around(genes, at, 160, net.margin)
    assert [(part.start, part.stop, len(some.codes)) for part, some in batches(seen)] == [(0, 4, 4), (4, 6, 4)]
    whole = predict(net, genes)
    expected = whole.chances[np.flatnonzero(whole.material.first)[at.gene] + at.place]
    for kind in (1, 2):
        # Float32, in chunks or in one piece.
        np.testing.assert_allclose(chances(net, seen, kind), expected[:, kind], atol=1e-5)


@pytest.mark.parametrize(("kind", "reverse"), [pytest.param("mingru", False, marks=pytest.mark.slow), ("lstm", True)])
def test_a_cut_stops_errors_and_nothing_else(x64, kind, reverse):
    random = np.random.default_rng(0)
    matrix = jnp.asarray(random.normal(size=(3, 12)))
    cell = MinimalGRU(3) if kind == "mingru" else LSTM(matrix=matrix, width=3)
    drive = jnp.asarray(random.normal(size=(12, 2, cell.inputs)))
    start = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), cell.rest(2, jnp.float64))
    fresh = jnp.zeros((12, 2), bool).at[5, 0].set(True)

    @jax.jit
    def told(drive):
        def read(of: Any, drive: Any) -> Any:
            return of(drive, start, fresh, reverse=reverse)

        cut, every = Cut(cell, 4), (cell, Cut(cell, 4), Forgetful(cell))
        by = [jax.jacrev(lambda drive, of=of: read(of, drive)[0][:, 1].sum(axis=-1))(drive)[:, :, 1] for of in every]
        return read(cell, drive), read(cut, drive), [jnp.abs(each).sum(axis=-1) for each in by]

    found: Any = jax.tree.map(np.asarray, told(drive))
    plain, with_cuts, (whole, cut, alone) = found
    for one, other in zip(*map(jax.tree.leaves, (plain, with_cuts)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    same, here = np.arange(12)[:, None] // 4 == np.arange(12) // 4, np.eye(12, dtype=bool)
    np.testing.assert_allclose(cut[same], whole[same], rtol=1e-12)
    assert not cut[~same].any()
    assert np.abs(whole[~same]).max() > 1e-4
    assert not alone[~here].any()
    assert np.abs(alone[here]).min() > 0
    with pytest.raises(InputError, match="does not divide"):
        Cut(cell, 5)(drive, start)


@pytest.mark.slow
def test_a_shorter_horizon_changes_slopes_and_not_the_loss():
    net, gene = small(), made(24 + 4)
    ends = jnp.zeros((1, 24), bool)
    window = Window(jnp.asarray(gene.codes[None]), jnp.asarray(gene.labels[None, 2:-2]), ends, ends)
    rules = ThroughTime(), CutThroughTime(24), CutThroughTime(6), CutThroughTime(0)
    told = jax.jit(lambda: [rule(net, window, None, 0, None)[::2] for rule in rules])()
    (whole, loss), (same, _), (cut, cut_loss), (_, other) = told
    assert float(cut_loss["loss"]) == pytest.approx(float(loss["loss"]), rel=1e-6)  # float32
    assert float(other["loss"]) != pytest.approx(float(loss["loss"]), rel=1e-3)
    for one, two in zip(*map(jax.tree.leaves, (same, whole)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-7)  # float32, sums in another order
    norm = lambda slopes: float(jnp.abs(slopes.blocks[0].forward.matrix).sum())  # noqa: E731
    assert abs(norm(cut) - norm(whole)) > 1e-3 * norm(whole)


def test_without_memory_only_the_stem_sees():
    net, codes = small(), made(28).codes[:, None]
    far = np.concatenate([codes[:14], 3 - codes[14:]])
    scores = jax.jit(lambda codes: remembering(net, 0)(codes)[0])
    same = np.isclose(scores(codes), scores(far), rtol=1e-6).all(axis=(1, 2))  # float32
    assert same[:10].all()
    assert not same[10:].any()  # the stem reads two bases to either side


def test_shuffled_sequences_keep_their_dinucleotides_and_all_are_equally_likely():
    random = np.random.default_rng(0)
    long = random.integers(0, 5, 500).astype(np.int8)
    moved = shuffled(long, random)
    pairs = lambda codes: np.bincount(codes[:-1] * 5 + codes[1:], minlength=25)  # noqa: E731
    assert (pairs(moved) == pairs(long)).all()
    assert (moved != long).sum() > 200
    assert (moved[0], moved[-1]) == (long[0], long[-1])
    short = np.array([0, 1, 0, 2, 1, 2, 0, 1, 1], np.int8)
    every = [word for word in set(itertools.permutations(short[1:-1].tolist()))
             if (pairs(np.array([0, *word, 1])) == pairs(short)).all()]  # fmt: skip
    draws = 400 * len(every)
    counts = dict.fromkeys(every, 0)
    for _ in range(draws):
        counts[tuple(shuffled(short, random)[1:-1].tolist())] += 1
    assert len(every) >= 6
    squares = sum((count - 400) ** 2 / 400 for count in counts.values())
    # The quantile of chi squared of which larger ones come up at the rate RATE.
    assert squares < 2 * gammaincinv((len(every) - 1) / 2, 1 - RATE)


def test_a_weighted_sample_estimates_top_k():
    random = np.random.default_rng(1)
    hits = np.zeros(20_000, bool)
    hits[:100] = True
    chance = random.normal(size=hits.size) + 3.2 * hits
    gene = np.zeros(hits.size, np.int64)
    exact = top_k(ranked(chance, hits, gene, 1))
    everything = Sample(Places(gene, gene), hits, np.ones(hits.size), chance)
    assert weighted_top_k(chance, everything) == pytest.approx(exact, rel=1e-12)
    estimates = []
    with_chance = np.where(hits, 1.0, np.minimum(1.0, 0.01 + np.exp(2 * (chance - 3))))
    for _ in range(200):
        kept = random.random(hits.size) < with_chance
        some = Sample(Places(gene[kept], gene[kept]), hits[kept], 1 / with_chance[kept], chance[kept])
        estimates.append(weighted_top_k(chance[kept], some))
    # The estimate is a quantile of a weighted sample: biased by less than the worth of one site, 0.01; the rest is four
    # standard errors, a rate of 6e-5.
    assert abs(np.mean(estimates) - exact) < 0.01 + 4 * np.std(estimates) / np.sqrt(200)
    assert 0.2 < exact < 0.8
    assert np.std(estimates) < 0.1


def test_a_network_without_memory_does_not_feel_shuffled_flanks_and_one_with_memory_does():
    for net, feels in ((remembering(small(), 0), False), (small(), True)):
        genes = believed(net, [made(150, seed) for seed in range(6)])
        told = shuffled_flanks(net, genes, seed=0, sites=12, reach=160, distances=(2, 159))
        for name in ("donor", "acceptor"):
            assert told[name]["sites"] >= 6
            # The sites are what the network says, but for ties between equal words of the stem and rounding.
            assert min(told[name]["exact"], told[name]["topk"]["whole"], told[name]["topk"]["159"]) > 0.9
            # The stem reads two bases to either side, and the shuffling leaves them.
            assert (told[name]["topk"]["2"] < 0.9) == feels
    with pytest.raises(InputError, match="between 0 and 80"):
        shuffled_flanks(net, genes, seed=0, reach=80, distances=(80,))


def believed(net: SpliceNetwork, genes: list[LabelledGene]) -> list[LabelledGene]:
    """The genes with sites where the network says so, four of each kind per gene on average."""
    found, labels = predict(net, genes), []
    scored = found.material.targets >= 0
    marks = np.zeros(scored.size, np.int8)
    for kind in (1, 2):
        free = np.where(scored & (marks == 0), found.chances[:, kind], -1)
        marks[free >= np.sort(free)[-4 * len(genes)]] = kind
    for number in range(len(genes)):
        labels.append(marks[found.material.gene == number])
    return [gene._replace(labels=own) for gene, own in zip(genes, labels, strict=True)]


def test_shares_of_slopes_that_fall_off_exponentially():
    reach, length = 1500, 60.0
    far = np.abs(np.arange(-reach, reach + 1))
    norms = np.tile(np.exp(-far / length), (8, 1)) * np.arange(1, 9)[:, None]
    real = np.ones(norms.shape, bool)
    real[0, :700] = False  # the first site has fewer bases before it, and what stands there must not count
    norms[0, :700] = 1e6
    kinds = np.repeat([1, 2], 4)
    told = lag_figures(Slopes(kinds, np.arange(8), norms, real))
    for name in ("donor", "acceptor"):
        total = np.exp(-far / length).sum()
        for key, one in told[name]["beyond"].items():
            # What the first site lacks beyond 800 bases is 2e-6 of the sum.
            assert one["share"] == pytest.approx(np.exp(-far / length)[far > int(key)].sum() / total, abs=1e-5)
        low, high = told[name]["within_interval"]
        assert low <= told[name]["within"] <= high
        assert abs(told[name]["within"] - length * np.log(10)) < 3
        at, value = (np.array(told[name][field]) for field in ("downstream_distance", "downstream"))
        slope = np.polyfit(at[at > 20], np.log(value[at > 20]), 1)[0]
        assert slope == pytest.approx(-1 / length, rel=0.1)  # bins are a sixth of their distance wide


def test_horizons_share_a_crop_and_wrong_ones_are_refused():
    told = effort((10, 50, 200, 1000), Recipe(), carried=True)
    assert told.recipe.length == 1000
    assert len(told.arms) == 9
    assert told.arms[4].name == "memoryless"
    assert effort((64,), Recipe()).recipe.length == 1024
    for wrong, said in (((7, 11, 13, 17), "17017"), ((), "from 1 on"), ((0, 10), "from 1 on")):
        with pytest.raises(InputError, match=said):
            effort(wrong, Recipe())


@pytest.mark.parametrize("more", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_command_measures_trains_and_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch, more):
    isolate(tmp_path, monkeypatch)
    many = [gene._replace(gene=f"{gene.gene}{n}", name=f"{gene.name}{n}",
                          exons=tuple((a + 1200 * n, b + 1200 * n) for a, b in gene.exons))
            for n in range(8) for gene in GENES if gene.gene != "silent"]  # fmt: skip
    put(tmp_path, "g.fa", fasta(bases(many, 9600)))
    put(tmp_path, "g.gff3", gff3(many))
    save_trained(tmp_path / "net" / FILE, Trained(small(), SHAPE, {"holdout": ["toy:7000-9600"]}))
    words = ["net", "--fasta", "g.fa", "--annotation", "g.gff3", "--region", "toy:7201-9600", "--sites", "8", "--json"]
    words += ["--horizons", "10,20", "--carried", "--seeds", "2", "--steps", "3"] if more else []

    def run(name: str) -> dict[str, Any]:
        answer = CliRunner().invoke(memory, [*words, "--out", name])
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    told = run("one")
    for name in ("donor", "acceptor"):
        assert told["lag"][name]["sites"] >= 2
        assert 0 <= told["lag"][name]["within"] <= 2000
        assert told["shuffled_flanks"][name]["lost"]["whole"] == 0
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert ("Trained with shorter errors" in page) == ("trained" in told) == more
    if not more:
        return
    names = [arm["name"] for arm in told["trained"]]
    assert names == ["cut-10", "cut-20", "memoryless", "carried-10", "carried-20"]
    for name in ("donor", "acceptor"):
        assert all(0 <= arm[name]["topk"] <= 1 for arm in told["trained"])
        assert told["trained"][1][name]["lost"] == 0
        assert 0 <= told["trained"][-1][name]["anew_topk"] <= 1
    # Some parts are lost, and the run goes on.
    shutil.copytree("one", "two")
    for part in sorted(Path("two/parts").glob("*.safetensors"))[::2]:
        part.unlink()
    again = run("two")
    for each in (*told["trained"], *again["trained"]):
        del each["seconds"]
    assert all(told[key] == again[key] for key in ("lag", "shuffled_flanks", "trained"))
