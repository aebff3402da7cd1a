"""What the networks keep by construction, in double precision: tiny ones with random weights."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import potential
from thalweg.atoms.model.build import network
from thalweg.atoms.model.gto import GaussianNetwork, Shape
from thalweg.atoms.model.harmonics import couplings, doubled, solid_harmonics, turning
from thalweg.atoms.model.orbitals import smooth_cutoff, soft_length
from thalweg.atoms.model.structure import Framed
from thalweg.atoms.tasks.prepare import framed, predicted

pytestmark = pytest.mark.usefixtures("x64")
EXACT = 1e-10  # eV per atom: the bar of the room; float64 rounds these energies to below 1e-13
CUTOFF = 4.0
ZERO = np.zeros((3, 3))
ATOMS, SLOTS = 12, 32  # every frame is padded to these, so that each network is compiled once
SHAPES = {
    "distances": {"degree": 0, "messages": 0, "radial": "bessel"},
    "vectors": {"degree": 1, "messages": 2, "paths": ((1, 1, 0),)},
    "all": {"degree": 3, "messages": 8, "paths": ((1, 2, 3), (3, 3, 2), (1, 2, 1))},
}


@functools.cache
def net_of(name: str) -> GaussianNetwork:
    """A network all of whose numbers are random, measured ones too: nothing is zero, so that nothing can hide."""
    shape = Shape(orbitals=4, channels=4, hidden=4, cutoff=CUTOFF, **SHAPES[name])
    words = np.random.default_rng(3)
    with jax.enable_x64(True):
        # Drawn here, since the network's own start compiles a program for every shape of weights.
        net = eqx.filter_eval_shape(network, "gto", shape, (1, 8), jax.random.key(3), np.float64)
        assert isinstance(net, GaussianNetwork)
        return jax.tree.map(lambda leaf: jnp.asarray(0.5 * words.normal(size=leaf.shape)), net)


@functools.cache
def molecule() -> Frame:
    positions = np.random.default_rng(0).uniform(-1.3, 1.3, (6, 3)) * np.array([1.0, 1.2, 1.5])
    return Frame(np.array([8, 1, 1, 8, 1, 8]), positions, ZERO, place="a molecule")


@functools.cache
def crystal() -> Frame:
    """A triclinic cell that is smaller than the cutoff: atoms see several images of each other and of themselves."""
    cell = np.array([[3.1, 0.2, 0.0], [0.7, 2.9, 0.1], [-0.4, 0.5, 3.4]])
    positions = np.array([[0.1, 0.2, 0.0], [0.5, 0.6, 0.45], [0.9, 0.1, 0.7]]) @ cell
    return Frame(np.array([8, 1, 1]), positions, cell, (True, True, True), place="a crystal")


# These programs run a few times on a few atoms: what LLVM would gain by optimising them, it loses tenfold.
@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _compiled(function: Any, static: Any, dynamic: Any) -> Any:
    return function(*eqx.combine(dynamic, static))


def quickly(function: Any, *given: Any) -> Any:
    """What a function says of modules and arrays, compiled without delay."""
    dynamic, static = eqx.partition(given, eqx.is_array)
    return _compiled(function, static, dynamic)


def _predicted(net: Any, arrays: Framed) -> Any:
    return predicted(net, arrays, stress=True)


def said(net: Any, frame: Frame) -> tuple[float, np.ndarray]:
    """Energy and forces of one frame, padded."""
    arrays = framed([frame], net.elements, CUTOFF, np.float64, atoms=ATOMS, slots=(SLOTS, SLOTS))
    energy, forces, virial = quickly(_predicted, net, arrays)
    count = len(frame.numbers)
    np.testing.assert_array_equal(np.asarray(forces[0]).T[count:], 0.0)
    assert np.isfinite(virial).all()
    return float(energy[0]), np.asarray(forces[0]).T[:count]


def random_turn(seed: int) -> np.ndarray:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


@pytest.mark.parametrize(("name", "make"), [("distances", molecule), ("vectors", molecule), ("all", molecule),
                                            ("all", crystal)])  # fmt: skip
def test_energies_stay_and_forces_turn(name, make):
    net, frame = net_of(name), make()
    energy, forces = said(net, frame)
    count, size = len(frame.numbers), np.abs(forces).max()
    assert size > 0.01
    turn, order = random_turn(1), np.random.default_rng(2).permutation(count)

    def same(other: Frame, expected: np.ndarray) -> None:
        value, push = said(net, other)
        assert abs(value - energy) <= EXACT * count
        np.testing.assert_allclose(push, expected, rtol=0, atol=1e-11 * size)

    for matrix in (turn, -turn):
        same(frame._replace(positions=frame.positions @ matrix.T, cell=frame.cell @ matrix.T), forces @ matrix.T)
    same(frame._replace(positions=frame.positions + np.array([7.3, -2.1, 0.4])), forces)
    same(frame._replace(numbers=frame.numbers[order], positions=frame.positions[order]), forces[order])
    if any(frame.periodic):
        steps = np.array([[1, 0, -2], [0, 3, 1], [-1, 0, 0]])
        same(frame._replace(positions=frame.positions + steps @ frame.cell), forces)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-12 * size * count)


def test_a_supercell_is_twice_the_cell_and_far_copies_are_twice_the_molecule():
    net = net_of("all")
    for frame, shift in ((crystal(), crystal().cell[1]), (molecule(), np.array([60.0, 0.0, 0.0]))):
        stretch = np.diag([1.0, 2.0, 1.0]) if any(frame.periodic) else np.eye(3)
        both = frame._replace(numbers=np.tile(frame.numbers, 2), cell=stretch @ frame.cell,
                              positions=np.concatenate([frame.positions, frame.positions + shift]))  # fmt: skip
        assert abs(said(net, both)[0] - 2 * said(net, frame)[0]) <= EXACT * len(both.numbers)


@pytest.mark.parametrize("name", SHAPES)
def test_an_atom_alone_has_no_energy(name):
    net = net_of(name)
    alone = Frame(np.array([8]), np.zeros((1, 3)), ZERO)
    # Zero but for rounding: two matrix products of unequal width, whose sums may be ordered differently, are compared.
    rounding = 1e-13 * ATOMS
    assert abs(said(net, alone)[0]) <= rounding
    # Nor two that are exactly as far apart as the cutoff, or farther.
    for r in (CUTOFF, CUTOFF + 1e-9, 9.0):
        energy, forces = said(net, _pair(r))
        assert abs(energy) <= rounding
        np.testing.assert_array_equal(forces, 0.0)


def _pair(r: float) -> Frame:
    return Frame(np.array([8, 1]), np.array([[0.0, 0.0, 0.0], [0.48 * r, 0.6 * r, 0.64 * r]]), ZERO)


def _second(energy: Any, x: Any, v: Any) -> tuple[Any, Any]:
    return jax.jvp(jax.grad(energy), (x,), (v,))


def test_energies_are_smooth_where_atoms_meet_and_where_they_part():
    energy = potential(net_of("vectors"), _pair(1.0))
    along = np.zeros((2, 3))
    along[1] = [0.48, 0.6, 0.64]

    def at(r: float) -> tuple[float, float]:
        """The slope and the curvature at a distance."""
        slope, bend = quickly(_second, energy, jnp.asarray(r * along), jnp.asarray(along))
        assert np.isfinite(slope).all()
        assert np.isfinite(bend).all()
        return float(np.sum(slope * along)), float(np.sum(bend * along))

    # On one another: the slope of a function that is even in the distance vanishes.
    slope, curvature = at(0.0)
    assert abs(slope) <= 1e-10 * abs(curvature)
    assert abs(at(1e-6)[0] - 1e-6 * curvature) <= 1e-5 * abs(1e-6 * curvature)
    for r in (CUTOFF, CUTOFF * np.sqrt(1 - 1 / 80), CUTOFF + 1e-7):
        assert at(r) == (0.0, 0.0) or np.abs(at(r)).max() < 1e-25
    # Curvature is the slope of the slope just inside the cutoff, too.
    step = 1e-4
    measured = (at(0.9 * CUTOFF + step)[0] - at(0.9 * CUTOFF - step)[0]) / (2 * step)
    assert at(0.9 * CUTOFF)[1] == pytest.approx(measured, rel=1e-5)


def test_cutoff_and_length_have_finite_slopes_of_slopes_everywhere():
    def function(x: Any) -> Any:
        return smooth_cutoff(x @ x, CUTOFF) + soft_length(x @ x)

    places = jnp.array([0.0, 2.0, CUTOFF * math.sqrt(1 - 1 / 80), CUTOFF, CUTOFF + 1.0])
    third = jax.jacfwd(jax.hessian(function))
    assert np.isfinite(jax.jit(jax.vmap(third))(places[:, None] * jnp.eye(3)[0])).all()


def test_padded_batches_equal_the_landscape_of_a_frame():
    net, frame = net_of("vectors"), crystal()
    smaller = molecule()._replace(numbers=molecule().numbers[:4], positions=molecule().positions[:4])
    arrays = framed([smaller, frame], net.elements, CUTOFF, np.float64, atoms=ATOMS, slots=(SLOTS, SLOTS))
    energy, forces, _ = quickly(_predicted, net, arrays)
    value, slope = quickly(_asked, potential(net, frame), jnp.asarray(frame.positions))
    count = len(frame.numbers)
    for alone, push in ((float(value), -np.asarray(slope)), said(net, frame)):
        assert abs(float(energy[1]) - alone) <= EXACT * count
        np.testing.assert_allclose(np.asarray(forces[1]).T[:count], push, rtol=0, atol=1e-11 * np.abs(push).max())


def _asked(energy: Any, x: Any) -> tuple[Any, Any]:
    return jax.value_and_grad(energy)(x)


def _walked(net: GaussianNetwork, atoms: Any) -> list[Any]:
    return list(net.walk(atoms))


def test_densities_turn_by_wigners_matrices():
    net, frame, turn = net_of("all"), molecule(), random_turn(4)
    both = [frame, frame._replace(positions=frame.positions @ turn.T)]
    arrays = framed(both, net.elements, CUTOFF, np.float64, slots=(SLOTS, SLOTS))
    atoms = arrays.atoms(arrays.positions, jnp.zeros((2, 3, 3)))
    count = len(frame.numbers)
    for density, raw, _ in quickly(_walked, net, atoms):
        for degree, each in enumerate(density):
            before, after = np.asarray(each[..., :count]), np.asarray(each[..., count:])
            expected = np.einsum("ab,kbn->kan", turning(degree, turn), before)
            np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12 * np.abs(before).max())
            assert degree == 0 or np.abs(after - before).max() > 0.01 * np.abs(before).max()
        np.testing.assert_allclose(raw[:, count:], raw[:, :count], rtol=0, atol=1e-12 * np.abs(raw).max())


# Harmonics and their couplings


def test_harmonics_are_normalised_and_turn_by_orthogonal_matrices():
    points = np.random.default_rng(5).normal(size=(40, 3))
    turn = random_turn(6)
    for degree in range(4):
        part = slice(degree**2, (degree + 1) ** 2)

        def harmonics(at: np.ndarray, degree: int = degree, part: slice = part) -> np.ndarray:
            x, y, z = jnp.asarray(at.T)
            return np.stack([np.asarray(each) for each in solid_harmonics(x, y, z, degree)[part]])

        here = harmonics(points)
        np.testing.assert_allclose((here**2).sum(axis=0), (points**2).sum(axis=1) ** degree, rtol=1e-12)
        there = harmonics(points @ turn.T)
        matrix = turning(degree, turn)
        np.testing.assert_allclose(there, matrix @ here, atol=1e-11)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(2 * degree + 1), atol=1e-12)
        np.testing.assert_allclose(turning(degree, -np.eye(3)), (-1.0) ** degree * np.eye(2 * degree + 1), atol=1e-12)


def table(one: int, two: int, into: int) -> np.ndarray:
    dense = np.zeros((2 * one + 1, 2 * two + 1, 2 * into + 1))
    for component, row in enumerate(couplings(one, two, into)):
        for a, b, weight in row:
            dense[a, b, component] = weight
    return dense


def test_couplings_are_orthogonal_complete_and_turn():
    turn = random_turn(7)
    for one, two in itertools.product(range(4), repeat=2):
        tables = [table(one, two, into) for into in range(abs(one - two), min(one + two, 3) + 1)]
        flat = np.concatenate([each.reshape(-1, each.shape[2]) for each in tables], axis=1)
        np.testing.assert_allclose(flat.T @ flat, np.eye(flat.shape[1]), atol=1e-12)
        if one + two <= 3:
            assert flat.shape[0] == flat.shape[1]
        for into, each in zip(range(abs(one - two), 4), tables, strict=False):
            left, right, out = (turning(degree, turn) for degree in (one, two, into))
            np.testing.assert_allclose(np.einsum("xa,yb,abc->xyc", left, right, each),
                                       np.einsum("xyz,zc->xyc", each, out), atol=1e-12)  # fmt: skip


def test_couplings_have_their_exact_values():
    # Two vectors, in the order y, z, x: the scalar product over sqrt(3), and the cross product over sqrt(2).
    np.testing.assert_allclose(np.abs(table(1, 1, 0)[..., 0]), np.eye(3) / math.sqrt(3), atol=1e-14)
    y, z, x = np.eye(3)
    cross = np.einsum("a,b,abc->c", x, y, table(1, 1, 1))
    np.testing.assert_allclose(np.abs(cross), z / math.sqrt(2), atol=1e-14)
    np.testing.assert_allclose(np.abs(np.einsum("a,b,abc->c", z, z, table(1, 1, 2))),
                               [0, 0, math.sqrt(2 / 3), 0, 0], atol=1e-14)  # fmt: skip
    # <2 0 2 0 | 2 0>^2 = 2 / 7, and <2 0 2 0 | 0 0>^2 = 1 / 5 (Varshalovich et al., table 8.4).
    assert table(2, 2, 2)[2, 2, 2] ** 2 == pytest.approx(2 / 7, abs=1e-14)
    assert table(2, 2, 0)[2, 2, 0] ** 2 == pytest.approx(1 / 5, abs=1e-14)
    for into in (0, 2):
        folded = np.zeros((5, 5, 2 * into + 1))
        for component, row in enumerate(doubled(2, into)):
            for a, b, weight in row:
                folded[a, b, component] = weight
        v = np.random.default_rng(8).normal(size=5)
        expected = np.einsum("a,b,abc->c", v, v, table(2, 2, into))
        np.testing.assert_allclose(np.einsum("a,b,abc->c", v, v, folded), expected, atol=1e-13)


# The one that keeps nothing


def test_the_naive_network_keeps_translations_and_breaks_the_rest():
    frame = molecule()
    net = network("naive", Shape(hidden=4, cutoff=CUTOFF), (1, 8), jax.random.key(0), np.float64, atoms=6)
    energy = potential(net, frame)
    other = np.array([3, 1, 2, 0, 4, 5])
    here, moved, turned, mixed = (
        float(quickly(_asked, energy, jnp.asarray(x))[0])
        for x in (frame.positions, frame.positions + 3.0, frame.positions @ random_turn(1).T, frame.positions[other])
    )
    assert abs(moved - here) <= EXACT * 6
    assert abs(turned - here) > 1e-3
    assert abs(mixed - here) > 1e-3
