"""Frames laid on each other, and a first path between them on which atoms keep out of each other's way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame
from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError
from thalweg.methods.fire import Fire
from thalweg.verbs.relax import relax

_SOFT = 0.1  # A: two atoms in one place repel, but not without end
_ASIDE = 0.05  # A: how far atoms step aside, so that those which meet head-on pass each other
_STEPS = 300


class EvenDistances(AbstractEnergy):
    """How far the interatomic distances of some images are from wanted ones, the short ones above all.

    **Fields:** `wanted [images, atoms, atoms]` in A; `shift [atoms, atoms, 3]`, to the images of crystals that count.

    **Source:** Smidstrup et al., J. Chem. Phys. 140, 214106 (2014).
    """

    wanted: Float[Array, "images atoms atoms"]
    shift: Float[Array, "atoms atoms 3"]

    def __call__(self, x: Float[Array, "images atoms 3"]) -> Float[Array, ""]:
        step = x[:, None] - x[:, :, None] + self.shift
        # An atom is away from itself by anything but nothing, whose root has no slope.
        square = jnp.sum(step**2, axis=-1) + _SOFT**2 + jnp.eye(x.shape[1], dtype=x.dtype)
        return 0.5 * jnp.sum(jnp.triu((self.wanted - jnp.sqrt(square)) ** 2 / square**2, 1))


def laid_on(frame: Frame, other: Frame) -> Frame:
    """A frame turned and shifted so that its atoms are nearest to those of another, or at their nearest images.

    **Source:** Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    if any(other.periodic):
        cell = np.where(np.array(other.periodic)[:, None], other.cell, 0.0)
        step = frame.positions - other.positions
        step = step - step[0]
        step -= np.round(step @ np.linalg.pinv(cell)) @ cell
        return frame._replace(positions=other.positions + step - step.mean(axis=0))
    middle, there = frame.positions.mean(axis=0), other.positions.mean(axis=0)
    u, _, v = np.linalg.svd((frame.positions - middle).T @ (other.positions - there))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
    return frame._replace(positions=(frame.positions - middle) @ turn + there)


def first_path(a: Frame, b: Frame, images: int) -> Float[np.ndarray, "images atoms 3"]:
    """Positions from `a` to `b` along which interatomic distances change as evenly as they can.

    **Arguments:** `images`, ends included. **Raises:** `InputError` for fewer than 3.
    """
    if images < 3:
        raise InputError(f"barrier: {images} images: a path needs at least 3, ends included.")
    shares = np.linspace(0, 1, images)[1:-1, None, None]
    straight = (1 - shares) * a.positions + shares * b.positions
    shift = _shifts(a)
    ends = [
        np.sqrt(np.sum((x[None] - x[:, None] + shift) ** 2, axis=-1) + _SOFT**2) for x in (a.positions, b.positions)
    ]
    aside = _ASIDE * np.random.default_rng(0).normal(size=a.positions.shape) * np.sin(np.pi * shares)
    with jax.enable_x64(True):
        wanted = jnp.asarray((1 - shares) * ends[0] + shares * ends[1])
        start = jnp.asarray(straight + aside)
        found = relax(EvenDistances(wanted, jnp.asarray(shift)), start, Fire(stride=0.5), tol=1e-3, max_steps=_STEPS,
                      throw=False)  # fmt: skip
    return np.concatenate([a.positions[None], np.asarray(found.value), b.positions[None]])


def _shifts(frame: Frame) -> Float[np.ndarray, "atoms atoms 3"]:
    """To the image of each atom that is nearest to each other one."""
    step = frame.positions[None] - frame.positions[:, None]
    cell = np.where(np.array(frame.periodic)[:, None], frame.cell, 0.0)
    return -np.round(step @ np.linalg.pinv(cell)) @ cell if any(frame.periodic) else np.zeros_like(step)
