"""What every dynamics is made of: it moves to a point, is told energy and force there, and ends its step."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.space import AbstractSpace

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def scheduled(given: Any) -> Any:
    """A temperature as a method holds it: a schedule as it is, a number as an array."""
    return given if callable(given) else jnp.asarray(given)


def heat_bath(temperature: Float[Array, ""] | Schedule, step: Int[Array, ""]) -> Float[Array, ""]:
    """The temperature at a step, of a number or a schedule."""
    return temperature(step) if callable(temperature) else temperature


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

    def shaken(
        self, key: Key[Array, ""], x: PyTree, v: PyTree, friction: Float[Array, ""], temperature: Float[Array, ""]
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The velocity at `x` after a time step of friction and noise alone, and the energy that this put in."""
        rate = friction * self.dt
        keep, noise = jnp.exp(-rate), -jnp.expm1(-2 * rate) * temperature

        def shake(v: Array, m: Array, random: Array) -> Array:
            return keep.astype(v.dtype) * v + jnp.sqrt(noise.astype(v.dtype) / m) * random

        after = self.space.project(x, jax.tree.map(shake, v, self.mass, normal_like(key, v)))
        # By coordinate: the difference of two kinetic energies would round away what drift is measured by.
        gains = jax.tree.map(lambda new, old, m: jnp.sum(0.5 * m * (new - old) * (new + old)), after, v, self.mass)
        return after, jnp.sum(jnp.stack(jax.tree.leaves(gains)))

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


class AbstractMixedDynamics(AbstractDynamics):
    """A rule of motion that moves some coordinates by other means than a velocity."""

    @abc.abstractmethod
    def inertial(self, v: PyTree) -> PyTree:
        """`v` with zeros for the coordinates that have no velocity."""


def inertial(method: AbstractDynamics, v: PyTree) -> PyTree:
    """The part of `v` that a method moves by: all of it, but for what moves by other means."""
    return method.inertial(v) if isinstance(method, AbstractMixedDynamics) else v


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
