"""Whether forces are the slopes of the energy: by differences, and by their work around closed loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.subject import Subject
from thalweg.core.energy import AbstractHostField
from thalweg.diagnostics.refinement import refine
from thalweg.diagnostics.segments import Curves

_DIRECTIONS = 4
_LONGEST, _HALVINGS = 0.08, 8  # A, of the atom that moves farthest, and how often it is halved
NEAREST, FARTHEST = 0.1, 0.5  # A, of the atom that moves farthest along a side of a loop
CLOSED = 1e-5
LEGS = ("first side", "second side", "third side", "there", "back, bent")


def differences(of: Subject, frame: Frame, seed: list[int]) -> dict[str, float]:
    """Forces along random directions against central differences of the energy, extrapolated to a step of zero.

    **Returns:** `force_fd_relative`, the root mean square of the deviations over that of the forces along the
    directions, and `force_fd_uncertainty`, what steps and rounding leave of it by Ridders' estimate.

    **Source:** C. J. F. Ridders, Adv. Eng. Softw. 4, 75 (1982).
    """
    random, field = np.random.default_rng(seed), of.field(frame)
    along = random.normal(size=(_DIRECTIONS, *frame.positions.shape))
    along /= np.linalg.norm(along, axis=2).max(axis=1)[:, None, None]
    steps = _LONGEST / 2.0 ** np.arange(_HALVINGS + 1)
    points = frame.positions + np.concatenate([-steps, steps])[None, :, None, None] * along[:, None]
    values = np.asarray(field.value_and_force_batch(points.reshape(-1, *frame.positions.shape))[0])
    below, above = np.split(values.reshape(_DIRECTIONS, -1), 2, axis=1)
    energy, forces = of.answer(frame)
    rounding = of.eps * abs(energy) / steps
    slopes = [ridders((high - low) / (2 * steps), rounding) for low, high in zip(below, above, strict=True)]
    found, doubt = np.array(slopes).T
    powers = np.sum(forces * along, axis=(1, 2))
    size = max(float(np.sqrt(np.mean(powers**2))), 1e-6)
    return {
        "force_fd_relative": float(np.sqrt(np.mean((found + powers) ** 2))) / size,
        "force_fd_uncertainty": float(np.sqrt(np.mean(doubt**2))) / size,
    }


def ridders(differences: Float[np.ndarray, " steps"], rounding: Float[np.ndarray, " steps"]) -> tuple[float, float]:
    """The limit of central differences whose steps halve, and its error: the entry of Neville's table that moved least.

    **Arguments:** `differences`, from the longest step to the shortest; `rounding` of each, so that two that agree by
    chance are not taken for exact.
    """
    row, best, error = [float(differences[0])], float(differences[0]), np.inf
    for one, floor in zip(differences[1:], rounding[1:], strict=True):
        new = [float(one)]
        for order, old in enumerate(row, start=1):
            new.append(new[-1] + (new[-1] - old) / (4.0**order - 1))
            moved = max(abs(new[-1] - new[-2]), abs(new[-1] - old), float(floor))
            if moved < error:
                best, error = new[-1], moved
        row = new
    return best, float(error)


class Loops(NamedTuple):
    """The closure of a field around a frame: along a triangle, and along a way there and a bent one back.

    **Fields:** for each leg `work`, `fall` and `climb` in eV, the `mismatch` of both at the smallest scale, `rounding`
    and quadrature `error`.
    """

    work: Float[np.ndarray, " legs"]
    fall: Float[np.ndarray, " legs"]
    climb: Float[np.ndarray, " legs"]
    mismatch: Float[np.ndarray, " legs"]
    rounding: Float[np.ndarray, " legs"]
    error: Float[np.ndarray, " legs"]

    @property
    def closure(self) -> float:
        """The work around the worse of the loops over all that is climbed on it."""
        return max(abs(self.work[part].sum()) / self.climb[part].sum() for part in (slice(0, 3), slice(3, 5)))

    @property
    def misses(self) -> float:
        """The largest part of a climb that the work misses however fine."""
        return float(np.max(self.mismatch / self.climb))

    @property
    def floor(self) -> float:
        """What rounding and quadrature can make of the closure."""
        return max(
            (4 * self.rounding[part].sum() + self.error[part].sum()) / self.climb[part].sum()
            for part in (slice(0, 3), slice(3, 5))
        )


def loops(of: Subject, frame: Frame, seed: list[int], *, gradients: int) -> Loops:
    """The work of the forces of a frame's atoms around a triangle and a lens in the space of their positions.

    **Arguments:** `gradients` per leg, before its mismatch is followed down to rounding.
    """
    random = np.random.default_rng(seed)

    def side() -> np.ndarray:
        way = random.normal(size=frame.positions.shape)
        return random.uniform(NEAREST, FARTHEST) * way / np.linalg.norm(way, axis=1).max()

    home, one, two, three, bulge = frame.positions, *(frame.positions + side() for _ in range(3)), side()
    still = np.zeros_like(home)
    legs = [(home, one, still), (one, two, still), (two, home, still), (home, three, still), (three, home, bulge)]
    curves = Curves(*(np.stack(part).astype(of.precision) for part in zip(*legs, strict=True)))
    names = [f"{leg} of a loop around {frame.place}" for leg in LEGS]
    field: AbstractHostField = of.field(frame)
    found = refine(field, curves, gradients=gradients, closed=CLOSED, negligible=0.01 * CLOSED, batch=None,
                   seeds=[[*seed, leg] for leg in range(len(legs))], names=names)  # fmt: skip
    climb = np.maximum(found.climb, 1e-12)
    return Loops(found.work, found.fall, climb, found.mismatch, found.rounding, found.error)
