"""Scored variants: the meaning of scores by brute force, windows against whole genes, and every record once."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import numpy as np
import pytest
import toy_genome as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import genes
from thalweg.genome.data.sequence import read_fasta
from thalweg.genome.data.vcf import read_vcf
from thalweg.genome.figures.variants import variants_page
from thalweg.genome.model.build import Shape, network
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.tasks import variants as task
from thalweg.genome.tasks.variant_alleles import REASONS
from thalweg.genome.tasks.variants import SKIPPED, variants
from thalweg.report import render_page
from thalweg.runs import Points

COMPLEMENT = str.maketrans("ACGT", "TGCA")
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
TEXT = toy.bases()


def records(*rows: tuple) -> str:
    return HEAD + "".join(f"{chromosome}\t{at + 1}\t.\t{ref}\t{alt}\t.\t.\t.\n" for chromosome, at, ref, alt in rows)


@pytest.fixture(scope="module")
def given_(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    sequences = read_fasta(toy.put(folder, "toy.fa", toy.fasta(TEXT)))
    return folder, sequences, genes(read_annotation(toy.put(folder, "toy.gff3", toy.gff3())))


@pytest.fixture(scope="module")
def nets():
    """Networks of each cell whose memories reach far and whose scores are far from constant."""
    made = {}
    for cell in ("mingru", "lstm"):
        shape = Shape(cell=cell, blocks=2, channels=8, width=8, features=8, window=5)
        net = network(shape, np.log(np.full((2, 25), 0.2)), jax.random.key(3))
        made[cell] = eqx.tree_at(lambda one: one.head, net, net.head * 100)
    return made


# A model whose chances are known: they follow from the bases next to a site and differ from place to place

PEAKS = {"A": 0.3, "C": 0.5, "G": 0.7, "T": 0.9}


def chance(sense: str, at: int, kind: str) -> float:
    """Of a donor before GT or an acceptor after AG; how high depends on the base itself."""
    found = sense[at + 1 : at + 3] == "GT" if kind == "D" else at >= 2 and sense[at - 2 : at] == "AG"
    return PEAKS.get(sense[at], 0.0) if found else 0.0


def marks(codes):
    sense = "".join("ACGTN"[code] for code in codes)
    rows = [(chance(sense, at, "D"), chance(sense, at, "A")) for at in range(len(sense))]
    return np.array([(1 - donor - acceptor, donor, acceptor) for donor, acceptor in rows], np.float32)


def brute(text: str, gene, at: int, ref: str, alt: str, distance: int = 50, boundary: int | None = None) -> list:
    """Delta scores from the text of a whole chromosome, by loops over positions of the plus strand."""

    def at_plus(whole: str, place: int, kind: str) -> float:
        sense, here = (whole, place) if gene.strand > 0 else (whole[::-1].translate(COMPLEMENT), len(whole) - 1 - place)
        return chance(sense, here, kind)

    changed = text[:at] + alt + text[at + len(ref) :]
    scores, places = [], []
    for kind, sign in (("A", 1), ("A", -1), ("D", 1), ("D", -1)):
        best = None
        for offset in range(-distance, distance + 1):
            place = at + offset
            if not 0 <= place < len(text):
                continue
            before = at_plus(text, place, kind)
            if offset < 0:
                after = at_plus(changed, place, kind)
            elif offset >= len(ref):
                after = at_plus(changed, place + len(alt) - len(ref), kind)
            elif offset >= len(alt):
                after = 0.0
            elif offset == min(len(ref), len(alt)) - 1:
                # The last base that both have stands for all that is inserted behind it.
                after = max(
                    at_plus(changed, at + more, kind)
                    for more in range(offset, max(len(alt) - len(ref), 0) + offset + 1)
                )
            else:
                after = at_plus(changed, place, kind)
            if not gene.start <= place < gene.end:
                before = after = 0.0
            value = np.float32(sign) * (np.float32(after) - np.float32(before))
            if best is None or value > best[0]:
                best = value, offset
        assert best is not None
        value, offset = best
        masked = boundary is not None and (offset == boundary) == (sign > 0)
        scores.append(0.0 if masked else max(float(value), 0.0))
        places.append(offset)
    return [*scores, *places]


def change(draw) -> tuple[int, str, str]:
    at = draw(st.integers(0, len(TEXT) - 1))
    ref = TEXT[at : at + draw(st.sampled_from([1, 1, 1, 2, 5, 30]))]
    alt = draw(st.text("ACGT", min_size=1, max_size=1) | st.text("ACGT", min_size=1, max_size=40))
    return at, ref, alt


changes = st.composite(change)()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, min_size=1, max_size=4), st.booleans(), st.sampled_from([50, 17]))
def test_scores_are_those_of_brute_force(given_, some, mask, distance):
    folder, sequences, found = given_
    vcf = read_vcf(toy.put(folder, "brute.vcf", records(*(("toy", *one) for one in some))))
    scored = variants(marks, sequences, found, vcf, distance=distance, mask=mask)
    for one, delta in zip(scored.tasks, scored.deltas, strict=True):
        at, ref, alt = some[one.record]
        gene = found[one.gene]
        ends = [end for exon in gene.chosen[0].exons.tolist() for end in (exon[0] - at, exon[1] - 1 - at)]
        boundary = min(sorted(ends), key=abs) if mask else None
        want = brute(TEXT, gene, at, ref, alt, distance, boundary)
        assert [*delta.scores.tolist(), *delta.positions.tolist()] == pytest.approx(want, abs=1e-6)
    overlapping = {
        (number, at_gene) for number, (at, ref, alt) in enumerate(some) for at_gene, gene in enumerate(found)
        if gene.start < at + len(ref) and at < gene.end and alt != ref and len(ref) <= 2 * distance
    }  # fmt: skip
    assert {(one.record, one.gene) for one in scored.tasks} == overlapping


def test_known_changes_by_hand(given_):
    """The donor of the first intron goes; one comes; a deletion and an insertion move bases; the minus strand."""
    folder, sequences, found = given_
    forward, backward = (next(gene for gene in found if gene.symbol == name) for name in ("FORWARD", "BACKWARD"))
    peak = PEAKS[TEXT[199]]
    minus_peak = PEAKS[TEXT[900].translate(COMPLEMENT)]
    rows = [
        ("toy", 200, TEXT[200], "C"),  # G of the GT after base 199
        ("toy", 200, TEXT[200:203], TEXT[200]),  # its T and one more are lost
        ("toy", 195, TEXT[195], TEXT[195] + "CC"),  # what is inserted before it moves nothing
        ("toy", 899, TEXT[899], "T"),  # the C of AC on the plus strand, the G of GT on the minus strand
    ]
    assert (TEXT[200:202], TEXT[898:900]) == ("GT", "AC")
    vcf = read_vcf(toy.put(folder, "hand.vcf", records(*rows)))
    scored = variants(marks, sequences, found, vcf)
    by_record = {
        task.record: (found[task.gene], delta) for task, delta in zip(scored.tasks, scored.deltas, strict=True)
    }
    for number, (gene, loss, place) in enumerate(
        [(forward, peak, -1), (forward, peak, -1), (forward, None, None), (backward, minus_peak, 1)]
    ):
        of, delta = by_record[number]
        assert of == gene
        if loss is not None:
            assert delta.scores[3] == pytest.approx(loss, abs=1e-6)
            assert delta.positions[3] == place
        else:
            assert delta.scores[3] < peak


# Windows


def some_changes(count: int, seed: int) -> list[tuple[int, str, str]]:
    draw = np.random.default_rng(seed)
    places = draw.integers(100, 1100, count).tolist()
    sizes = draw.choice([1, 1, 1, 2, 5, 30], (count, 2)).tolist()
    return [
        (at, TEXT[at : at + ref], "".join(draw.choice(list("ACGT"), alt)))
        for at, (ref, alt) in zip(places, sizes, strict=True)
    ]


@pytest.mark.parametrize("cell", ["mingru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_windows_give_what_whole_genes_give(given_, nets, cell):
    """A window that covers the gene is exact but for rounding (measured: 2e-6); a short one says its error."""
    folder, sequences, found = given_
    vcf = read_vcf(toy.put(folder, "windows.vcf", records(*(("toy", *one) for one in some_changes(24, 1)))))
    net = nets[cell]
    want = variants(functools.partial(probabilities, net), sequences, found, vcf).deltas
    assert max(delta.scores.max() for delta in want) > 0.1
    errors = {}
    for context in (64, 600):
        scored = variants(net, sequences, found, vcf, context=context)
        pairs = zip(scored.deltas, want, strict=True)
        errors[context] = [float(np.abs(one.scores - two.scores).max()) for one, two in pairs]
        # What is checked are every few of the tasks by their place; the others may be worse.
        assert min(errors[context]) <= scored.result["largest_error"] <= max(errors[context]) + 1e-5
    assert max(errors[600]) < 1e-4
    assert max(errors[64]) > max(errors[600])


def test_long_genes_are_read_around_their_variants_only(given_, nets):
    folder, sequences, found = given_
    vcf = read_vcf(toy.put(folder, "far.vcf", records(*(("toy", *one) for one in some_changes(6, 2)))))
    near = variants(nets["mingru"], sequences, found, vcf, context=64, reach=20)
    assert len(near.deltas) == len(variants(marks, sequences, found, vcf).deltas)
    assert all(np.isfinite(delta.scores).all() for delta in near.deltas)


# Records

STRANGE = [
    ("nowhere", 100, "A", "C", "no_sequence"),
    ("toy", -1, "N", "A", "past_the_end"),
    ("toy", 1199, TEXT[1199] + "A", "A", "past_the_end"),
    ("toy", 5000, "A", "C", "past_the_end"),
    ("toy", 150, "R", "A", "reference_not_bases"),
    ("toy", 150, TEXT[150].translate(COMPLEMENT), TEXT[150], "reference_differs"),
    ("toy", 110, TEXT[110:211], TEXT[110], "reference_too_long"),
    ("toy", 1165, TEXT[1165], "A" if TEXT[1165] != "A" else "C", "outside_genes"),
    ("toy", 150, TEXT[150], ".", "no_alternative"),
    ("toy", 150, TEXT[150], "<DEL>", "symbolic"),
    ("toy", 150, TEXT[150], "*", "spanning_deletion"),
    ("toy", 150, TEXT[150], f"{TEXT[150]}]toy:7]", "breakend"),
    ("toy", 150, TEXT[150], "R", "alternative_not_bases"),
    ("toy", 150, TEXT[150], TEXT[150].lower(), "same_as_reference"),
    ("toy", 150, TEXT[150], "A" * 10_001, "alternative_too_long"),
]  # fmt: skip


def test_every_record_comes_out_once_with_scores_or_reasons(given_, tmp_path):
    _, sequences, found = given_
    other = "A" if TEXT[320] != "A" else "C"
    rows = [*(row[:4] for row in STRANGE), ("toy", 320, TEXT[320].lower(), f"{other},<DEL>,{other.lower()}T")]
    text = records(*rows).replace("\t.\t.\t.\n", "\t9\tPASS\tDP=3;SpliceAI=old;SpliceAI_SKIPPED\n")
    vcf = read_vcf(toy.put(tmp_path, "in.vcf", text))
    scored = variants(marks, sequences, found, vcf)
    again = read_vcf(scored.write(tmp_path / "out.vcf"))
    assert [record.fields[:7] for record in again.records] == [record.fields[:7] for record in vcf.records]
    infos: list[dict[str, str]] = [
        {key: value for key, _, value in (item.partition("=") for item in record.fields[7].split(";"))}
        for record in again.records
    ]
    for (*_, alt, reason), info in zip(STRANGE, infos, strict=False):
        assert info == {"DP": "3", SKIPPED: f"{alt}|{reason}"}
    entries = [entry.split("|") for entry in infos[-1]["SpliceAI"].split(",")]
    assert [entry[:2] for entry in entries] == [[other, "FORWARD"], [f"{other.lower()}T", "FORWARD"]]
    assert all(len(entry) == 10 for entry in entries)
    assert infos[-1][SKIPPED] == "<DEL>|symbolic"
    result = scored.result
    assert (result["records"], result["scored"], result["skipped"]) == (len(rows), 1, len(rows) - 1)
    assert result["alternatives"] == 2
    assert sum(result["reasons"].values()) == len(rows)
    assert set(result["reasons"]) == set(REASONS) - {"unknown_bases"}
    assert sum(line.startswith("##INFO=<ID=SpliceAI") for line in again.header) == 2
    assert "reference_too_long" in render_page(variants_page(scored))


def test_unknown_bases_nearby_are_a_reason(given_, tmp_path):
    _, sequences, found = given_
    codes = sequences["toy"].codes.copy()
    codes[170] = 4
    holed = {"toy": sequences["toy"]._replace(codes=codes)}
    rows = [("toy", at, TEXT[at], "AC"[TEXT[at] == "A"]) for at in (119, 120, 220, 221)]
    vcf = read_vcf(toy.put(tmp_path, "in.vcf", records(*rows)))
    assert [one.record for one in variants(marks, holed, found, vcf).skipped] == [1, 2]


def test_a_stopped_task_goes_on_bit_for_bit(given_, nets, tmp_path, monkeypatch):
    monkeypatch.setattr(task, "_PART", 4)
    folder, sequences, found = given_
    vcf = read_vcf(toy.put(folder, "stop.vcf", records(*(("toy", *one) for one in some_changes(12, 4)))))
    whole = variants(nets["mingru"], sequences, found, vcf, context=64)
    store = Points(tmp_path / "parts")
    with pytest.raises(WalkError, match="stopped after 2"):
        variants(nets["mingru"], sequences, found, vcf, context=64, done=store,
                 hooks=(lambda report: Outcome.CANCELLED if report.step == 2 else None,))  # fmt: skip
    resumed = variants(nets["mingru"], sequences, found, vcf, context=64, done=store)
    assert resumed.lines() == whole.lines()
    for one, two in zip(resumed.deltas, whole.deltas, strict=True):
        assert one.scores.tobytes() == two.scores.tobytes()
    finished = variants(nets["mingru"], sequences, found, vcf, context=64, done=store)
    assert finished.result["variants_per_hour"] is None


def test_bad_options_are_refused(given_, tmp_path):
    folder, sequences, found = given_
    vcf = read_vcf(toy.put(folder, "one.vcf", records(("toy", 150, TEXT[150], "A"))))
    with pytest.raises(InputError, match="distance 0"):
        variants(marks, sequences, found, vcf, distance=0)
    with pytest.raises(InputError, match="keep no parts"):
        variants(marks, sequences, found, vcf, done=Points(tmp_path))
