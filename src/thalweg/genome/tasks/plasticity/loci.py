"""Where methylation is known: levels of bases and genes as marks of a sequence, and as maps of what they own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.core.errors import InputError


def owned(
    levels: Float[np.ndarray, " loci"], owner: Int[np.ndarray, " rows"], *, axis: int = 0, axes: int = 1
) -> Float[np.ndarray, "..."]:
    """The map of parameters that belong to loci: how far each is held is literally the methylation of its locus.

    **Arguments:** `levels` in [0, 1], NaN where nothing was measured; `owner`, for each place along the `axis` of the
    parameters the number of its locus, or -1 for none; `axes`, how many axes the parameters have.

    **Returns:** an array that broadcasts to the parameters; 0, fully plastic, where there is no locus or no level.

    **Raises:** `InputError` for levels outside of [0, 1] and for loci that do not exist.
    """
    levels, owner = np.asarray(levels, np.float64), np.asarray(owner)
    _in_range(levels)
    if len(owner) and not -1 <= owner.min() <= owner.max() < len(levels):
        raise InputError(
            f"plasticity: owners run from {owner.min()} to {owner.max()}, but there are {len(levels)} loci: count "
            "them from 0, with -1 for none."
        )
    found = np.append(np.nan_to_num(levels, nan=0.0), 0.0)[owner]  # -1 is the last one
    shape = [1] * axes
    shape[axis] = len(owner)
    return found.reshape(shape)


def base_marks(
    positions: Int[np.ndarray, " sites"],
    methylated: Float[np.ndarray, " sites"],
    coverage: Float[np.ndarray, " sites"],
    start: int,
    end: int,
    *,
    reach: int = 500,
    least: int = 10,
) -> tuple[Float[np.ndarray, " bases"], Bool[np.ndarray, " bases"]]:
    """The methylated share of the reads at CpG sites near each base of a region.

    **Arguments:** `positions` of the sites, 0-based and in rising order; `methylated` reads and all reads (`coverage`)
    at each; the region from `start` to before `end`; `reach`, sites up to so many bases away count; `least`, reads
    below which a level is not known.

    **Returns:** marks in [0, 1], 0 where unknown; whether they are known.

    **Raises:** `InputError` for unsorted sites and impossible counts.
    """
    positions = np.asarray(positions)
    if (np.diff(positions) < 0).any():
        raise InputError("plasticity: the sites are not in rising order of position: sort them.")
    if (np.asarray(methylated) < 0).any() or (np.asarray(methylated) > np.asarray(coverage)).any():
        raise InputError("plasticity: a site has more methylated reads than reads, or fewer than none: mend its row.")
    bases = np.arange(start, end)
    first, last = np.searchsorted(positions, bases - reach, "left"), np.searchsorted(positions, bases + reach, "right")
    sums = [np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)]) for counts in (methylated, coverage)]
    part, whole = (total[last] - total[first] for total in sums)
    known = whole >= least
    return np.where(known, part / np.where(known, whole, 1), 0.0).clip(0, 1), known


def _in_range(levels: Float[np.ndarray, "..."]) -> None:
    if ((levels < 0) | (levels > 1)).any():
        raise InputError(
            f"plasticity: methylation levels run from {np.nanmin(levels):g} to {np.nanmax(levels):g}, but are shares "
            "in [0, 1]: divide percentages by 100."
        )
