"""Variants kept as they were, and tracks for browsers."""

from __future__ import annotations

import gzip
import itertools
import struct

import numpy as np
import pytest
import toy_genome as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, ThalwegError
from thalweg.genome.data.bgzf import blocked
from thalweg.genome.data.labels import ACCEPTOR, DONOR
from thalweg.genome.data.tracks import Sites, Values, write_bed, write_bedgraph
from thalweg.genome.data.vcf import SPLICEAI_HEADER, annotated, read_vcf, spelled, write_vcf

HEADER = [
    "##fileformat=VCFv4.2",
    '##INFO=<ID=SpliceAI,Number=.,Type=String,Description="of another program">',
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="depth">',
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tsample",
]
RECORDS = [
    "chr1\t100\trs1\tA\tC\t50\tPASS\tDP=3\tGT\t0/1",
    "chr1\t100\t.\tA\tC,<DEL>,*\t.\t.\t.\tGT\t1/2",
    "chr2\t5\t.\tacgt\tA\t.\tq10\tSpliceAI=old;DP=2;END\tGT\t./.",
    "chr2\t9\t.\tG\t.\t.\t.\tDP=1\tGT\t0/0",
    "chr2\t0\t.\tN\t]chr1:7]N\t.\t.\tSVTYPE=BND\tGT\t0/1",
]
TEXT = "\n".join([*HEADER, *RECORDS]) + "\n"


def test_every_record_comes_back_and_the_header_stays(tmp_path):
    for content in (TEXT, TEXT.replace("\n", "\r\n"), gzip.compress(TEXT.encode())):
        found = read_vcf(toy.put(tmp_path, "in.vcf", content))
        assert [record.raw for record in found.records] == RECORDS
        assert [record.position for record in found.records] == [99, 99, 4, 8, -1]
        assert [record.alternatives for record in found.records][1:4] == [("C", "<DEL>", "*"), ("A",), ()]
        assert [record.line for record in found.records] == [5, 6, 7, 8, 9]
        for name in ("out.vcf", "out.vcf.gz"):
            write_vcf(tmp_path / name, found, [record.raw for record in found.records])
            again = read_vcf(tmp_path / name)
            assert [record.raw for record in again.records] == RECORDS
            assert list(again.header) == [HEADER[0], HEADER[2], SPLICEAI_HEADER, HEADER[3]]


def test_records_are_annotated_in_one_column_only(tmp_path):
    found = read_vcf(toy.put(tmp_path, "in.vcf", TEXT)).records
    lines = [annotated(record, {"SpliceAI": "C|GENE|0.1|0|0|0|1|2|3|-4", "SKIPPED": None}) for record in found]
    for line, record in zip(lines, found, strict=True):
        fields = line.split("\t")
        assert fields[:7] + fields[8:] == record.fields[:7] + record.fields[8:]
    infos = [line.split("\t")[7] for line in lines]
    assert infos[0] == "DP=3;SpliceAI=C|GENE|0.1|0|0|0|1|2|3|-4;SKIPPED"
    assert infos[1].startswith("SpliceAI=C|")
    assert infos[2] == "DP=2;END;SpliceAI=C|GENE|0.1|0|0|0|1|2|3|-4;SKIPPED"
    assert annotated(found[1], {}) == found[1].raw
    assert annotated(found[0], {"WHY": "a = b; 5 %"}).split("\t")[7] == "DP=3;WHY=a%20%3D%20b%3B%205%20%25"
    assert [spelled(text) for text in ("A", "acgtn", "<DEL>", "*", ".", "", "R")] == [True, True] + [False] * 5


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    found = read_vcf(toy.put(tmp_path, "in.vcf", TEXT))
    with pytest.raises(ValueError, match="4 lines for 5 records"):
        write_vcf(tmp_path / "out.vcf", found, RECORDS[:4])
    with pytest.raises(ThalwegError, match="cannot be written"):
        write_vcf(tmp_path / "in.vcf" / "out.vcf", found, RECORDS)
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]


def test_a_missing_format_line_is_noted_and_mended(tmp_path):
    notes: list[str] = []
    found = read_vcf(toy.put(tmp_path, "in.vcf", TEXT.partition("\n")[2]), note=notes.append)
    assert found.header[0] == "##fileformat=VCFv4.2"
    assert "read as VCF 4.2" in notes[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("chr1\t100\trs1", "chr1 100 rs1", "line 5: has 8 columns where the header names 10"),
        ("100\trs1", "1e2\trs1", "line 5: the position '1e2' is no whole number"),
        ("100\trs1", "-3\trs1", "line 5: the position '-3' is no whole number"),
        ("rs1\tA\tC", "rs1\t\tC", "line 5: the chromosome, the reference or the alternative is empty"),
        ("\tREF\tALT", "\tALT\tREF", "line 4: does not name the eight columns"),
        ("#CHROM", "CHROM", "line 4: comes before the line #CHROM"),
        ("VCFv4.2", "VCFv3.3", "line 1: is of the version '3.3'"),
        (TEXT, "", "has no line #CHROM"),
        (TEXT, "##fileformat=VCFv4.2\n", "has no line #CHROM"),
    ],
)
def test_malformed_files_are_refused_in_one_sentence(tmp_path, old, new, words):
    with pytest.raises(InputError, match=words) as caught:
        read_vcf(toy.put(tmp_path, "bad.vcf", TEXT.replace(old, new, 1)))
    assert str(caught.value).startswith(str(tmp_path / "bad.vcf"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), toy.damages)
def test_damaged_files_give_records_or_one_sentence(tmp_path, packed, damage):
    content = toy.damaged(gzip.compress(TEXT.encode()) if packed else TEXT.encode(), damage)
    path = toy.put(tmp_path, "damaged", content)
    try:
        found = read_vcf(path)
    except ThalwegError as error:
        toy.one_sentence(error, path)
        return
    write_vcf(tmp_path / "out.vcf", found, [annotated(record, {"SKIPPED": "why"}) for record in found.records])
    again = read_vcf(tmp_path / "out.vcf")
    assert len(again.records) == len(found.records)
    # Whatever bytes the file held are still there.
    kept = [(*record.fields[:7], *record.fields[8:]) for record in found.records]
    assert [(*record.fields[:7], *record.fields[8:]) for record in again.records] == kept


def test_packed_files_are_made_of_blocks():
    content = np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes()
    packed = blocked(content)
    assert gzip.decompress(packed) == content
    at, sizes = 0, []
    while at < len(packed):
        # Each member says its own length in the extra field BC (SAM specification, 4.1).
        assert packed[at + 12 : at + 16] == b"BC\x02\x00"
        sizes.append(struct.unpack("<H", packed[at + 16 : at + 18])[0] + 1)
        at += sizes[-1]
    assert at == len(packed)
    assert len(sizes) == 5
    assert sizes[-1] == 28


def test_sites_as_bed(tmp_path):
    plus = Sites("chr2", 1, np.array([9, 3]), np.array([DONOR, ACCEPTOR]), np.array([1.0, 0.1234]))
    minus = Sites("chr1", -1, np.array([5]), np.array([DONOR]), np.array([0.5004]))
    later = Sites("chr2", -1, np.array([3]), np.array([DONOR]), np.array([0.0], np.float32))
    path = write_bed(tmp_path / "sites.bed", [plus, minus, later])
    assert path.read_text().splitlines() == [
        "chr2\t3\t4\tacceptor\t123\t+",
        "chr2\t3\t4\tdonor\t0\t-",
        "chr2\t9\t10\tdonor\t1000\t+",
        "chr1\t5\t6\tdonor\t500\t-",
    ]
    for wrong in (1.1, np.nan):
        with pytest.raises(ValueError, match="not within 0 and 1"):
            write_bed(tmp_path / "sites.bed", [plus._replace(probabilities=np.array([0.5, wrong]))])
    assert len(path.read_text().splitlines()) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([0.0, 0.004, 0.01, 0.0104, 0.5, 1.0]), max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
    st.sampled_from([1, -1]),
)
def test_bedgraph_says_the_same_values_in_runs(tmp_path, listed, cuts, strand):
    values = np.array(listed, np.float32)
    edges = sorted({0, len(listed), *(cut for cut in cuts if cut < len(listed))})
    pieces = [Values("chr1", 100 + a, values[a:b]) for a, b in itertools.pairwise(edges)]
    path = write_bedgraph(tmp_path / "one.bedgraph", pieces, strand=strand)
    back, last = np.zeros(len(listed)), None
    for line in path.read_text().splitlines():
        chromosome, start, end, value = line.split("\t")
        assert chromosome == "chr1"
        back[int(start) - 100 : int(end) - 100] = float(value)
        # Runs are as long as they can be, wherever the pieces were cut, and do not overlap.
        assert last is None or last[0] < int(start) or (last[0] == int(start) and last[1] != value)
        last = int(end), value
    wanted = np.where(values >= 0.01, np.rint(values.astype(float) * 1000) / 1000, 0)
    np.testing.assert_allclose(back, strand * wanted, atol=1e-12)  # three decimals are exact in text


def test_bedgraph_refuses_overlaps_and_no_numbers(tmp_path):
    piece = Values("chr1", 0, np.ones(5))
    with pytest.raises(ValueError, match="overlap at 3"):
        write_bedgraph(tmp_path / "x.bedgraph", [piece, piece._replace(start=3)])
    with pytest.raises(ValueError, match="not within 0 and 1"):
        write_bedgraph(tmp_path / "x.bedgraph", [piece._replace(values=np.array([np.nan]))])
    assert not list(tmp_path.iterdir())
