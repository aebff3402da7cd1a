"""How far a potential is from labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.check import known, labelled
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import offset
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Framed
from thalweg.atoms.tasks.prepare import framed, predicted
from thalweg.atoms.tasks.trained import Trained
from thalweg.core.errors import InputError

_TOGETHER = 2000  # atoms


class Predicted(NamedTuple):
    """What a potential says of some frames: energies in eV, total; forces in eV/A, one array per frame.

    `spread`, of a committee: the expected error of each force in eV/A, `[atoms]` for each frame.
    """

    energies: Float[np.ndarray, " frames"]
    forces: list[Float[np.ndarray, "atoms 3"]]
    spread: list[Float[np.ndarray, " atoms"]] | None


def predict(trained: Trained, frames: Sequence[Frame], *, dtype: Any = None) -> Predicted:
    """Energies and forces of frames, computed in `dtype`, by default in the network's own precision.

    **Raises:** `InputError` for an element that the potential does not know, naming the frame.
    """
    known(frames, trained.net.elements)
    dtype = trained.dtype if dtype is None else np.dtype(dtype)
    trained = trained.cast(dtype)
    energies, forces, spread = np.zeros(len(frames)), [np.zeros(0)] * len(frames), [np.zeros(0)] * len(frames)
    for block in _blocks(frames):
        together = [frames[place] for place in block]
        arrays = framed(together, trained.net.elements, trained.net.cutoff, dtype)
        energy, force, width = _block(trained.net, arrays)
        for row, (place, frame) in enumerate(zip(block, together, strict=True)):
            atoms = len(frame.numbers)
            energies[place] = float(energy[row]) + offset(frame, trained.energies)
            forces[place] = np.asarray(force[row], np.float64).T[:atoms]
            spread[place] = np.asarray(width[row], np.float64)[:atoms]
    return Predicted(energies, forces, spread if isinstance(trained.net, Committee) else None)


def evaluate(trained: Trained, frames: Sequence[Frame], *, dtype: Any = None) -> dict[str, Any]:
    """Errors of energies and forces on frames that have both.

    **Returns:** `energy_mae_meV`, of the total energy, and `energy_mae_meV_per_atom`; `force_mae_meV_A`, over all
    components; the root mean squares `energy_rmse_meV`, `force_rmse_meV_A`; `n`, the number of frames; of a committee
    `force_expected_meV_A`, the mean error of a component that its spread lets expect.
    """
    labelled(frames)
    return errors(frames, predict(trained, frames, dtype=dtype))


def errors(frames: Sequence[Frame], found: Predicted) -> dict[str, Any]:
    """The errors of what was predicted, as `evaluate` returns them."""
    wanted = np.array([frame.energy for frame in frames], np.float64)
    atoms = np.array([len(frame.numbers) for frame in frames])
    miss = 1e3 * (found.energies - wanted)
    off = 1e3 * np.concatenate(
        [(mine - frame.forces).ravel() for mine, frame in zip(found.forces, frames, strict=True)]
    )
    result = {
        "energy_mae_meV": float(np.mean(np.abs(miss))),
        "energy_mae_meV_per_atom": float(np.mean(np.abs(miss) / atoms)),
        "force_mae_meV_A": float(np.mean(np.abs(off))),
        "energy_rmse_meV": float(np.sqrt(np.mean(miss**2))),
        "force_rmse_meV_A": float(np.sqrt(np.mean(off**2))),
        "n": len(frames),
    }
    if found.spread is not None:
        result["force_expected_meV_A"] = 1e3 * float(np.mean(np.concatenate(found.spread)))
    return result


def calibration(trained: Trained, frames: Sequence[Frame]) -> float:
    """By what the spread of a committee's forces must be multiplied to be their expected error.

    The ratio of the root mean square error of forces to that of the spread, over held-out frames.
    """
    found = predict(trained, frames)
    if found.spread is None:
        raise InputError("calibration: one network has no spread: train several members.")
    off = np.concatenate(
        [np.mean((mine - frame.forces) ** 2, axis=1) for mine, frame in zip(found.forces, frames, strict=True)]
    )
    width = np.concatenate(found.spread)
    return float(np.sqrt(np.mean(off) / max(np.mean(width**2), 1e-30)))


@eqx.filter_jit
def _block(net: AbstractNetwork, frames: Framed) -> tuple[Array, Array, Array]:
    if not isinstance(net, Committee):
        energy, forces, _ = predicted(net, frames)
        return energy, forces, jnp.zeros(frames.positions.shape[::2], forces.dtype)
    each = eqx.filter_vmap(lambda member: predicted(member, frames)[:2], in_axes=eqx.if_array(0))(net.members)
    energy, forces = jnp.mean(each[0], axis=0), jnp.mean(each[1], axis=0)
    return energy, forces, spread_of(each[1], net.calibration)


def spread_of(forces: Float[Array, "members *frames 3 atoms"], calibration: Array) -> Float[Array, "*frames atoms"]:
    """The expected error of a force component of each atom, in eV/A, from how far the members disagree."""
    variance = jnp.mean(jnp.var(forces, axis=0, ddof=1), axis=-2)
    return calibration * jnp.sqrt(variance)


def _blocks(frames: Sequence[Frame]) -> list[list[int]]:
    """Places of frames in blocks of like size, the last of each size filled up with its last frame: few shapes."""
    sizes: dict[int, list[int]] = {}
    for place, frame in enumerate(frames):
        sizes.setdefault(len(frame.numbers), []).append(place)
    blocks = []
    for atoms, places in sorted(sizes.items()):
        many = max(1, min(len(places), _TOGETHER // atoms))
        for first in range(0, len(places), many):
            block = places[first : first + many]
            blocks.append(block + [block[-1]] * (many - len(block)))
    return blocks
