"""Methylation: four kinds of files, one kind of array, and levels of genes."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import toy_genome as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, ThalwegError
from thalweg.genome.data.annotation import Transcript
from thalweg.genome.data.genes import Gene, genes
from thalweg.genome.data.methylation import gene_levels, on_sequences, read_methylation
from thalweg.genome.data.sequence import Sequence, to_codes

# The same sites in every form: position from zero, strand, context, methylated and all reads.
SITES = [
    (3, "+", "CG", 3, 4),
    (4, "-", "CG", 0, 5),
    (9, "+", "CHG", 1, 2),
    (11, "-", "CHG", 8, 8),
    (20, "+", "CHH", 1, 8),
]
#           0    5    1    1    2
#           0123456789012345678901234
BASES = "TTACGTTTTCAGTTTTTTTTCAATT"


def bed(sites, chromosome="chr1") -> str:
    rows = ((at, at + 1, context, depth, sign, 100 * k / depth) for at, sign, context, k, depth in sites)
    return "".join("\t".join(map(str, (chromosome, *row))) + "\n" for row in rows)


def coverage(sites) -> str:
    rows = ((at + 1, at + 1, 100 * k / depth, k, depth - k) for at, _, _, k, depth in sites)
    return "".join("\t".join(map(str, ("chr1", *row))) + "\n" for row in rows)


def report(sites) -> str:
    rows = ((at + 1, sign, k, depth - k, context, "CNN") for at, sign, context, k, depth in sites)
    return "".join("\t".join(map(str, ("chr1", *row))) + "\n" for row in rows)


def encode(sites) -> str:
    rows = (
        (at, at + 1, ".", depth, sign, at, at + 1, "0,0,0", depth, 100 * k / depth) for at, sign, _, k, depth in sites
    )
    return "".join("\t".join(map(str, ("chr1", *row))) + "\n" for row in rows)


def modkit(sites, name="m,{context},0") -> str:
    text = ""
    for at, sign, context, k, depth in sites:
        first = ("chr1", at, at + 1, name.format(context=context), depth, sign, at, at + 1, "255,0,0")
        text += "\t".join(map(str, first)) + "\t"
        text += " ".join(map(str, (depth, 100 * k / depth, k, depth - k, 0, 0, 0, 0, 0))) + "\n"
    return text


@pytest.mark.parametrize("form", [bed, coverage, report, encode, modkit])
def test_every_form_gives_the_same_sites(tmp_path, form):
    sequences = {"chr1": Sequence("chr1", to_codes(BASES), "made")}
    for content in (form(SITES), gzip.compress(form(SITES).encode()), "# a comment\n" + form(SITES)):
        found = on_sequences(read_methylation(toy.put(tmp_path, "sites", content)), sequences)
        assert found.chromosomes == ("chr1",)
        assert found.position.tolist() == [at for at, *_ in SITES]
        assert found.strand.tolist() == [1, -1, 1, -1, 1]
        assert found.context.tolist() == [0, 0, 1, 1, 2]
        assert found.depth.tolist() == [depth for *_, depth in SITES]
        # Percent is printed with 16 digits at least.
        np.testing.assert_allclose(found.fraction, [k / depth for *_, k, depth in SITES], rtol=1e-14)


def test_other_modifications_bare_sites_and_order(tmp_path):
    notes: list[str] = []
    text = modkit(SITES[::-1]) + modkit(SITES[:2], "h,CG,0")
    found = read_methylation(toy.put(tmp_path, "sites", text), note=notes.append)
    assert found.position.tolist() == [at for at, *_ in SITES]
    assert "2 lines of other modifications" in notes[0]
    assert "not sorted by chromosome and position; they were sorted" in notes[1]
    notes.clear()
    bare = "chr1\t7\t7\t0\t0\t0\n"
    assert read_methylation(toy.put(tmp_path, "sites", coverage(SITES) + bare), note=notes.append).position.size == 5
    assert any("1 sites without a read" in note for note in notes)
    # A file whose chromosomes come back is sorted too, and one in order is not spoken of.
    notes.clear()
    mixed = bed(SITES[:1]) + bed(SITES[:1], "chr2") + bed(SITES[1:])
    assert read_methylation(toy.put(tmp_path, "sites", mixed), note=notes.append).chromosome.tolist() == [0] * 5 + [1]
    assert len(notes) == 1
    notes.clear()
    read_methylation(toy.put(tmp_path, "sites", bed(SITES)), note=notes.append)
    assert not notes


def test_ends_that_may_mean_two_things_are_asked_about(tmp_path):
    zero = "".join(f"chr1\t{at}\t{at + 1}\t50\t1\t1\n" for at, *_ in SITES)
    path = toy.put(tmp_path, "zero.cov", zero)
    with pytest.raises(InputError, match=r"line 1: a site from 3 to 4 may be one base counted from 0 or two"):
        read_methylation(path)
    assert read_methylation(path, first=0).position[0] == 3
    assert read_methylation(path, first=1).position[0] == 2
    with pytest.raises(InputError, match="choose 0 or 1"):
        read_methylation(path, first=2)


@pytest.mark.parametrize(
    ("form", "old", "new", "words"),
    [
        (bed, "75.0", "175", "line 1: '175' is no percentage from 0 to 100"),
        (bed, "75.0", "nan", "line 1: 'nan' is no percentage"),
        (bed, "75.0", "much", "line 1: 'much' is no number"),
        (bed, "\t4\t+", "\t-4\t+", "line 1: '-4' is no number of reads"),
        (bed, "CHG", "CHX", "line 3: the context 'CHX' is none of"),
        (bed, "8\t-", "8\t*", r"line 4: the strand '\*' is none of"),
        (bed, "\t75.0", "", "line 1: its 6 columns|line 1: a site from 3 to 4"),
        (bed, "chr1\t9\t10", "chr1\t9", "line 3: has 6 columns where others have 7"),
        (bed, "chr1\t9\t10", "chr1\t9.5\t10", r"line 3: '9.5' is no whole number"),
        (bed, "chr1\t9\t10", "chr1\t9\t9", "line 3: '9' ends a site before its base"),
        (bed, "chr1\t9\t10", "chr1\t99999999999999999999\t10", "line 3: '9{20}' is no whole number"),
        (coverage, "chr1\t4\t4", "chr1\t0\t0", "line 1: '0' is before the first base"),
        (coverage, "\t3\t1\n", "\t3\t-1\n", "line 1: '-1' is no number of reads"),
        (report, "chr1\t5\t-", "chr1\t5\t?", r"line 2: the strand '\?' is none of"),
        (encode, "\t0,0,0", "", "line 1: its 10 columns are none of"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(tmp_path, form, old, new, words):
    text = form(SITES)
    assert old in text
    with pytest.raises(InputError, match=words) as caught:
        read_methylation(toy.put(tmp_path, "bad.bed", text.replace(old, new, 1)))
    assert str(caught.value).startswith(str(tmp_path / "bad.bed"))


def test_whole_files_are_refused_in_one_sentence(tmp_path):
    packed = gzip.compress(bed(SITES).encode())
    for content, words in (
        ("", "holds no sites"),
        ("# only this\n", "holds no sites"),
        (packed[:-10], "cut short"),
        (bed(SITES) + bed(SITES[2:3]), "line 6: the site of line 3 is listed again"),
        (toy.gff3(), "line 2: its 9 columns are none of"),
        ("chr1\t7\t7\t0\t0\t0\n", "none of its sites has a read"),
    ):
        with pytest.raises(InputError, match=words):
            read_methylation(toy.put(tmp_path, "bad", content))


def test_sites_must_lie_on_cytosines_of_the_sequence(tmp_path):
    found = read_methylation(toy.put(tmp_path, "sites", coverage(SITES)))
    for name, text, words in (
        ("chr1", BASES[:15], "a site at base 21 is past the 15 bases"),
        ("chr1", BASES.replace("C", "A"), "the site at base 4 of chr1 is no cytosine"),
        ("chr7", BASES, "there is no sequence 'chr1'"),
    ):
        with pytest.raises(InputError, match=words):
            on_sequences(found, {name: Sequence(name, to_codes(text), "made")})
    # The context next to an unknown base, or to the end, stays unsaid.
    known = on_sequences(found, {"chr1": Sequence("chr1", to_codes(BASES.replace("CAATT", "CANTT")), "made")})
    assert known.context.tolist() == [0, 0, 1, 1, 3]
    other = on_sequences(found, {"NC_1": Sequence("NC_1", to_codes(BASES), "made", "plant chromosome 1")})
    assert other.chromosomes == ("NC_1",)


def gene(start: int, end: int, chromosome: str = "chr1") -> Gene:
    exons = np.array([[start, end]])
    return genes([Transcript("t", f"g{start}", "G", chromosome, 1, exons, True, "made", 9)])[0]


def test_levels_of_genes_are_means_over_enough_covered_sites(tmp_path):
    found = read_methylation(toy.put(tmp_path, "sites", bed(SITES)))
    levels = gene_levels(found, [gene(0, 25), gene(4, 10), gene(5, 9), gene(0, 9, "chr9")], covered=1, depth=1)
    assert [each.name for each in levels.genes] == ["g0", "g4"]
    np.testing.assert_allclose(levels.level, [0.375, 0.0], atol=1e-15)
    assert levels.sites.tolist() == [2, 1]
    assert gene_levels(found, [gene(0, 25)], covered=3).genes == []
    assert gene_levels(found, [gene(0, 25)], context="CHG", covered=1).sites.tolist() == [1]  # one of both has 2 reads
    with pytest.raises(InputError, match=r"its chromosomes \(chr1\) are not those of the genes \(chr9\)"):
        gene_levels(found, [gene(0, 9, "chr9")])
    with pytest.raises(InputError, match="choose one of CG, CHG, CHH"):
        gene_levels(found, [gene(0, 9)], context="CpG")
    unsaid = read_methylation(toy.put(tmp_path, "sites", coverage(SITES)))
    with pytest.raises(InputError, match="read contexts off the sequence"):
        gene_levels(unsaid, [gene(0, 9)])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([bed, coverage, report, encode, modkit]), st.booleans(), toy.damages)
def test_damaged_files_give_sites_or_one_sentence(tmp_path, form, packed, damage):
    content = form(SITES).encode()
    path = toy.put(tmp_path, "damaged", toy.damaged(gzip.compress(content) if packed else content, damage))
    try:
        found = read_methylation(path)
    except ThalwegError as error:
        toy.one_sentence(error, path)
        return
    assert ((found.fraction >= 0) & (found.fraction <= 1)).all()
    assert (found.depth > 0).all()
    assert (found.position >= 0).all()


@pytest.mark.slow
def test_the_public_set_is_read_whole(data):
    found = read_methylation("arabidopsis-methylation")
    assert np.bincount(found.context).tolist() == [139_982, 162_404, 697_614]
    assert (found.position[0], found.position[-1]) == (33, 3_075_768)
