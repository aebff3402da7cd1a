"""What we ask of other people's energies, spaces and methods holds for ours, and each promise can be seen broken."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Restrict, Scaled, Sum
from thalweg.core.space import AbstractSpace, Box, Euclidean, Frozen, Periodic, Signs
from thalweg.landscapes import DoubleWell, LennardJones, MullerBrown
from thalweg.methods.descent import AbstractDescent
from thalweg.methods.fire import Fire
from thalweg.methods.gradient import Gradient
from thalweg.testing import check_energy, check_method, check_space

PLANE = np.array([0.3, -0.2])


def points():
    return np.random.default_rng(0).normal(size=(5, 3)) * 1.5


class Programme(AbstractHostField):
    """The double well in NumPy, with a force that may be wrong by a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def value_and_force_batch(self, x):
        x = np.asarray(x)
        return np.sum((x**2 - 1) ** 2, -1), -4 * self.factor * x * (x**2 - 1)


# Ours pass

ENERGIES = {
    "double well": lambda: (DoubleWell(), PLANE),
    "muller-brown": lambda: (MullerBrown(), PLANE),
    "lennard-jones": lambda: (LennardJones(), points()),
    "combined": lambda: (Sum(DoubleWell(), Scaled(MullerBrown(), 0.1)), PLANE),
    "restricted": lambda: (Restrict(DoubleWell(), jnp.ones(3), jnp.eye(3)[:2]), PLANE),
    "pytree": lambda: (lambda x: jnp.sum(x["a"] ** 2) * jnp.tanh(x["b"]), {"a": PLANE, "b": np.array(0.4)}),
    "large": lambda: (DoubleWell(), np.linspace(-2, 2, 500)),
    "host": lambda: (Programme(), PLANE),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_our_energies_keep_their_promises(name):
    check_energy(*ENERGIES[name]())


SPACES = [
    Euclidean,
    lambda: Box({"a": -0.5, "b": -0.5}, {"a": jnp.array([1.0, 1.0, 0.2]), "b": 2.0}),
    lambda: Periodic(1.3),
    Signs,
    lambda: Frozen({"a": jnp.array([True, False, True]), "b": False}),
    lambda: Frozen(True, Periodic(0.7)),
]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("width", [np.float32, np.float64])
def test_our_spaces_keep_their_promises(space, width):
    with jax.enable_x64(width is np.float64):
        check_space(space(), {"a": jnp.asarray([0.3, -0.2, 5.0], width), "b": jnp.asarray([[0.1]], width)})


@pytest.mark.parametrize("method", ["fire", "lbfgs", "projected", pytest.param("flow", marks=pytest.mark.slow)])
def test_our_methods_keep_their_promises(method):
    check_method(method)


def test_an_optax_method_keeps_its_promises():
    check_method(Gradient(optax.sgd(3e-4)))


# Broken promises: energies


class FloatField(AbstractEnergy):
    stiffness: float = 2.0

    def __call__(self, x):
        return self.stiffness * jnp.sum(x**2)


class StaticField(AbstractEnergy):
    stiffness: float = eqx.field(static=True, default=2.0)

    def __call__(self, x):
        return self.stiffness * jnp.sum(x**2)


@jax.custom_jvp
def lying(x):
    return jnp.sum(x**2)


@lying.defjvp
def _lying_jvp(primals, tangents):
    return lying(*primals), 2.02 * jnp.sum(primals[0] * tangents[0])


@jax.custom_jvp
def lying_once(x):
    return jnp.sum(x**2)


@lying_once.defjvp
def _lying_once_jvp(primals, tangents):
    slope = 2 * primals[0]
    return lying_once(*primals), jnp.sum(slope.at[1].mul(1.001) * tangents[0])


BROKEN_ENERGIES = [
    (lying, r"but central differences say .*the force is not the gradient"),
    (lying_once, r"the slope along .*the force is not the gradient"),
    (Programme(1.01), r"the force is not the gradient"),
    (lambda x: x**2, r"returned shape \[\(2,\)\], not one number"),
    (lambda x: jnp.sum(jnp.log(x)), r"the energy is nan at x"),
    (lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0)), r"the force is not finite at x"),
    (lambda x: jnp.sum(x**2).astype(jnp.float32), r"the energy of a float64 x is float32"),
    (lambda x: jnp.sum(x * jnp.array([1.0, 2.0])), r"the energy of a float32 x is float64"),
    (lambda x: jnp.sum(x * jnp.linspace(0, 1, 2)).astype(x.dtype), r"computed on in float64 \(by .*mul"),
    (FloatField(), r"energy\.stiffness is a Python float"),
    (StaticField(), r"energy\.stiffness is a Python float"),
    (Sum(DoubleWell(), FloatField()), r"energy\.terms\[1\]\.stiffness is a Python float"),
]


@pytest.mark.parametrize(("energy", "sentence"), BROKEN_ENERGIES, ids=[sentence for _, sentence in BROKEN_ENERGIES])
def test_a_broken_energy_is_found_out(energy, sentence):
    x = np.array([0.0, 0.5]) if "not finite" in sentence else PLANE
    with pytest.raises(AssertionError, match=sentence):
        check_energy(energy, x)


def test_the_tolerance_is_the_callers_to_choose():
    check_energy(lying, PLANE, tolerance=0.1)
    with pytest.raises(AssertionError, match=r"allowed difference 1\.0e-15"):
        check_energy(MullerBrown(), PLANE, tolerance=1e-15)


def test_a_kink_is_no_lie_but_a_smooth_energy_gets_no_such_leave():
    # Steps across a kink disagree with each other, and the tolerance grows with their disagreement.
    x = np.array([1e-6, 0.5])
    check_energy(lambda x: jnp.sum(jnp.abs(x)), x)
    with pytest.raises(AssertionError, match="not the gradient"):
        check_energy(lying, x)


# Broken promises: spaces


def space_of(**moves):
    """The Euclidean space with some of its moves replaced."""
    plain = Euclidean()
    names = {name: getattr(plain, name) for name in ("shift", "wrap", "project", "displacement")} | moves

    class Replaced(AbstractSpace):
        def shift(self, x, step):
            return names["shift"](x, step)

        def wrap(self, x):
            return names["wrap"](x)

        def project(self, x, force):
            return names["project"](x, force)

        def displacement(self, a, b):
            return names["displacement"](a, b)

    return Replaced()


BROKEN_SPACES = [
    ({"wrap": lambda x: 0.5 * x}, "wrap is not idempotent"),
    ({"wrap": lambda x: jnp.clip(x, -1, 1)}, "a shift of length .* leaves the space"),
    ({"project": lambda x, force: 0.5 * force}, "project is not idempotent"),
    ({"displacement": lambda a, b: b - a + 0.1}, "displacement.x, x. is not zero"),
    ({"displacement": lambda a, b: 2 * (b - a)}, r"displacement\(x, shift\(x, step\)\) misses a free step"),
    ({"displacement": lambda a, b: a - b}, r"displacement\(x, shift\(x, step\)\) misses a free step"),
    ({"shift": lambda x, step: (x + step).astype(jnp.float16)}, r"shift\(x, step\) is float16, but x is float32"),
    ({"wrap": lambda x: x[None]}, r"wrap\(x\) has shape"),
    ({"project": lambda x, force: {"force": force}}, r"project\(x, force\) has the structure"),
]


@pytest.mark.parametrize(("moves", "sentence"), BROKEN_SPACES, ids=[sentence for _, sentence in BROKEN_SPACES])
def test_a_broken_space_is_found_out(moves, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_space(space_of(**moves), jnp.asarray(PLANE, jnp.float32))


# Broken promises: methods


class Crooked(AbstractDescent):
    """Gradient descent with a fault of choice, on the bones of our own."""

    fault: str = eqx.field(static=True)
    inner: Gradient

    bibtex: ClassVar[str] = "@misc{crooked}"

    def init(self, space, x, value, force):
        return self.inner.init(space, x, value, force)

    def tell(self, space, state, value, force):
        if self.fault == "creeps":
            force = jax.tree.map(lambda leaf: 1e-6 * leaf, force)
        if self.fault == "lies":
            force = jax.tree.map(lambda leaf: jnp.where(jnp.abs(leaf) < 10, 0.0 * leaf, leaf), force)
        if self.fault == "breaks":
            value = jnp.where(value < -100, jnp.nan, value)  # in the Muller-Brown valleys, not in the bowl
        return self.inner.tell(space, state, value, force)


class Uncited(AbstractDescent):
    bibtex: ClassVar[str] = ""

    def init(self, space, x, value, force):
        return Fire().init(space, x, value, force)

    def tell(self, space, state, value, force):
        return Fire().tell(space, state, value, force)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("creeps", "the walk into a bowl did not arrive: The step budget ran out"),
        ("lies", r"says that it arrived, but ends .* from the minimum"),
        ("breaks", "do not stay finite: step 1 breaks"),
    ],
)
def test_a_crooked_method_is_found_out(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_method(Crooked(fault, Gradient(optax.sgd(3e-4))))


def test_a_method_without_a_citation_is_found_out():
    with pytest.raises(AssertionError, match="no BibTeX"):
        check_method(Uncited())


class Forgetful(AbstractDescent):
    """Counts its steps outside its state, and steps a little farther or shorter for it."""

    calls: Tally = eqx.field(static=True)
    bibtex: ClassVar[str] = "@misc{forgetful}"

    def init(self, space, x, value, force):
        return Gradient(optax.sgd(3e-4)).init(space, x, value, force)

    def tell(self, space, state, value, force):
        noise = jax.pure_callback(self._noise, jax.ShapeDtypeStruct((), value.dtype), value, vmap_method="sequential")
        force = jax.tree.map(lambda leaf: leaf * (1 + noise), force)
        return Gradient(optax.sgd(3e-4)).tell(space, state, value, force)

    def _noise(self, value):
        self.calls.count += 1
        return np.asarray(1e-3 * (self.calls.count % 7), value.dtype)


class Tally:
    """A count that a static field may hold, because it is only equal to itself."""

    count = 0


def test_a_method_with_a_memory_outside_its_state_is_found_out():
    with pytest.raises(AssertionError, match="end with other bits than chunks of 1"):
        check_method(Forgetful(Tally()))
