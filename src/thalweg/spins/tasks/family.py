"""One system at several sizes, as files or as a lattice by name, and what a critical study of it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.landscapes import PairwiseSigns
from thalweg.session import hear_kernels
from thalweg.spins.data.lattices import CORRECTION, aligned, lattice, length_of
from thalweg.spins.data.lattices import dimension as dimension_of
from thalweg.spins.data.problem import Kind
from thalweg.spins.data.read import read
from thalweg.spins.tasks.critical import Critical, critical

_ONSAGER = 2 / np.log(1 + np.sqrt(2))  # Phys. Rev. 65, 117 (1944), in units of the coupling


class Family(NamedTuple):
    """Systems by linear size, the exponent of their correction, and the exact answer where there is one."""

    systems: dict[int, PairwiseSigns]
    power: float
    exact: float | None


class Studied(NamedTuple):
    """A finished study and its answer, as the command prints it."""

    found: Critical
    result: dict[str, Any]


def family(
    files: Sequence[Path],
    *,
    kind: Kind | None,
    lattice: str | None,
    sizes: str,
    dimension: int,
    power: float | None,
) -> Family:
    """The systems of a lattice by name, or of files.

    **Raises:** `InputError` for neither or both, sizes that are no numbers, or systems without clusters.
    """
    if bool(files) == (lattice is not None):
        raise InputError("critical: give either files of several sizes, or --lattice square, triangular or cubic.")
    if lattice is not None:
        known = CORRECTION[dimension_of(lattice)] if power is None else power
        exact = float(_ONSAGER) if lattice == "square" else None
        return Family({length: _named(lattice, length) for length in _lengths(sizes)}, known, exact)
    found = {}
    for file in files:
        of = read(file, kind=kind)
        length = length_of(of, dimension)
        if length in found:
            raise InputError(f"{file}: a second system of length {length}: give one file for each size.")
        found[length] = aligned(of).landscape
    return Family(found, 1.0 if power is None else power, None)


def _named(name: str, length: int) -> PairwiseSigns:
    return aligned(lattice(name, length)).landscape


def _lengths(text: str) -> list[int]:
    try:
        lengths = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"critical: sizes are whole numbers with commas such as 8,16,32, not {text!r}.") from None
    return lengths


def _window(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(word) for word in text.split(".."))
    except ValueError:
        raise InputError(f"critical: temperatures are LOW..HIGH such as 2.0..2.5, not {text!r}.") from None
    if not 0 < low < high < np.inf:
        raise InputError(f"critical: temperatures must be positive and go up, not {text}.")
    return low, high


def study(
    of: Family,
    *,
    temperatures: str | None,
    draws: int,
    seed: int,
    done: Store | None,
    hooks: tuple[Hook, ...],
    executor: Executor | None = None,
) -> Studied:
    """Find the crossing of a family and put it into numbers with their intervals."""
    hear_kernels()
    found = critical(
        of.systems,
        window=_window(temperatures),
        draws=draws,
        power=of.power,
        seed=seed,
        done=done,
        hooks=hooks,
        executor=executor,
    )
    met = found.crossings
    at, height = met.critical, met.universal
    result = {
        "t_c": float(at.value),
        "t_c_interval": [float(at.low), float(at.high)],
        "t_c_error": float(at.error),
        "binder": float(height.value),
        "binder_interval": [float(height.low), float(height.high)],
        "t_c_exact": of.exact,
        "relative_error": None if of.exact is None else float(at.value) / of.exact - 1,
        "sizes": sorted(of.systems),
        "pairs": [[int(a), int(b), float(t), float(u)] for (a, b), t, u in
                  zip(met.pairs, met.at.value, met.height.value, strict=True)],
        "extrapolated": met.extrapolated,
        "power": of.power,
        "temperatures": [float(heat) for heat in found.temperatures],
    }  # fmt: skip
    return Studied(found, result)
