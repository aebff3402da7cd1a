"""The four statements of one energy, each with the numbers that its field writes down."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int, Shaped

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import Kind, Problem, problem

_ROOM = 2.0**62  # of sums in 64 bits, with a factor of two to spare


@dataclasses.dataclass(frozen=True, eq=False)
class Statement:
    """`E = (offset + sign * (sum_pairs quadratic y_first y_second + sum_i linear_i y_i)) / denominator`.

    As its field writes it: `sign` is -1 for `ising` (J and h) and `boltzmann` (W and b) and +1 for `qubo` (Q with its
    diagonal in `linear`) and `maxcut` (w, no `linear`); `y` is in {-1, +1} for `ising` and `maxcut` and in {0, 1} for
    the others.

    **Fields:** `first < second`, each pair once; `quadratic` and `linear`, `int64` if the numbers are integers and
    `float64` with `denominator` 1 otherwise; `offset`; `labels` and `source` as in `Problem`.
    """

    kind: Kind
    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    quadratic: Shaped[np.ndarray, " pairs"]
    linear: Shaped[np.ndarray, " n"]
    offset: int | float = 0
    denominator: int = 1
    labels: tuple[object, ...] | None = None
    source: str = "couplings"

    @property
    def size(self) -> int:
        """How many variables there are."""
        return self.linear.size

    @property
    def exact(self) -> bool:
        """Whether all numbers are integers."""
        return np.issubdtype(self.quadratic.dtype, np.integer) and np.issubdtype(self.linear.dtype, np.integer)

    @property
    def binary(self) -> bool:
        """Whether the variables are 0 and 1 and not -1 and +1."""
        return self.kind in ("qubo", "boltzmann")

    @property
    def sign(self) -> int:
        """The sign in front of the sums."""
        return -1 if self.kind in ("ising", "boltzmann") else 1

    def energies(self, states: Int[np.ndarray, "states n"]) -> Float[np.ndarray, " states"]:
        """`E` of each row of `states`, in this statement's variables; exact for integers below 2^53."""
        y = np.asarray(states)
        if y.ndim != 2 or y.shape[1] != self.size or not np.isin(y, (0, 1) if self.binary else (-1, 1)).all():
            values = "0 and 1" if self.binary else "-1 and +1"
            raise InputError(f"{self.source}: the states {y.shape} must be rows of {self.size} times {values}.")
        y = y.astype(self.linear.dtype)
        sums = np.zeros(len(y), self.linear.dtype)
        for i, j, weight in zip(self.first, self.second, self.quadratic, strict=True):
            sums += weight * (y[:, i] * y[:, j])  # pair by pair: products of all pairs would fill the memory
        return (self.offset + self.sign * (sums + y @ self.linear)) / self.denominator

    def matrix(self) -> Float[np.ndarray, "n n"]:
        """The quadratic numbers above the diagonal and, where `y y = y` in a QUBO, the linear ones on it."""
        dense = np.zeros((self.size, self.size))
        dense[self.first, self.second] = self.quadratic / self.denominator
        if self.kind == "qubo":
            np.fill_diagonal(dense, self.linear / self.denominator)
        return dense

    def problem(self) -> Problem:
        """The same energy as a `Problem`; repeated pairs are summed.

        **Raises:** `InputError` as `problem` does, for linear terms of a max-cut, and for sums beyond 64 bits.
        """
        # Unsigned or narrow integers would wrap, and what is not numbers is refused by the constructor.
        quadratic, linear = _wide(self.quadratic), _wide(self.linear)
        ends = self.first, self.second
        if any(end.size and not (0 <= end.min() <= end.max() < self.size) for end in ends):
            raise InputError(f"{self.source}: a pair leaves the {self.size} variables: count them from zero.")
        if self.kind == "maxcut" and linear.any():
            raise InputError(f"{self.source}: a max-cut has no fields: add a vertex that carries them.")
        denominator = self.denominator
        if self.binary:
            linear, quadratic, offset, denominator = _as_signs(self, quadratic, linear)
        else:
            quadratic, linear, offset = -self.sign * quadratic, -self.sign * linear, self.offset
        quadratic, linear, offset, denominator = _reduced(quadratic, linear, offset, denominator)
        names = {"kind": self.kind, "labels": self.labels, "source": self.source}
        return problem(*ends, quadratic, linear, offset=offset, denominator=denominator, **names)


def stated(posed: Problem, kind: Kind) -> Statement:
    """A problem in the numbers of one kind, exact in integers where the problem is.

    **Raises:** `InputError` for a max-cut of a problem with fields, and for integers beyond 64 bits.
    """
    first, second, coupling, field, offset = posed.first, posed.second, posed.coupling, posed.field, posed.offset
    if kind == "maxcut" and field.any():
        raise InputError(f"{posed.source}: a max-cut has no fields: add a vertex that carries them.")
    sign = -1 if kind in ("ising", "boltzmann") else 1
    if kind in ("ising", "maxcut"):
        quadratic, linear = -sign * coupling, -sign * field
    else:
        # s = 2 y - 1 in -J s s - h s, constants to the offset.
        _refuse_overflow(posed.source, 4, coupling, field)
        felt = _row_sums(first, second, coupling, field.size)
        quadratic, linear = -4 * sign * coupling, -2 * sign * (field - felt)
        offset = offset - _total(coupling) + _total(field)
    quadratic, linear, offset, denominator = _reduced(quadratic, linear, offset, posed.denominator)
    return Statement(kind, first, second, quadratic, linear, offset, denominator, posed.labels, posed.source)


def _as_signs(stated: Statement, quadratic: np.ndarray, linear: np.ndarray):
    """Field, coupling, offset and denominator of `sign * (Q y y + q y)` with `y = (1 + s) / 2`."""
    loops = stated.first == stated.second
    if loops.any():  # y y = y
        linear = linear.astype(np.result_type(linear, quadratic))
        np.add.at(linear, stated.first[loops], quadratic[loops])
        quadratic = np.where(loops, 0, quadratic)
    _refuse_overflow(stated.source, 4, quadratic, linear)
    exact = all(np.issubdtype(part.dtype, np.integer) for part in (quadratic, linear))
    felt = _row_sums(stated.first, stated.second, quadratic, stated.size)
    sign, constant = stated.sign, _total(quadratic) + 2 * _total(linear)
    if exact and isinstance(stated.offset, int):
        fields, offset = -sign * (2 * linear + felt), 4 * stated.offset + sign * constant
        return fields, -sign * quadratic, offset, 4 * stated.denominator
    fields = -sign * (linear / 2 + felt / 4)
    return fields, -sign * quadratic / 4, stated.offset + sign * constant / 4, stated.denominator


def _wide(numbers: np.ndarray) -> np.ndarray:
    numbers = np.asarray(numbers)
    if np.issubdtype(numbers.dtype, np.integer):
        return numbers.astype(np.int64)
    return numbers.astype(np.float64) if np.issubdtype(numbers.dtype, np.floating) else numbers


def _row_sums(first: np.ndarray, second: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    sums = np.zeros(size, values.dtype)
    np.add.at(sums, first, values)
    np.add.at(sums, second, values)
    return sums


def _total(numbers: np.ndarray) -> int | float:
    """The sum; of integers in Python's, which do not wrap around."""
    if not np.issubdtype(numbers.dtype, np.integer):
        return float(numbers.sum())
    high, low = np.divmod(numbers, 2**31)
    return int(high.sum()) * 2**31 + int(low.sum())


def _refuse_overflow(source: str, factor: int, *parts: np.ndarray) -> None:
    exact = all(np.issubdtype(part.dtype, np.integer) for part in parts)
    if exact and factor * sum(float(np.abs(part.astype(np.float64)).sum()) for part in parts) >= _ROOM:
        raise InputError(f"{source}: sums of the integers leave 64 bits: write the couplings as decimals.")


def _reduced(quadratic: np.ndarray, linear: np.ndarray, offset: int | float, denominator: int):
    """The same fractions with the smallest denominator; floats are divided."""
    if not (isinstance(offset, int) and all(np.issubdtype(part.dtype, np.integer) for part in (quadratic, linear))):
        quadratic, linear = (np.asarray(part, np.float64) / denominator for part in (quadratic, linear))
        return quadratic, linear, float(offset) / denominator, 1
    if denominator == 1:
        return quadratic, linear, offset, 1
    shared = math.gcd(
        denominator, offset, int(np.gcd.reduce(quadratic, initial=0)), int(np.gcd.reduce(linear, initial=0))
    )
    return quadratic // shared, linear // shared, offset // shared, denominator // shared
