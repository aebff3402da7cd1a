"""What every dynamics is made of: it moves to a point, is told energy and force there, and ends its step."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.space import AbstractSpace


class Motion(eqx.Module):
    """A point on a trajectory.

    **Fields:** the configuration `x` and the velocity `v`; `value` and `force` (projected) at `x`; `heat`, the energy
    that a thermostat has put in so far, with its rounding `carry`; `step`, how many are done; `key`, the source of all
    noise; `memory`, what else the method keeps.
    """

    x: PyTree
    v: PyTree
    value: Float[Array, ""]
    force: PyTree
    heat: Float[Array, ""]
    carry: Float[Array, ""]
    step: Int[Array, ""]
    key: Key[Array, ""] | None
    memory: PyTree = None

    def warmed(self, gain: Float[Array, ""]) -> Motion:
        """The same point after a thermostat put in the energy `gain`."""
        # Kahan's sum: over a million small gains float32 would lose the conserved quantity.
        added = gain.astype(self.heat.dtype) - self.carry
        heat = self.heat + added
        return eqx.tree_at(lambda now: (now.heat, now.carry), self, (heat, (heat - self.heat) - added))


class Setting(eqx.Module):
    """What stays the same along a trajectory.

    **Arguments:** `space`; `mass`, of the structure of `x`, each leaf broadcasting against that of `x`; `dt`.
    """

    space: AbstractSpace
    mass: PyTree
    dt: Float[Array, ""]

    def kick(self, v: PyTree, force: PyTree, share: float) -> PyTree:
        """The velocity after `force` has acted for `share` of a time step."""
        return jax.tree.map(lambda v, f, m: v + (share * self.dt).astype(v.dtype) * f / m, v, force, self.mass)

    def drift(self, x: PyTree, v: PyTree, share: float) -> PyTree:
        """The configuration after `share` of a time step at the velocity `v`."""
        return self.space.shift(x, jax.tree.map(lambda v: (share * self.dt).astype(v.dtype) * v, v))

    def kinetic(self, v: PyTree) -> Float[Array, ""]:
        """The kinetic energy `sum(m v^2) / 2`."""
        parts = jax.tree.map(lambda v, m: jnp.sum(m * v**2), v, self.mass)
        return 0.5 * jnp.sum(jnp.stack(jax.tree.leaves(parts)))


class AbstractDynamics(eqx.Module):
    """A rule of motion that needs one energy and force per step, at the point it moves to.

    Because it never calls the energy itself, the same method serves a compiled landscape and somebody else's program.
    """

    bibtex: eqx.AbstractClassVar[str]
    random: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def init(self, setting: Setting, x: PyTree, v: PyTree) -> Any:
        """The method's own memory at the start, a pytree of arrays or `None`."""

    @abc.abstractmethod
    def move(self, setting: Setting, now: Motion) -> Motion:
        """The motion at its next `x`, with `value` and `force` still those of the last one."""

    @abc.abstractmethod
    def finish(self, setting: Setting, now: Motion) -> Motion:
        """The motion at the end of the step, now that `value` and `force` are those at `x`."""


def normal_like(key: Key[Array, ""], x: PyTree) -> PyTree:
    """Independent standard normal numbers of the structure, shapes and dtypes of `x`."""
    leaves, tree = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        tree, [jax.random.normal(one, leaf.shape, leaf.dtype) for one, leaf in zip(keys, leaves, strict=True)]
    )


def spread_mass(mass: PyTree, x: PyTree) -> PyTree:
    """`mass` with a leaf for each leaf of `x`, in its dtype and ready to be multiplied with it.

    **Arguments:** `mass`, a number or a prefix of the pytree `x`; an array has the leading axes of its leaf (one mass
    per row), or as many axes as it.

    **Raises:** `ValueError` where it has neither.
    """

    def aligned(mass: Any, leaf: Array) -> Array:
        mass = jnp.asarray(mass, leaf.dtype)
        if mass.ndim < leaf.ndim and mass.shape == leaf.shape[: mass.ndim]:
            mass = mass.reshape(mass.shape + (1,) * (leaf.ndim - mass.ndim))
        if mass.ndim not in (0, leaf.ndim) or jnp.broadcast_shapes(mass.shape, leaf.shape) != leaf.shape:
            raise ValueError(f"a mass of shape {[*mass.shape]} for an x of shape {[*leaf.shape]}")
        return mass

    return jax.tree.map(lambda part, below: jax.tree.map(lambda leaf: aligned(part, leaf), below), mass, x)


def maxwell_velocities(key: Key[Array, ""], x: PyTree, mass: PyTree, temperature: Any) -> PyTree:
    """Velocities of the Maxwell distribution, each coordinate of variance `temperature / mass`.

    **Arguments:** `key`; `x`, for structure, shapes and dtypes; `mass`, as in `simulate`; `temperature` in units of
    energy (Boltzmann's constant is one).

    **Returns:** a pytree like `x`, with whatever total momentum came out.
    """
    x = jax.tree.map(jnp.asarray, x)
    return _thermal(key, x, spread_mass(mass, x), jnp.asarray(temperature))


@eqx.filter_jit
def _thermal(key: Key[Array, ""], x: PyTree, mass: PyTree, temperature: Float[Array, ""]) -> PyTree:
    width = jax.tree.map(lambda m: jnp.sqrt(temperature.astype(m.dtype) / m), mass)
    return jax.tree.map(lambda noise, wide: wide * noise, normal_like(key, x), width)
