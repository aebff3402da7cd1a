"""Combinations of forecasts, frozen before anything was scored: the median of what their members say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError

# The five of the combination; the network's name is `network`.
MEMBERS = ("ets", "theta", "arima", "network", "damped_drift")
# Without statistical packages: what is fitted here by gradients, and a straight line.
OWN_MEMBERS = ("network", "trend", "damped_drift")
COMBINATIONS: dict[str, tuple[str, ...]] = {"median_of_five": MEMBERS, "own_median": OWN_MEMBERS}


def combined(
    forecasts: Mapping[str, Float[np.ndarray, "companies horizon"]], members: Sequence[str] = MEMBERS
) -> Float[np.ndarray, "companies horizon"]:
    """The median of the members' forecasts, for every company and year.

    **Arguments:** `forecasts` by name, in tonnes, NaN rows where a method had too little history; `members`, the names
    that count.

    **Returns:** the median of those that there are, where they are more than half of the members; NaN otherwise.

    **Raises:** `InputError` for a member that is missing.

    **Source:** medians against means: Petropoulos & Svetunkov, Int. J. Forecasting 36, 110 (2020).
    """
    if missing := [name for name in members if name not in forecasts]:
        raise InputError(f"the combination needs a forecast by {missing[0]}: add it to the models.")
    stacked = np.stack([forecasts[name] for name in members])
    there = np.asarray(np.isfinite(stacked).all(axis=-1))
    enough = 2 * there.sum(axis=0) > len(members)
    found = np.full(stacked.shape[1:], np.nan)
    found[enough] = np.nanmedian(np.where(there[..., None], stacked, np.nan)[:, enough], axis=0)
    return found
