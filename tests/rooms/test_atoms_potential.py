"""The landscape of a frame: slopes, stresses, and lists of neighbours that hold wherever the atoms go."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from toy_atoms import Morse, cluster, crystal, morse

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import pairs
from thalweg.atoms.energy import Potential, offset, potential
from thalweg.atoms.tasks.landscapes import FixedLists, Replicas, Yielding
from thalweg.atoms.tasks.uncertain import said
from thalweg.core.cell import Celled
from thalweg.core.refresh import fitted


def shaken(frame: Frame, size: float, seed: int = 0) -> np.ndarray:
    return frame.positions + size * np.random.default_rng(seed).normal(size=frame.positions.shape)


@eqx.filter_jit
def slope(energy: Any, x: Any) -> tuple[Any, Any]:
    return jax.value_and_grad(energy)(x)


def by_host(frame: Frame, positions: np.ndarray, cell: np.ndarray | None = None) -> float:
    """The toy's energy from pairs that another program finds at these very positions."""
    there = frame._replace(positions=positions, cell=frame.cell if cell is None else cell)
    distances, net = pairs(there, 4.0)[3], morse().net
    assert isinstance(net, Morse)
    decay = np.exp(-float(net.steepness) * (distances - float(net.length)))
    share = np.minimum((distances / 4.0) ** 2, 1 - 1e-12)
    return float(np.sum(0.5 * float(net.depth) * (decay**2 - 2 * decay) * np.exp(1 - 1 / (1 - share))))


def test_forces_are_central_differences(x64):
    frame = crystal(1)
    energy, x = potential(morse().net, frame), shaken(frame, 0.1)
    direction = np.random.default_rng(1).normal(size=x.shape)
    h = 1e-4
    ahead, behind = (float(slope(energy, jnp.asarray(x + way * h * direction))[0]) for way in (1, -1))
    exact = float(np.sum(np.asarray(slope(energy, jnp.asarray(x))[1]) * direction))
    # The error of a difference is h^2 / 6 times a third derivative (some tens here) plus 2^-53 |E| / h.
    assert (ahead - behind) / (2 * h) == pytest.approx(exact, rel=1e-6)
    assert abs(exact) > 1e-3


@pytest.mark.parametrize("periodic", [(True, True, True), pytest.param((True, False, True), marks=pytest.mark.slow)])
def test_lists_hold_after_drifting_wrapping_and_other_images(x64, periodic):
    frame = crystal(1, tilt=0.3)._replace(periodic=periodic)
    energy = potential(morse().net, frame)
    drift = np.array([1.3, -0.7, 2.2])
    images = np.random.default_rng(2).integers(-3, 4, frame.positions.shape) * np.array(periodic)
    for size, moved in ((0.02, 0.0), (0.3, 0.0), (0.3, drift), (1.0, drift)):
        x = shaken(frame, size) + moved
        wrapped = x + images @ frame.cell
        expected = by_host(frame, x)
        found = []
        for place in (x, wrapped):
            energy, room = fitted(energy, jnp.asarray(place))
            assert bool(room)
            found.append(float(slope(energy, jnp.asarray(place))[0]))
        # Forty terms of order one, summed in another order.
        assert found == pytest.approx([expected, expected], abs=1e-12)
        # Lists made at one image serve all others as they are.
        assert not bool(energy.stale(jnp.asarray(x)))


def test_a_skin_is_used_up_by_two_atoms_and_by_the_cell(x64):
    frame = crystal(1)
    energy = potential(morse().net, frame, skin=0.6)
    step = np.zeros_like(frame.positions)
    step[0, 0] = 1.0
    x = jnp.asarray(frame.positions)
    assert not bool(energy.stale(x + 0.299 * step))
    assert bool(energy.stale(x + 0.301 * step))
    # A cell that shrinks by 2 % brings an atom 4.6 A away nearer by 0.09 A: within the skin, beyond it at 20 %.
    assert not bool(energy.stale(Celled(0.98 * x, 0.98 * energy.cell)))
    assert bool(energy.stale(Celled(0.8 * x, 0.8 * energy.cell)))


@pytest.mark.slow
def test_short_lists_say_so_and_grow(x64):
    frame = crystal(1)
    energy = potential(morse().net, frame, skin=0.0)
    crowded = Celled(0.75 * jnp.asarray(frame.positions), 0.75 * energy.cell)
    fits, room = fitted(energy, crowded)
    assert bool(room)
    assert fits.index[0].shape[0] > energy.index[0].shape[0]
    expected = by_host(frame, 0.75 * frame.positions, 0.75 * frame.cell)
    assert float(slope(fits, crowded)[0]) == pytest.approx(expected, abs=1e-11)
    # No list is long enough where the images end: then there is no energy, rather than a wrong one.
    tiny = Celled(0.4 * jnp.asarray(frame.positions), 0.4 * energy.cell)
    assert not bool(energy.reaches(tiny.cell))
    assert np.isnan(float(slope(energy, tiny)[0]))


@pytest.mark.slow
def test_stress_is_the_change_of_energy_with_strain(x64):
    frame = crystal(1, tilt=0.2)
    x = shaken(frame, 0.05)
    virial = said(potential(morse().net, frame), x)[0].virial
    found = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = strain[b, a] = 1e-5
            up, down = (by_host(frame, x @ (np.eye(3) + s), frame.cell @ (np.eye(3) + s)) for s in (strain, -strain))
            found[a, b] = (up - down) / 2e-5 / (1 if a == b else 2)
    # Rounding: 2^-53 times 20 eV over 1e-5.
    np.testing.assert_allclose(virial, found, atol=1e-8)
    # The slope over a Celled is the same derivative.
    slopes = slope(potential(morse().net, frame), Celled(jnp.asarray(x), jnp.asarray(frame.cell)))[1]
    whole = x.T @ np.asarray(slopes.points) + frame.cell.T @ np.asarray(slopes.cell)
    np.testing.assert_allclose((whole + whole.T) / 2, virial, atol=1e-12)


@pytest.mark.slow
def test_copies_and_yielding_cells_are_the_potential(x64):
    frame = crystal(1)
    one = potential(morse().net, frame)
    x = jnp.asarray(np.stack([shaken(frame, 0.2, seed) for seed in range(3)]))
    copies, room = fitted(Replicas.of(one, 3), x)
    assert bool(room)
    assert float(slope(copies, x)[0]) == pytest.approx(sum(by_host(frame, np.asarray(at)) for at in x), abs=1e-11)
    assert copies.grown().each.index[0].shape[1] > copies.each.index[0].shape[1]

    strain, near = np.array([[0.02, 0.01, 0], [0.01, -0.01, 0], [0, 0, 0.01]]), shaken(frame, 0.02)
    strained, deformed = Celled(jnp.asarray(near), jnp.asarray(2.0 * strain)), np.eye(3) + strain
    yielding = Yielding(one, one.cell, jnp.asarray(2.0))
    assert not bool(yielding.stale(strained))
    expected = by_host(frame, near @ deformed, frame.cell @ deformed)
    assert float(slope(yielding, strained)[0]) == pytest.approx(expected, abs=1e-12)

    fixed = FixedLists.of(one)
    assert float(slope(fixed, one.built)[0]) == float(slope(one, one.built)[0])
    assert fixed.holds(one.built[None])
    assert not fixed.holds(x)


def test_a_molecule_has_all_pairs_and_its_isolated_atoms(x64):
    frame = cluster()
    energy: Potential = potential(morse().net, frame)
    far = 100 * np.asarray(frame.positions)
    assert not bool(energy.stale(jnp.asarray(far)))
    assert float(slope(energy, jnp.asarray(far))[0]) == 0.0
    assert offset(frame, morse().energies) == -20.0
