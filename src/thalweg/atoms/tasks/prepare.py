"""From frames on the host to the arrays that networks and their training read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.lists import neighbour_lists
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Framed


class Labels(eqx.Module):
    """What frames are labelled with.

    **Fields:** `energy` relative to isolated atoms, in eV; `forces` in eV/A; `virial`, the strain derivative `volume *
    stress` in eV, or `None`.
    """

    energy: Float[Array, " frames"]
    forces: Float[Array, "frames 3 atoms"]
    virial: Float[Array, "frames 3 3"] | None


def framed(
    frames: Sequence[Frame],
    elements: Sequence[int],
    cutoff: float,
    dtype: Any,
    *,
    atoms: int = 0,
    slots: Sequence[int] | None = None,
) -> Framed:
    """Frames as arrays of one shape.

    **Arguments:** `elements` that the network knows; `cutoff` in A; `dtype` of the positions; `atoms` and `slots`, the
    least padding. **Raises:** what `neighbour_lists` raises.
    """
    lists = neighbour_lists(frames, elements, cutoff, atoms=atoms, slots=slots)
    # An empty slot points beyond the cutoff from the atom to itself; every species has one, so that shapes stay alike.
    away = np.array([2.0 * cutoff, 0.0, 0.0])
    index, shift = [], []
    for at, offset, far in zip(lists.index, lists.offset, lists.far, strict=True):
        moved = np.einsum("fnpa,fab->fnpb", offset.astype(np.float64), lists.cells) + far[..., None] * away
        index.append(jnp.asarray(np.swapaxes(at, 1, 2)))
        shift.append(jnp.asarray(np.transpose(moved, (0, 3, 2, 1)), dtype))
    return Framed(
        jnp.asarray(np.maximum(lists.species, 0)),
        jnp.asarray(lists.real),
        jnp.asarray(np.swapaxes(lists.positions, 1, 2), dtype),
        tuple(index),
        tuple(shift),
    )


def labels(frames: Sequence[Frame], energies: Mapping[int, float], atoms: int, dtype: Any) -> Labels:
    """The labels of frames that have energies and forces, padded to `atoms`; virials where every frame has a stress."""
    relative = np.array([bound(frame, energies) for frame in frames])
    forces = np.zeros((len(frames), 3, atoms))
    for place, frame in enumerate(frames):
        assert frame.forces is not None
        forces[place, :, : len(frame.numbers)] = frame.forces.T
    stressed = all(frame.stress is not None and frame.volume for frame in frames)
    virial = np.stack([frame.stress * frame.volume for frame in frames]) if stressed else None  # type: ignore[operator]
    return Labels(
        jnp.asarray(relative, dtype), jnp.asarray(forces, dtype), None if virial is None else jnp.asarray(virial, dtype)
    )


def bound(frame: Frame, energies: Mapping[int, float]) -> float:
    """The energy of a labelled frame relative to its isolated atoms, in eV."""
    assert frame.energy is not None
    return frame.energy - sum(energies[int(number)] for number in frame.numbers)


def predicted(
    net: AbstractNetwork, frames: Framed, *, stress: bool = False
) -> tuple[Float[Array, " frames"], Float[Array, "frames 3 atoms"], Float[Array, "frames 3 3"] | None]:
    """Energies relative to isolated atoms in eV, forces in eV/A, and strain derivatives in eV if they are asked for."""

    def total(positions: Array, strain: Array) -> tuple[Array, Array]:
        atomic = net(frames.atoms(positions, strain))
        each = jnp.sum(atomic.reshape(frames.positions.shape[0], -1), axis=1)
        return jnp.sum(each), each

    count, dtype = frames.positions.shape[0], frames.positions.dtype
    strain = jnp.zeros((count, 3, 3), dtype)
    if not stress:
        slope, energy = jax.grad(total, has_aux=True)(frames.positions, strain)
        return energy, -slope, None
    (slope, virial), energy = jax.grad(total, argnums=(0, 1), has_aux=True)(frames.positions, strain)
    return energy, -slope, (virial + jnp.swapaxes(virial, 1, 2)) / 2
