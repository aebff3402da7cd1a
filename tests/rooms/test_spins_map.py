"""One energy in four statements, exact on every configuration, and the sampler in Ocean's clothes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import KINDS, Kind, Problem, problem
from thalweg.spins.data.read import read, write
from thalweg.spins.tasks.mapping import (
    as_boltzmann,
    as_ising,
    as_maxcut,
    as_qubo,
    fields_as_vertex,
    map_file,
    mapped,
    vertex_as_field,
)

AS = {"ising": as_ising, "boltzmann": as_boltzmann, "qubo": as_qubo, "maxcut": as_maxcut}


def all_signs(size: int) -> np.ndarray:
    return 1 - 2 * (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.int64)


def textbook(posed: Problem, signs: np.ndarray) -> np.ndarray:
    """The energy of each row from dense matrices, apart from all that is tested."""
    couplings = np.zeros((posed.size, posed.size))
    couplings[posed.first, posed.second] = posed.coupling
    sums = np.einsum("si,ij,sj->s", signs, couplings, signs, optimize=True) + signs @ posed.field
    return (posed.offset - sums) / posed.denominator


def glass(size: int, seed: int, *, real: bool, offset: int | float = 0, denominator: int = 1) -> Problem:
    chance = np.random.default_rng(seed)
    first, second = np.triu_indices(size, 1)
    if real:
        numbers = chance.normal(size=first.size), chance.normal(size=size)
    else:
        numbers = chance.integers(-9, 10, first.size), chance.integers(-9, 10, size)
    return problem(first, second, *numbers, offset=offset, denominator=denominator)


def pairs(first: list[int], second: list[int], couplings: list[int], fields: list[int], **options: Any) -> Problem:
    return problem(np.array(first), np.array(second), np.array(couplings), np.array(fields), **options)


def energy(posed: Problem, *signs: int) -> int | float:
    return posed.energy(np.array(signs))


def states_of(kind: str, signs: np.ndarray, size: int) -> np.ndarray:
    """The configurations in the variables of a statement; a vertex that carries the fields is +1."""
    signs = np.hstack([signs, np.ones((len(signs), size - signs.shape[1]), np.int64)])
    return (1 + signs) // 2 if kind in ("qubo", "boltzmann") else signs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("real", [False, True])
def test_every_statement_has_the_energy_of_the_glass_on_all_states_of_16_spins(kind, real):
    posed = glass(16, 0, real=real, offset=2.5 if real else 7)
    signs = all_signs(16)
    expected, stated = textbook(posed, signs), AS[kind](posed)
    found = stated.energies(states_of(kind, signs, stated.size))
    if real:  # 152 terms below 100, each rounded to 1e-16 of itself
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    else:
        assert stated.exact
        np.testing.assert_array_equal(found, expected)
    assert np.ptp(expected) > 1


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(KINDS, 2)])
def test_there_and_back_is_the_same_energy(tmp_path, one, other):
    """Through files, for a glass with fields: integers come back as they were, decimals to rounding."""
    for real in (False, True):
        start = mapped(glass(7, 3, real=real, offset=0.5 if real else -3), one)
        there = read(map_read(start, other, tmp_path))
        back = read(map_read(there, one, tmp_path))
        signs = all_signs(7)
        expected = textbook(start, states_of("ising", signs, start.size))
        for found in (there, back):
            energies = textbook(found, states_of("ising", signs, found.size))
            if real:  # 28 terms of order one, rounded to 1e-16 a few times each
                np.testing.assert_allclose(energies, expected, rtol=1e-12, atol=1e-13)
            else:
                np.testing.assert_array_equal(energies, expected)
        assert (there.kind, back.kind) == (other, one)
        assert there.exact is back.exact is not real


def map_read(posed: Problem, to: Kind, folder):
    write(posed, folder / "from.txt", posed.kind)
    return map_file(folder / "from.txt", to, out=folder / "to.txt")["written"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_round_trips_of_small_problems(data):
    size = data.draw(st.integers(1, 5))
    whole = data.draw(st.booleans())
    number = st.integers(-(2**40), 2**40) if whole else st.floats(-1e12, 1e12, allow_subnormal=False)
    ends = st.integers(0, size - 1)
    pairs = data.draw(st.lists(st.tuples(ends, ends, number), max_size=8))
    dtype = np.int64 if whole else np.float64
    field = np.array(data.draw(st.lists(number, min_size=size, max_size=size)), dtype)
    first, second = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2).T
    weights = np.array([pair[2] for pair in pairs], dtype)
    denominator = data.draw(st.sampled_from([1, 2, 3, 4])) if whole else 1
    posed = problem(first, second, weights, field, offset=data.draw(number), denominator=denominator)
    signs = all_signs(size)
    scale = float(np.abs(posed.coupling).sum() + np.abs(posed.field).sum() + abs(posed.offset)) / denominator
    for kind, stated in ((kind, AS[kind](posed)) for kind in KINDS):
        back = stated.problem()
        assert stated.exact is back.exact is whole
        for row, extended in zip(signs, states_of("ising", signs, stated.size), strict=True):
            if whole:
                assert back.energy(extended) == posed.energy(row)
            else:  # some 30 sums of terms up to the scale
                assert back.energy(extended) == pytest.approx(posed.energy(row), rel=1e-12, abs=1e-13 * scale)
        assert back.kind == kind


def test_the_textbook_s_coefficients():
    """W = 4 J, b_i = 2 h_i - 2 sum_j J_ij, the constant sum h - sum J; Q = -W with -b on its diagonal; w = -J."""
    posed = pairs([0, 0, 1], [1, 2, 2], [1, -2, 3], [5, 0, -7])
    machine, binary, graph = as_boltzmann(posed), as_qubo(posed), as_maxcut(posed)
    assert machine.quadratic.tolist() == [4, -8, 12]
    assert machine.linear.tolist() == [2 * 5 - 2 * (1 - 2), 0 - 2 * (1 + 3), 2 * -7 - 2 * (-2 + 3)]
    assert machine.offset == (5 - 7) - (1 - 2 + 3)
    assert binary.quadratic.tolist() == [-4, 8, -12]
    assert binary.linear.tolist() == [-12, 8, 16]
    assert binary.matrix().tolist() == [[-12, -4, 8], [0, 8, -12], [0, 0, 16]]
    assert graph.size == 4
    assert sorted(zip(graph.first, graph.second, graph.quadratic, strict=True)) == [
        (0, 1, -1), (0, 2, 2), (0, 3, -5), (1, 2, -3), (2, 3, 7),
    ]  # fmt: skip


def test_a_vertex_that_carries_the_fields_is_given_back():
    posed = pairs([0, 1], [1, 2], [3, -1], [2, 0, -4], labels=("a", "b", "c"))
    graph = fields_as_vertex(posed)
    assert (graph.size, graph.labels, graph.field.any()) == (4, ("a", "b", "c", "field"), False)
    back = vertex_as_field(graph)
    assert back.labels == posed.labels
    for row in all_signs(3):
        assert back.energy(row) == posed.energy(row) == energy(graph, *row, 1) == energy(graph, *-row, -1)
    held = vertex_as_field(posed, 1)
    assert all(energy(held, a, c) == energy(posed, a, 1, c) for a in (-1, 1) for c in (-1, 1))
    with pytest.raises(InputError, match="no vertex 3"):
        vertex_as_field(posed, 3)


def test_a_qubo_of_integers_becomes_fourths_and_comes_back(tmp_path):
    (tmp_path / "q.txt").write_text("2 2\n1 1 1\n1 2 3\n")
    told = map_file(tmp_path / "q.txt", "ising", "qubo", tmp_path / "i.txt")
    assert told["denominator"] == 4
    assert told["offset"] == 5 / 4  # x1 + 3 x1 x2 over the four states
    assert (tmp_path / "i.txt").read_text().startswith("# thalweg ising offset=5 denominator=4\n")
    back = as_qubo(read(tmp_path / "i.txt"))
    assert (back.denominator, back.quadratic.tolist(), back.linear.tolist(), back.offset) == (1, [3], [1, 0], 0)


def test_what_map_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.mc").write_text("3 2\n1 2 5\n2 3 -1\n")
    told = map_file("graph.mc", "boltzmann")
    assert told == {
        "offset": 4, "denominator": 1, "written": "graph.boltzmann.txt", "spins": 3, "pairs": 2, "from": "maxcut",
        "to": "boltzmann", "exact": True, "added_vertex": None,
    }  # fmt: skip
    told = map_file("graph.boltzmann.txt", "maxcut", out="again.mc")
    assert told["added_vertex"] is None  # the fields that a graph has not do not come back
    assert energy(read("again.mc"), 1, -1, 1) == energy(read("graph.mc"), 1, -1, 1)
    with pytest.raises(InputError, match="the kind 'potts' is unknown"):
        map_file("graph.mc", "potts")  # type: ignore[arg-type]


def test_the_cut_of_a_graph_with_an_offset_and_a_denominator():
    graph = pairs([0, 1], [1, 2], [-6, 2], [0, 0, 0], offset=9, denominator=4, kind="maxcut")
    assert graph.cut(np.array([1, -1, -1])) == 6 / 4
    assert graph.cut(np.array([1, -1, 1])) == 1
    assert isinstance(graph.cut(np.array([1, -1, 1])), int)


def test_sums_beyond_64_bits_are_refused():
    big = np.full(2**10, 2**52)
    posed = problem(np.zeros(2**10, int), np.arange(1, 2**10 + 1), big, np.zeros(2**10 + 1, int))
    with pytest.raises(InputError, match="leave 64 bits"):
        as_boltzmann(posed)


# The sampler ---------------------------------------------------------------------------------------------------------


def test_the_sampler_passes_dimod_s_own_tests():
    import unittest

    import dimod.testing

    from thalweg.spins.tasks.ocean import ThalwegSampler

    dimod.testing.assert_sampler_api(ThalwegSampler())
    cases = type("Cases", (unittest.TestCase,), {})
    dimod.testing.load_sampler_bqm_tests(ThalwegSampler)(cases)
    outcome = unittest.TestResult()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(cases)
    assert suite.countTestCases() > 20
    suite.run(outcome)
    assert outcome.wasSuccessful(), [fault for _, fault in outcome.errors + outcome.failures]


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_the_sampler_finds_the_lowest_state_of_a_labelled_bqm(vartype):
    import dimod
    import dimod.testing
    from dimod.exceptions import SamplerUnknownArgWarning

    from thalweg.spins.tasks.ocean import ThalwegSampler

    chance = np.random.default_rng(5)
    names = [("q", k) for k in range(9)]
    pairs = {pair: float(chance.integers(-5, 6)) for pair in itertools.combinations(names, 2)}
    bqm = dimod.BinaryQuadraticModel({name: float(chance.integers(-3, 4)) for name in names}, pairs, 2.5, vartype)
    lowest = dimod.ExactSolver().sample(bqm).record.energy.min()
    sampler = ThalwegSampler()
    found = sampler.sample(bqm, num_reads=2, seed=1)
    assert found.record.energy.min() == lowest
    dimod.testing.assert_sampleset_energies(found, bqm)
    assert found.record.one_flip_optimal.all()
    assert len(found) == 2
    assert set(found.info) == {"method", "seed", "timing"}
    again = sampler.sample(bqm, num_reads=2, seed=1)
    assert (again.record.sample == found.record.sample).all()
    met = sampler.sample(bqm, method="annealing", target=lowest, units=5, seed=0)
    assert met.record.energy.min() == lowest
    with pytest.warns(SamplerUnknownArgWarning, match="annealing_time"):
        sampler.sample(bqm, annealing_time=20)
    refused: list[dict[str, Any]] = [{"num_reads": 0}, {"method": "quantum"}, {"seed": -1}, {"seconds": -1.0}]
    for wrong in refused:
        with pytest.raises(InputError):
            sampler.sample(bqm, **wrong)


def test_importing_the_room_does_not_import_dimod():
    code = "import sys, thalweg.spins.data.read, thalweg.spins.tasks.mapping; print('dimod' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
