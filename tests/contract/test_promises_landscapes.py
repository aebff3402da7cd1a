"""Every room's landscape: the force is minus the slope, in float64, and what must not matter does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_atoms
from contract.promises import ROOMS
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from thalweg.core.energy import value_and_force

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=6, deadline=None, derandomize=True, database=None)


class Posed(NamedTuple):
    """A landscape with a start, and symmetries: from a generator, the landscape and a point to another such pair.

    The other pair must have the same energy but for what the third part of the answer says. `held` is the part of a
    point that no walk moves.
    """

    energy: Any
    start: Any
    same: dict[str, Callable[[np.random.Generator, Any, Any], tuple[Any, Any, float]]]
    held: Callable[[Any], Any] | None = None


def _spins() -> Posed:
    from thalweg.spins.data.lattices import lattice
    from thalweg.spins.data.problem import problem

    plain, random = lattice("square", 4), np.random.default_rng(0)
    made = lambda first, second, coupling, field: problem(first, second, coupling, field).landscape()  # noqa: E731
    parts = plain.first, plain.second, random.normal(size=plain.coupling.size), random.normal(size=plain.size)

    def gauge(random, energy, x):
        turn = random.choice([-1.0, 1.0], plain.size)
        first, second, coupling, field = parts
        return made(first, second, coupling * turn[first] * turn[second], field * turn), x * turn, 0.0

    def relabelled(random, energy, x):
        order = random.permutation(plain.size)
        first, second, coupling, field = parts
        place = np.argsort(order)
        return made(place[first], place[second], coupling, field[order]), x[order], 0.0

    return Posed(made(*parts), jnp.zeros(plain.size), {"gauge": gauge, "permutation": relabelled})


def _atoms() -> Posed:
    from thalweg.atoms.energy import potential

    frame = toy_atoms.cluster()

    def moved(random, energy, x):
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]  # mirrors among them
        return energy, x @ turn.T + random.normal(size=3), 0.0

    def exchanged(random, energy, x):
        return energy, x[jnp.array([3, 2, 1, 0])], 0.0  # neon with neon, argon with argon

    return Posed(
        potential(toy_atoms.morse().net, frame),
        jnp.asarray(frame.positions),
        {"motion": moved, "permutation": exchanged},
    )


def _learning() -> Posed:
    from thalweg.learning.data import parabola
    from thalweg.learning.energy import DataLoss

    def predict(params, x):
        return jnp.tanh(x @ params["w"] + params["b"]) @ params["v"]

    def exchanged(random, energy, x):
        order = random.permutation(5)
        return energy, {"w": x["w"][:, order], "b": x["b"][order], "v": x["v"][order]}, 0.0

    def turned(random, energy, x):
        sign = random.choice([-1.0, 1.0], 5)
        return energy, {"w": x["w"] * sign, "b": x["b"] * sign, "v": x["v"] * sign[:, None]}, 0.0

    start = {"w": jnp.zeros((1, 5)), "b": jnp.zeros(5), "v": jnp.zeros((5, 1))}
    return Posed(DataLoss(predict, *parabola(16)), start, {"permutation": exchanged, "sign": turned})


class Shifted(eqx.Module):
    """A classifier whose classes are in another order, with a number added to all logits."""

    net: Any
    order: jax.Array
    by: jax.Array

    def __call__(self, x):
        return self.net(x)[self.order] + self.by


def _robust() -> Posed:
    from thalweg.robust.energy import Collision, OverInputs
    from thalweg.robust.model import SmallNet

    net = SmallNet(6, 5, 4, key=jax.random.key(0), dtype=jnp.float64)

    def shifted(random, energy, x):
        other = Shifted(net, jnp.asarray(random.permutation(4)), jnp.asarray(random.normal()))
        return OverInputs(Collision(), other), x, 0.0

    return Posed(OverInputs(Collision(), net), jnp.zeros(6), {"classes": shifted})


def _genome() -> Posed:
    from thalweg.genome.energy import SpliceLoss
    from thalweg.genome.model.build import Shape, network
    from thalweg.genome.model.window import Window

    shape = Shape(cell="mingru", blocks=1, channels=6, width=4, window=5, features=5)
    net = network(shape, np.log(np.full((2, 25), 0.01)), jax.random.key(0))
    # Away from the corner of the rectifier, where slopes are smooth.
    net = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), net)
    net = eqx.tree_at(lambda n: (n.head, n.stem.bias), net, (net.head * 20, net.stem.bias + 8))
    random = np.random.default_rng(1)
    codes, targets = random.integers(0, 5, (3, 28)), random.integers(0, 3, (3, 24))
    ends = np.zeros((2, 3, 24), bool)

    def energy(order: np.ndarray) -> SpliceLoss:
        parts = codes[order].astype(np.int8), targets[order].astype(np.int8), ends[0], ends[1]
        return SpliceLoss(Window(*map(jnp.asarray, parts)))

    def reordered(random, _, x):
        return energy(random.permutation(3)), x, 0.0

    return Posed(energy(np.arange(3)), net, {"windows": reordered}, held=lambda net: net.prior)


class Linear(eqx.Module):
    """Log emissions that are straight in the drivers, as a forecaster."""

    answer: jax.Array

    def __call__(self, history, known, drivers):
        return history[-1] + jnp.cumsum(0.01 + drivers[history.size :] @ self.answer)


def _portfolio() -> Posed:
    from thalweg.portfolio.energy import StressEnergy
    from thalweg.portfolio.model.footprint import Footprint
    from thalweg.portfolio.model.law import Law

    law = Law([0.1, -0.2], [0.6, -0.3], [[0.8, 0.0], [0.3, 0.5]], [1.0, 0.4])
    random = np.random.default_rng(0)
    history, share = 13 + 0.1 * random.normal(size=(3, 8)), random.uniform(0.1, 0.9, 3)

    def energy(history: np.ndarray, share: np.ndarray) -> StressEnergy:
        seen = jnp.asarray(history), jnp.ones(history.shape, bool), jnp.asarray(share), jnp.zeros((8, 2))
        return StressEnergy(Footprint(Linear(jnp.asarray([0.05, 0.02])), *seen), law, 2.0)  # type: ignore[arg-type]

    def other_unit(random, _, x):
        by = random.uniform(-7, 7)  # kilotonnes for tonnes, and all between
        return energy(history + by, share), x, -2.0 * by

    def reordered(random, _, x):
        order = random.permutation(3)
        return energy(history[order], share[order]), x, 0.0

    return Posed(energy(history, share), jnp.zeros((3, 2)), {"unit": other_unit, "companies": reordered})


POSED = {"spins": _spins, "atoms": _atoms, "learning": _learning, "robust": _robust, "genome": _genome,
         "portfolio": _portfolio}  # fmt: skip
seen = eqx.filter_jit(value_and_force)


def somewhere(posed: Posed, random: np.random.Generator) -> Any:
    flat, back = ravel_pytree(eqx.filter(posed.start, eqx.is_inexact_array))
    return eqx.combine(back(flat + 0.1 * random.normal(size=flat.size)), posed.start)


@pytest.mark.parametrize("room", ROOMS)
def test_the_force_is_minus_the_slope(room, x64):
    posed = POSED[room]()
    heights = eqx.filter_jit(lambda energy, x, along, by: energy(jax.tree.map(lambda a, b: a + by * b, x, along)))

    @few
    @given(seeds)
    def slopes(seed):
        random = np.random.default_rng(seed)
        x = somewhere(posed, random)
        along = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), x)
        along = along if posed.held is None else eqx.tree_at(posed.held, along, replace_fn=jnp.zeros_like)
        value, push = seen(posed.energy, x)
        ours = -sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(push), jax.tree.leaves(along), strict=True))
        quotients = [
            (heights(posed.energy, x, along, step) - heights(posed.energy, x, along, -step)) / (2 * step)
            for step in (1e-4, 5e-5)
        ]
        # Richardson's extrapolation leaves an error of fourth order; what the halved step changed bounds it from above.
        found = (4 * quotients[1] - quotients[0]) / 3
        rounding = 1e-15 * (1 + abs(float(value))) / 1e-5
        assert abs(ours - found) <= abs(quotients[1] - quotients[0]) + 20 * rounding

    slopes()


@pytest.mark.parametrize(("room", "symmetry"), [(room, name) for room in ROOMS for name in (
    {"spins": ("gauge", "permutation"), "atoms": ("motion", "permutation"), "learning": ("permutation", "sign"),
     "robust": ("classes",), "genome": ("windows",), "portfolio": ("unit", "companies")}[room])])  # fmt: skip
def test_what_must_not_matter_does_not(room, symmetry, x64):
    posed = POSED[room]()

    @few
    @given(seeds)
    def invariant(seed):
        random = np.random.default_rng(seed)
        x = somewhere(posed, random)
        energy, there, change = posed.same[symmetry](random, posed.energy, x)
        here, push = seen(posed.energy, x)
        other, pushed = seen(energy, there)
        # Sums in another order: some tens of roundings.
        np.testing.assert_allclose(other, here + change, rtol=1e-12, atol=1e-12)
        norms = [np.linalg.norm(ravel_pytree(one)[0]) for one in (push, pushed)]
        np.testing.assert_allclose(norms[0], norms[1], rtol=1e-9, atol=1e-12)
        assert set(posed.same) >= {symmetry}

    invariant()
