"""Elementwise functions of one variable: their range, and a line below and one above them, over an interval."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.methods.bounds.enclosure import RULES, Enclosure, Truth, constant
from thalweg.methods.bounds.program import Operation, Ref

_PIECES = 16
_TOLD = ("y", "rounding_method")  # parameters of an operation that change its values


class Lines(NamedTuple):
    """`below x + under <= f(x) <= above x + over` on an interval, for each item of an array."""

    below: Float[Array, " n"]
    under: Float[Array, " n"]
    above: Float[Array, " n"]
    over: Float[Array, " n"]


class Steps:
    """The operations of an elementwise expression, its variable and its result.

    Equal to others of the same operations, whatever their constants, so that these share one compiled program.
    """

    def __init__(self, operations: list[Operation], variable: Ref, result: Ref):
        self.operations, self.variable, self.result = operations, variable, result
        places = {variable.number: 0}
        rows: list[Any] = []
        for operation in operations:
            of = tuple(places[o.number] if isinstance(o, Ref) else jnp.shape(o) for o in operation.operands)
            rows.append((operation.name, str(sorted(operation.params.items())), of))
            places[operation.outputs[0].number] = len(places)
        self._key = tuple(rows), variable.shape, str(variable.dtype), places[result.number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steps) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Curve(eqx.Module):
    """An elementwise function `f` of the items of an array, each with constants of its own.

    **Fields:** `constants`, the constant operands of all operations in order; `kinks [k, n]`, where its pieces meet;
    `threshold [n]` where it is `max(x, threshold)`, otherwise `None`.
    """

    steps: Steps = eqx.field(static=True)
    constants: tuple[Array, ...]
    kinks: Float[Array, "k n"]
    threshold: Float[Array, " n"] | None

    def __init__(self, steps: Steps):
        self.steps = steps
        self.constants = tuple(
            jnp.asarray(operand)
            for operation in steps.operations
            for operand in operation.operands
            if not isinstance(operand, Ref)
        )
        self.kinks = jnp.asarray(_kinks(steps))
        only = steps.operations[0] if len(steps.operations) == 1 else None
        is_max = only is not None and only.name == "max"
        self.threshold = jnp.broadcast_to(self.constants[0], steps.variable.shape).ravel() if is_max else None

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The values at `x`."""
        found = self._run(x.reshape(self.steps.variable.shape), lambda operation, *operands: operation(*operands))
        return found.reshape(x.shape)

    def _run(self, start: Any, apply: Any, wrap: Any = lambda value: value) -> Any:
        values, constants = {self.steps.variable.number: start}, iter(self.constants)
        for operation in self.steps.operations:
            operands = [values[o.number] if isinstance(o, Ref) else wrap(next(constants)) for o in operation.operands]
            found = apply(operation, *operands)
            values[operation.outputs[0].number] = found[0] if isinstance(found, list) else found
        return values[self.steps.result.number]

    def _enclosed(self, low: Float[Array, "pieces n"], high: Float[Array, "pieces n"]) -> Enclosure:
        shape = (low.shape[0], *self.steps.variable.shape)
        low, high = low.reshape(shape), high.reshape(shape)
        one = jnp.ones_like(low)
        found = self._run(Enclosure(low, high, one, one, low, high), _enclose, constant)
        return Enclosure(*(jnp.broadcast_to(part, shape).reshape(shape[0], -1) for part in found))

    def range(self, low: Float[Array, " n"], high: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """An interval that holds the values on [low, high]."""
        if self.threshold is not None:
            return jnp.maximum(low, self.threshold), jnp.maximum(high, self.threshold)
        points, pieces = self._pieces(low, high)
        zero = jnp.zeros_like(low)
        return self._least(zero, points, pieces, 1.0), -self._least(zero, points, pieces, -1.0)

    def lines(self, low: Float[Array, " n"], high: Float[Array, " n"], *, parallel: Any) -> Lines:
        """A line below and one above the function on [low, high].

        **Arguments:** `parallel`, both with the slope of the chord; otherwise the slopes that leave the least area.

        **Source:** for `max(x, c)`: E. Wong & J. Z. Kolter, ICML 2018 (parallel); H. Zhang et al., NeurIPS 2018.
        """
        if self.threshold is not None:
            return _hinge(low, high, self.threshold, parallel)
        points, pieces = self._pieces(low, high)
        width = high - low
        chord = jnp.where(width > 0, (points[1][-1] - points[1][0]) / jnp.where(width > 0, width, 1.0), 0.0)
        slopes = jnp.concatenate([chord[None], _secants(points)])
        slopes = jnp.where(parallel, chord, slopes)
        slopes = jnp.where(jnp.isfinite(slopes), slopes, 0.0)
        below, under = self._best(slopes, points, pieces, (low + high) / 2, 1.0)
        above, over = self._best(-slopes, points, pieces, (low + high) / 2, -1.0)
        return Lines(below, under, -above, -over)

    def _pieces(self, low: Any, high: Any) -> tuple[tuple[Array, Array], Enclosure]:
        """The ends of the pieces with the values there, and what is known between them."""
        share = jnp.linspace(0.0, 1.0, _PIECES + 1)[:, None]
        grid = jnp.minimum(low + share * (high - low), high).at[-1].set(high)
        ends = jnp.sort(jnp.concatenate([grid, jnp.clip(self.kinks, low, high)]), axis=0) if len(self.kinks) else grid
        return (ends, jax.vmap(self)(ends)), self._enclosed(ends[:-1], ends[1:])

    def _best(self, slopes: Array, points: Any, pieces: Enclosure, middle: Array, sign: float) -> tuple[Array, Array]:
        """Of all lines below `sign f` the one that is highest in the middle."""

        def better(best: tuple[Array, Array], slope: Array) -> tuple[tuple[Array, Array], None]:
            under = self._least(slope, points, pieces, sign)
            higher = slope * middle + under > best[0] * middle + best[1]
            return (jnp.where(higher, slope, best[0]), jnp.where(higher, under, best[1])), None

        first = (slopes[0], self._least(slopes[0], points, pieces, sign))
        return jax.lax.scan(better, first, slopes[1:])[0]

    def _least(self, slope: Array, points: Any, pieces: Enclosure, sign: float) -> Array:
        """A lower bound of `sign f(x) - slope x`: on each piece from both of its ends, and from its range of values."""
        x, value = points
        left, right = x[:-1], x[1:]
        ends = (sign * pieces.first - slope * left, sign * pieces.last - slope * right)
        slopes = (pieces.least, pieces.most) if sign > 0 else (-pieces.most, -pieces.least)
        falls, climbs = (end - slope for end in slopes)
        known = jnp.isfinite(falls) & jnp.isfinite(climbs) & jnp.isfinite(ends[0]) & jnp.isfinite(ends[1])
        inside = (falls < 0) & (climbs > 0)
        rise = jnp.where(known & inside, climbs - falls, 1.0)
        cone = (climbs * ends[0] - falls * ends[1] + climbs * falls * (right - left)) / rise
        cone = jnp.where(inside, cone, jnp.minimum(*ends))
        far = jnp.maximum(slope * left, slope * right)
        plain = jnp.minimum(sign * pieces.low, sign * pieces.high) - far
        bound = jnp.fmax(jnp.where(known, cone, -jnp.inf), plain)
        return jnp.minimum(jnp.min(bound, axis=0), jnp.min(sign * value - slope * x, axis=0))


def _enclose(operation: Operation, *operands: Any) -> Any:
    if operation.name in ("ne", "eq") and operation.operands[0] == operation.operands[1]:
        same = jnp.ones_like(operands[0].low, bool)  # how jax.numpy asks for NaN
        return Truth(~same, same) if operation.name == "ne" else Truth(same, ~same)
    told = {name: value for name, value in operation.params.items() if name in _TOLD}
    return RULES[operation.name](*operands, **told)


def _secants(points: Any) -> Array:
    """Slopes to try: between neighbouring points, and from both ends to points between."""
    x, value = points
    count = len(x) - 1
    pairs = [(j, j + 1) for j in range(0, count, 2)] + [(count - 1, count)]
    pairs += [(0, j) for j in range(2, count, 2)] + [(j, count) for j in range(2, count - 1, 2)]
    first, last = np.array(pairs).T
    run = x[last] - x[first]
    return jnp.where(run > 0, (value[last] - value[first]) / jnp.where(run > 0, run, 1.0), 0.0)


def _hinge(low: Array, high: Array, at: Array, parallel: Any) -> Lines:
    """The lines of `max(x, at)`."""
    left, right = low - at, high - at
    crossing = (left < 0) & (right > 0)
    chord = jnp.where(crossing, right / jnp.where(crossing, right - left, 1.0), (left >= 0).astype(low.dtype))
    over = jnp.where(crossing, -chord * left, 0.0)
    below = jnp.where(crossing & ~jnp.asarray(parallel), (right > -left).astype(low.dtype), chord)
    return Lines(below, at - below * at, chord, at - chord * at + over)


def _kinks(steps: Steps) -> np.ndarray:
    """Where straight branches of the expression meet, from a walk over its operations with its straight branches."""
    shape = steps.variable.shape
    branches: dict[int, list[Any]] = {steps.variable.number: [(np.ones(shape), np.zeros(shape))]}
    found: list[np.ndarray] = []

    def of(operand: Any) -> list[Any]:
        if isinstance(operand, Ref):
            return branches.get(operand.number, [])
        return [(np.zeros(shape), np.broadcast_to(np.asarray(operand, float), shape))]

    for operation in steps.operations:
        name, lists = operation.name, [of(operand) for operand in operation.operands]
        if name in ("max", "min", "gt", "ge", "lt", "le", "eq", "ne", "abs", "sign"):
            other = lists[1] if len(lists) == 2 else [(np.zeros(shape), np.zeros(shape))]
            found += [_meeting(one, two) for one in lists[0] for two in other]
        branches[operation.outputs[0].number] = _branches(name, lists)[:4]
    unique = {kink.tobytes(): kink for kink in found if np.isfinite(kink).any()}
    kinks = [np.where(np.isfinite(kink), kink, 0.0).ravel() for kink in unique.values()][:8]
    return np.stack(kinks) if kinks else np.zeros((0, steps.variable.size))


def _meeting(one: Any, two: Any) -> np.ndarray:
    turn = one[0] - two[0]
    return np.where(turn != 0, (two[1] - one[1]) / np.where(turn != 0, turn, 1.0), np.nan)


def _branches(name: str, lists: list[list[Any]]) -> list[Any]:
    """The straight branches of an operation's result; none where it is not straight."""
    if name in ("max", "min"):
        return lists[0] + lists[1]
    if name == "select_n":
        return lists[1] + lists[2]
    if name in ("neg", "convert_element_type", "abs"):
        mirrored = [(-slope, -at) for slope, at in lists[0]]
        return mirrored if name == "neg" else lists[0] + mirrored if name == "abs" else lists[0]
    if name in ("add", "sub"):
        sign = 1 if name == "add" else -1
        return [(a + sign * c, b + sign * d) for a, b in lists[0] for c, d in lists[1]]
    if name == "mul":
        straight = [(a, b, c, d) for a, b in lists[0] for c, d in lists[1] if not (a.any() and c.any())]
        return [(a * d + b * c, b * d) for a, b, c, d in straight]
    if name == "div":
        return [(a / d, b / d) for a, b in lists[0] for c, d in lists[1] if not c.any() and d.all()]
    return []


def check_known(operation: Operation) -> bool:
    """Whether an operation can be part of such an expression."""
    if operation.name not in RULES:
        return False
    kinds = [np.dtype(ref.dtype).kind for ref in (*operation.outputs, *operation.refs)]
    return all(kind in "fb" for kind in kinds) and len(operation.outputs) == 1
