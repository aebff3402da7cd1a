"""Batches of frames turned at random, each by a rotation of its own: how coordinates are taught what rotations are."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from thalweg.atoms.model.structure import Framed
from thalweg.atoms.tasks.prepare import Labels


def rotations(key: Key[Array, ""], count: int, dtype: Any) -> Float[Array, "count 3 3"]:
    """Rotations, all of them being equally likely.

    **Source:** Shoemake, in Graphics Gems III (1992): a rotation by a quaternion that is uniform on its sphere.
    """
    # By quaternions, not by a QR decomposition: calls of LAPACK on a batch have no place in a compiled loop.
    four = jax.random.normal(key, (4, count), dtype)
    w, x, y, z = four / jnp.sqrt(jnp.sum(four * four, axis=0))
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return jnp.moveaxis(jnp.stack([jnp.stack(row) for row in rows]), 2, 0)


def turned_frames(frames: Framed, by: Float[Array, "frames 3 3"]) -> Framed:
    """Frames turned about the origin, their cells with them."""
    shift = tuple(jnp.einsum("fab,fbpn->fapn", by, each) for each in frames.shift)
    positions = jnp.einsum("fab,fbn->fan", by, frames.positions)
    return eqx.tree_at(lambda each: (each.positions, each.shift), frames, (positions, shift))


def turned_labels(wanted: Labels, by: Float[Array, "frames 3 3"]) -> Labels:
    """The labels of frames that were turned: energies stay, forces and virials turn."""
    virial = None if wanted.virial is None else jnp.einsum("fab,fbc,fdc->fad", by, wanted.virial, by)
    return Labels(wanted.energy, jnp.einsum("fab,fbn->fan", by, wanted.forces), virial)
