"""Sequences, labels, splits, paralogs and the table of splice junctions."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import toy_genome as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg import samples
from thalweg.core.errors import InputError, ThalwegError
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import genes, sites
from thalweg.genome.data.labels import ACCEPTOR, DONOR, dinucleotides, labelled, strand_labels
from thalweg.genome.data.paralogs import IDENTITY, LETTERS, containment, without_paralogs, words
from thalweg.genome.data.region import Region, named, region, resolved, split
from thalweg.genome.data.sequence import UNKNOWN, read_fasta, reverse_complement, to_codes, to_text
from thalweg.genome.data.uci import folds, read_junctions

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def loaded(folder, transcripts=toy.GENES, text=None, note=print, **options):
    """Sequences and genes of a made genome."""
    text = toy.bases(transcripts) if text is None else text
    sequences = read_fasta(toy.put(folder, "toy.fa", toy.fasta(text)))
    annotation = read_annotation(toy.put(folder, "toy.gff3", toy.gff3(transcripts)))
    return sequences, genes(annotation, note=note, **options)


def test_fasta_in_every_packing_and_line_end(tmp_path):
    text = toy.fasta("ACGTN" * 13) + toy.fasta("ttacgryKM" + "U" * 30, "two words here")
    packed = gzip.compress(text[:40].encode()) + gzip.compress(text[40:].encode())
    notes: list[str] = []
    for content in (text, packed, text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\n" + text + "\n\n"):
        notes.clear()
        found = read_fasta(toy.put(tmp_path, "any.fa", content), note=notes.append)
        assert list(found) == ["toy", "two"]
        assert found["two"].description == "words here"
        assert to_text(found["toy"].codes) == "ACGTN" * 13
        assert to_text(found["two"].codes) == "TTACGNNNN" + "T" * 30
        assert found["toy"].codes.dtype == np.int8
    assert "7 of 104 bases are lower case" in notes[0]
    assert "30 U are read as T" in notes[1]
    assert "13 N and 4 other IUPAC codes of 104 bases" in notes[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no sequence"),
        ("ACGT\n>one\nACGT\n", "line 1: comes before the first header"),
        (">one\nACGT\n>one\nAC\n", "line 3: 'one' is already the name of .*line 1"),
        (">one\n>two\nAC\n", "line 1: 'one' has no bases"),
        (">\nACGT\n", "line 1: the header names no sequence"),
        (">one\nACGT\nACELP\n", "line 3: 'E' is a letter of proteins"),
        (">one\nAC-GT\n", "line 2: '-' is no base"),
        (">one\nACGé\n", "line 2: 'é' is no base"),
        (">one\nMKVHSRDGNWTKSYVA\n", "line 1: 'one' is mostly of letters other than"),
    ],
)
def test_fasta_is_refused_in_one_sentence(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        read_fasta(toy.put(tmp_path, "bad.fa", content))
    assert str(caught.value).startswith(str(tmp_path / "bad.fa"))


def test_fasta_cut_short_is_refused(tmp_path):
    packed = gzip.compress(toy.fasta(toy.bases()).encode())
    for cut in (-1, -9, -200, 5):
        with pytest.raises(InputError, match="cut short after line"):
            read_fasta(toy.put(tmp_path, "cut.fa.gz", packed[:cut]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), toy.damages)
def test_damaged_fasta_gives_sequences_or_one_sentence(tmp_path, packed, damage):
    content = (toy.fasta(toy.bases()) + toy.fasta("ACGT", "other")).encode()
    path = toy.put(tmp_path, "damaged", toy.damaged(gzip.compress(content) if packed else content, damage))
    try:
        found = read_fasta(path)
    except ThalwegError as error:
        toy.one_sentence(error, path)
        return
    assert all(0 <= each.codes.min() <= each.codes.max() <= UNKNOWN for each in found.values())


@given(st.text("ACGTN", min_size=1, max_size=40))
def test_codes_and_the_opposite_strand(text):
    codes = to_codes(text)
    assert to_text(codes) == text
    assert to_text(reverse_complement(codes)) == text.translate(COMPLEMENT)[::-1]


def test_labels_sit_on_the_exons_ends_in_the_sense_of_the_gene(tmp_path):
    sequences, found = loaded(tmp_path)
    done = labelled(sequences, found, flank=150)
    forward, backward, single = done
    assert np.flatnonzero(forward.labels == DONOR).tolist() == [150 + 99, 150 + 299]
    assert np.flatnonzero(forward.labels == ACCEPTOR).tolist() == [150 + 200, 150 + 400]
    # The sites of the other isoform, and none where the chosen one has its own.
    assert np.flatnonzero(forward.elsewhere).tolist() == [150 + 210]
    assert forward.elsewhere[360] == ACCEPTOR
    # The first exon of the minus strand is the last of the plus strand: 100 bases, then the donor.
    assert np.flatnonzero(backward.labels).tolist() == [150 + 99, 150 + 200]
    assert backward.labels[249] == DONOR
    assert single.labels.sum() == 0
    counted = dinucleotides(done)
    assert counted[DONOR] == {"GT": 3}
    assert counted[ACCEPTOR] == {"AG": 3}
    # 100 bases before the gene exist; the 50 before them are unknown.
    assert (forward.codes[:50] == UNKNOWN).all()
    assert to_text(forward.codes[50:]) == to_text(sequences["toy"].codes[:800])
    assert forward.scored == slice(150, 700)


def test_all_isoforms_and_both_strands_of_a_whole_sequence(tmp_path):
    sequences, found = loaded(tmp_path, kind="all")
    assert [(gene.labels == ACCEPTOR).sum() for gene in labelled(sequences, found)] == [3, 1, 0]
    plus = strand_labels(sequences["toy"], found, 1)
    minus = strand_labels(sequences["toy"], found, -1)
    assert np.flatnonzero(plus == DONOR).tolist() == [199, 399]
    assert np.flatnonzero(plus == ACCEPTOR).tolist() == [300, 310, 500]
    assert np.flatnonzero(minus == DONOR).tolist() == [900]
    assert np.flatnonzero(minus == ACCEPTOR).tolist() == [799]
    assert not strand_labels(sequences["toy"]._replace(name="other"), found, 1).any()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_a_genome_turned_round_has_the_same_genes(tmp_path, seed):
    generator = np.random.default_rng(seed)
    transcripts = []
    for number in range(4):
        edges = np.sort(generator.choice(600, 2 * generator.integers(1, 5), replace=False)).tolist()
        exons = tuple(zip(edges[::2], edges[1::2], strict=True))
        transcripts.append(toy.Toy(f"g{number // 2}", f"t{number}", int(generator.choice([1, -1])), exons))
    text = toy.bases((), 600, seed)
    turned = [
        each._replace(strand=-each.strand, exons=tuple((600 - end, 600 - start) for start, end in each.exons[::-1]))
        for each in transcripts
    ]
    try:
        here = {gene.gene.name: gene for gene in labelled(*loaded(tmp_path, transcripts, text), flank=20)}
    except InputError:  # both genes have transcripts on both strands
        assert all(len({each.strand for each in transcripts[at : at + 2]}) == 2 for at in (0, 2))
        return
    mirrored = text.translate(COMPLEMENT)[::-1]
    there = {gene.gene.name: gene for gene in labelled(*loaded(tmp_path, turned, mirrored), flank=20)}
    assert here.keys() == there.keys()
    for name, gene in here.items():
        for column in ("codes", "labels", "elsewhere"):
            np.testing.assert_array_equal(getattr(gene, column), getattr(there[name], column))


def test_odd_sites_overlaps_and_double_sites_are_noted(tmp_path):
    text = toy.bases()
    text = text[:200] + "NN" + text[202:]
    inner = toy.Toy("inner", "inner.1", 1, ((560, 570), (600, 601), (620, 640)))
    notes: list[str] = []
    sequences, found = loaded(tmp_path, [*toy.GENES, inner], text)
    done = labelled(sequences, found, note=notes.append)
    assert "of 5 donors are not followed by GT" in notes[0]  # the base that is both counts as donor
    assert "1 bases are acceptor and donor at once" in notes[1]
    assert "2 genes overlap another on their strand" in notes[2]
    by_name = {gene.gene.symbol: gene for gene in done}
    assert by_name["INNER"].labels[150 + 40] == DONOR
    # What lies in a gene and belongs to another on its strand is masked, not labelled.
    assert by_name["FORWARD"].labels[150 + 469] == 0
    assert by_name["FORWARD"].elsewhere[150 + 469] == DONOR
    # An unknown base beside a site is no reason to lose it.
    assert by_name["FORWARD"].labels[150 + 99] == DONOR


def test_annotation_and_sequence_that_do_not_match_are_refused(tmp_path):
    sequences, found = loaded(tmp_path)
    for text, sentence in (
        (toy.fasta(toy.bases(), "chr1"), r"names 'toy'.*are named 'chr1'"),
        (toy.fasta(toy.bases()[:900]), r"line \d+: the transcript 'backward.1' ends at base 1000, past the 900 bases"),
    ):
        with pytest.raises(InputError, match=sentence):
            labelled(read_fasta(toy.put(tmp_path, "other.fa", text)), found)
    notes: list[str] = []
    away = toy.Toy("away", "away.1", 1, ((0, 10),), chromosome="absent")
    mixed = genes(read_annotation(toy.put(tmp_path, "mixed.gff3", toy.gff3([*toy.GENES, away]))))
    assert len(labelled(sequences, mixed, note=notes.append)) == 3
    assert "1 genes on sequences that are not in the FASTA ('absent')" in notes[0]


def test_regions_and_names(tmp_path):
    sequences, _ = loaded(tmp_path)
    assert region("chr1") == Region("chr1")
    assert region(" chr1:24,000,001-30427671") == Region("chr1", 24_000_000, 30_427_671)
    for text in ("", "chr1:0-5", "chr1:9-5"):
        with pytest.raises(InputError, match="write chr1 or chr1:24000000-30427671"):
            region(text)
    assert resolved(region("toy:1201-1300")._replace(end=1200, start=0), sequences) == Region("toy", 0, 1200)
    with pytest.raises(InputError, match="ends past the 1200 bases of toy"):
        resolved(region("toy:1000-1201"), sequences)
    with pytest.raises(InputError, match="there is no sequence 'chr2': choose one of toy"):
        resolved(region("chr2"), sequences)
    headers = ">NC_1.1 Some plant chromosome 1 sequence\nACGT\n>NC_2.1 Some plant, chromosome: 12\nACGT\n>chr3\nAC\n"
    known = read_fasta(toy.put(tmp_path, "named.fa", headers))
    notes: list[str] = []
    assert [named(name, known, note=notes.append) for name in ("chr1", "12", "3")] == ["NC_1.1", "NC_2.1", "chr3"]
    assert notes[0] == "chr1 is taken for the sequence NC_1.1."


def test_genes_are_parted_by_position_and_chromosome(tmp_path):
    _, found = loaded(tmp_path)

    def symbols(part):
        return [gene.symbol for gene in part]

    parts = split(found, [Region("toy", 700)], [Region("toy", 0, 700)])
    assert [symbols(part) for part in parts] == [[], ["FORWARD"], ["BACKWARD", "SINGLE"], [], []]
    parts = split(found, [Region("toy", 701)])
    assert symbols(parts.border) == ["BACKWARD"]
    assert symbols(parts.training) == ["FORWARD"]
    # A gene wholly in validation that reaches into the held-out part belongs to neither.
    parts = split(found, [Region("toy", 640)], [Region("toy")])
    assert symbols(parts.border) == ["FORWARD"]
    assert len(split(found, [Region("toy")]).held_out) == 3


def copied(text: str, identity: float, seed: int) -> str:
    generator = np.random.default_rng(seed)
    letters = np.array(list(text))
    changed = generator.random(letters.size) > identity
    letters[changed] = [{"A": "C", "C": "G", "G": "T", "T": "A"}[letter] for letter in letters[changed]]
    return "".join(letters)


def test_paralogs_across_the_split_are_dropped(tmp_path):
    # Four genes of 1500 bases: one held out, a copy of it at 90 % on the other strand, one at 55 %, and a stranger.
    first = toy.bases((), 1500, 1)
    near = copied(first, 0.9, 2).translate(COMPLEMENT)[::-1]
    text = first + near + copied(first, 0.55, 3) + toy.bases((), 1500, 4)
    spans = [((at, at + 600), (at + 700, at + 1500)) for at in range(0, 6000, 1500)]
    spans[1] = ((1500, 2300), (2400, 3000))
    transcripts = [toy.Toy(f"g{at}", f"t{at}", -1 if at == 1 else 1, span) for at, span in enumerate(spans)]
    sequences, found = loaded(tmp_path, transcripts, text)
    notes: list[str] = []
    parts = without_paralogs(sequences, split(found, [Region("toy", 0, 1500)]), note=notes.append)
    assert [gene.symbol for gene in parts.paralogs] == ["G1"]
    assert [gene.symbol for gene in parts.training] == ["G2", "G3"]
    assert "1 training and 0 validation genes resemble others" in notes[0]
    parts = without_paralogs(sequences, split(found, [Region("toy", 0, 1500)], [Region("toy", 1500, 3000)]))
    assert (parts.validation, len(parts.training)) == ([], 2)
    # The share of words that survive substitutions is the one the threshold assumes.
    one, two = (words(sequences["toy"], found[at]) for at in (0, 1))
    (share,) = containment([two], [one])
    # 1389 words survive with probability 0.28 each, in clumps of 12: the share's deviation is 0.042, taken four times,
    # which a right share passes by in 6e-5 of all seeds.
    assert abs(share - 0.9**LETTERS) < 0.17
    assert share > 0.5 * IDENTITY**LETTERS


def test_containment_is_that_of_sets():
    generator = np.random.default_rng(5)
    queries, references = ([np.unique(generator.integers(0, 300, size)) for size in (120, 60, 15)] for _ in range(2))
    wanted = [
        max(
            shared / min(query.size, each.size) if (shared := np.intersect1d(query, each).size) >= 10 else 0.0
            for each in references
        )
        for query in queries
    ]
    np.testing.assert_allclose(containment(queries, references), wanted, rtol=1e-15)
    assert containment([], references).size == 0
    np.testing.assert_array_equal(containment(queries, []), 0)


def test_the_sample_has_the_introns_on_its_card():
    card = samples.card("fly_chr4_locus")
    sequences = read_fasta("fly")
    transcripts = read_annotation("fly")
    found = genes(transcripts, "all")
    assert len(found) == card["protein_coding_genes"]
    introns = {
        (each.strand, int(donor), int(acceptor))
        for each in transcripts
        for donor, acceptor in zip(*sites(each), strict=True)
    }
    assert len(introns) == card["distinct_introns"]
    assert sum(strand > 0 for strand, *_ in introns) == card["introns_plus_strand"]
    counted = dinucleotides(labelled(sequences, found))
    assert counted[DONOR]["GT"] >= 0.97 * counted[DONOR].total()  # 98 to 99 % in animals; a shift by one gives 6 %
    assert counted[ACCEPTOR]["AG"] >= 0.98 * counted[ACCEPTOR].total()


def test_splice_junctions_are_grouped(tmp_path):
    rows = [("EI", "a", "ACGT" * 15), ("N", "b", "ACGT" * 15), ("IE", "c", "TTTNR" * 12), ("IE", "d", "tttnr" * 12)]
    text = "".join(f"{label},   {name},    {bases}\n" for label, name, bases in rows)
    notes: list[str] = []
    for content in (text, "class,instance,feat1\n" + text):
        found = read_junctions(toy.put(tmp_path, "rows", content), note=notes.append)
        assert found.labels.tolist() == [1, 0, 2, 2]
        assert found.groups.tolist() == [0, 0, 1, 1]
        assert found.conflicting.tolist() == [True, True, False, False]
        assert found.codes[2, :5].tolist() == [3, 3, 3, 4, 4]
    assert "4 rows hold 2 different sequences; 2 rows have the bases of another row" in notes[0]
    for content, words_ in (("", "holds no rows"), ("XX,a,ACGT\n", "line 1: is not a class"),
                            ("EI,a,ACGT\n", "line 1: holds no 60 bases")):  # fmt: skip
        with pytest.raises(InputError, match=words_):
            read_junctions(toy.put(tmp_path, "rows", content))


def test_folds_keep_groups_together(data):
    found = read_junctions()
    assert np.bincount(found.labels).tolist() == [1655, 767, 768]
    assert (found.labels.size, found.groups.max() + 1, found.conflicting.sum()) == (3190, 3005, 2)
    parts = folds(found)
    assert len({(group, fold) for group, fold in zip(found.groups, parts, strict=True)}) == 3005
    assert np.bincount(parts).min() > 300
