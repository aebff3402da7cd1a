"""Annotations: GFF3 and GTF as they are met, what is counted, what is refused and how."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import toy_genome as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, ThalwegError
from thalweg.genome.data.annotation import read_annotation
from thalweg.genome.data.genes import genes


def plain(transcripts) -> list[tuple]:
    return [
        (each.gene.removeprefix("gene-"), each.name, each.strand, tuple(map(tuple, each.exons.tolist())), each.coding)
        for each in transcripts
    ]


WRITTEN = [(each.gene, each.name, each.strand, each.exons, each.coding) for each in toy.GENES]


# Edges of exons that are apart, the strand, and whether there is a coding sequence.
SHAPES = st.tuples(
    st.lists(st.integers(0, 400), min_size=2, max_size=10, unique=True).map(sorted),
    st.sampled_from([1, -1]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SHAPES, min_size=1, max_size=5))
def test_both_formats_give_what_was_written(tmp_path, shapes):
    written = [
        toy.Toy(f"g{number}", f"t{number}", strand, tuple(zip(edges[::2], edges[1::2], strict=False)), coding)
        for number, (edges, strand, coding) in enumerate(shapes)
    ]
    wanted = [(each.gene, each.name, each.strand, each.exons, each.coding) for each in written]
    for text in (toy.gff3(written), toy.gtf(written)):
        assert plain(read_annotation(toy.put(tmp_path, "any.txt", text))) == wanted


def test_packed_files_line_ends_symbols_and_coding_lengths(tmp_path):
    for text in (toy.gff3(), toy.gtf()):
        for content in (
            gzip.compress(text.encode()),
            gzip.compress(text[:500].encode()) + gzip.compress(text[500:].encode()) + bytes(7),
            text.replace("\n", "\r\n").encode(),
            text.replace("\n", "\r").encode(),
            b"\xef\xbb\xbf" + text.encode(),
        ):
            found = read_annotation(toy.put(tmp_path, "file", content))
            assert plain(found) == WRITTEN
            assert [each.symbol for each in found] == ["FORWARD", "FORWARD", "BACKWARD", "SINGLE", "SILENT"]
            assert [each.coding_bases for each in found] == [350, 330, 200, 100, 0]


def test_names_may_hold_what_parts_attributes(tmp_path):
    gtf = toy.gtf().replace('"FORWARD"', '"CYCA3;4"')
    gff3 = toy.gff3().replace("Name=FORWARD", "Name=CYCA3%3B4")
    for text in (gtf, gff3):
        assert read_annotation(toy.put(tmp_path, "file", text))[0].symbol == "CYCA3;4"
    # RefSeq calls transcripts of different genes alike.
    alike = [each._replace(name="unknown_transcript_1") for each in toy.GENES if each.name != "forward.2"]
    found = read_annotation(toy.put(tmp_path, "file", toy.gtf(alike)))
    assert [each.gene for each in found] == ["forward", "backward", "single", "silent"]


def test_exons_come_from_the_coding_sequence_where_there_are_none(tmp_path):
    # As AUGUSTUS writes them: bare names on genes and transcripts, a stop codon of its own behind the last part.
    head = "toy\tAUGUSTUS\tgene\t101\t650\t.\t+\t.\tg1\ntoy\tAUGUSTUS\ttranscript\t101\t650\t.\t+\t.\tg1.t1\n"
    stop = 'toy\tAUGUSTUS\tstop_codon\t651\t653\t.\t+\t0\ttranscript_id "forward.1"; gene_id "forward";\n'
    notes: list[str] = []
    text = head + toy.gtf(toy.GENES[:1], ("CDS",)) + stop
    (found,) = read_annotation(toy.put(tmp_path, "file", text), note=notes.append)
    assert found.exons.tolist() == [[100, 200], [300, 400], [500, 653]]
    assert "1 transcripts without exons" in notes[0]


def test_exons_below_two_transcripts_below_a_gene_and_touching(tmp_path):
    shared = toy.gff3(toy.GENES[2:3]).replace("exon\t701\t800", "exon\t701\t790")
    shared += "toy\tmade\tmRNA\t701\t900\t.\t-\t.\tID=other;Parent=gene-backward\n"
    shared += "toy\tmade\texon\t791\t800\t.\t-\t.\tParent=backward.1,other\n"
    shared += "toy\tmade\texon\t2\t3\t.\t-\t.\tParent=gene-backward\n"
    notes: list[str] = []
    first, second = read_annotation(toy.put(tmp_path, "file", shared), note=notes.append)
    assert first.exons.tolist() == [[700, 800], [900, 1000]]
    assert (second.name, second.exons.tolist(), second.coding) == ("other", [[790, 800]], False)
    assert any("1 transcripts have exons that overlap or touch" in note for note in notes)
    assert any("1 exons directly below a gene" in note for note in notes)
    alone = "toy\tmade\tgene\t5\t90\t.\t+\t.\tID=g\n" + "".join(
        f"toy\tmade\texon\t{start}\t{start + 9}\t.\t+\t.\tParent=g\n" for start in (5, 81)
    )
    (found,) = read_annotation(toy.put(tmp_path, "file", alone))
    assert (found.gene, found.exons.tolist()) == ("g", [[4, 14], [80, 90]])


def test_trans_spliced_transcripts_are_left_out_and_counted(tmp_path):
    both = toy.GENES[2]._replace(strand=1)
    for text, old, new in (
        (toy.gff3(), "ID=backward.1", "ID=backward.1;exception=trans-splicing"),
        (toy.gtf(), 'transcript_id "backward.1";', 'transcript_id "backward.1"; exception "trans-splicing";'),
    ):
        notes: list[str] = []
        torn = text.replace(old, new) + toy.gtf([both]) if old.startswith("trans") else text.replace(old, new)
        found = read_annotation(toy.put(tmp_path, "file", torn), note=notes.append)
        assert "backward.1" not in [each.name for each in found]
        assert any("1 trans-spliced transcripts are left out" in note for note in notes)


def test_genes_choose_and_order_their_transcripts(tmp_path):
    found = read_annotation(toy.put(tmp_path, "file", toy.gff3()))
    longest, every, silent = genes(found), genes(found, "all"), genes(found, coding=False)
    assert [gene.symbol for gene in longest] == ["FORWARD", "BACKWARD", "SINGLE"]
    assert [gene.symbol for gene in silent] == ["SILENT", "FORWARD", "BACKWARD", "SINGLE"]
    assert [each.name for each in longest[0].chosen] == ["forward.1"]
    assert [each.name for each in every[0].chosen] == ["forward.1", "forward.2"]
    assert (longest[0].start, longest[0].end) == (100, 650)
    # The longest is the one with most bases in exons, not the one that spans most.
    wide = (toy.Toy("g", "wide", 1, ((0, 10), (500, 510))), toy.Toy("g", "full", 1, ((100, 300),)))
    (gene,) = genes(read_annotation(toy.put(tmp_path, "file", toy.gff3(wide))))
    assert gene.chosen[0].name == "full"
    assert (gene.start, gene.end) == (0, 510)
    with pytest.raises(InputError, match="'longest' or 'all'"):
        genes(found, "canonical")  # pyright: ignore[reportArgumentType]


def test_genes_on_two_strands_are_left_out_and_named(tmp_path):
    torn = [*toy.GENES, toy.GENES[0]._replace(name="forward.3", strand=-1)]
    notes: list[str] = []
    found = genes(read_annotation(toy.put(tmp_path, "file", toy.gff3(torn))), note=notes.append)
    assert [gene.symbol for gene in found] == ["BACKWARD", "SINGLE"]
    assert "1 genes have transcripts on two strands" in notes[0]
    assert "gene-forward" in notes[0]
    with pytest.raises(InputError, match="no gene with a coding sequence"):
        genes(read_annotation(toy.put(tmp_path, "file", toy.gff3(toy.GENES[4:]))))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\tmade\tgene\t101\t650\t.", "\tgene\t101\t650\t.", "line 2: has 8 columns"),
        ("toy\tmade\tgene\t101", "toy made gene 101", "line 2: has 6 columns"),
        ("exon\t101\t200", "exon\t101.5\t200", "line 4: '101.5' to '200' are no whole numbers"),
        ("exon\t101\t200", "exon\t201\t200", "line 4: 201 to 200 is no stretch"),
        ("exon\t101\t200", "exon\t0\t200", "line 4: 0 to 200 is no stretch"),
        ("exon\t101\t200\t.\t+", "exon\t101\t200\t.\t?", "line 4: the strand of this exon is '?'"),
        ("exon\t101\t200\t.\t+", "exon\t101\t200\t.\t-", "is on toy \\+ here and on toy - in line 4"),
        ("toy\tmade\texon\t101", "other\tmade\texon\t101", "is on toy \\+ here and on other \\+ in line 4"),
        ("200\t.\t+\t.\tParent=forward.1", "200\t.\t+\t.\tID=lost", "line 4: this exon has no Parent"),
        ("ID=forward.1;", "ID=renamed;", "line 4: its parent 'forward.1' is nowhere"),
        ("Parent=gene-forward\n", "Parent=forward.1\n", "line 4: its parent 'forward.1' descends from itself"),
        ("\tParent=forward.1", "\tforward.1", "line 4: its last column holds neither Parent= .* nor transcript_id"),
    ],
)  # fmt: skip
def test_gff3_is_refused_in_one_sentence(tmp_path, old, new, words):
    text = toy.gff3()
    assert old in text
    with pytest.raises(InputError, match=words) as caught:
        read_annotation(toy.put(tmp_path, "bad.gff3", text.replace(old, new, 1)))
    assert str(caught.value).startswith(str(tmp_path / "bad.gff3"))
    assert "\n" not in str(caught.value)


def test_gtf_and_whole_files_are_refused_in_one_sentence(tmp_path):
    both = toy.gtf().replace("\t.\t+\t.\tgene_id", "\t.\t-\t.\tgene_id", 1)
    packed = gzip.compress(toy.gff3().encode())
    for content, words in (
        (both, "the transcript 'forward.1' is on toy"),
        (toy.gtf().replace('transcript_id "forward.1"', 'transcript_id ""', 1), "has no transcript_id"),
        ("", "holds no exon"),
        ("##gff-version 3\n", "holds no exon"),
        (packed[:-12], "cut short after line"),
        (packed[:60] + b"\xff\xff\xff\xff" + packed[64:], "damaged after line"),
        (gzip.compress(b"BAM\1\0\0"), "binary"),
        (b"BZh91AY", "packed by bzip2"),
        (toy.fasta(toy.bases()), "holds no exon"),
    ):
        with pytest.raises(InputError, match=words):
            read_annotation(toy.put(tmp_path, "file", content))
    with pytest.raises(InputError, match="no such file"):
        read_annotation(tmp_path / "nowhere.gff3")
    with pytest.raises(InputError, match="is a folder"):
        read_annotation(tmp_path)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.booleans(), toy.damages)
def test_damaged_annotations_give_transcripts_or_one_sentence(tmp_path, as_gtf, packed, damage):
    content = (toy.gtf() if as_gtf else toy.gff3()).encode()
    content = toy.damaged(gzip.compress(content) if packed else content, damage)
    path = toy.put(tmp_path, "damaged", content)
    try:
        found = read_annotation(path)
    except ThalwegError as error:
        toy.one_sentence(error, path)
        return
    for each in found:
        edges = each.exons.ravel()
        assert (np.diff(edges) > 0).all()
        assert edges[0] >= 0
