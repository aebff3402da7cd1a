"""Relaxation, vibrations and barriers: known minima, known saddles, and frames that are no pair."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from ase import units
from toy_atoms import cluster, crystal, morse

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.barrier import barrier
from thalweg.atoms.tasks.first_path import first_path, laid_on
from thalweg.atoms.tasks.relax import relaxed
from thalweg.atoms.tasks.vibrations import vibrations
from thalweg.core.errors import InputError

BARE = 12.0  # A: so wide a cutoff that a pair's well is that of Morse to 1e-3


def energy(frame: Frame) -> float:
    assert frame.energy is not None
    return frame.energy


def forces(frame: Frame) -> np.ndarray:
    assert frame.forces is not None
    return frame.forces


def dimer(distance: float) -> Frame:
    return Frame(np.array([10, 18]), np.array([[0, 0, 0], [0, 0, distance]]), np.zeros((3, 3)), place="the dimer")


def five(apex: float) -> Frame:
    """Three atoms in a triangle, one above it, one below, all equally far: argon atoms with one of neon on top."""
    side = 2.5 / np.sqrt(3)
    angles = 2 * np.pi / 3 * np.arange(3)
    ring = np.stack([side * np.cos(angles), side * np.sin(angles), np.zeros(3)], axis=1)
    poles = np.array([[0, 0, apex], [0, 0, -apex]])
    return Frame(np.array([18, 18, 18, 10, 18]), np.concatenate([ring, poles]), np.zeros((3, 3)), place="five")


@pytest.mark.slow
def test_a_stretched_pair_finds_its_length_and_its_frequency(x64):
    trained = morse(reach=BARE)
    found = relaxed(trained, dimer(3.0), fmax=1e-6)
    assert found.done
    assert energy(found.frame) < found.before
    assert found.largest < 1e-6
    distance = float(np.linalg.norm(found.frame.positions[1] - found.frame.positions[0]))
    moving = vibrations(trained, found.frame)
    assert moving.wavenumbers.shape == (1,)
    assert moving.imaginary == 0
    # The curvature by differences of the energies, and the textbook's frequency of two masses on a spring.
    h = 1e-3
    heights = [relaxed(trained, dimer(distance + step), fmax=1e3).before for step in (-h, 0.0, h)]
    k = (heights[0] - 2 * heights[1] + heights[2]) / h**2
    reduced = 1 / (1 / 20.1797 + 1 / 39.95)
    expected = np.sqrt(k / reduced) * units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    # Differences are off by h^2 a^2 = 2e-6 and by 2^-53 10 eV / h^2 of 1.6: 1e-9; neon's mass has six digits.
    assert moving.wavenumbers[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lbfgs", "fire"])
def test_a_cell_yields_until_no_stress_is_left(x64, method):
    start = crystal(1, edge=3.8, tilt=0.05)
    found = relaxed(morse(), start, fmax=1e-4, cell=True, method=method)
    assert found.done
    assert found.frame.stress is not None
    assert np.abs(found.frame.stress).max() < 1e-4
    assert found.largest < 1e-4
    # It cannot turn: the deformation is symmetric.
    deformed = np.linalg.solve(start.cell, found.frame.cell)
    np.testing.assert_allclose(deformed, deformed.T, atol=1e-9)
    assert abs(np.linalg.det(deformed) - 1) > 0.01
    with pytest.raises(InputError, match="leave out --cell"):
        relaxed(morse(), cluster(), cell=True)


def test_frames_are_laid_on_each_other():
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    frame = cluster()
    turned = frame._replace(positions=frame.positions @ turn.T + np.array([3.0, 1, 2]))
    np.testing.assert_allclose(laid_on(turned, frame).positions, frame.positions, atol=1e-12)
    mirrored = frame._replace(positions=frame.positions * np.array([1, 1, -1]))
    assert np.abs(laid_on(mirrored, frame).positions - frame.positions).max() > 0.5  # no reflection
    solid = crystal(1)
    images = np.array([[0, 0, 0], [2, 0, 0], [0, -1, 1], [0, 0, 0]]) @ solid.cell
    moved = solid._replace(positions=solid.positions + images + 0.45 * solid.cell[0])
    np.testing.assert_allclose(laid_on(moved, solid).positions, solid.positions, atol=1e-12)


@pytest.mark.slow
def test_a_first_path_keeps_atoms_apart():
    a, b = five(2.0), five(2.0)
    b = b._replace(positions=b.positions[[1, 0, 2, 3, 4]])
    straight = np.linspace(a.positions, b.positions, 7)
    path = first_path(a, b, 7)
    apart = lambda chain: min(np.linalg.norm(x[0] - x[1]) for x in chain)  # noqa: E731
    assert apart(straight) < 0.1
    np.testing.assert_array_equal(path[[0, -1]], straight[[0, -1]])
    assert first_path(a, b, 3).shape == (3, 5, 3)


@pytest.mark.slow
def test_the_barrier_between_an_arrangement_and_its_mirror_image(x64):
    """Four atoms: one tetrahedron becomes the other by way of a flat rhombus."""
    trained = morse(reach=BARE)
    a = relaxed(trained, cluster(), fmax=1e-3).frame
    with pytest.raises(InputError, match="relax to the same place"):
        barrier(trained, a, a._replace(positions=a.positions + 1.0))
    b = a._replace(positions=a.positions * np.array([1, 1, -1]), place="the mirror image")
    found = barrier(trained, a, b, images=7)
    assert found.ok, found.sentence
    assert found.saddle is not None
    result = found.result
    json.dumps(result)
    assert result["saddle_index"] == 1
    assert result["imaginary_per_cm"] > 1
    # Both ends are at rest to 1e-3 eV/A, so at one height to the square of that over some 1 eV/A^2.
    assert result["barrier_eV"] == pytest.approx(result["reverse_barrier_eV"], abs=1e-5)
    # One of six bonds is stretched to the long diagonal: less than a whole bond is lost.
    assert 0.2 < result["barrier_eV"] < 0.4
    flat = np.linalg.svd(found.saddle.positions - found.saddle.positions.mean(axis=0))[1]
    assert flat[2] < 1e-3 * flat[0]
    assert energy(found.saddle) == pytest.approx(energy(found.path[0]) + result["barrier_eV"], abs=1e-6)
    assert np.abs(forces(found.saddle)).max() < 1e-5
    # Along the mode the energy falls on both sides.
    mode = found.saddle.columns["mode"]
    for way in (0.05, -0.05):
        moved = found.saddle._replace(positions=found.saddle.positions + way * mode)
        assert relaxed(trained, moved, fmax=1e3).before < energy(found.saddle)


def test_what_is_no_pair_is_refused(x64):
    a = cluster()
    with pytest.raises(InputError, match="atom 0 is Ne in the cluster and Ar in the cluster"):
        barrier(morse(), a, a._replace(numbers=a.numbers[::-1][[1, 0, 3, 2]]))
    with pytest.raises(InputError, match="4 atoms and the dimer 2"):
        barrier(morse(), a, dimer(2.5))
    with pytest.raises(InputError, match="fmax is -1"):
        relaxed(morse(), a, fmax=-1.0)
