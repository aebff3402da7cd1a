"""What the experiment on plasticity says of results that are made up: areas, contrasts and verdicts."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import genes
from thalweg.genome.data.sequence import read_fasta
from thalweg.genome.figures.plasticity import frontier_figure, plasticity_page
from thalweg.genome.tasks import plasticity
from thalweg.genome.tasks.plasticity.analysis import analysed, area, areas_of
from thalweg.genome.tasks.plasticity.arms import MAPS
from thalweg.genome.tasks.plasticity.lab import MEASURES, MapSeen, Outcomes, Plan
from thalweg.genome.tasks.plasticity.pair import pair
from thalweg.report import PlotlyFigure, write_page


def test_the_area_under_a_frontier():
    # By hand: nothing up to a loss of 0.2, then a gain of 1 up to 0.5, then 3 up to the end of the box at 1.
    assert area(np.array([3.0, 1.0, 0.5]), np.array([0.5, 0.2, 0.8]), (2.0, 1.0)) == pytest.approx((0.3 + 1.5) / 2)
    # Points beyond the box add nothing; a point that costs nothing counts from the start; losses below zero are none.
    assert area(np.array([5.0]), np.array([1.5]), (2.0, 1.0)) == 0
    assert area(np.array([1.0]), np.array([-0.3]), (2.0, 1.0)) == pytest.approx(0.5)
    assert area(np.array([-1.0]), np.array([0.1]), (2.0, 1.0)) == 0


def outcomes(**shifts: float) -> Outcomes:
    """Four arms with one strength that gain 1 and lose 0.5 on the average, shifted in what they gain."""
    random, seeds = np.random.default_rng(0), 10
    plan = Plan(seeds=seeds, arms=("methylation", "uniform", "permuted", "plain"), betas=(0.5,))
    before = {name: random.normal(0.8, 0.01, seeds) for name in MEASURES}
    after = {}
    for arm in plan.arms:
        loss = 1.0 if arm == "plain" else 0.5
        gain = {"plain": 1.2}.get(arm, 1.0) + shifts.get(arm, 0.0)
        moved = {name: before[name] - loss + random.normal(0, 0.01, seeds) for name in MEASURES[1:]}
        after[arm] = {name: value[None] for name, value in moved.items()}
        after[arm]["gain"] = (before["gain"] + gain + random.normal(0, 0.01, seeds))[None]
    even = np.full(seeds, 0.2)
    seen = MapSeen(even, even, even, np.full(seeds, np.nan), np.ones(200, int))
    maps = {arm: seen for arm in plan.arms if arm in MAPS}
    return Outcomes(plan, before, after, maps)


@pytest.mark.parametrize(
    ("shift", "verdict", "words"),
    [(0.3, "supported", "larger area"), (-0.3, "opposed", "smaller area"), (0.0, "null", "is excluded")],
)
def test_verdicts_follow_from_the_intervals(shift, verdict, words):
    result = analysed(outcomes(methylation=shift))
    assert result["verdict"] == verdict, result["reason"]
    assert words in result["reason"]


def test_without_a_trade_off_there_is_no_verdict():
    found = outcomes()
    for name in MEASURES[1:]:
        found.after["plain"][name] = found.before[name][None] + 0.1
    result = analysed(found)
    assert result["verdict"] == "uninformative"
    assert "forgets nothing" in result["reason"]
    assert set(areas_of({a: {n: v - found.before[n] for n, v in of.items()} for a, of in found.after.items()},
                        "retained").values()) == {None}  # fmt: skip


def test_the_report_says_the_verdict_and_what_differs_from_the_plan(tmp_path):
    many = dict.fromkeys("learnt measured retained retained_methylated retained_unmethylated second gained".split(), 9)
    told = {"genes": many, "retain": "chr1:1-9", "gain": "chr2:1-9", "level": 0.1, "pretrain_steps": 5,
            "tune_steps": 5, "strata": False}  # fmt: skip
    page = plasticity_page(analysed(outcomes(methylation=0.3)) | told)
    text = write_page(page, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Supported: methylation tells which connections to hold." in text
    assert "the arms random, l2sp, ewc were left out" in text
    assert "methylation less" in text
    frontier: Any = next(block for block in page.sections[0].blocks if isinstance(block, PlotlyFigure)).figure
    assert {trace.name for trace in frontier.data} == {"methylation", "uniform", "permuted", "plain"}
    assert len(frontier.data[0].error_x.array) == 1


def test_what_was_recorded_follows_from_the_rules_and_can_be_shown():
    result = json.loads((files(plasticity) / "recorded.json").read_text(encoding="utf-8"))
    gain = result["curves"]["plain"][0]["gain"]
    assert (result["verdict"] == "uninformative") == (gain["low"] <= 0)
    frontier_figure(result, "retained_methylated")


@pytest.fixture(scope="module")
def methylation(tmp_path_factory):
    """A level for 20 CGs in each gene of the sample: 0.9 in every fourth gene."""
    sequence = next(iter(read_fasta("fly").values()))
    rows = {}
    for number, gene in enumerate(genes(read_annotation("fly"))):
        inside = sequence.codes[gene.start : gene.end]
        for at in gene.start + np.flatnonzero((inside[:-1] == 1) & (inside[1:] == 2))[:20]:
            rows.setdefault(int(at), 90 if number % 4 == 0 else 0)
    path = tmp_path_factory.mktemp("methylation") / "made.bed"
    path.write_text("".join(f"{sequence.name}\t{at}\t{at + 1}\tCG\t10\t+\t{rows[at]}\n" for at in sorted(rows)))
    return str(path)


def test_two_species_from_files(methylation):
    fly = ("fly", "fly")
    both = pair(fly, methylation, fly, gain="fly_chr4_locus:200001-334154")
    two = both.two
    names = [{gene.gene.name for gene in some} for some in (two.learnt, two.measured.genes, two.retained.genes)]
    assert names[1] <= names[0]
    assert not names[0] & names[2]
    assert max(gene.gene.end for gene in two.retained.genes) <= min(gene.gene.start for gene in two.measured.genes)
    assert {round(level, 1) for some in (two.measured, two.retained) for level in some.levels} >= {0.0, 0.9}
    assert both.told["genes"]["gained"] == len(two.gained) > 0
    assert all(gene.gene.start >= 200_000 for gene in two.gained)
    refused: Any = (
        ({"sites": "chr7"}, "no site lies in chr7"),
        ({"retain": "fly_chr4_locus:1-100"}, "no gene with known methylation lies in"),
        ({"retain": "fly_chr4_locus:1-9000000"}, "ends past the"),
        ({"gain": "fly_chr4_locus:1-100"}, "where the gain is scored"),
    )
    for options, sentence in refused:
        with pytest.raises(InputError, match=sentence) as caught:
            pair(fly, methylation, fly, **options)
        assert "\n" not in str(caught.value)
