"""Couplings from other programs' objects and files, and damage to files of every format."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from faults import only_our_errors
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError, ThalwegError
from thalweg.spins.data.arrays import from_array, from_sparse
from thalweg.spins.data.bqm import from_bqm, to_bqm
from thalweg.spins.data.graphs import from_networkx
from thalweg.spins.data.problem import Problem
from thalweg.spins.data.read import read, write

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


# dimod ---------------------------------------------------------------------------------------------------------------


def small_bqm(vartype: str, *, labels: bool = True, real: bool = False):
    import dimod

    chance = np.random.default_rng(2)
    names = ["b", ("a", 1), 3, "d"] if labels else list(range(4))
    draw = (lambda: float(chance.normal())) if real else (lambda: float(chance.integers(-9, 10)))
    pairs = {(names[i], names[j]): draw() for i, j in [(0, 1), (2, 1), (3, 0)]}
    return dimod.BinaryQuadraticModel({name: draw() for name in names}, pairs, 0.25 if real else 3.0, vartype)


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("real", [False, True])
def test_bqms_keep_labels_offset_and_energies(tmp_path, vartype, real):
    bqm = small_bqm(vartype, real=real)
    found = from_bqm(bqm)
    assert found.labels == tuple(bqm.variables)
    assert (found.kind, found.exact) == ("ising" if vartype == "SPIN" else "qubo", not real)
    for row in 1 - 2 * (np.arange(16)[:, None] >> np.arange(4) & 1):
        state = dict(zip(bqm.variables, row if vartype == "SPIN" else (row + 1) // 2, strict=True))
        assert found.energy(row) == pytest.approx(bqm.energy(state), rel=1e-14)  # sums of eight terms
    import dimod.testing

    for to in ("SPIN", "BINARY"):
        dimod.testing.assert_bqm_almost_equal(to_bqm(found, to).change_vartype(vartype, inplace=False), bqm, places=12)
    with bqm.to_file() as file:
        (tmp_path / "x.bqm").write_bytes(file.read())
    (tmp_path / "x.json").write_text(json.dumps(bqm.to_serializable()))
    assert same(read(tmp_path / "x.bqm"), found)
    assert read(tmp_path / "x.bqm").labels == found.labels
    from_json = read(tmp_path / "x.json")
    assert set(from_json.labels or ()) == set(found.labels or ())
    assert sorted(energies(from_json)) == pytest.approx(sorted(energies(found)), rel=1e-14)
    with pytest.raises(InputError, match="leave the kind out"):
        read(tmp_path / "x.bqm", kind="boltzmann")


def test_the_coo_text_of_dimod(tmp_path):
    from dimod.serialization import coo

    bqm = small_bqm("BINARY", labels=False)
    path = text(tmp_path, coo.dumps(bqm, vartype_header=True), "x.coo")
    assert energies(read(path)) == [value - 3 for value in energies(from_bqm(bqm))]  # the format has no offset
    bare = text(tmp_path, coo.dumps(bqm), "bare.coo")
    assert energies(read(bare, kind="qubo")) == energies(read(path))
    for content, sentence in [
        ("0 1 2\n", "line 1: expected `# vartype=SPIN` or BINARY"),
        ("# vartype=SPIN\n0 1 2\n1 2 1e-5x\n", "line 3: expected a finite number"),
        ("# vartype=SPIN\n0 1 2\n-1 2 1\n", "line 3: expected variables counted from zero, found -1 2"),
        ("# vartype=POTTS\n0 1 2\n", "expected SPIN or BINARY"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read(text(tmp_path, content, "x.coo"))
    assert read(text(tmp_path, "# vartype=SPIN\n7 7 1\n7 12 1e-5\n", "x.coo")).labels == (7, 12)


def test_other_objects_and_biases_are_refused():
    import dimod

    with pytest.raises(InputError, match="a dict: pass a dimod"):
        from_bqm({})
    with pytest.raises(InputError, match="is nan: give finite numbers"):
        from_bqm(dimod.BinaryQuadraticModel({"a": np.nan}, {}, 0.0, "SPIN"))
    with pytest.raises(InputError, match="there are no spins"):
        from_bqm(dimod.BinaryQuadraticModel("SPIN"))
    whole = dimod.DictBQM({"a": 2}, {("a", "b"): -3}, 1, "SPIN")
    assert (from_bqm(whole).exact, from_bqm(whole).coupling.tolist()) == (True, [3])


# Graphs and matrices -------------------------------------------------------------------------------------------------


def test_graphs_of_networkx(tmp_path):
    import networkx as nx

    graph = nx.Graph()
    graph.add_edge("x", "y", weight=2)
    graph.add_edge("y", "z")
    graph.nodes["x"]["field"] = 4
    found = from_networkx(graph)
    assert (found.kind, found.labels, found.coupling.tolist()) == ("maxcut", ("x", "y", "z"), [-2, -1])
    assert not found.field.any()
    glass = from_networkx(graph, kind="ising")
    assert (glass.coupling.tolist(), glass.field.tolist()) == ([2, 1], [4, 0, 0])
    nx.write_graphml(graph, tmp_path / "x.graphml")
    nx.write_gml(graph, tmp_path / "x.gml")
    for name in ("x.graphml", "x.gml"):
        assert same(read(tmp_path / name), found)
        assert same(read(tmp_path / name, kind="ising"), glass)
    for wrong, sentence in [
        (nx.DiGraph(graph), "is directed"),
        (nx.Graph(), "has no nodes"),
        (nx.Graph([("x", "y", {"weight": "two"})]), "the weight of the edge 'x'-'y' is 'two'"),
        (nx.Graph([("x", "y", {"weight": np.inf})]), "give finite numbers"),
    ]:
        with pytest.raises(InputError, match=sentence):
            from_networkx(wrong)
    with pytest.raises(InputError, match="is coupled to itself"):
        from_networkx(nx.Graph([(0, 0), (0, 1)]), kind="ising")
    doubled = nx.MultiGraph([(0, 1, {"weight": 2}), (0, 1, {"weight": 0.5})])
    assert from_networkx(doubled).coupling.tolist() == [-2.5]


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_in_memory_and_in_files(tmp_path, kind):
    from scipy.io import mmwrite
    from scipy.sparse import coo_array, csr_array, save_npz

    upper = np.triu(np.random.default_rng(4).integers(-5, 6, (5, 5)), 0 if kind == "qubo" else 1)
    found = from_array(upper, kind=kind)
    body = "".join(f"{i + 1} {j + 1} {upper[i, j]}\n" for i in range(5) for j in range(5))
    assert energies(found) == energies(read(text(tmp_path, f"5 25\n{body}"), kind=kind))
    symmetric = upper + np.triu(upper, 1).T if kind != "qubo" else (upper + upper.T) / 2
    save_npz(tmp_path / "x.npz", csr_array(symmetric))
    mmwrite(tmp_path / "x.mtx", coo_array(symmetric))
    np.save(tmp_path / "x.npy", symmetric)
    (tmp_path / "x.csv").write_text("\n".join(",".join(map(str, row)) for row in symmetric.tolist()))
    for same_again in [
        from_array(upper.T, kind=kind),
        from_array(symmetric.astype(np.float64), kind=kind),
        from_sparse(csr_array(symmetric), kind=kind),
        *(read(tmp_path / f"x{suffix}", kind=kind) for suffix in (".npz", ".mtx", ".npy", ".csv")),
    ]:
        assert energies(same_again) == energies(found)
        assert same_again.kind == kind
        assert same_again.exact is (same_again.exact if kind == "qubo" else True)


def test_matrix_market_text(tmp_path):
    from scipy.io import mmwrite

    matrix = np.array([[0, 3, -1], [3, 0, 0], [-1, 0, 0]])
    expected = from_array(matrix)
    for symmetry in ("general", "symmetric"):
        mmwrite(tmp_path / "x.mtx", matrix, symmetry=symmetry)
        assert same(read(tmp_path / "x.mtx"), expected)
    head = "%%MatrixMarket matrix coordinate"
    pattern = text(tmp_path, f"{head} pattern symmetric\n% words\n3 3 2\n2 1\n3 1\n", "x.mtx")
    assert read(pattern, kind="maxcut").coupling.tolist() == [-1, -1]
    for content, sentence in [
        ("%%MatrixMarket matrix coordinate complex general\n1 1 0\n", "line 1: expected `%%MatrixMarket matrix"),
        (f"{head} real general\n2 3 1\n1 2 5\n", "line 2: expected a square matrix .* found 2 x 3"),
        (f"{head} real general\n2 2 2\n1 2 5\n", "line 2: expected 2 lines below, found 1"),
        (f"{head} real general\n2 2 1\n1 3 5\n", "line 3: expected rows and columns from 1 to 2, found 1 3"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n", "line 2: expected 4 numbers below, found 3"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read(text(tmp_path, content, "x.mtx"))


def test_matrices_that_mean_nothing(tmp_path):
    from scipy.sparse import coo_array

    lopsided = np.array([[0, 1], [2, 0]])
    assert from_array(lopsided, kind="qubo").coupling.tolist() == [-3]
    for matrix, options, sentence in [
        (lopsided, {}, "neither symmetric nor triangular"),
        (lopsided, {"kind": "maxcut"}, "neither symmetric nor triangular"),
        (np.eye(2), {}, "0 .from zero. is coupled to itself"),
        (np.eye(2), {"kind": "boltzmann"}, "coupled to itself"),
        (np.zeros((2, 3)), {}, "a matrix of the shape .2, 3."),
        (np.zeros(3), {}, "an array of the shape .3,."),
        (np.zeros((0, 0)), {}, "couplings of 0 spins"),
        (np.array([[0, np.nan], [np.nan, 0]]), {}, "is nan: give finite numbers"),
        (np.array([[0, 1j], [1j, 0]]), {}, "holds complex128, not real numbers"),
        (np.array([["0", "1"], ["1", "0"]]), {}, "not real numbers"),
        (np.zeros((2, 2)), {"field": np.zeros(3)}, "a field of the shape .3,."),
    ]:
        with pytest.raises(InputError, match=sentence):
            from_array(matrix, **options)
    assert from_array(np.eye(2), kind="maxcut").first.size == 0
    assert from_array(np.zeros((3, 3)), np.array([1.0, 0.5, 0])).field.tolist() == [1.0, 0.5, 0]
    repeated = coo_array((np.array([1, 1, 2]), ([0, 0, 1], [1, 1, 2])), shape=(3, 3))
    assert from_sparse(repeated).coupling.tolist() == [2, 2]
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object))
    with pytest.raises(InputError, match=r"cannot be read as a \.npy matrix"):
        read(tmp_path / "x.npy")
    with pytest.raises(InputError, match="line 2: expected 2 columns as in line 1, found 1 columns"):
        read(text(tmp_path, "0,1\n1,\n", "x.csv"))


# Damage --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """One small problem in a file of each format."""
    import networkx as nx
    from dimod.serialization import coo
    from scipy.io import mmwrite
    from scipy.sparse import coo_array, csr_array, save_npz

    folder = tmp_path_factory.mktemp("formats")
    chance = np.random.default_rng(7)
    upper = np.triu(chance.integers(-5, 6, (9, 9)), 1)
    glass = from_array(upper, chance.integers(-5, 6, 9))
    for name in ("glass.txt", "glass.qubo", "glass.txt.gz"):
        write(glass, folder / name)
    text(
        folder,
        "9 36\n" + "".join(f"{i + 1} {j + 1} {upper[i, j]}.5\n" for i, j in zip(*np.triu_indices(9, 1), strict=True)),
        "g.mc",
    )
    bqm = to_bqm(glass).relabel_variables(dict(enumerate("abcdefghi")), inplace=False)
    with bqm.to_file() as file:
        (folder / "glass.bqm").write_bytes(file.read())
    text(folder, json.dumps(bqm.to_serializable()), "glass.json")
    text(folder, coo.dumps(to_bqm(glass), vartype_header=True), "glass.coo")
    graph = nx.from_numpy_array(upper + upper.T)
    nx.write_graphml(graph, folder / "glass.graphml")
    nx.write_gml(graph, folder / "glass.gml")
    save_npz(folder / "glass.npz", csr_array(upper))
    mmwrite(folder / "glass.mtx", coo_array(upper))
    np.save(folder / "glass.npy", upper)
    text(folder, "\n".join(",".join(map(str, row)) for row in upper.tolist()), "glass.csv")
    return {path.name: path for path in folder.iterdir()}


FORMATS = (
    "glass.txt glass.qubo glass.txt.gz g.mc glass.bqm glass.json glass.coo glass.graphml glass.gml glass.npz glass.mtx "
    "glass.npy glass.csv"
).split()


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_in_our_words(tmp_path, written, name):
    assert read(written[name]).size == 9
    refused = only_our_errors(read, written[name], tmp_path, count=6)
    assert len(refused) > 10


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith((".gz", ".npz"))])
def test_mutated_bytes_raise_nothing_else(tmp_path_factory, written, name):
    content, path = written[name].read_bytes(), tmp_path_factory.mktemp("bytes") / name
    place = st.integers(0, len(content))
    patch = st.one_of(
        st.binary(max_size=6), st.sampled_from([b" ", b"\n", b"-", b"9" * 12, b"e9", b"nan", b"#", b"[", b"<"])
    )

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(place, st.integers(0, 6), patch), min_size=1, max_size=3))
    def mutate(changes):
        damaged = content
        for begin, lost, put in changes:
            damaged = damaged[:begin] + put + damaged[begin + lost :]
        path.write_bytes(damaged)
        sentence, found = "", None
        try:
            found = read(path)
        except ThalwegError as error:
            sentence = str(error)
        assert (found is None) == (name in sentence)
        assert "\n" not in sentence
        assert found is None or np.isfinite(found.coupling).all()

    mutate()


def test_no_reader_warns(written):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in written.values():
            read(path)
