"""One path search on weights, on an image and (slow) on a molecule: index, rest, and work from both ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg
from thalweg.learning.data import parabola
from thalweg.learning.model.families import family
from thalweg.methods.copies import apart
from thalweg.robust import data
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.energy import Collision, Margin, OverInputs
from thalweg.robust.tasks.bring import correct_ones
from thalweg.robust.tasks.fit import fit

pytestmark = pytest.mark.usefixtures("x64")


def climbed(energy, a, b, pieces: int = 8) -> float:
    """The work against the force on a straight line, by a rule of NumPy's: nothing of the package but the force."""
    host = isinstance(energy, thalweg.AbstractHostField)
    force = (lambda x: thalweg.force(energy, x)) if host else jax.jit(lambda x: thalweg.force(energy, x))
    start, unravel = ravel_pytree(a)
    step = ravel_pytree(b)[0] - start
    nodes, weights = np.polynomial.legendre.leggauss(12)
    t = ((np.arange(pieces)[:, None] + (nodes + 1) / 2) / pieces).ravel()
    powers = [float(ravel_pytree(force(unravel(start + s * step)))[0] @ step) for s in t]
    return -float(np.tile(weights / (2 * pieces), pieces) @ powers)


def check(energy, path: thalweg.Path, tol: float, work_tol: float = 1e-8):
    """The highest saddle, once it is one of index one at rest, whose height is the work from either end."""
    assert path.done, path.sentence
    assert path.connected, path.sentence
    top = max(path.saddles, key=lambda one: float(one.energy))
    assert top.index == 1
    assert top.eigenvalue < 0
    assert jnp.linalg.norm(ravel_pytree(thalweg.force(energy, top.value))[0]) < tol
    for height, end in ((path.barrier, 0), (path.reverse_barrier, -1)):
        first = jax.tree.map(lambda leaf, end=end: leaf[end], path.images)
        assert abs(climbed(energy, first, top.value) - height) < work_tol
    return top


def trained(width: int, number: int):
    problem = family("tanh", parabola(), width=width, form="columns", dtype=np.float64)
    start = jax.tree.map(lambda leaf: leaf[number], problem.starts(jax.random.key(0), 8))
    return problem, thalweg.relax(problem.at(1e-3), start, "lbfgs", tol=1e-8, max_steps=5000)


def test_between_two_trainings_a_unit_dies():
    (problem, one), (_, other) = trained(3, 0), trained(3, 2)
    energy = problem.at(1e-3)
    first = thalweg.find_path(energy, one.value, other.value, images=15, throw=False)
    ends = [end for end in (first.saddles[0].backward, first.saddles[0].forward) if end is not None]
    assert len(ends) == 2
    # Relaxations stop at 1e-6 of force, on curvatures from 1e-3 on.
    assert all(apart(problem.copies, end.value, one.value) < 2e-3 for end in ends)
    top = check(energy, thalweg.find_path(energy, *(end.value for end in ends), images=15), tol=1e-6)
    # The best network of two units, trained by itself, is a stationary point of three: exactly the one on the way.
    assert abs(top.energy - trained(2, 0)[1].energy) < 1e-10
    straight = thalweg.Straight(*(end.value for end in ends))
    line = jax.jit(jax.vmap(lambda t: energy(straight(t))))(jnp.linspace(0, 1, 101))
    assert line.max() - one.energy > 10 * (top.energy - one.energy)


class Tether(thalweg.AbstractEnergy):
    """Half the squared distance from a point."""

    at: jax.Array

    def __call__(self, x):
        return 0.5 * jnp.sum((x - self.at) ** 2)


def test_between_two_readings_of_an_image_the_barrier_is_log_2_and_the_push():
    train_set, test_set = data.digits()
    posed = correct_ones(JaxClassifier(fit(train_set, steps=400), "net", np.float32).in_double(), test_set, 1)
    net, image = posed.classifier.graph, posed.x[0]
    energy = thalweg.Sum(OverInputs(Collision(), net), Tether(image))
    crossing = thalweg.nearest_crossing(OverInputs(Margin(posed.labels[0], 0.0), net), image[None])
    beyond = image + 1.3 * (crossing.x[0] - image)
    here, there = (thalweg.relax(energy, x, "fire").value for x in (image, beyond))
    top = check(energy, thalweg.find_path(energy, here, there, images=9), tol=1e-6, work_tol=1e-6)
    length = float(jnp.linalg.norm(top.value - image))
    # Third classes share a few per cent of the probability on the ridge, and each per cent is 0.01 nats.
    assert abs(top.energy - np.log(2) - length**2 / 2) < 0.05
    assert abs(length / crossing.distance[0] - 1) < 0.02
    assert jnp.argmax(net(here)) != jnp.argmax(net(there))


@pytest.mark.slow
def test_the_hydroxyl_of_ethanol_turns():
    pytest.importorskip("vesin", reason="needs thalweg[atoms]")
    from thalweg.atoms.data.read import read
    from thalweg.atoms.energy import potential
    from thalweg.atoms.tasks.first_path import laid_on
    from thalweg.atoms.tasks.landscapes import FixedLists
    from thalweg.atoms.tasks.trained import load_trained

    frame = read("ethanol")[279]
    energy = FixedLists.of(potential(load_trained("ethanol").cast(np.float64).net, frame, skin=np.inf))
    compiled = jax.jit(lambda x: jax.lax.map(jax.value_and_grad(energy), x))

    def asked(x):
        full = x if len(x) == 1 else np.concatenate([x, np.repeat(x[-1:], -len(x) % 7, axis=0)])
        values, slopes = compiled(full)
        return np.asarray(values)[: len(x)], np.asarray(slopes)[: len(x)]

    molecule = thalweg.HostField(asked)
    trans = thalweg.relax(molecule, jnp.asarray(frame.positions), "fire", tol=1e-4).value
    turned, axis = np.array(trans), np.array(trans[2] - trans[1])
    axis, arm = axis / np.linalg.norm(axis), turned[3] - turned[2]
    turned[3] = turned[2] - 0.5 * arm + np.sqrt(0.75) * np.cross(axis, arm) + 1.5 * (axis @ arm) * axis
    gauche = thalweg.relax(molecule, jnp.asarray(turned), "fire", tol=1e-4).value
    laid = laid_on(*(frame._replace(positions=np.asarray(x)) for x in (gauche, trans)))
    path = thalweg.find_path(molecule, trans, jnp.asarray(laid.positions), images=9, tol=0.02)
    check(molecule, path, tol=1e-5)
    # GFN2-xTB's barrier is of some tens of meV; gauche lies below trans there.
    assert 0.02 < path.barrier < 0.08
    assert path.reverse_barrier > path.barrier


def test_a_saddle_search_keeps_a_host_fields_own_program_compiled():
    cluster, traced = thalweg.landscapes.LennardJones(), []

    def asked(x):
        traced.append(x.shape)
        return jax.value_and_grad(cluster)(x)

    compiled = jax.jit(lambda x: jax.lax.map(asked, x))
    field = thalweg.HostField(lambda x: tuple(map(np.asarray, compiled(x))))
    rest = thalweg.relax(cluster, 1.2 * jax.random.normal(jax.random.key(0), (5, 3)), "fire").value
    found = thalweg.find_saddle(field, rest, key=jax.random.key(1), max_steps=5, throw=False)
    assert field.calls > 10
    thalweg.lowest_modes(field, found.value, count=1)
    # Once for each batch size that occurs, not once for each call.
    assert len(traced) < 6
