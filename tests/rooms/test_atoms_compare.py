"""Comparing what networks see: turned batches, exact counterexamples, curves that go on after a kill, and bad input."""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate
from faults import Attempt

from thalweg.atoms.model.gto import Shape
from thalweg.atoms.model.naive import naive_network
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.tasks import one_atom as field
from thalweg.atoms.tasks.compare import Effort, Job, Posed, compared, posed, sizes_for
from thalweg.atoms.tasks.compare_result import numbers, overtaken, verdict
from thalweg.atoms.tasks.compare_training import contender
from thalweg.atoms.tasks.over_seeds import exponent, over_seeds
from thalweg.atoms.tasks.prepare import framed, labels
from thalweg.atoms.tasks.same_distances import bent_and_straight, distances_seen, told_apart, triangles, two_clouds
from thalweg.atoms.tasks.train import Matching, Recipe, force_unit
from thalweg.atoms.tasks.training import material
from thalweg.atoms.tasks.turning import rotations, turned_frames, turned_labels
from thalweg.core.errors import InputError
from thalweg.methods.parts import World
from thalweg.runs import Points

_ = isolate
TINY = Shape(degree=1, orbitals=2, channels=2, layers=1, messages=0, hidden=2, cutoff=4.0, repulsion=False)
SHORT = Recipe(steps=20, batch=4, warmup=5, decay=0.9)


class Pairs(AbstractNetwork):
    """The least network that sees distances only."""

    elements: tuple[int, ...] = eqx.field(static=True)
    weight: jax.Array

    @property
    def cutoff(self) -> float:
        return 4.0

    def __call__(self, atoms):
        return self.weight * sum(
            jnp.sum(jnp.exp(-jnp.sum(each**2, axis=0)), axis=0) for each in atoms.neighbours.vectors
        )


@pytest.fixture(scope="module")
def given():
    return material("ethanol", seed=1)


# Augmentation


def test_turned_batches_turn_forces_with_positions_and_leave_invariant_networks_their_loss(given, x64):
    net = Pairs(tuple(sorted(given.energies)), jnp.asarray(-0.7))
    frames = framed(given.frames[:4], net.elements, net.cutoff, np.float64)
    wanted = labels(given.frames[:4], given.energies, 9, np.float64)
    by = rotations(jax.random.key(3), 4, jnp.float64)
    np.testing.assert_allclose(np.asarray(by @ jnp.swapaxes(by, 1, 2)), np.tile(np.eye(3), (4, 1, 1)), atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(np.asarray(by)), 1.0, atol=1e-14)  # rounding of float64, as above
    positions, forces = turned_frames(frames, by).positions, turned_labels(wanted, by).forces
    for row in range(4):
        np.testing.assert_allclose(positions[row], by[row] @ frames.positions[row], atol=1e-14)
        np.testing.assert_allclose(forces[row], by[row] @ wanted.forces[row], atol=1e-13)
    unit, zero = jnp.asarray(force_unit(given.frames)), jnp.asarray(0.2)
    rules = [Matching(unit, zero, zero, jnp.asarray(10), turned) for turned in (False, True)]
    losses = eqx.filter_jit(lambda rule: rule(net, (frames, wanted), None, jnp.asarray(0), jax.random.key(7))[2])
    plain, turned = (losses(rule) for rule in rules)
    assert float(turned["force_mae_meV_A"]) != float(plain["force_mae_meV_A"])  # of components, which do turn
    for name in ("loss", "energy_mae_meV"):  # sums of some hundred terms of order one, in float64
        assert float(turned[name]) == pytest.approx(float(plain[name]), rel=1e-11)


def test_a_recipe_without_turning_compiles_to_what_it_was(given):
    """The key of the step is not touched, and the program of the gradient is the same, letter by letter."""
    net = naive_network(TINY, sorted(given.energies), 9, jax.random.key(0), jnp.float32)
    frames = framed(given.frames[:4], net.elements, net.cutoff, np.float32)
    wanted = labels(given.frames[:4], given.energies, 9, np.float32)
    unit, zero, late = jnp.asarray(1.0), jnp.asarray(0.2), jnp.asarray(10)

    def program(*turned: bool) -> str:
        rule = Matching(unit, zero, zero, late, *turned)
        told = lambda key: rule(net, (frames, wanted), None, jnp.asarray(0), key)[0]  # noqa: E731
        return str(eqx.filter_make_jaxpr(told)(jax.random.key(0))[0])

    assert program() == program(False)
    assert "random_bits" not in program(False)
    assert "random_bits" in program(True)
    assert not Recipe().turned


def test_turning_is_for_the_naive_network_alone():
    turned = {name: contender(name, TINY, Recipe(turned=True)).recipe.turned for name in ("naive", "unturned", "gto")}
    assert turned == {"naive": True, "unturned": False, "gto": False}
    assert contender("bessel", TINY, SHORT).shape == dataclasses.replace(TINY, radial="bessel")
    assert contender("naive", TINY, SHORT).but(hidden=7, rate=0.1).told["shape"]["hidden"] == 7


# What distances cannot tell


def test_the_counterexamples_are_exact():
    """Distances agree to the rounding of a square root of a sum of squares of order one; triangles do not."""
    one, other = two_clouds()
    np.testing.assert_allclose(distances_seen(one), distances_seen(other), atol=1e-14)
    assert np.abs(triangles(one) - triangles(other)).max() > 0.1  # not congruent, nor mirror images
    nearest = [
        np.linalg.norm(f.positions[:, None] - f.positions, axis=2)[np.triu_indices(8, 1)].min() for f in (one, other)
    ]
    assert min(nearest) > 1.0  # atoms, not overlapping points
    bent, straight = bent_and_straight()
    np.testing.assert_allclose(distances_seen(bent, 0), distances_seen(straight, 0), atol=1e-14)
    assert np.abs(distances_seen(bent) - distances_seen(straight)).max() > 0.1


def test_networks_see_what_the_counterexamples_say(monkeypatch):
    monkeypatch.setattr("thalweg.atoms.tasks.same_distances._by_gfn2", lambda pair: {})
    shape = dataclasses.replace(TINY, layers=2)
    every = told_apart(two_clouds(), shape=shape)
    assert every["distances_A"] < 1e-14
    assert every["radial_relative"] < 1e-12  # one energy in float64, with two layers that tell each other
    assert every["gto_relative"] > 1e-5
    one = told_apart(bent_and_straight(), centre=0, shape=shape)
    assert one["radial_centre_relative"] < 1e-12
    assert one["gto_centre_relative"] > 1e-3
    assert one["radial_relative"] > 1e-3  # which sees hydrogen to hydrogen


def test_gfn2_parts_both_pairs():
    pytest.importorskip("tblite")
    from thalweg.atoms.tasks.same_distances import _by_gfn2

    for pair in (bent_and_straight(), two_clouds()):
        found = _by_gfn2(pair)
        assert abs(found["gfn2_eV"]) > 0.5  # eV: far beyond any error of convergence
        assert found["floor_eV"] == abs(found["gfn2_eV"]) / 2


# One atom in the field of others


def test_the_field_is_that_of_its_parts():
    molecule = bent_and_straight()[0]
    places = field.places_around(molecule, 50, np.random.default_rng(0))
    energy = field.field_energy(molecule, places)
    assert (energy < 0.2).all()
    parts = [molecule._replace(numbers=molecule.numbers[[a]], positions=molecule.positions[[a]]) for a in range(3)]
    charges = field.charges_of(molecule)
    assert charges.sum() == pytest.approx(0, abs=1e-15)
    far = places + 1e4
    assert np.abs(field.field_energy(molecule, far)).max() < 1e-12
    from ase.data.vdw_alvarez import vdw_radii

    expected = np.zeros(50)
    for part, charge in zip(parts, charges, strict=True):
        r = np.linalg.norm(places - part.positions, axis=1)
        share = ((vdw_radii[part.numbers[0]] + 1.6) / r) ** 6
        expected += 0.02 * (share**2 - 2 * share) + 14.3996 * 0.5 * charge * np.exp(-r / 3) / r
    np.testing.assert_allclose(energy, expected, rtol=1e-12)


def test_one_atom_learns_from_distances_whichever_way_all_is_turned(tmp_path):
    store = Points(tmp_path / "parts")
    budget = field.Budget((20, 200), 1, 300)
    found = field.one_atom(bent_and_straight()[0], budget, sees=("distances",), done=store)
    again = field.one_atom(bent_and_straight()[0], budget, sees=("distances",), done=store)
    assert found.result == again.result
    told = found.result["distances"]
    mean = {size: told["mae_meV"][size]["mean"] for size in ("20", "200")}
    assert mean["200"] < mean["20"]
    assert mean["200"] < 0.5 * found.result["spread_meV"]  # learnt: nothing learnt is about 0.8 of the spread
    for size in ("20", "200"):  # the rounding of float32 distances, through a network
        assert told["turned_mae_meV"][size]["mean"] == pytest.approx(mean[size], rel=1e-4)
    with pytest.raises(InputError, match="at least two atoms"):
        field.one_atom(bent_and_straight()[0], field.Budget((), 1, 5))


# The comparison


def test_curves_over_seeds():
    told = over_seeds(np.array([1.0, 2.0, 3.0]))
    # Student's t for two degrees of freedom at 97.5 % is 4.302653.
    assert told["high"] - told["mean"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert over_seeds(np.array([2.0]))["sd"] is None
    slopes = exponent({n: np.array([3.0, 5.0]) * n**-0.5 for n in (10, 40, 90)})
    assert slopes is not None
    np.testing.assert_allclose(slopes["values"], -0.5)
    assert exponent({10: np.array([1.0]), 20: np.array([0.5])}) is None


def test_trainings_are_measured_and_kept(given, tmp_path):
    of = posed(given._replace(frames=given.frames[:12]), ["naive"], TINY, SHORT, test="ethanol@:4")
    effort = Effort((12,), 2, steps=20, tuned=())
    asked: list[str] = []
    world = World(done=Points(tmp_path), walk=lambda words, name, steps: (asked.append(words), ())[1])
    jobs = compared(of, effort, world=world)
    assert asked == ["naive, 12 frames, seed 1 of 2", "naive, 12 frames, seed 2 of 2"]
    again = compared(of, effort, world=world)
    assert len(asked) == 2  # nothing was trained twice
    assert all(np.array_equal(a.part[k], b.part[k]) for a, b in zip(jobs, again, strict=True) for k in a.part)
    part = jobs[0].part
    assert part["watched"].shape == (21, 5)
    assert (part["steps"][0], part["steps"][-1]) == (0, 20)
    # The four test frames are watched, too: the last record is of the network that was measured, to float32.
    np.testing.assert_allclose(part["watched"][-1, [0, 2]], part["errors"][0], rtol=1e-3)
    assert (part["watched"][:, 4] > 1).all()  # meV: coordinates do not know what a rotation is
    assert not np.array_equal(jobs[0].part["errors"], jobs[1].part["errors"])


def _job(who, size: int, seed: int, force: float, course: tuple[float, ...]) -> Job:
    watched = np.tile(np.array(course)[:, None], (1, 5))
    part = {"errors": np.full((2, 2), force), "watched": watched, "steps": np.arange(len(course)) * 10,
            "seconds": np.array(3.0), "parameters": np.array(7)}  # fmt: skip
    return Job(who, size, seed, part)


@pytest.mark.parametrize("better", [True, False])
def test_the_verdict_follows_the_numbers(given, better):
    naive, radial = (contender(name, TINY, dataclasses.replace(SHORT, steps=30)) for name in ("naive", "radial"))
    of, effort = Posed((naive, radial), given, given.frames[:2]), Effort((10, 20, 40), 2, steps=30)
    jobs = [_job(naive, n, s, 8 + s, (20.0, 12.0, 9.0, 8.0)) for n in effort.sizes for s in range(2)]
    last = 4.0 if better else 12.0
    jobs += [_job(radial, n, s, last + s, (20.0, 10.0, 7.0, 5.0) if better else (20.0, 19.0, 18.0, 12.0))
             for n in effort.sizes for s in range(2)]  # fmt: skip
    found = numbers(of, effort, jobs)
    told = verdict(found, jobs, effort)
    assert found["radial"]["sizes"]["20"]["force_mae_meV_A"]["mean"] == last + 0.5
    assert found["naive"]["force_exponent"]["mean"] == pytest.approx(0, abs=1e-12)
    assert (told["generalises"], told["faster"]) == (better, better)
    words = "holds here" if better else "does not hold here"
    assert f"That distances generalise better {words}; that they are learnt faster {words}." in told["sentences"]
    # Below 8.0 for the first time at the third of four records: two thirds of the steps, and of three seconds.
    expected = (
        {"share": pytest.approx(2 / 3), "seconds": pytest.approx(2.0)} if better else {"share": None, "seconds": None}
    )
    assert overtaken(jobs, "radial", "naive", 40) == expected


@pytest.mark.slow
def test_the_best_of_what_was_tried_is_trained(given, tmp_path):
    of = posed(given._replace(frames=given.frames[:30]), ["naive", "radial"], TINY, SHORT, test="ethanol@:4")
    effort = Effort((8, 24), 1, steps=40, tuned=("naive",), rates=(1e-4, 2e-2), widths=(2,), batches=(4,))
    asked: list[str] = []
    world = World(done=Points(tmp_path), walk=lambda words, name, steps: (asked.append(words), ())[1])
    jobs = compared(of, effort, world=world)
    assert len([words for words in asked if words.startswith("trying")]) == 4
    # In ten steps a rate of 1e-4 moves nothing.
    assert {job.who.recipe.rate for job in jobs if job.who.name == "naive"} == {2e-2}
    assert {job.who.recipe.rate for job in jobs if job.who.name == "radial"} == {SHORT.rate}
    row = numbers(of, effort, jobs)["radial"]["sizes"]["24"]
    # Distances do not turn, but float32 rounds energies of tens of eV at some 1e-6.
    assert row["turned_energy_mae_meV"]["mean"] == pytest.approx(row["energy_mae_meV"]["mean"], rel=1e-3)
    assert row["rotation_meV"]["mean"] < 0.1


def test_bad_input_is_one_sentence(given, tmp_path):
    with pytest.raises(InputError, match="there is no model 'schnet'"):
        posed(given, ["schnet"], TINY, SHORT, test=None)
    of = posed(given._replace(frames=given.frames[:10]), ["radial"], TINY, SHORT, test="ethanol@:4")
    assert sizes_for(of, None) == (10,)
    with pytest.raises(InputError, match="11 frames are wanted, but 10 are there"):
        sizes_for(of, (5, 11))
    with pytest.raises(InputError, match="either --steps or --minutes"):
        compared(of, Effort((5,)))
    with pytest.raises(InputError, match="'schnet' cannot be tuned"):
        compared(of, Effort((5,), steps=5, tuned=("schnet",)))
    with pytest.raises(InputError, match="one molecule only"):
        posed(given, ["naive"], TINY, SHORT, test="water@:2")
    path = tmp_path / "no_forces.xyz"
    path.write_text(2 * '2\nProperties=species:S:1:pos:R:3 energy=-1.0 pbc="F F F"\nH 0 0 0\nH 0 0 0.8\n')
    with pytest.raises(InputError, match=r"frame 0.*has no forces"):
        posed(given, ["radial"], TINY, SHORT, test=str(path))


# The command


def _settings(folder, hidden: int = 2) -> str:
    path = folder / "small.toml"
    shape = "degree = 0\norbitals = 2\nchannels = 2\nlayers = 1\nmessages = 0\ncutoff = 4.0\nrepulsion = false\n"
    path.write_text(f"[shape]\n{shape}hidden = {hidden}\n[recipe]\nbatch = 4\nwarmup = 5\ndecay = 0.9\n")
    return str(path)


@pytest.mark.slow
def test_the_command_writes_a_report(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    words = ["atoms", "compare", "ethanol", "--test", "ethanol@:4", "--frames", "12", "--models", "naive,radial"]
    more = ["--steps", "20", "--seeds", "1", "--tune", "none", "--no-example", "--config", _settings(tmp_path)]
    done = call(*words, *more, "--json", "--quiet", "--out", "run")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told["models"]) == {"naive", "radial"}
    assert (told["sizes"], told["seeds"], told["steps"], told["test_frames"]) == ([12], 1, 20, 4)
    row = told["models"]["naive"]["sizes"]["12"]
    assert {"force_mae_meV_A", "turned_force_mae_meV_A", "rotation_meV", "seconds", "parameters", "steps"} <= set(row)
    assert told["models"]["naive"]["force_exponent"] is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(sentence.split(":")[0] in page for sentence in told["verdict"]["sentences"])
    assert not list((tmp_path / "run").glob("training-*"))  # checkpoints of what is finished are gone
    refused = call("atoms", "compare", "ethanol", "--frames", "9000", "--steps", "5", "--quiet", "--out", "many")
    assert refused.exit_code == 1
    assert "9000 frames are wanted" in refused.output


@pytest.mark.slow
def test_a_killed_comparison_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    script = "from thalweg.cli import main; main()"
    words = ["atoms", "compare", "ethanol", "--test", "ethanol@:4", "--frames", "12,24", "--models", "naive,radial"]
    more = ["--steps", "4000", "--seeds", "1", "--tune", "none", "--no-example", "--config", _settings(tmp_path, 8)]
    start = [sys.executable, "-c", script, *words, *more, "--quiet", "--json", "--out"]
    for count in (1, 3):  # killed twice, each time with another number of finished parts
        attempt, until = Attempt([*start, "killed"], cwd=tmp_path), time.monotonic() + 300
        while len(list((tmp_path / "killed" / "parts").glob("training-*.safetensors"))) < count:
            assert time.monotonic() < until
            assert attempt.ended(0.05) is None, "the comparison ended before it was killed"
        attempt.kill()
    for name in ("killed", "whole"):
        attempt = Attempt([*start, name], cwd=tmp_path)
        assert attempt.ended(600) == 0
    one, other = (json.loads((tmp_path / name / "result.json").read_text())["models"] for name in ("killed", "whole"))
    for model in one:
        for size, row in one[model]["sizes"].items():
            row["seconds"] = other[model]["sizes"][size]["seconds"]
    assert one == other
