"""The local learning coefficient from draws of the loss, and what speaks against trusting it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.diagnostics.convergence import effective_sample_size, r_hat, standard_error

_NORMAL = 1.96  # a 95 % interval
_HIGHEST_R_HAT = 1.01  # Vehtari et al. (2021)
_FEWEST = 400.0  # effective draws: below that neither R-hat nor an error is reliable (the same source)
_ERRORS = 4.0  # standard errors: 6e-5 of sound runs are further off by chance
_MOST_DIVERGENCES = 0.005  # of all moves: more leave the steep parts of a valley out (measured on (u v)^2)
_SLACK = 0.02  # of the equipartition: a bias of that size is within what an estimate is used for


class Coefficient(eqx.Module):
    """How degenerate a minimum is: `n beta (E[L] - L0)` under the localised, tempered law.

    **Fields:** the `value`, half the number of coordinates where all are curved, less where the valley is flatter; its
    95 % `interval`; that of each of the `chains`; the effective number of draws `ess` and `r_hat`, of the loss; the
    inverse temperature `beta`; `acceptance`, the mean probability of a move; `equipartition`, the mean of
    `(w - w0) . grad U` per free coordinate, with its error: exactly one under the law `exp(-U)`, `nan` where it was not
    measured; whether all this is to be `trusted`, and if not, the `reason`.
    """

    value: float
    interval: tuple[float, float]
    chains: Float[np.ndarray, " chains"]
    ess: float
    r_hat: float
    beta: float
    acceptance: float
    equipartition: tuple[float, float]
    trusted: bool
    reason: str


def coefficient(
    excess: Float[np.ndarray, "draws chains"],
    *,
    beta: float,
    acceptance: float = float("nan"),
    divergences: float = 0.0,
    shares: Float[np.ndarray, "draws chains"] | None = None,
    exact: bool = True,
) -> Coefficient:
    """The local learning coefficient from draws of `n beta (L(w) - L0)`, judged.

    **Arguments:** `excess`, the draws; `beta` and `acceptance`, to be handed on; `divergences`, the share of the moves
    that diverged; `shares`, draws of `(w - w0) . grad U` over the number of free coordinates; `exact`, whether each
    draw is of the whole loss, and not of a batch.

    **Raises:** `InputError` for draws that are not `[draws, chains]`, fewer than 8 of them, or not finite.

    **Source:** Lau, Furman, Wang, Murfet & Wei, arXiv:2308.12108 (2023); Watanabe, J. Mach. Learn. Res. 14, 867 (2013).
    """
    draws = np.asarray(excess, np.float64)
    if draws.ndim != 2 or len(draws) < 8:
        raise InputError(f"learning_coefficient: draws of shape {draws.shape}: pass [draws, chains], at least 8 draws.")
    value, error = float(draws.mean()), _error(draws)
    size, ratio = float(effective_sample_size(draws, "mean")), float(r_hat(draws))
    unknown = (float("nan"), float("nan"))
    equipartition = unknown if shares is None else (float(np.mean(shares)), _error(shares))
    reasons = [*_mixing(draws, size, ratio), *_depth(draws, value, error, exact), *_law(equipartition)]
    if divergences > _MOST_DIVERGENCES:
        reasons.append(f"{divergences:.1%} of the moves diverged: raise the target acceptance or the localisation")
    return Coefficient(
        value,
        (value - _NORMAL * error, value + _NORMAL * error),
        draws.mean(axis=0),
        size,
        ratio,
        beta,
        acceptance,
        equipartition,
        not reasons,
        "; ".join(reasons),
    )


def _error(draws: Any) -> float:
    return float(standard_error(np.asarray(draws, np.float64)))


def _mixing(draws: Float[np.ndarray, "draws chains"], size: float, ratio: float) -> list[str]:
    reasons = []
    if not size >= _FEWEST:
        reasons.append(f"the draws are worth only {size:.0f} independent ones, not {_FEWEST:.0f}: take more steps")
    if not ratio <= _HIGHEST_R_HAT:
        reasons.append(f"R-hat is {ratio:.3f}, above {_HIGHEST_R_HAT}: the chains disagree, take more steps")
    half = len(draws) // 2
    early, late = draws[:half], draws[-half:]
    change = late.mean() - early.mean()
    if abs(change) > _ERRORS * np.hypot(_error(early), _error(late)):
        reasons.append(f"the loss still drifts, by {change:+.3g} between the halves of the run: take a longer warmup")
    return reasons


def _depth(draws: Float[np.ndarray, "draws chains"], value: float, error: float, exact: bool) -> list[str]:
    """Whether the start is the bottom of what the chains saw."""
    reasons = []
    each = np.array([_error(draws[:, [chain]]) for chain in range(draws.shape[1])])
    below = np.flatnonzero(draws.mean(axis=0) < -_ERRORS * each)
    if value < 0:
        reasons.append(f"the value is negative ({value:.3g}): the mean loss lies below that of the start")
    elif below.size:
        reasons.append(f"chain {below[0]} left to a lower basin: relax from there, or localise more strongly")
    lowest = float(draws.min())
    if exact and lowest < -max(_NORMAL * error, 0.0):
        reasons.append(
            f"a draw has a lower loss than the start, which lowers the value by at least {-lowest:.3g}: relax further"
        )
    return reasons


def _law(equipartition: tuple[float, float]) -> list[str]:
    share, error = equipartition
    if np.isnan(share) or abs(share - 1) <= _SLACK + _ERRORS * error:
        return []
    return [f"equipartition is off: {share:.3f} +- {error:.3f} instead of 1: take a smaller step or a longer warmup"]
