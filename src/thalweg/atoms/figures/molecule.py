"""Atoms as balls and sticks: colours, sizes and bonds, and a molecule that moves beside its energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thalweg.atoms.data.check import symbol
from thalweg.atoms.data.frame import Frame
from thalweg.report import Marker, Slider, Viewer

_TOUCHING = 1.2  # times the sum of covalent radii, as far as atoms count as bonded
_CARBON = 0.76  # A, the covalent radius that is drawn as 1


def colours(numbers: Int[np.ndarray, " atoms"]) -> list[str]:
    """Jmol's colour of each atom, as `#rrggbb`."""
    from ase.data.colors import jmol_colors

    return ["#" + "".join(f"{round(255 * part):02x}" for part in jmol_colors[number]) for number in numbers]


def radii(numbers: Int[np.ndarray, " atoms"]) -> list[float]:
    """How large each atom is drawn, a carbon being 1: between its own size and that of all others."""
    from ase.data import covalent_radii

    return [float((covalent_radii[number] / _CARBON) ** 0.6) for number in numbers]


def bonds(numbers: Int[np.ndarray, " atoms"], positions: Float[np.ndarray, "atoms 3"]) -> Int[np.ndarray, "bonds 2"]:
    """The pairs of atoms that are near enough to be bonded."""
    from ase.data import covalent_radii

    size = covalent_radii[numbers]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    first, second = np.nonzero(np.triu(apart < _TOUCHING * (size[:, None] + size[None]), 1))
    return np.stack([first, second], axis=1)


def molecule_slider(
    title: str,
    numbers: Int[np.ndarray, " atoms"],
    frames: Float[np.ndarray, "frames atoms 3"],
    t: Any,
    energy: Any,
    *,
    labels: tuple[str, str],
    caption: str,
    markers: Sequence[Marker] = (),
    start: int = 0,
) -> Slider:
    """A molecule beside its energy: the bonds are those of the first frame.

    **Arguments:** `labels` of `t` and `energy`, with their units.
    """
    frames = np.asarray(frames, np.float64)
    frames = (frames - frames.mean(axis=1, keepdims=True)) @ _laid_flat(frames[0]).T
    return Slider(
        title=title,
        t=t,
        energy=energy,
        kind="points",
        frames=frames,
        t_label=labels[0],
        energy_label=labels[1],
        caption=caption,
        markers=markers,
        start=start,
        labels=[symbol(int(number)) for number in numbers],
        colours=colours(numbers),
        radii=radii(numbers),
        bonds=bonds(numbers, frames[0]),
    )


def _laid_flat(positions: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation that lays atoms into the plane of the page, their longest side along it."""
    axes = np.linalg.svd(positions - positions.mean(axis=0))[2]
    return axes * np.array([[1.0], [1.0], [np.linalg.det(axes)]])


def trajectory_viewer(
    title: str, frames: Sequence[Frame], labels: Sequence[str] = (), *, caption: str = "", loops: bool = True
) -> Viewer:
    """Frames of the same atoms in space, the cell of the first drawn around them."""
    first = frames[0]
    return Viewer(
        title=title,
        symbols=[symbol(int(number)) for number in first.numbers],
        frames=np.stack([frame.positions for frame in frames]),
        labels=labels,
        caption=caption,
        cell=first.cell if all(first.periodic) else None,
        loops=loops,
    )


def swinging(frame: Frame, mode: Float[np.ndarray, "atoms 3"], *, reach: float = 0.4, count: int = 30) -> list[Frame]:
    """Frames along a mode, there and back.

    **Arguments:** `mode`, displacements; `reach` in A, of the atom that moves farthest.
    """
    farthest = max(float(np.linalg.norm(mode, axis=1).max()), 1e-12)
    swing = np.sin(2 * np.pi * np.arange(count) / count) * reach / farthest
    return [frame._replace(positions=frame.positions + part * mode) for part in swing]
