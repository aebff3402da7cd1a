"""Histogram reweighting: what was seen at a few temperatures, told for all temperatures between them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from thalweg.core.errors import InputError

_MOST_ROUNDS = 2000
_SETTLED = 1e-7  # of the free energies; their statistical errors are four orders larger
_THINNEST = 0.05  # the least share of one temperature's draws that must still count at each point of the grid


class Histogram:
    """Draws at several temperatures, pooled by their energy.

    **Source:** Ferrenberg & Swendsen, Phys. Rev. Lett. 61, 2635 (1988) and 63, 1195 (1989); Shirts & Chodera,
    J. Chem. Phys. 129, 124105 (2008) for the form without bins.
    """

    def __init__(
        self,
        temperatures: Float[np.ndarray, " values"],
        energies: Float[np.ndarray, "values draws"],
        observed: Float[np.ndarray, "kinds values draws"],
        grid: Float[np.ndarray, " grid"],
    ):
        levels, self._place = np.unique(energies.ravel(), return_inverse=True)
        self._observed = observed.reshape(len(observed), -1)
        betas, centre = 1 / temperatures, levels.mean()
        self._counts = np.full(len(betas), np.log(energies.shape[1]))
        # Logarithms of Boltzmann weights; the constants that are taken off cancel in every average.
        self._own = -np.outer(levels - centre, betas - betas.mean())
        self._wanted = -np.outer(1 / grid - betas.mean(), levels - centre)

    def averages(
        self, weights: Int[np.ndarray, " all"], free: Float[np.ndarray, " values"], where: str, thin: bool = False
    ) -> tuple[Float[np.ndarray, "kinds grid"], Float[np.ndarray, " values"]]:
        """The averages on the grid with each draw counted `weights` times, and the free energies, guessed as `free`.

        **Raises:** `InputError` if neighbouring temperatures share no energies; with `thin`, also if a point of the
        grid rests on few draws only.
        """
        size = self._own.shape[0]
        mass = np.bincount(self._place, weights, size)
        sums = [np.bincount(self._place, weights * part, size) for part in self._observed]
        free, mixture = self._settled(mass, free, where)
        logs = self._wanted - mixture
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        total = shares @ mass
        if thin:
            self._refuse_thin(total**2 / (shares**2 @ mass), where)
        return np.stack([shares @ part for part in sums]) / total, free

    def _settled(self, mass, free, where):
        with np.errstate(divide="ignore"):  # energies that are not in a resample have no mass
            log_mass = np.log(mass)[:, None]
        for _ in range(_MOST_ROUNDS):
            mixture = _log_sum(self._own + free + self._counts, axis=1)
            new = -_log_sum(log_mass + self._own - mixture[:, None], axis=0)
            new -= new[0]
            moved, free = np.abs(new - free).max(), new
            if moved < _SETTLED:
                return free, mixture
        raise InputError(f"critical: the energies of {where} at neighbouring temperatures do not overlap: add some.")

    def _refuse_thin(self, left: Float[np.ndarray, " grid"], where: str) -> None:
        needed = _THINNEST * np.exp(self._counts[0])
        if left.min() < needed:
            raise InputError(
                f"critical: reweighting {where} leaves {left.min():.0f} of {np.exp(self._counts[0]):.0f} draws at some "
                "control value: simulate closer to it or narrow the grid."
            )


def _log_sum(logs: Float[np.ndarray, "n k"], axis: int) -> Float[np.ndarray, " m"]:
    top = logs.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(logs - top).sum(axis=axis))
