"""The commands of the room: ground states with certificates, times to solution, samples, critical temperatures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import call, isolate
from faults import Attempt

from thalweg import samples
from thalweg.core.errors import InputError
from thalweg.spins.data.lattices import LATTICES, aligned, lattice, length_of
from thalweg.spins.data.problem import problem
from thalweg.spins.data.read import read, write
from thalweg.spins.data.samples import read_samples
from thalweg.spins.data.states import read_spins
from thalweg.spins.tasks.sample import all_energies, draw, exact_energy
from thalweg.spins.tasks.solve import energy_of_target, solve, time_to_solution

GROUND = -198  # proven, on the card of the sample
SOLVE_KEYS = set(
    "cut energy seconds method updates updates_per_second one_flip_optimal upper_bound spins_file seed compile_seconds "
    "out units search_seconds energy_lower_bound proven_optimal bound_method bound_proof bound_seconds target_met "
    "spins pairs notes".split()
)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def glass() -> str:
    return str(samples.path("glass_torus_12x12"))


def answered(*words: str) -> dict:
    ran = call(*words, "--json", "--quiet")
    answer = json.loads(ran.stdout)
    assert "error" not in answer, answer
    assert ran.exit_code == 0
    return answer


def refused(*words: str) -> str:
    ran = call(*words, "--json", "--quiet")
    assert ran.exit_code == 1
    return json.loads(ran.stdout)["error"]


def small_glass(seed: int, size: int, spread: int = 3):
    words = np.random.default_rng(seed)
    first, second = np.triu_indices(size, 1)
    coupling = words.integers(-spread, spread + 1, first.size)
    return problem(first, second, coupling, words.integers(-spread, spread + 1, size))


# Ground states


def test_a_glass_is_solved_and_certified(glass):
    answer = answered("spins", "solve", glass, "--kind", "ising", "--target", str(GROUND), "--seconds", "60")
    assert answer.keys() >= SOLVE_KEYS
    assert answer["energy"] == GROUND
    assert answer["cut"] is None
    assert answer["target_met"] is answer["one_flip_optimal"] is True
    assert answer["energy_lower_bound"] <= GROUND
    assert answer["upper_bound"] == -answer["energy_lower_bound"] < 288  # never the sum of |J|
    spins = read_spins(answer["spins_file"], size=144)
    assert read(glass, kind="ising").energy(spins) == GROUND
    page = (Path(answer["out"]) / "report.html").read_text(encoding="utf-8")
    assert "-198" in page.replace("−", "-")


def test_a_graph_has_a_cut_and_a_small_one_is_proven(tmp_path):
    (tmp_path / "square.txt").write_text("4 5\n1 2 1\n2 3 1\n3 4 1\n4 1 1\n1 3 1\n")
    answer = answered("spins", "solve", "square.txt", "--seconds", "5")
    assert answer["cut"] == answer["upper_bound"] == 4
    assert answer["energy"] == 5 - 2 * 4
    assert answer["proven_optimal"] is True
    assert "exhaustive" in answer["method"]


@pytest.mark.parametrize("method", ["annealing", "exchange", "memetic", "exhaustive"])
def test_every_search_finds_what_enumeration_finds(method):
    of = small_glass(1, 14)
    lowest = all_energies(of).min()
    found = solve(of, target=lowest, method=method, units=500)
    assert found.result["energy"] == lowest
    assert found.result["target_met"] is True
    assert found.result["method"].startswith(method)


def test_back_propagation_solves_a_magnet(x64):
    of = small_glass(2, 14)
    found = solve(of, target=all_energies(of).min(), method="meanfield", units=500)
    assert found.result["energy"] == all_energies(of).min()


@pytest.mark.parametrize(
    "of",
    [
        problem(np.array([], int), np.array([], int), np.array([], int), np.zeros(5, int)),
        problem(np.array([], int), np.array([], int), np.array([], int), np.array([3, -2, 0, 1])),
        problem(np.array([0]), np.array([1]), np.array([1e-12]), np.zeros(40)),
        problem(np.array([0, 2]), np.array([1, 3]), np.array([1e12, -1e-12]), np.zeros(40)),
        problem(np.array([0]), np.array([0]), np.array([4]), np.zeros(3, int)),
    ],
    ids=["nothing", "fields", "tiny", "scales", "loop"],
)
def test_strange_problems_have_answers(of):
    found = solve(of, units=20)
    lowest = -np.abs(of.coupling).sum() - np.abs(of.field).sum() + of.offset  # each pair and field stands alone
    assert found.result["energy"] == pytest.approx(lowest, rel=1e-12)
    assert found.result["one_flip_optimal"]
    assert found.result["energy_lower_bound"] <= found.result["energy"]


def test_a_target_is_an_energy_or_a_cut():
    of = problem(np.array([0, 1, 0]), np.array([1, 2, 2]), -np.array([1, 2, 3]), np.zeros(3, int), kind="maxcut")
    assert energy_of_target(of, 5) == 6 - 10
    assert energy_of_target(of, -4) == -4
    assert energy_of_target(of, None) is None
    shifted = problem(np.array([0]), np.array([1]), np.array([1]), np.zeros(2, int), offset=7)
    assert energy_of_target(shifted, 6) == -1


def test_times_to_solution_are_kept_run_by_run(glass, tmp_path):
    words = ("spins", "solve", glass, "--kind", "ising", "--target", str(GROUND), "--report", "tts", "--seconds", "30")
    answer = answered(*words, "--runs", "3", "--out", "times")
    assert answer["successes"] == answer["runs"] == 3
    low, high = answer["tts99_interval"]
    assert 0 < low <= answer["tts99"] <= high
    # Three successes: the chance of one by the longest of them is 3.5 / 4 in the mean.
    ways = np.log(100) * np.mean(answer["run_seconds"]), max(answer["run_seconds"]) * np.log(0.01) / np.log(0.5 / 4)
    assert answer["tts99"] == pytest.approx(min(ways), rel=1e-3)
    assert len(list((tmp_path / "times" / "runs").glob("*.safetensors"))) == 3


def test_a_target_out_of_reach_has_only_a_lower_end():
    found = time_to_solution(small_glass(3, 12), target=-1e6, runs=2, seconds=0.01, method="annealing")
    assert found.tts99 is None
    assert found.interval[1] is None
    assert not found.met.any()
    # With no success in a total time T the mean is above T / -ln(0.025) with 97.5 %.
    assert found.interval[0] == pytest.approx(np.log(100) * found.seconds.sum() / -np.log(0.025))


def test_a_killed_search_goes_on_with_the_same_bits(tmp_path):
    of = lattice("square", 40, -1)
    words = np.random.default_rng(0)
    of = problem(of.first, of.second, words.choice([-1, 1], of.coupling.size), of.field)
    write(of, tmp_path / "glass.txt")
    command = ["spins", "solve", "glass.txt", "--method", "annealing", "--units", "220", "--quiet", "--json"]
    start = [sys.executable, "-c", "from thalweg.cli import main; main()", *command, "--out", "killed"]
    attempt, saved = Attempt(start, cwd=tmp_path), tmp_path / "killed" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not saved.exists():
        assert time.monotonic() < deadline
        assert attempt.ended(0.05) is None, "the search ended before it was killed"
    attempt.kill()
    resumed, whole = answered(*command[:-2], "--out", "killed"), answered(*command[:-2], "--out", "whole")
    assert resumed["units"] == whole["units"] == 220
    assert resumed["energy"] == whole["energy"]
    assert resumed["updates"] == whole["updates"]
    assert Path(resumed["spins_file"]).read_bytes() == Path(whole["spins_file"]).read_bytes()


def test_what_cannot_be_solved_is_one_sentence(glass, tmp_path):
    assert "nowhere.txt" in refused("spins", "solve", "nowhere.txt")
    assert "choose one of auto" in refused("spins", "solve", glass, "--kind", "ising", "--method", "magic")
    assert "give --target" in refused("spins", "solve", glass, "--kind", "ising", "--report", "tts")
    assert "too many to look at all" in refused("spins", "solve", glass, "--kind", "ising", "--method", "exhaustive")
    (tmp_path / "bad.txt").write_text("3 2\n1 2 1\n2 9 1\n")
    assert "bad.txt" in refused("spins", "solve", "bad.txt")
    (tmp_path / "nan.txt").write_text("3 2\n1 2 nan\n2 3 1\n")
    assert "nan.txt" in refused("spins", "solve", "nan.txt")


# Samples


def test_samples_of_a_small_glass_have_the_exact_energy(tmp_path):
    of = small_glass(4, 12)
    write(of, tmp_path / "small.txt")
    answer = answered("spins", "sample", "small.txt", "--temperature", "12.0", "--steps", "1500", "--method", "sweeps")
    assert answer["energy_exact"] == pytest.approx(exact_energy(of, 12.0))
    # Five standard errors: a rate below 1e-6 for a normal mean, below 1e-4 with its error estimated.
    assert abs(answer["energy_deviation"]) < 5
    assert answer["r_hat_max"] < 1.05
    with np.load(answer["samples_file"], allow_pickle=False) as file:
        assert file["samples"].shape == (6000, 12)
        energies = np.array([of.energy(row) for row in file["samples"][:50]])
        assert (energies == file["energy"][:50]).all()
    assert read_samples(answer["samples_file"]).signs.shape == (6000, 12)


@pytest.mark.slow  # compiling the descent takes some five seconds
def test_couplings_come_back_from_the_samples_of_a_command(tmp_path):
    of = small_glass(4, 12)
    write(of, tmp_path / "small.txt")
    drawn = answered("spins", "sample", "small.txt", "--temperature", "12.0", "--steps", "1500", "--method", "sweeps")
    learnt = answered("spins", "learn", drawn["samples_file"], "--model", "inverse", "--log-z", "none")
    back = read(Path(learnt["out"]) / "couplings.txt")
    found, true = (np.zeros((12, 12)), np.zeros((12, 12)))
    found[back.first, back.second] = back.coupling / back.denominator
    true[of.first, of.second] = of.coupling / 12.0
    # 6,000 draws leave errors of some 0.015 on each coupling over T; the largest of 66 stays below six of them.
    assert np.abs(found - true).max() < 0.1


@pytest.mark.slow  # compiling a ladder of heat baths takes some ten seconds
def test_frustrated_couplings_are_tempered(x64):
    frustrated = draw(small_glass(5, 8), temperature=2.0, steps=2000)
    assert "tempering (auto" in frustrated.result["method"]
    assert abs(frustrated.result["energy_deviation"]) < 5  # standard errors: a rate below 1e-4
    assert 0 < frustrated.result["swap_acceptance"] <= 1


def test_the_method_follows_the_couplings(x64):
    ferromagnet = draw(lattice("square", 6), temperature=2.5, steps=200)
    assert "swendsen_wang (auto" in ferromagnet.result["method"]
    with pytest.raises(InputError, match="choose one of auto"):
        draw(small_glass(5, 8), method="magic")
    with pytest.raises(InputError, match="too few draws"):
        draw(small_glass(5, 8), steps=10, every=5)


# Critical temperatures


@pytest.mark.parametrize("name", LATTICES)
def test_lattices_have_their_neighbours(name):
    of = lattice(name, 4)
    degree = np.bincount(np.concatenate([of.first, of.second]))
    assert set(degree) == {{"square": 4, "triangular": 6, "cubic": 6}[name]}
    assert length_of(of, 3 if name == "cubic" else 2) == 4


def test_couplings_that_agree_after_turning_spins_are_aligned():
    square = lattice("square", 4)
    turned = np.random.default_rng(0).choice([-1, 1], 16)
    of = problem(square.first, square.second, 2 * turned[square.first] * turned[square.second], square.field)
    found = aligned(of)
    assert (np.asarray(found.landscape.coupling) == 2).all()
    assert (of.coupling * found.gauge[of.first] * found.gauge[of.second] == 2).all()
    with pytest.raises(InputError, match="frustrated"):
        aligned(lattice("triangular", 6, -1))
    with pytest.raises(InputError, match="hang together"):
        aligned(problem(np.array([0]), np.array([1]), np.array([1]), np.zeros(4, int)))
    with pytest.raises(InputError, match="a field rounds"):
        aligned(problem(np.array([0]), np.array([1]), np.array([1]), np.ones(2, int)))


def test_a_users_own_lattice_has_a_critical_temperature(tmp_path):
    for length in (6, 12):
        square = lattice("square", length, 2)
        turned = np.random.default_rng(length).choice([-1, 1], length**2)
        coupling = square.coupling * turned[square.first] * turned[square.second]
        write(problem(square.first, square.second, coupling, square.field), tmp_path / f"{length}.txt")
    answer = answered("spins", "critical", "6.txt", "12.txt", "--draws", "600", "--out", "study")
    # Twice the coupling; the crossing of 6 and 12 lies within 2 % of the limit, its error near 1 %.
    assert answer["t_c"] == pytest.approx(4.538, rel=0.06)
    low, high = answer["t_c_interval"]
    assert low < answer["t_c"] < high
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "study" / "parts").iterdir()}
    assert len(kept) > 20


def test_what_has_no_transition_is_refused(tmp_path):
    for length in (16, 32):
        ring = np.arange(length**2)
        write(
            problem(ring, np.roll(ring, -1), np.ones(ring.size, int), np.zeros(ring.size, int)), tmp_path / f"{length}"
        )
    told = refused("spins", "critical", "16", "32", "--kind", "ising", "--draws", "200")
    assert "do not cross" in told
    assert "either files" in refused("spins", "critical")
    assert "no lattice 'moebius'" in refused("spins", "critical", "--lattice", "moebius")
    assert "whole numbers" in refused("spins", "critical", "--lattice", "square", "--sizes", "a,b")
    assert "LOW..HIGH" in refused("spins", "critical", "--lattice", "square", "--temperatures", "2")
