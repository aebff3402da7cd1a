"""The calculator: ASE's own vibrations, bands, dynamics and optimisers run on it as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations
from toy_atoms import cluster, crystal, morse

from thalweg.atoms import Calculator
from thalweg.atoms.data.ase_atoms import to_atoms
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks import uncertain
from thalweg.atoms.tasks.trained import Trained
from thalweg.atoms.tasks.vibrations import vibrations
from thalweg.core.errors import InputError


@pytest.fixture(scope="module")
def trained() -> Trained:
    import jax

    with jax.enable_x64(True):
        return morse()


@pytest.fixture
def calculator(trained) -> Calculator:
    return Calculator(trained)


def with_calculator(frame, calculator) -> Any:
    atoms: Any = to_atoms(frame)
    atoms.calc = calculator
    return atoms


def test_importing_the_room_loads_neither_ase_nor_jax():
    code = "import sys, thalweg.atoms; print({'ase', 'jax'} & set(sys.modules)); from thalweg.atoms import Calculator"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr


def test_energies_forces_and_stress_are_consistent(calculator):
    atoms = with_calculator(crystal(1, tilt=0.2), calculator)
    atoms.rattle(0.1, seed=1)
    assert atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energies().sum(), rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    # Central differences over 1e-3 A: a third derivative of some tens over 6, times 1e-6.
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-3), atol=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-4), atol=1e-6)
    with pytest.raises(PropertyNotImplementedError):
        with_calculator(cluster(), calculator).get_stress()


def test_nothing_is_compiled_anew_for_the_same_atoms(calculator):
    atoms = with_calculator(cluster(), calculator)
    atoms.get_forces()
    size = uncertain._said._cached._cache_size()
    for seed in range(3):
        atoms.rattle(0.1, seed=seed)
        atoms.get_forces()
    assert uncertain._said._cached._cache_size() == size


@pytest.mark.slow
def test_a_cell_that_shrinks_out_of_the_lists_gets_new_ones(trained):
    held = with_calculator(crystal(1), Calculator(trained))
    held.get_potential_energy()
    for share in (0.4, 1.0):
        held.set_cell(share * crystal(1).cell, scale_atoms=True)
        fresh = with_calculator(crystal(1), Calculator(trained))
        fresh.set_cell(held.cell, scale_atoms=True)
        assert held.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), rel=1e-12)


def test_vibrations_of_ase_are_ours(calculator, trained, x64, tmp_path):
    atoms = with_calculator(cluster(), calculator)
    BFGS(atoms, logfile=os.devnull).run(fmax=1e-6)
    theirs = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    theirs.run()
    ours = vibrations(trained, cluster()._replace(positions=atoms.positions))
    # Central differences over 1e-3 A are off by about 1e-6 of a curvature, 1e-3 of 1/cm; six modes of theirs are zero.
    np.testing.assert_allclose(np.sort(np.real(theirs.get_frequencies()))[6:], ours.wavenumbers, rtol=1e-4)
    assert ours.imaginary == 0


@pytest.mark.parametrize("shared", [True, False])
def test_a_band_of_ase_runs(trained, shared):
    first: Any
    last: Any
    first, last = to_atoms(cluster()), to_atoms(cluster())
    last.positions[0] *= -1.5  # through the face of the other three
    images = [first, *(first.copy() for _ in range(3)), last]
    one = Calculator(trained)
    for image in images:
        image.calc = one if shared else Calculator(trained)
    band: Any = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
    band.interpolate()
    before = band.get_residual() if band.get_forces() is not None else 0.0
    FIRE(band, logfile=os.devnull).run(fmax=0.0, steps=5)
    assert band.get_residual() != before
    energies = [image.get_potential_energy() for image in images]
    alone = with_calculator(cluster()._replace(positions=images[2].positions), Calculator(trained))
    assert energies[2] == pytest.approx(alone.get_potential_energy(), rel=1e-12)


def test_dynamics_of_ase_run(calculator):
    atoms = with_calculator(cluster(), calculator)
    before = atoms.get_total_energy()
    atoms.rattle(0.05, seed=1)
    total = atoms.get_total_energy()
    VelocityVerlet(atoms, timestep=1.0 * units.fs).run(50)
    assert atoms.get_total_energy() == pytest.approx(total, abs=1e-3)
    assert total != before
    Langevin(atoms, timestep=1.0 * units.fs, temperature_K=50, friction=0.01 / units.fs,
             fixcm=False, rng=np.random.default_rng(0)).run(5)  # fmt: skip


@pytest.mark.slow
def test_a_cell_filter_of_ase_runs(calculator):
    solid = with_calculator(crystal(1, edge=3.7), calculator)
    yielding: Any = FrechetCellFilter(solid)
    BFGS(yielding, logfile=os.devnull).run(fmax=0.01, steps=40)
    assert np.abs(solid.get_stress()).max() < 0.01


def test_a_committee_says_how_unsure_it_is(x64):
    members = [morse(depth).net for depth in (0.4, 0.5)]
    atoms = with_calculator(cluster(), Calculator(morse()._replace(net=Committee.of(members, calibration=3.0))))
    atoms.rattle(0.1, seed=1)
    mean = with_calculator(cluster(), Calculator(morse(0.45)))
    mean.positions = atoms.positions
    np.testing.assert_allclose(atoms.get_forces(), mean.get_forces(), atol=1e-12)
    spread = atoms.calc.results["forces_uncertainty"]
    # Two members that differ by a factor: their standard deviation is that of their forces, 0.1 / sqrt 2 of the depth.
    expected = 3.0 * 0.1 / np.sqrt(2) / 0.45 * np.sqrt(np.mean(mean.get_forces() ** 2, axis=1))
    np.testing.assert_allclose(spread, expected, rtol=1e-9)


def test_what_it_does_not_know_is_one_sentence(calculator, trained):
    atoms = Atoms("ArHe", positions=[[0, 0, 0], [0, 0, 3]], calculator=calculator)
    with pytest.raises(InputError, match="atom 1 is He, but the model knows only Ne, Ar"):
        atoms.get_potential_energy()
    with pytest.raises(InputError, match="no such file"):
        Calculator("nowhere")
    with pytest.raises(InputError, match="precision is 'half'"):
        Calculator(trained, dtype="half")  # pyright: ignore[reportArgumentType]
