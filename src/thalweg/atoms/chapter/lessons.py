"""Three networks at one lesson: with directions, with distances only, and with plain coordinates."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.atoms.chapter.quickly import quickly
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.model.gto import GaussianNetwork, Shape
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Atoms, Framed
from thalweg.atoms.tasks.prepare import framed, predicted
from thalweg.atoms.tasks.train import Recipe, learnt, started
from thalweg.atoms.tasks.training import Material
from thalweg.methods.trace import Trace

# Small, since most of the time of so short a lesson goes into compiling it.
SMALL = Shape(degree=1, orbitals=12, channels=16, layers=1, messages=0, hidden=32, paths=())
TIMES = 10  # as many steps for the naive network, which are far cheaper
_LOOKS = 6


class Lesson(NamedTuple):
    """What a network learnt.

    **Fields:** its `name`; the `steps` at which it was asked, and the `errors` of its forces there, in meV/A on frames
    that it never saw; the `net` at the end.
    """

    name: str
    steps: Int[np.ndarray, " looks"]
    errors: Float[np.ndarray, " looks"]
    net: AbstractNetwork


class Sighted(AbstractNetwork):
    """A network of orbitals whose orbitals with a direction count fully or not at all.

    Blind to directions it sees distances only, and is the same program: both are compiled once.

    **Fields:** `net`; `directions`, 1 or 0.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    net: GaussianNetwork
    directions: Int[Array, ""]

    @property
    def cutoff(self) -> float:
        """How far an atom sees, in A."""
        return self.net.cutoff

    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        squares = lambda net: [layer.squares for layer in net.layers]  # noqa: E731
        seen = jax.tree.map(lambda leaf: leaf * self.directions.astype(leaf.dtype), squares(self.net))
        return eqx.tree_at(squares, self.net, seen)(atoms)


def lesson(name: str, given: Material, test: list[Frame], steps: int) -> Lesson:
    """Teach a network some steps, and ask it on the way.

    **Arguments:** `name`: `gto`, `radial` or `naive`; the naive one is shown every frame turned at random, and takes
    ten times the steps.
    """
    naive = name == "naive"
    steps = TIMES * steps if naive else steps
    recipe = Recipe(steps=steps, decay=0.99, turned=naive)
    net = started("naive" if naive else "gto", SMALL, given.frames, given.energies, seed=0, turned=naive)
    if not naive:
        assert isinstance(net, GaussianNetwork)
        net = Sighted(net.elements, net, jnp.asarray(int(name == "gto")))
    every = steps // _LOOKS
    found = learnt(net, given.frames, given.energies, recipe, seed=0, trace=Trace(_averaged, every))
    arrays = framed(test, net.elements, net.cutoff, np.float32)
    wanted = np.stack([np.asarray(frame.forces).T for frame in test])
    errors = quickly(_errors, found.trace, eqx.filter(net, eqx.is_array, inverse=True), arrays, jnp.asarray(wanted))
    return Lesson(name, every * np.arange(_LOOKS + 1), np.asarray(errors), found.value)


def _errors(looks: Any, rest: Any, frames: Framed, wanted: Float[Array, "frames 3 atoms"]) -> Float[Array, " looks"]:
    def error(arrays: Any) -> Array:
        forces = predicted(eqx.combine(arrays, rest), frames)[1]
        return 1e3 * jnp.mean(jnp.abs(forces - wanted))

    return jax.lax.map(error, looks)


def _averaged(walk: Any) -> Any:
    return eqx.filter(walk.average, eqx.is_array)
