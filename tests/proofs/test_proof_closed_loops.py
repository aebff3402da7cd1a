"""One audit finds a swirl in a force field and a classifier's lying gradient, and passes honest ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg
from thalweg.diagnostics.refinement import Refined, refine
from thalweg.diagnostics.segments import Curves
from thalweg.robust.energy import LabelLoss, OverInputs
from thalweg.robust.model import SmallNet, Steep, StraightThrough

pytestmark = pytest.mark.usefixtures("x64")
WIDTH, HEIGHT = 0.4, 0.2
HYDROGEN = 3  # of the hydroxyl group, in the sample


def there_and_back(a, b, bulge) -> Curves:
    still = np.zeros_like(a)
    return Curves(np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([still, bulge]))


def audited(batch, curves: Curves, gradients: int = 512) -> tuple[np.ndarray, Refined]:
    field = thalweg.HostField(lambda x: tuple(map(np.asarray, batch(x))))
    found = refine(field, curves, gradients=gradients, batch=32)
    return found.work.reshape(2, -1).sum(axis=0), found


def misses(found: Refined) -> float:
    return float((found.mismatch / found.climb).max())


def moved_point(home: np.ndarray, which: int = 0) -> Curves:
    """One point of some walks a straight line, and comes back on a parabola."""
    a, bulge = home[None], np.zeros((1, *home.shape))
    b = a.copy()
    b[0, which, 0] += WIDTH
    bulge[0, which, 1] = HEIGHT
    return there_and_back(a, b, bulge)


def swirling(energy, home, strength, which: int = 0):
    """Energies and slopes of a batch, with a swirl about where one point was."""

    def one(x):
        value, slope = jax.value_and_grad(energy)(x)
        arm = x[which] - home[which]
        return value, slope.at[which].add(-strength * jnp.array([-arm[1], arm[0], 0.0]))

    return lambda x: jax.lax.map(one, x)


def check_swirls(energy, home: np.ndarray) -> None:
    compiled = jax.jit(lambda strength, x: swirling(energy, home, strength)(x))
    for strength in (0.0, 0.01, 1.0):
        around, found = audited(jax.tree_util.Partial(compiled, strength), moved_point(home))
        # Stokes: twice the strength times the area between a chord and a parabola.
        exact = 2 * strength * 2 / 3 * WIDTH * HEIGHT
        assert around[0] == pytest.approx(exact, rel=1e-3, abs=1e-8)
        assert (misses(found) < 1e-3) == (strength < 1e-3)


def test_a_swirl_in_a_pair_potential_is_measured():
    # Stiff enough for the conservative part to move by as much as the swirl: a cluster, a little off its rest.
    cluster = thalweg.landscapes.LennardJones(depth=0.05)
    rest = thalweg.relax(cluster, 1.2 * jax.random.normal(jax.random.key(0), (5, 3)), "fire").value
    check_swirls(cluster, 1.3 * np.asarray(rest))


@pytest.mark.slow
def test_a_swirl_in_the_shipped_potential_is_measured():
    pytest.importorskip("vesin", reason="needs thalweg[atoms]")
    from thalweg.atoms.data.read import read
    from thalweg.atoms.energy import potential
    from thalweg.atoms.tasks.landscapes import FixedLists
    from thalweg.atoms.tasks.trained import load_trained

    frame = read("ethanol")[279]
    energy = FixedLists.of(potential(load_trained("ethanol").cast(np.float64).net, frame, skin=np.inf))
    compiled = jax.jit(lambda strength, x: swirling(energy, frame.positions, strength, HYDROGEN)(x))
    exact = 2 * 0.1 * 2 / 3 * WIDTH * HEIGHT
    for strength, wanted in ((0.0, 0.0), (0.1, exact)):
        around, found = audited(jax.tree_util.Partial(compiled, strength), moved_point(frame.positions, HYDROGEN))
        assert around[0] == pytest.approx(wanted, rel=1e-3, abs=1e-8)
        assert (misses(found) < 1e-3) == (strength == 0)


def test_forces_without_an_energy_are_convicted_by_their_loop():
    # Shear: the first point is pushed along y by its own x, which no energy can do.
    def one(x):
        return jnp.zeros(()), jnp.zeros_like(x).at[0, 1].set(-x[0, 0])

    home = np.random.default_rng(0).normal(size=(5, 3))
    around, _ = audited(jax.jit(jax.vmap(one)), moved_point(home))
    # The curl is one, and the work the area.
    assert around[0] == pytest.approx(2 / 3 * WIDTH * HEIGHT, rel=1e-6)


def test_a_straight_through_gradient_is_caught_and_honest_ones_pass():
    net = SmallNet(16, 32, 4, key=jax.random.key(0), dtype=jnp.float64)
    a, b, bulge = (np.random.default_rng(seed).uniform(0.1, 0.9, (2, 4, 4)) for seed in (0, 1, 2))
    loops = there_and_back(a, b, 0.3 * (bulge - 0.5))
    verdicts = {}
    for name, model in {"plain": net, "steep": Steep(net, 20.0), "quantiser": StraightThrough(net, 8)}.items():
        energy = OverInputs(LabelLoss(jnp.asarray(0)), model)
        around, found = audited(jax.jit(jax.vmap(jax.value_and_grad(energy))), loops, gradients=1024)
        verdicts[name] = misses(found)
        if name != "quantiser":
            assert np.abs(around).max() < 1e-5
    assert verdicts["plain"] < 1e-6
    assert verdicts["steep"] < 1e-3
    assert verdicts["quantiser"] > 0.1
