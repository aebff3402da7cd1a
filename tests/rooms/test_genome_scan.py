"""Scans of whole sequences: passes against one piece, both strands, gaps, regions, going on, and files."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
import toy_genome as toy

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import genes
from thalweg.genome.data.region import Region
from thalweg.genome.data.sequence import Sequence, read_fasta, reverse_complement, to_codes
from thalweg.genome.figures.scan import scan_page
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.tasks import scan as task
from thalweg.genome.tasks.scan import KINDS, scan
from thalweg.genome.tasks.scan_genes import scan_genes
from thalweg.genome.tasks.scan_passes import Passes
from thalweg.report import render_page
from thalweg.runs import Points


def made(cell: Any = "mingru", blocks: int = 2):
    shape = Shape(cell=cell, blocks=blocks, channels=8, width=8, features=8, window=5)
    net = network(shape, np.log(np.full((2, 25), 0.2)), jax.random.key(1))
    return eqx.tree_at(lambda one: one.head, net, net.head * 100)


def random_codes(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, size).astype(np.int8)


@pytest.mark.parametrize(("cell", "blocks"), [("mingru", 2), pytest.param("lstm", 3, marks=pytest.mark.slow)])
def test_passes_are_exact(cell, blocks):
    net, codes = made(cell, blocks), random_codes(1000)
    left: dict = {}
    found = np.full((1000, 3), np.nan, np.float32)
    passes = Passes(net, codes, 64, 3)
    for turn, tile in Passes.turns(net, 1000, 64, 3):
        if turn < blocks:
            left[turn, tile] = passes.states(turn, tile, lambda *part: left[part])
        else:
            start, chances, left[turn, tile] = passes.chances(tile, lambda *part: left[part])
            found[start : start + len(chances)] = chances
    # Sums of 8 numbers in another order, in float32, times a head of some hundreds.
    np.testing.assert_allclose(found, probabilities(net, codes), atol=1e-4)


def by_hand(net, codes: np.ndarray, threshold: float) -> dict[tuple[str, int], list[int]]:
    found = {}
    for strand, read in ((1, codes), (-1, reverse_complement(codes))):
        chances = probabilities(net, read)[::strand]
        for name, kind in KINDS.items():
            found[name, strand] = np.flatnonzero(chances[:, kind] >= threshold).tolist()
    return found


def listed(found) -> dict[tuple[str, int], list[int]]:
    grouped: dict[tuple[str, int], list[int]] = {}
    for name in KINDS:
        for one in found.sites(name):
            grouped.setdefault((name, one.strand), []).extend(one.positions.tolist())
    return grouped


@pytest.fixture
def short(monkeypatch):
    """What is held in memory is so short that small sequences are read in passes."""
    monkeypatch.setattr(task, "HELD", 256)
    monkeypatch.setattr(task, "CHUNK", 64)


def test_both_strands_gaps_and_files(tmp_path):
    net, codes = made(), random_codes(5000)
    codes[2000:3200] = 4  # a gap
    codes[100:140] = 4  # no gap
    notes: list[str] = []
    found = scan(net, {"one": Sequence("one", codes, "made")}, threshold=0.4, note=notes.append)
    left, right = by_hand(net, codes[:2000], 0.4), by_hand(net, codes[3200:], 0.4)
    want = {key: [*left[key], *(3200 + at for at in right[key])] for key in left}
    assert listed(found) == want
    assert sum(map(len, want.values())) > 10
    assert (found.result["bases"], found.result["gap_bases"]) == (3800, 1200)
    assert "1200 bases in runs" in notes[0]
    assert found.result["donors"] == sum(len(value) for key, value in want.items() if key[0] == "donor")
    names = {path.name for path in found.write(tmp_path)}
    assert names == {f"{kind}s{end}" for kind in KINDS for end in (".bed", ".plus.bedgraph", ".minus.bedgraph")}
    rows = [line.split("\t") for line in (tmp_path / "donors.bed").read_text().splitlines()]
    assert sorted(int(row[1]) for row in rows if row[5] == "-") == want["donor", -1]
    track = np.zeros(5000)
    for line in (tmp_path / "acceptors.minus.bedgraph").read_text().splitlines():
        _, start, end, value = line.split("\t")
        track[int(start) : int(end)] = -float(value)
    half = probabilities(net, reverse_complement(codes[3200:]))[::-1, KINDS["acceptor"]]
    np.testing.assert_allclose(track[3200:], np.where(half < task.FLOOR, 0, half), atol=6e-4)  # three decimals
    assert not track[2000:3200].any()
    assert "Splice sites" in render_page(scan_page(found))
    assert len(found.write(tmp_path / "few", tracks=False)) == 2


def test_a_region_is_read_with_what_is_around_it():
    net, codes = made(), random_codes(3000)
    sequences = {"one": Sequence("one", codes, "made"), "two": Sequence("two", codes[:100], "made")}
    found = listed(scan(net, sequences, region=Region("one", 1000, 1500)))
    want = by_hand(net, codes, 0.5)
    assert found == {key: [at for at in value if 1000 <= at < 1500] for key, value in want.items()}


def test_a_killed_scan_goes_on_bit_for_bit(short, tmp_path):
    net, sequences = made(), {"one": Sequence("one", random_codes(1500), "made")}
    whole, store = scan(net, sequences), Points(tmp_path / "parts")
    assert listed(whole) == by_hand(net, sequences["one"].codes, 0.5)
    parts = []
    for stop in (3, 14, 30):
        with pytest.raises(WalkError, match=f"stopped after {stop} of 36 parts"):
            scan(net, sequences, done=store, hooks=(lambda report: Outcome.CANCELLED if report.step == stop else None,))  # noqa: B023
        parts.append(len(list((tmp_path / "parts").iterdir())))
    assert parts == [3, 14, 30]
    resumed = scan(net, sequences, done=store)
    for one, two in zip(resumed.found, whole.found, strict=True):
        for name in KINDS:
            assert [array.tobytes() for array in one[name]] == [array.tobytes() for array in two[name]]


def test_genes_beside_the_whole(tmp_path):
    net = made()
    sequences = read_fasta(toy.put(tmp_path, "toy.fa", toy.fasta(toy.bases())))
    found = genes(read_annotation(toy.put(tmp_path, "toy.gff3", toy.gff3())))
    scanned = scan(net, sequences, threshold=0.1)
    store = Points(tmp_path / "parts")
    inside = scan_genes(net, sequences, found, scanned, done=store)
    gene = next(gene for gene in found if gene.strand < 0)
    codes = reverse_complement(sequences["toy"].codes[gene.start - 150 : gene.end + 150])
    chances = probabilities(net, codes)[150:-150][::-1, KINDS["donor"]]
    mine = next(one for one in inside.sites["donor"] if one.strand < 0)
    assert mine.positions.tolist() == (gene.start + np.flatnonzero(chances >= 0.1)).tolist()
    assert inside.result["genes"] == 3
    assert inside.result["donors_annotated"] == 3
    assert scan_genes(net, sequences, found, scanned, done=store).result == inside.result
    assert "Beside the annotation" in render_page(scan_page(scanned, found, inside))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="threshold is 0"):
        scan(made(), {"one": Sequence("one", random_codes(10), "made")}, threshold=0)
    with pytest.raises(InputError, match="no base but unknown ones"):
        scan(made(), {"one": Sequence("one", to_codes("N" * 2000), "made")})
