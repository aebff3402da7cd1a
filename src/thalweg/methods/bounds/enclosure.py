"""Values and slopes of a function of one variable over short intervals, enclosed operation by operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Enclosure(NamedTuple):
    """What is known of an expression over the piece [p, q] of its variable.

    **Fields:** its values lie in [low, high], its slopes in [least, most] (infinite where nothing is known, or where it
    may jump), and `first` and `last` are its values at p and q.
    """

    low: Float[Array, "..."]
    high: Float[Array, "..."]
    least: Float[Array, "..."]
    most: Float[Array, "..."]
    first: Float[Array, "..."]
    last: Float[Array, "..."]


class Truth(NamedTuple):
    """Whether a comparison holds on all of a piece, or fails on all of it; single points at its ends do not count."""

    yes: Bool[Array, "..."]
    no: Bool[Array, "..."]


def constant(value: Any) -> Enclosure:
    """The enclosure of a number."""
    value = jnp.asarray(value)
    zero = jnp.zeros_like(value)
    return Enclosure(value, value, zero, zero, value, value)


def _add(a: Enclosure, b: Enclosure) -> Enclosure:
    return Enclosure(*(one + other for one, other in zip(a, b, strict=True)))


def _negative(a: Enclosure) -> Enclosure:
    return Enclosure(-a.high, -a.low, -a.most, -a.least, -a.first, -a.last)


def _product(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    corners = [one * other for one in a for other in b]
    return jnp.minimum(jnp.minimum(*corners[:2]), jnp.minimum(*corners[2:])), jnp.maximum(
        jnp.maximum(*corners[:2]), jnp.maximum(*corners[2:])
    )


def _times(a: Enclosure, b: Enclosure) -> Enclosure:
    values = _product((a.low, a.high), (b.low, b.high))
    left = _product((a.least, a.most), (b.low, b.high))
    right = _product((b.least, b.most), (a.low, a.high))
    return Enclosure(*values, left[0] + right[0], left[1] + right[1], a.first * b.first, a.last * b.last)


def _max(a: Enclosure, b: Enclosure) -> Enclosure:
    over, under = a.low >= b.high, b.low >= a.high
    least = jnp.where(over, a.least, jnp.where(under, b.least, jnp.minimum(a.least, b.least)))
    most = jnp.where(over, a.most, jnp.where(under, b.most, jnp.maximum(a.most, b.most)))
    ends = jnp.maximum(a.first, b.first), jnp.maximum(a.last, b.last)
    return Enclosure(jnp.maximum(a.low, b.low), jnp.maximum(a.high, b.high), least, most, *ends)


def _min(a: Enclosure, b: Enclosure) -> Enclosure:
    return _negative(_max(_negative(a), _negative(b)))


def _curve(value: Callable[[Any], Any], slope: Callable[[Any], Any], domain: float = -math.inf) -> Callable[..., Any]:
    """The rule of a function that, like its slope, is monotone on either side of 0, above the end of its domain."""

    def rule(a: Enclosure) -> Enclosure:
        known = a.low >= domain
        low, high = (jnp.where(known, end, 1.0) for end in (a.low, a.high))
        middle = jnp.where((low < 0) & (high > 0), 0.0, low)
        values, slopes = ([f(at) for at in (low, high, middle)] for f in (value, slope))
        slopes = _product((_least(slopes), _most(slopes)), (a.least, a.most))
        first, last = (jnp.where(known, value(jnp.where(known, end, 1.0)), jnp.nan) for end in (a.first, a.last))
        return _where_known(known, Enclosure(_least(values), _most(values), *slopes, first, last))

    return rule


def _where_known(known: Array, found: Enclosure) -> Enclosure:
    infinite = (-jnp.inf, jnp.inf, -jnp.inf, jnp.inf)
    low, high, least, most = (jnp.where(known, b, i) for b, i in zip(found[:4], infinite, strict=True))
    return Enclosure(low, high, least, most, found.first, found.last)


def _least(values: list[Any]) -> Any:
    return jnp.minimum(jnp.minimum(values[0], values[1]), values[2])


def _most(values: list[Any]) -> Any:
    return jnp.maximum(jnp.maximum(values[0], values[1]), values[2])


def _reciprocal(a: Enclosure) -> Enclosure:
    known = (a.low > 0) | (a.high < 0)
    safe = a._replace(low=jnp.where(known, a.low, 1.0), high=jnp.where(known, a.high, 1.0))
    return _where_known(known, _curve(lambda x: 1 / x, lambda x: -1 / (x * x))(safe))


def _power(a: Enclosure, *, y: int) -> Enclosure:
    if y < 0:
        return _reciprocal(_power(a, y=-y))
    if y == 0:
        return constant(jnp.ones_like(a.low))
    return _curve(lambda x: x**y, lambda x: y * x ** (y - 1))(a)


def _wave(value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[..., Any]:
    """The rule of a sine: it and its slope change by no more than their argument does."""

    def rule(a: Enclosure) -> Enclosure:
        middle, reach = (a.low + a.high) / 2, (a.high - a.low) / 2
        ranges = [(jnp.maximum(f(middle) - reach, -1.0), jnp.minimum(f(middle) + reach, 1.0)) for f in (value, slope)]
        return Enclosure(*ranges[0], *_product(ranges[1], (a.least, a.most)), value(a.first), value(a.last))

    return rule


def _step(a: Enclosure, value: Callable[[Any], Any]) -> Enclosure:
    low, high = value(a.low), value(a.high)
    jump = jnp.where(low == high, 0.0, jnp.inf)
    return Enclosure(low, high, -jump, jump, value(a.first), value(a.last))


def _above(a: Enclosure, b: Enclosure, *, strictly: bool) -> Truth:
    """Whether a > b (`strictly`) or a >= b; where their difference is strictly monotone, equality is a single point."""
    single = (a.least - b.most > 0) | (a.most - b.least < 0)
    closed, open_ = a.low >= b.high, a.low > b.high
    under, below = a.high <= b.low, a.high < b.low
    return Truth(open_ | (closed & single), under) if strictly else Truth(closed, below | (under & single))


def _differ(a: Enclosure, b: Enclosure) -> Truth:
    apart = (a.low > b.high) | (a.high < b.low)
    return Truth(apart, (a.low == a.high) & (b.low == b.high) & (a.low == b.low))


def _not(truth: Truth) -> Truth:
    return Truth(truth.no, truth.yes)


def _convert(a: Enclosure | Truth) -> Enclosure:
    return _select(a, constant(0.0), constant(1.0)) if isinstance(a, Truth) else a


def _select(which: Truth, no: Enclosure, yes: Enclosure) -> Enclosure:
    chosen = [jnp.where(which.yes, y, n) for y, n in zip(yes, no, strict=True)]
    hull = jnp.minimum(yes.low, no.low), jnp.maximum(yes.high, no.high)
    known = which.yes | which.no
    low, high = (jnp.where(known, c, h) for c, h in zip(chosen, hull, strict=False))
    least, most = jnp.where(known, chosen[2], -jnp.inf), jnp.where(known, chosen[3], jnp.inf)
    return Enclosure(low, high, least, most, chosen[4], chosen[5])


_ROOT_PI = 2 / math.sqrt(math.pi)


def _logistic_slope(x: Any) -> Any:
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


RULES: dict[str, Callable[..., Any]] = {
    "add": _add,
    "add_any": _add,
    "sub": lambda a, b: _add(a, _negative(b)),
    "neg": _negative,
    "mul": _times,
    "div": lambda a, b: _times(a, _reciprocal(b)),
    "max": _max,
    "min": _min,
    "convert_element_type": _convert,
    "abs": lambda a: _max(a, _negative(a)),
    "sign": lambda a: _step(a, jnp.sign),
    "floor": lambda a: _step(a, jnp.floor),
    "ceil": lambda a: _step(a, jnp.ceil),
    "round": lambda a, rounding_method: _step(a, lambda x: jax.lax.round(x, rounding_method)),
    "exp": _curve(jnp.exp, jnp.exp),
    "exp2": _curve(jnp.exp2, lambda x: math.log(2.0) * jnp.exp2(x)),
    "expm1": _curve(jnp.expm1, jnp.exp),
    "log": _curve(jnp.log, lambda x: 1 / x, 0.0),
    "log1p": _curve(jnp.log1p, lambda x: 1 / (1 + x), -1.0),
    "sqrt": _curve(jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x), 0.0),
    "rsqrt": _curve(lambda x: 1 / jnp.sqrt(x), lambda x: -0.5 / (x * jnp.sqrt(x)), 0.0),
    "tanh": _curve(jnp.tanh, lambda x: 1 / jnp.cosh(x) ** 2),
    "logistic": _curve(jax.nn.sigmoid, _logistic_slope),
    "erf": _curve(jax.lax.erf, lambda x: _ROOT_PI * jnp.exp(-x * x)),
    "erfc": _curve(jax.lax.erfc, lambda x: -_ROOT_PI * jnp.exp(-x * x)),
    "atan": _curve(jnp.arctan, lambda x: 1 / (1 + x * x)),
    "sinh": _curve(jnp.sinh, jnp.cosh),
    "cosh": _curve(jnp.cosh, jnp.sinh),
    "sin": _wave(jnp.sin, jnp.cos),
    "cos": _wave(jnp.cos, lambda x: -jnp.sin(x)),
    "square": lambda a: _power(a, y=2),
    "integer_pow": _power,
    "gt": lambda a, b: _above(a, b, strictly=True),
    "ge": lambda a, b: _above(a, b, strictly=False),
    "lt": lambda a, b: _above(b, a, strictly=True),
    "le": lambda a, b: _above(b, a, strictly=False),
    "ne": _differ,
    "eq": lambda a, b: _not(_differ(a, b)),
    "not": _not,
    "and": lambda a, b: Truth(a.yes & b.yes, a.no | b.no),
    "or": lambda a, b: Truth(a.yes | b.yes, a.no & b.no),
    "select_n": _select,
}
