"""Sums over neighbours, in the forms that are quick on few and on many of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_UNROLLED = 12  # slots; beyond that a matrix product per atom is quicker than a sum that is written out


def densities(
    radial: Sequence[Float[Array, "slots k atoms"]], angular: Sequence[Float[Array, "slots m atoms"]]
) -> Float[Array, "all_k m atoms"]:
    """The sum over slots of radial times angular, the species of neighbours one after the other."""
    return jnp.concatenate([_summed(one, other) for one, other in zip(radial, angular, strict=True)])


def unstacked(x: Array, axis: int) -> list[Array]:
    """The parts of an array along an axis, cut at once: the slope of many slices is a sum of many padded arrays."""
    return [jnp.squeeze(part, axis) for part in jnp.split(x, x.shape[axis], axis)]


def _summed(radial: Array, angular: Array) -> Array:
    slots = radial.shape[0]
    if slots == 0:
        return jnp.zeros((radial.shape[1], angular.shape[1], radial.shape[2]), radial.dtype)
    if slots > _UNROLLED:
        return jnp.einsum("pkn,pmn->kmn", radial, angular)
    pairs = zip(unstacked(radial, 0), unstacked(angular, 0), strict=True)
    return functools.reduce(jnp.add, (one[:, None] * other[None] for one, other in pairs))


def mixed(weights: Float[Array, "one other"], channels: Float[Array, "one m atoms"]) -> Float[Array, "other m atoms"]:
    """Channels mixed linearly, the same for all components: one matrix product."""
    flat = channels.reshape(channels.shape[0], -1)
    return (weights.T @ flat).reshape(weights.shape[1], *channels.shape[1:])


def message_matrices(
    radial: Sequence[Float[Array, "slots k atoms"]],
    index: Sequence[Int[Array, "slots atoms"]],
    reach: Float[Array, "k degrees"],
    frames: int,
) -> Float[Array, "degrees frames each each"]:
    """How strongly each atom (second last axis) is heard by each other of its frame (last), for each degree.

    Dense matrices: to send rows of harmonics along edges would read and write each of them once per edge, which for
    up to a thousand atoms costs more than multiplying with mostly zeros.
    """
    atoms, degrees = radial[0].shape[-1], reach.shape[1]
    each = atoms // frames
    between = jnp.zeros((degrees, each, atoms), radial[0].dtype)
    for some, at in zip(radial, index, strict=True):
        weights = jnp.einsum("pkn,kd->dpn", some, reach)
        between = between.at[:, at % each, jnp.arange(atoms)].add(weights)
    return jnp.moveaxis(between.reshape(degrees, each, frames, each), 2, 1)


def heard(told: Float[Array, "k m atoms"], between: Float[Array, "frames each each"]) -> Float[Array, "k m atoms"]:
    """What every atom hears of the others of its frame."""
    frames, each, _ = between.shape
    if frames == 1:
        return (told.reshape(-1, each) @ between[0]).reshape(told.shape)
    parts = jnp.moveaxis(told.reshape(-1, frames, each), 1, 0)
    return jnp.moveaxis(parts @ between, 0, 1).reshape(told.shape)
