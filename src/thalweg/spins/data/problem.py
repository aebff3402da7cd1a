"""Couplings and fields of spins as they came, in exact integers where they are integers."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from thalweg.core.errors import InputError
from thalweg.landscapes import PairwiseSigns

Kind = Literal["maxcut", "ising", "qubo", "boltzmann"]
KINDS: tuple[Kind, ...] = ("maxcut", "ising", "qubo", "boltzmann")
_EXACT = 2**53  # the kernels and landscapes hold couplings as float64, which is exact up to here


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """`E(s) = (offset - sum_pairs coupling s_first s_second - sum_i field_i s_i) / denominator`, `s` in {-1, +1}.

    Whatever it was stated as, a problem is held as an Ising glass, and `E` is the value of the original:

    - `maxcut`: `E = sum w s s` over the edges (plus the offset), the coupling of an edge is `-w`, and without an offset
      `cut = (sum w - E) / 2`;
    - `ising`: `E` itself;
    - `qubo`: `E = sum_(i <= j) Q_ij x_i x_j` with `x = (1 + s) / 2`;
    - `boltzmann`: `E = -sum_(i < j) W_ij v_i v_j - sum_i b_i v_i` with `v = (1 + s) / 2`.

    **Fields:** `first < second`, each pair once; `coupling` and `field`, `int64` if all numbers are integers and
    `float64` otherwise; `offset`; `denominator`, 1 for floats; `labels`, the names of the variables where the source
    has its own; `source`, for messages; `notes`, what the reader had to sum, drop or move into the offset.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    coupling: Shaped[np.ndarray, " pairs"]
    field: Shaped[np.ndarray, " n"]
    offset: int | float = 0
    denominator: int = 1
    kind: Kind = "ising"
    labels: tuple[object, ...] | None = None
    source: str = "couplings"
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many spins there are."""
        return self.field.size

    @property
    def exact(self) -> bool:
        """Whether energies are computed in integers."""
        return np.issubdtype(self.coupling.dtype, np.integer)

    def energy(self, signs: Int[np.ndarray, " n"]) -> int | float:
        """`E` of one configuration, from the couplings as they came: integer arithmetic where they are integers."""
        s = np.asarray(signs, np.int64)
        pairs, fields = self.coupling * (s[self.first] * s[self.second]), self.field * s
        if not self.exact:
            return float(self.offset - pairs.sum() - fields.sum()) / self.denominator
        # Python's integers do not wrap around.
        total = Fraction(int(self.offset) - _whole_sum(pairs) - _whole_sum(fields), self.denominator)
        return int(total) if total.denominator == 1 else float(total)

    def cut(self, signs: Int[np.ndarray, " n"]) -> int | float | None:
        """The weight of the edges between the two sides; `None` where the source is no graph."""
        if self.kind != "maxcut":
            return None
        s = np.asarray(signs)
        across = self.coupling[s[self.first] != s[self.second]]
        if not self.exact:
            return 0.0 - float(across.sum()) / self.denominator  # not -0.0
        total = Fraction(-_whole_sum(across), self.denominator)
        return int(total) if total.denominator == 1 else float(total)

    def to_csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Host arrays `(starts, neighbours, couplings, field)` of float64, the offset left out (`HasCouplings`)."""
        from scipy.sparse import coo_array

        rows, columns = np.concatenate([self.first, self.second]), np.concatenate([self.second, self.first])
        values = np.concatenate([self.coupling, self.coupling]).astype(np.float64) / self.denominator
        matrix = coo_array((values, (rows, columns)), shape=(self.size, self.size)).tocsr()
        return matrix.indptr, matrix.indices, matrix.data, self.field.astype(np.float64) / self.denominator

    def landscape(self) -> PairwiseSigns:
        """The same energy without its offset as a differentiable landscape, for every verb."""
        as_floats = (self.coupling / self.denominator).astype(float), (self.field / self.denominator).astype(float)
        return PairwiseSigns(self.first.astype(np.int32), self.second.astype(np.int32), *as_floats)


def problem(
    first: Int[np.ndarray, " entries"],
    second: Int[np.ndarray, " entries"],
    coupling: Shaped[np.ndarray, " entries"],
    field: Shaped[np.ndarray, " n"],
    *,
    offset: int | float = 0,
    denominator: int = 1,
    kind: Kind = "ising",
    labels: tuple[object, ...] | None = None,
    source: str = "couplings",
) -> Problem:
    """A problem from any list of pairs: repeated ones are summed, zeros dropped, `s_i s_i = 1` goes into the offset.

    **Raises:** `InputError` for a pair outside of the spins, a number that is not finite, integers beyond 2^53, and no
    spins at all.
    """
    first, second = np.asarray(first, np.int64).ravel(), np.asarray(second, np.int64).ravel()
    coupling, field = np.asarray(coupling).ravel(), np.asarray(field).ravel()
    _refuse(source, first, second, coupling, field)
    exact = all(np.issubdtype(part.dtype, np.integer) for part in (coupling, field)) and isinstance(offset, int)
    wide = np.int64 if exact else np.float64
    coupling, field, notes = coupling.astype(wide), field.astype(wide), []
    loops = first == second
    if loops.any():
        notes.append(f"{int(loops.sum())} self-loops are constants")
        if kind != "maxcut":  # an edge from a vertex to itself is never cut, and its weight is no part of E
            offset = offset - (_whole_sum(coupling[loops]) if exact else float(coupling[loops].sum()))
        first, second, coupling = first[~loops], second[~loops], coupling[~loops]
    keys, where = np.unique(np.minimum(first, second) * field.size + np.maximum(first, second), return_inverse=True)
    if keys.size < first.size:
        notes.append(f"{first.size - keys.size} repeated pairs are summed")
    summed = np.zeros(keys.size, wide)
    np.add.at(summed, where, coupling)
    kept = summed != 0
    if not kept.all():
        notes.append(f"{int((~kept).sum())} couplings of zero are left out")
    keys, summed = keys[kept], summed[kept]
    if exact and max(np.abs(summed).max(initial=0), np.abs(field).max(initial=0)) >= _EXACT:
        raise InputError(f"{source}: an integer is beyond 2^53, where kernels round: write the couplings as decimals.")
    return Problem(
        keys // field.size, keys % field.size, summed, field, offset, denominator, kind, labels, source, tuple(notes)
    )


def _refuse(source: str, first: np.ndarray, second: np.ndarray, coupling: np.ndarray, field: np.ndarray) -> None:
    if field.size == 0:
        raise InputError(f"{source}: there are no spins: give at least one.")
    if not first.shape == second.shape == coupling.shape:
        raise InputError(f"{source}: {first.size}, {second.size} ends and {coupling.size} couplings: give one of each.")
    if first.size and not (0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) < field.size):
        raise InputError(f"{source}: a pair leaves the {field.size} spins: count them from zero.")
    for name, numbers in (("coupling", coupling), ("field", field)):
        if not np.issubdtype(numbers.dtype, np.number) or np.issubdtype(numbers.dtype, np.complexfloating):
            raise InputError(f"{source}: a {name} is no number ({numbers.dtype}): give integers or floats.")
        if not np.isfinite(numbers).all():
            place = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise InputError(f"{source}: {name} {place} (from zero) is {numbers[place]}: give finite numbers.")


def _whole_sum(numbers: np.ndarray) -> int:
    """The sum in integers that do not wrap around."""
    high, low = np.divmod(numbers.astype(np.int64), 2**31)
    return int(high.sum()) * 2**31 + int(low.sum())
