"""Couplings and spins from the field's own files and objects, and one sentence for what cannot be read."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import Problem, problem
from thalweg.spins.data.read import read, write
from thalweg.spins.data.states import read_spins, write_spins

KINDS = ("maxcut", "ising", "boltzmann", "qubo")


def text(folder: Path, content: str | bytes, name: str = "graph.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def same(one: Problem, other: Problem) -> bool:
    parts = [(getattr(one, name), getattr(other, name)) for name in ("first", "second", "coupling", "field")]
    alike = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in parts)
    return alike and (one.offset, one.denominator) == (other.offset, other.denominator)


def energies(posed: Problem) -> list:
    every = 1 - 2 * (np.arange(2**posed.size)[:, None] >> np.arange(posed.size) & 1)
    return [posed.energy(row) for row in every]


# Rudy text -----------------------------------------------------------------------------------------------------------


def test_the_proven_ground_state_of_the_sample_has_its_energy():
    files = resources.files("thalweg.samples")
    known = json.loads((files / "glass_torus_12x12.json").read_text())
    with resources.as_file(files / "glass_torus_12x12.txt") as path:
        glass, graph = read(path, kind="ising"), read(path)
    signs = np.array(known["ground_state"])
    assert (glass.size, glass.first.size, glass.exact) == (144, 288, True)
    assert glass.energy(signs) == known["ground_state_energy"] == -198
    assert graph.energy(signs) == 198
    rows, columns = np.divmod(np.arange(144), 12)
    assert graph.cut(np.where((rows + columns) % 2, signs, -signs)) == known["maximum_cut"]


@pytest.mark.parametrize(
    "content",
    [
        "3 2\n1 2 5\n2 3 -1\n",
        "# a comment\n\nc another\n% and one\n 3\t2 \n\n1 2   5\n#1 3 9\n2 3 -1",
        "3 2\r\n1 2 5\r\n2 3 -1\r\n",
        b"\xef\xbb\xbf3 2\n1 2 5\n2 3 -1\n",
        gzip.compress(b"3 2\n1 2 5\n2 3 -1\n", mtime=0),
        "3 4\n1 2 4\n2 1 1\n3 2 -1\n3 3 7\n",
    ],
)
def test_graphs_in_all_their_spellings(tmp_path, content):
    graph = read(text(tmp_path, content))
    assert (graph.kind, graph.size, graph.exact) == ("maxcut", 3, True)
    assert (graph.first.tolist(), graph.second.tolist(), graph.coupling.tolist()) == ([0, 1], [1, 2], [-5, 1])
    assert graph.cut(np.array([1, -1, -1])) == 5


def test_missing_weights_are_one_and_decimals_make_floats(tmp_path):
    assert read(text(tmp_path, "3 2\n1 2\n2 3\n")).coupling.tolist() == [-1, -1]
    real = read(text(tmp_path, "3 2\n1 2 1\n2 3 0.1\n"))
    assert (real.exact, real.coupling.tolist()) == (False, [-1.0, -0.1])
    assert not read(text(tmp_path, "2 1\n1 2 1e3\n")).exact
    tiny = read(text(tmp_path, "3 2\n1 2 1e-12\n2 3 1e12\n"))
    assert tiny.coupling.tolist() == [-1e-12, -1e12]


def test_the_third_column_means_what_the_kind_says(tmp_path):
    path = text(tmp_path, "2 3\n1 2 3\n1 1 5\n2 2 -4\n")
    # In the order (+ +), (- +), (+ -), (- -) of both spins.
    assert energies(read(path, kind="ising")) == [-3 - 5 + 4, 3 + 5 + 4, 3 - 5 - 4, -3 + 5 - 4]
    assert energies(read(path, kind="boltzmann")) == [-3 - 5 + 4, 4, -5, 0]
    assert energies(read(path, kind="qubo")) == [3 + 5 - 4, -4, 5, 0]
    assert energies(read(path)) == [3, -3, -3, 3]
    assert read(path).notes == ("2 self-loops are constants",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".txt", ".mc", ".txt.gz"])
def test_written_and_read_back_exactly(tmp_path, kind, suffix):
    chance = np.random.default_rng(1)
    first, second = np.triu_indices(8, 1)
    for numbers in (chance.integers(-9, 10, 28), chance.normal(size=28)):
        offset = -17 if numbers.dtype == int else 0.1
        field = np.zeros(8, numbers.dtype) if kind == "maxcut" else numbers[:8]
        posed = problem(first, second, numbers, field, offset=offset, kind=kind)
        found = read(write(posed, tmp_path / f"x{suffix}"))
        assert found.kind == kind
        if posed.exact:
            assert same(found, posed)
        else:
            np.testing.assert_allclose(energies(found), energies(posed), rtol=1e-12, atol=1e-13)


def test_a_plain_graph_is_written_as_any_program_reads_it(tmp_path):
    graph = read(text(tmp_path, "3 2\n1 2 5\n2 3 -1\n"))
    assert write(graph, tmp_path / "again.mc").read_text() == "3 2\n1 2 5\n2 3 -1\n"
    packed = [write(graph, tmp_path / f"{name}.mc.gz").read_bytes() for name in "ab"]
    assert packed[0] == packed[1]


def test_a_million_edges(tmp_path):
    chance = np.random.default_rng(0)
    ends, weights = chance.integers(1, 200_001, (1000, 2)), chance.choice([-1, 1], 1000)
    table = np.column_stack([ends, weights]).tolist()
    body = "".join(f"{i} {j} {w}\n" for i, j, w in table) * 1000
    found = read(text(tmp_path, f"200000 1000000\n{body}"))
    proper = ends[:, 0] != ends[:, 1]
    assert found.coupling.sum() == -1000 * weights[proper].sum()
    with pytest.raises(InputError, match="line 1000002: expected a finite number, found 'nan'"):
        read(text(tmp_path, f"200000 1000001\n{body}1 2 nan\n"))


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        ("", None, "the file is empty"),
        ("\n \n", None, "the file is empty"),
        ("# only\nc words\n", None, "only comments in the file"),
        (
            "1 2 5\n2 3 1\n",
            None,
            "line 1: expected the header `n m`, how many vertices and edges there are, found 1 2 5",
        ),
        ("3 x\n", None, "line 1: expected the header .* found 'x'"),
        ("-3 2\n1 2\n", None, "line 1: expected the header .* found '-3'"),
        ("3 -2\n1 2\n", None, "line 1: expected the header .* found '-2'"),
        ("3000000000 1\n1 2\n", None, r"\(at most 100000000\), found 3000000000"),
        (f"{'9' * 30} 1\n1 2\n", None, "found '9999"),
        ("0 0\n", None, "there are no vertices: give at least one"),
        ("3 3\n1 2 5\n2 3 1\n", None, "line 1: expected 3 lines below, as the header says, found 2"),
        ("3 1\n1 2 5\n2 3 1\n", None, "line 1: expected 1 lines below, as the header says, found 2"),
        ("3 2\n1 2 5\n2 4 1\n", None, "line 3: expected vertices from 1 to 3, found 2 4"),
        ("3 2\n\n0 2 5\n2 3 1\n", None, "line 3: expected vertices from 1 to 3, found 0 2"),
        ("3 2\n1 2 0.5\n1.5 3 1\n", None, "line 3: expected vertices from 1 to 3, found 1.5 3"),
        ("3 2\n1 2 nan\n2 3 1\n", None, "line 2: expected a finite number, found 'nan'"),
        ("3 2\n1 2 1.0\n2 3 -inf\n", None, "line 3: expected a finite number, found '-inf'"),
        ("3 2\n1 2 1.0\n2 3 1e999\n", None, "line 3: expected a finite number, found 1e999"),
        ("3 2\n1 2 1_0\n2 3 1\n", None, "line 2: expected a finite number, found '1_0'"),
        ("3 2\n1 2 - 3\n2 3 1\n", None, "line 2: expected a finite number, found '-'"),
        ("3 2\n1 2 4-5\n2 3 1\n", None, "line 2: expected a finite number, found '4-5'"),
        ("3 2\n1 2 ٣\n2 3 1\n", None, r"line 2: expected a finite number, found '\\\\xd9"),
        ("3 2\n1 2 5 6\n2 3 1\n", None, "line 2: expected two vertices and a number, found 4 columns"),
        ("3 2\n1 2 5\n2 3\n", None, "line 3: expected 3 columns as in line 2, found 2 columns"),
        ("3 2\n1 2\n2 3\n", "ising", "line 2: expected two vertices and a number, found 2 columns"),
        (
            "3 2\n1 2 5\n2 3 9007199254740992\n",
            None,
            r"line 3: expected integers below 2\^53 \(or decimals\), found 9007",
        ),
        ("3 2\n1 2 5\n2 3 99999999999999999999999\n", None, r"line 3: expected integers below 2\^53"),
        ("3 2\n1 2 5\n2 3 -99999999999999999999999\n", None, r"line 3: expected integers below 2\^53"),
        (f"3 2\n1 2 5\n2 3 {'1' * 5000}\n", None, "line 3: expected a number, found one of .* characters"),
        ("3 2\n1 2 \x00\n2 3 1\n", None, "line 2: expected text, found a zero byte"),
        ("# thalweg isin offset=0 denominator=1\n2 1\n1 2 3\n", None, "line 1: expected `thalweg KIND offset=NUMBER"),
        ("# thalweg ising offset=0 denominator=0\n2 1\n1 2 3\n", None, "line 1: expected `thalweg KIND offset=NUMBER"),
        ("# thalweg ising offset=1e999 denominator=1\n2 1\n1 2 3\n", None, "line 1: expected a finite offset"),
        ("# thalweg ising offset=0 denominator=1\n2 1\n1 2 3\n", "qubo", "the file says that it is ising, not qubo"),
        ("# thalweg maxcut offset=1 denominator=1\n2 1\n1 1 3 3\n", None, "line 3: expected two vertices and a number"),
        ("2 1\n1 2 3\n", "potts", "the kind 'potts' is unknown: give one of maxcut, ising, qubo, boltzmann"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, content, kind, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        read(text(tmp_path, content), kind=kind)
    assert str(tmp_path / "graph.txt") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read(tmp_path / "nothing.mc")
    with pytest.raises(InputError, match=r"cannot be read .*irectory"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read .*is it a whole, readable file"):
        read(text(tmp_path, gzip.compress(b"3 2\n1 2 5\n2 3 -1\n")[:-9]))


# .qubo ---------------------------------------------------------------------------------------------------------------


def test_qubo_files_of_qbsolv(tmp_path):
    found = read(
        text(tmp_path, "c from elsewhere\np qubo target 4 2 3\nc\n0 0 3\n3 3 -2\n0 1 1\n1 2 -4\n3 0 2\n", "x.qubo")
    )
    assert (found.kind, found.size, found.exact) == ("qubo", 4, True)
    expected = [
        3 * a - 2 * d + a * b - 4 * b * c + 2 * a * d
        for d in (1, 0) for c in (1, 0) for b in (1, 0) for a in (1, 0)
    ]  # fmt: skip
    assert energies(found) == expected
    again = write(found, tmp_path / "again.qubo")
    assert again.read_text().startswith("c thalweg qubo offset=0 denominator=1\np qubo 0 4 2 3\n0 0 3\n")
    assert same(read(again), found)
    for content, sentence in [
        ("p qubo 0 4 2 2\n0 0 3\n", "line 1: expected 2 diagonals and 2 couplers below, found 1 and 0"),
        ("c\np qubo 0 4 2\n", "line 2: expected the header `p qubo 0 nodes diagonals couplers`, found p qubo 0 4 2"),
        ("0 0 3\n", "line 1: expected the header `p qubo"),
        ("p qubo 0 2 1 0\n2 2 1\n", "line 2: expected vertices from 0 to 1, found 2 2"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read(text(tmp_path, content, "x.qubo"))
    with pytest.raises(InputError, match="is a QUBO, not ising"):
        read(again, kind="ising")
    with pytest.raises(InputError, match="holds a QUBO, not ising"):
        write(found, tmp_path / "x.qubo", "ising")
    with pytest.raises(InputError, match="problems are written as text"):
        write(found, tmp_path / "x.npz")


# Spins ---------------------------------------------------------------------------------------------------------------


def test_spins_written_and_read(tmp_path):
    signs = np.random.default_rng(0).choice([-1, 1], 200)
    path = write_spins(tmp_path / "s.txt", signs, note="energy\n-3")
    assert path.read_text().startswith("# thalweg spins n=200 energy -3\n")
    assert np.array_equal(read_spins(path, size=200), signs)
    assert read_spins(text(tmp_path, "1\n0\n\n0\n")).tolist() == [1, -1, -1]
    assert read_spins(text(tmp_path, "1 -1 1\n")).tolist() == [1, -1, 1]
    for content, sentence in [
        ("1\n-1\n0\n", "line 3: expected spins of -1 and .1, or of 0 and 1 throughout, found 0"),
        ("1\n2\n", "line 2: .* found 2"),
        ("1\nup\n", "line 2: expected a finite number, found 'up'"),
        ("1 1\n1 1\n", "line 1: expected one spin a line"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read_spins(text(tmp_path, content))
    with pytest.raises(InputError, match="holds 200 spins, but the problem has 3"):
        read_spins(path, size=3)
    with pytest.raises(InputError, match="one row of -1 and"):
        write_spins(path, np.zeros(3))
    with pytest.raises(InputError, match=r"line 1: expected `thalweg KIND .* found '# thalweg spins"):
        read(path)


# The full data sets --------------------------------------------------------------------------------------------------


def test_every_instance_of_the_data_folder_is_read(data, tmp_path):
    files = [*sorted((data / "spins" / "gset").iterdir()), *sorted((data / "spins" / "qubo").glob("*.mc"))]
    assert len(files) > 10
    for path in files:
        size, edges = map(int, path.read_text().split(None, 2)[:2])
        graph = read(path)
        assert (graph.size, graph.kind, graph.exact, graph.notes) == (size, "maxcut", True, ())
        assert graph.first.size == edges
        assert same(read(write(graph, tmp_path / "again.mc")), graph)
        rows = np.loadtxt(path, np.int64, skiprows=1)
        signs = np.random.default_rng(0).choice([-1, 1], size)
        across = signs[rows[:, 0] - 1] != signs[rows[:, 1] - 1]
        assert graph.cut(signs) == rows[across, 2].sum()
