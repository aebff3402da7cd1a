"""Training potentials: it learns, goes on after a kill, measures itself, and refuses what it cannot learn from."""

from __future__ import annotations

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate

from thalweg import samples
from thalweg.atoms.data.read import read
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.model.gto import GaussianNetwork, Shape
from thalweg.atoms.tasks.evaluate import errors, evaluate, predict
from thalweg.atoms.tasks.plan import planned, settings
from thalweg.atoms.tasks.prepare import framed, labels, predicted
from thalweg.atoms.tasks.train import Matching, Recipe, fit, force_unit, started
from thalweg.atoms.tasks.trained import FILE, Trained, load_trained, save_trained
from thalweg.atoms.tasks.training import kept, material, trained_potential
from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.solution import Outcome
from thalweg.runs.hooks import Checkpoint

_ = isolate
SMALL = Shape(degree=1, orbitals=3, channels=3, layers=2, messages=2, hidden=4, cutoff=4.0)
SHORT = Recipe(steps=60, batch=4, warmup=5, decay=0.9)


@pytest.fixture(scope="module")
def given():
    return material("ethanol", count=24, seed=1)


def no_hooks(words, name):
    return ()


@pytest.fixture(scope="module")
def learnt(given):
    return trained_potential(given, kind="gto", shape=SMALL, recipe=SHORT, members=1, seed=0, hooks=no_hooks)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_a_sample_is_parted_as_it_says_and_its_isolated_atoms_come_from_its_card(given):
    assert len(given.frames) == 24
    assert {frame.info["split"] for frame in [*given.frames, *given.valid]} == {"train"}
    expected = samples.card("ethanol_gfn2")["isolated_atoms"]
    assert given.energies == {1: expected["H"], 6: expected["C"], 8: expected["O"]}
    assert not {frame.place for frame in given.frames} & {frame.place for frame in given.valid}


def test_training_learns(given, learnt):
    fresh = started("gto", SMALL, given.frames, given.energies, seed=0)
    before = evaluate(Trained(fresh, given.energies, {}), given.valid)
    after = evaluate(learnt, given.valid)
    # Sixty steps of a tiny network: a quarter of the error must be gone; nothing learnt leaves the ratio at 1.
    assert after["force_mae_meV_A"] < 0.75 * before["force_mae_meV_A"]
    assert after == learnt.card["held_out"]


def test_a_training_that_was_stopped_goes_on_bit_for_bit(given, learnt, tmp_path):
    start = started("gto", SMALL, given.frames, given.energies, seed=0)

    def stop(report):
        return Outcome.CANCELLED if report.step >= 20 else None

    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_steps=1)
    with pytest.raises(WalkError, match="resume"):
        fit(start, given.frames, given.energies, SHORT, seed=0, hooks=(checkpoint, stop))
    again = Checkpoint(tmp_path / "state.safetensors")
    end = fit(start, given.frames, given.energies, SHORT, seed=0, hooks=(again,))
    assert same(end, learnt.net)


def test_a_potential_comes_back_from_its_file_bit_for_bit(given, learnt, tmp_path):
    kept(tmp_path, learnt, "gto", SMALL)
    back = load_trained(tmp_path)
    assert same(back.net, learnt.net)
    assert back.energies == learnt.energies
    assert back.card == json.loads(json.dumps(learnt.card))
    damaged = bytearray((tmp_path / FILE).read_bytes())
    damaged[-100] ^= 1
    (tmp_path / FILE).write_bytes(bytes(damaged))
    with pytest.raises(InputError, match="damaged"):
        load_trained(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_trained("nowhere")
    with pytest.raises(PrecisionError, match="jax_enable_x64"):
        learnt.cast(np.float64)


def test_the_gradient_rule_is_the_slope_of_its_loss(given, x64):
    """Reverse over reverse against central differences of the whole loss, in float64."""
    net = started("gto", SMALL, given.frames, given.energies, seed=3, dtype=np.float64)
    frames = framed(given.frames[:3], net.elements, net.cutoff, np.float64)
    wanted = labels(given.frames[:3], given.energies, 9, np.float64)
    unit = jnp.asarray(force_unit(given.frames))
    rule = Matching(unit, jnp.asarray(0.2), jnp.asarray(0.2), jnp.asarray(10))
    words = np.random.default_rng(0)
    floats, rest = eqx.partition(net, eqx.is_inexact_array)
    # What is measured and held does not move the loss, and is left out of the direction.
    held = jax.tree.leaves(eqx.filter(_held(floats), lambda leaf: leaf is True, is_leaf=lambda leaf: leaf is True))
    assert len(held) > 0
    along = jax.tree.map(
        lambda leaf, still: jnp.zeros_like(leaf) if still else jnp.asarray(words.normal(size=leaf.shape)),
        floats,
        _held(floats),
    )

    # One compiled function for all: slopes and loss at once.
    @eqx.filter_jit
    def told(shift):
        moved = eqx.combine(jax.tree.map(lambda a, b: a + shift * b, floats, along), rest)
        slopes, _, metrics = rule(moved, (frames, wanted), None, jnp.asarray(0), jax.random.key(0))
        return slopes, metrics["loss"]

    def loss(shift: float) -> float:
        return float(told(jnp.asarray(shift))[1])

    slopes = told(jnp.asarray(0.0))[0]
    expected = sum(float(jnp.sum(a * b)) for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(along), strict=True))
    step = 1e-6
    measured = (loss(step) - loss(-step)) / (2 * step)
    assert measured == pytest.approx(expected, rel=1e-5)  # the norm's soft corner bends within such a step


def _held(floats: GaussianNetwork):
    marks = jax.tree.map(lambda leaf: False, floats)
    where = lambda net: [net.scale, *(getattr(each, n) for each in net.layers for n in ("spread", "middle", "width"))]  # noqa: E731
    return eqx.tree_at(where, marks, [True] * len(where(marks)))


def test_forces_are_central_differences_and_stress_the_slope_by_strain(given, x64):
    net = started("gto", SMALL, given.frames, given.energies, seed=2, dtype=np.float64)
    frames = framed(given.frames[:2], net.elements, net.cutoff, np.float64)
    energy, forces, virial = eqx.filter_jit(lambda net: predicted(net, frames, stress=True))(net)
    assert virial is not None
    words = np.random.default_rng(0)
    along, strain = words.normal(size=frames.positions.shape), words.normal(size=(2, 3, 3))
    strain = strain + np.swapaxes(strain, 1, 2)

    @eqx.filter_jit
    def heights(shift, stretch):
        atoms = frames.atoms(frames.positions + shift * along, stretch * jnp.asarray(strain))
        return net(atoms).reshape(2, -1).sum(axis=1)

    step, zero = jnp.asarray(1e-4), jnp.zeros(())
    by_shift = np.asarray(heights(step, zero) - heights(-step, zero)) / (2 * step)
    np.testing.assert_allclose(by_shift, -np.sum(np.asarray(forces) * along, axis=(1, 2)), rtol=1e-6, atol=1e-7)
    by_strain = np.asarray(heights(zero, step) - heights(zero, -step)) / (2 * step)
    np.testing.assert_allclose(by_strain, np.sum(np.asarray(virial) * strain, axis=(1, 2)), rtol=1e-6, atol=1e-6)
    assert energy.shape == (2,)


def test_a_committee_says_how_far_off_it_is(given):
    # Networks of the shape that `learnt` has, whose training is compiled.
    found = trained_potential(given, kind="gto", shape=SMALL, recipe=SHORT, members=2, seed=0, hooks=no_hooks)
    assert isinstance(found.net, Committee)
    said = predict(found, given.valid)
    assert said.spread is not None
    off = np.concatenate([np.mean((a - f.forces) ** 2, axis=1) for a, f in zip(said.forces, given.valid, strict=True)])
    # Calibrated on these very frames: the two root mean squares agree to float32 rounding.
    assert np.sqrt(np.mean(np.concatenate(said.spread) ** 2)) == pytest.approx(np.sqrt(np.mean(off)), rel=1e-3)
    assert errors(given.valid, said)["force_expected_meV_A"] > 0


def test_the_naive_network_learns_one_molecule_and_refuses_two(given, tmp_path):
    found = trained_potential(given, kind="naive", shape=SMALL, recipe=SHORT, members=1, seed=0, hooks=no_hooks)
    kept(tmp_path, found, "naive", SMALL)
    assert same(load_trained(tmp_path).net, found.net)
    with pytest.raises(InputError, match="one molecule only"):
        started("naive", SMALL, [*given.frames, *read("water")], {**given.energies}, seed=0)


def test_settings_come_from_a_file_and_are_checked(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("[shape]\nchannels = 8\npaths = [[1, 1, 2]]\n[recipe]\nrate = 1e-3\n")
    shape, recipe = settings(file, radial="bessel", steps=7)
    assert (shape.channels, shape.paths, shape.radial) == (8, ((1, 1, 2),), "bessel")
    assert (recipe.rate, recipe.steps) == (1e-3, 7)
    for text, said in (
        ("[shape]\nwidth = 3\n", "width"),
        ("[shape]\nchannels = true\n", "channels"),
        ("[shape]\ndegree = 9\n", "degree"),
        ("[net]\n", "unknown"),
        ("[shape", "TOML"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=said):
            settings(file)


def test_a_planned_training_keeps_its_plan(given, tmp_path):
    (tmp_path / "plan.json").write_text('{"steps": 321}')
    found = planned(tmp_path, given, "gto", SMALL, SHORT, 1.0, note=print)
    assert found == dataclasses.replace(SHORT, steps=321)


def test_the_commands_train_and_evaluate(tmp_path):
    file = tmp_path / "small.toml"
    shape = {k: v for k, v in dataclasses.asdict(SMALL).items() if v is not None}
    lines = [f"{k} = {json.dumps(v)}" for k, v in shape.items() if k != "radial"]
    file.write_text("[shape]\n" + "\n".join(lines) + "\n[recipe]\nbatch = 4\nwarmup = 5\ndecay = 0.9\n")
    out = str(tmp_path / "potential")
    words = ("atoms", "train", "ethanol", "--frames", "24", "--steps", "60", "--config", str(file))
    done = call(*words, "--out", out, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    trained = json.loads(done.stdout)
    done = call("atoms", "evaluate", out, "ethanol@::40", "--json", "--quiet", "--out", str(tmp_path / "errors"))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = "energy_mae_meV energy_mae_meV_per_atom force_mae_meV_A energy_rmse_meV force_rmse_meV_A n".split()
    assert all(found[name] > 0 for name in names)
    assert found["n"] == 10
    assert found["force_rmse_meV_A"] >= found["force_mae_meV_A"]
    assert (tmp_path / "errors" / "report.html").exists()
    assert trained["force_mae_meV_A"] > 0
    assert call("atoms", "evaluate", out, "water", "--quiet").exit_code == 0  # of H and O, which it knows
    refused = call("atoms", "evaluate", out, str(_of_gold(tmp_path)), "--quiet", "--out", str(tmp_path / "gold"))
    assert refused.exit_code == 1
    assert "Au" in refused.output


def _of_gold(folder):
    path = folder / "gold.xyz"
    path.write_text(
        '2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"\nAu 0 0 0 0 0 0\nAu 0 0 2.5 0 0 0\n'
    )
    return path


def test_labels_of_two_kinds_are_refused(tmp_path):
    path = tmp_path / "no_forces.xyz"
    path.write_text(2 * '2\nProperties=species:S:1:pos:R:3 energy=-1.0 pbc="F F F"\nH 0 0 0\nH 0 0 0.8\n')
    with pytest.raises(InputError, match=r"frame [01].*has no forces"):
        material(str(path))


def test_a_file_of_another_kind_is_no_potential(learnt, tmp_path):
    from thalweg.runs.checkpoint import save_state

    path = save_state(tmp_path / "x.safetensors", learnt.net, 0)
    with pytest.raises(InputError, match="holds no potential"):
        load_trained(path)
    path = save_trained(tmp_path / "y.safetensors", learnt, kind="gto", shape=Shape())
    with pytest.raises(InputError, match="does not fit"):
        load_trained(path)
