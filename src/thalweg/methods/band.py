"""Chains of images between two points: what every band is made of."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.energy import AbstractHostField, Landscape, value_and_force
from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import AbstractDescent


class Chain(eqx.Module):
    """All images of a band, flat, with what is known about them.

    **Fields:** the `steps` from each image to the next [m+1, n], by the space's shortest displacement; the `values` of
    all images, ends included [m+2]; the `forces` on the inner ones [m, n].
    """

    steps: Float[Array, "gaps n"]
    values: Float[Array, " images"]
    forces: Float[Array, "inner n"]


class AbstractBand(eqx.Module):
    """How a chain of images becomes a path of least energy: the force on each image, and where they are put anew."""

    bibtex: eqx.AbstractClassVar[str]
    descent: eqx.AbstractVar[AbstractDescent]
    settle: eqx.AbstractVar[int]

    @abc.abstractmethod
    def push(self, chain: Chain, climber: Int[Array, ""]) -> tuple[Float[Array, "inner n"], Float[Array, "inner n"]]:
        """The force that moves the inner images, and the part of it that vanishes on a path of least energy.

        **Arguments:** `climber`, the place among the inner images of the one that climbs, or -1.
        """

    @abc.abstractmethod
    def spread(self, steps: Float[Array, "gaps n"], climber: Int[Array, ""]) -> Float[Array, "inner n"]:
        """What to add to the inner images after a step, to keep them apart (zero where springs do that)."""


class Band(AbstractSpace):
    """The space of a chain: every image, along the leading axis of all leaves, lives in `inner`."""

    inner: AbstractSpace

    def shift(self, x: PyTree, step: PyTree) -> PyTree:
        return jax.vmap(self.inner.shift)(x, step)

    def wrap(self, x: PyTree) -> PyTree:
        return jax.vmap(self.inner.wrap)(x)

    def project(self, x: PyTree, force: PyTree) -> PyTree:
        return jax.vmap(self.inner.project)(x, force)

    def displacement(self, a: PyTree, b: PyTree) -> PyTree:
        return jax.vmap(self.inner.displacement)(a, b)


class BandState(eqx.Module):
    """A band under way.

    **Fields:** the `state` of the descent over the inner images; the `values` of all images; the `residual`, the
    largest force on an image that a path of least energy would not have; the `count` of steps.
    """

    state: Any
    values: Float[Array, " images"]
    residual: Float[Array, ""]
    count: Int[Array, ""]


def begin(
    band: AbstractBand, space: AbstractSpace, ends: tuple[PyTree, PyTree], heights: Array, x: PyTree, known: Any
) -> BandState:
    """The state at the start; `known` are the energies and forces of the inner images `x`."""
    zero = jnp.zeros((), jnp.int32)
    force, values, residual = _pushed(band, space, ends, heights, x, known, zero)
    state = band.descent.init(Band(space), x, jnp.sum(values), force)
    return BandState(_put(band, space, ends, state, _climber(band, values, zero)), values, residual, zero)


def go_on(
    band: AbstractBand, space: AbstractSpace, ends: tuple[PyTree, PyTree], heights: Array, walk: BandState, known: Any
) -> BandState:
    """The state after the energies and forces of the inner images at `walk.state.trial` became known."""
    count = walk.count + 1
    force, values, residual = _pushed(band, space, ends, heights, walk.state.trial, known, count)
    state = band.descent.tell(Band(space), walk.state, jnp.sum(values), force)
    return BandState(_put(band, space, ends, state, _climber(band, values, count)), values, residual, count)


def asked(energy: Landscape | AbstractHostField, x: PyTree) -> tuple[Float[Array, " n"], PyTree]:
    """The energies and forces of many configurations: vmapped, or one batch of a host field."""
    if isinstance(energy, AbstractHostField):
        return energy.value_and_force_batch(x)
    return jax.vmap(lambda one: value_and_force(energy, one))(x)


def flat_rows(x: PyTree) -> Float[Array, "rows n"]:
    """A pytree with a leading axis as one matrix."""
    return jax.vmap(lambda one: ravel_pytree(one)[0])(x)


def gaps(space: AbstractSpace, whole: PyTree) -> Float[Array, "gaps n"]:
    """The displacements from each image of a chain to the next, flat."""
    before, after = jax.tree.map(lambda leaf: leaf[:-1], whole), jax.tree.map(lambda leaf: leaf[1:], whole)
    return flat_rows(jax.vmap(space.displacement)(before, after))


def whole_chain(ends: tuple[PyTree, PyTree], x: PyTree) -> PyTree:
    """The inner images with the two ends."""
    return jax.tree.map(lambda a, inner, b: jnp.concatenate([a[None], inner, b[None]]), ends[0], x, ends[1])


def _pushed(band, space, ends, heights, x, known, count) -> tuple[PyTree, Array, Array]:
    energies, forces = known
    forces = jax.vmap(space.project)(x, forces)
    values = jnp.concatenate([heights[:1], energies, heights[1:]])
    chain = Chain(gaps(space, whole_chain(ends, x)), values, flat_rows(forces))
    push, wrong = band.push(chain, _climber(band, values, count))
    return _like(push, x), values, jnp.max(jnp.linalg.norm(wrong, axis=1))


def _climber(band: AbstractBand, values: Array, count: Array) -> Int[Array, ""]:
    top = jnp.argmax(values[1:-1])
    inside = values[top + 1] > jnp.maximum(values[0], values[-1])
    return jnp.where(inside & (count >= band.settle), top, -1)


def _put(band: AbstractBand, space: AbstractSpace, ends: tuple[PyTree, PyTree], state: Any, climber: Array) -> Any:
    steps = gaps(space, whole_chain(ends, state.trial))
    trial = Band(space).shift(state.trial, _like(band.spread(steps, climber), state.trial))
    return eqx.tree_at(lambda s: s.trial, state, trial)


def _like(rows: Float[Array, "rows n"], x: PyTree) -> PyTree:
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], x))[1]
    return jax.vmap(unravel)(rows)


def climbed(forces: Array, tangents: Array, climber: Array) -> Array:
    """What is left of the forces across the path; the climber keeps the part along it, turned around."""
    along = jnp.sum(forces * tangents, axis=1, keepdims=True)
    chosen = (jnp.arange(forces.shape[0]) == climber)[:, None]
    return forces - jnp.where(chosen, 2, 1) * along * tangents


def uphill_tangents(chain: Chain) -> Float[Array, "inner n"]:
    """Unit tangents that look at the higher neighbour, and change over smoothly at the top and the bottom.

    **Source:** Henkelman & Jonsson, J. Chem. Phys. 113, 9978 (2000), equations 8 to 11.
    """
    values = chain.values
    rise, fall = (values[2:] - values[1:-1])[:, None], (values[:-2] - values[1:-1])[:, None]
    forward, backward = chain.steps[1:], chain.steps[:-1]
    most, least = jnp.maximum(jnp.abs(rise), jnp.abs(fall)), jnp.minimum(jnp.abs(rise), jnp.abs(fall))
    up = values[2:, None] > values[:-2, None]
    mixed = jnp.where(up, most, least) * forward + jnp.where(up, least, most) * backward
    climbing, falling = (rise > 0) & (fall < 0), (rise < 0) & (fall > 0)
    tangent = jnp.where(climbing, forward, jnp.where(falling, backward, mixed))
    # Where three images are level there is no higher side: the chord.
    tangent = jnp.where(most > 0, tangent, forward + backward)
    length = jnp.linalg.norm(tangent, axis=1, keepdims=True)
    return tangent / jnp.maximum(length, jnp.finfo(length.dtype).tiny)
