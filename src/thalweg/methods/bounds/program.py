"""The straight-line program of a JAX function: its operations in order, calls inlined, constants folded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import Literal

from thalweg.core.errors import InputError

_CALLS = frozenset(
    """
    jit pjit closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat remat2 checkpoint
""".split()
)
_SPREADING = frozenset("add sub mul div max min gt ge lt le eq ne and or select_n clamp pow".split())
# The identity on values; `stop_gradient` must not reach a derivative, which it would silence.
_SAME = frozenset({"stop_gradient", "copy", "copy_p", "optimization_barrier"})


class Ref(NamedTuple):
    """A value that depends on the input: its number, shape and dtype."""

    number: int
    shape: tuple[int, ...]
    dtype: Any

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Operation(NamedTuple):
    """One equation: a primitive on references and constants."""

    primitive: Any
    params: dict[str, Any]
    operands: tuple[Any, ...]
    outputs: tuple[Ref, ...]

    @property
    def name(self) -> str:
        return self.primitive.name

    @property
    def refs(self) -> list[Ref]:
        return [operand for operand in self.operands if isinstance(operand, Ref)]

    def __call__(self, *operands: Any) -> list[Any]:
        found = self.primitive.bind(*operands, **self.params)
        return list(found) if self.primitive.multiple_results else [found]


class Program:
    """The operations that make `output` from `input`.

    **Arguments:** `function`, a JAX callable of one array; `shape` and `dtype` of that array.

    **Raises:** `InputError` if the function cannot be traced, or if its output is not one axis of numbers that depend
    on its input.
    """

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...], dtype: Any):
        self.operations: list[Operation] = []
        self.maker: dict[int, Operation] = {}
        self._count = 0
        self.input = self._ref(tuple(shape), jnp.dtype(dtype))
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, dtype))
        outputs = self._inline(closed.jaxpr, closed.consts, [self.input])
        if len(outputs) != 1 or not isinstance(outputs[0], Ref) or len(outputs[0].shape) != 1:
            raise InputError("bounds need a function whose output is one axis of numbers that depend on its input.")
        self.output: Ref = outputs[0]
        self._prune()

    def _prune(self) -> None:
        """Leave out what the output does not follow from."""
        wanted, kept = {self.output.number}, []
        for operation in reversed(self.operations):
            if any(output.number in wanted for output in operation.outputs):
                kept.append(operation)
                wanted |= {ref.number for ref in operation.refs}
        self.operations = kept[::-1]

    def _ref(self, shape: tuple[int, ...], dtype: Any) -> Ref:
        self._count += 1
        return Ref(self._count - 1, shape, dtype)

    def _inline(self, jaxpr: Any, constants: Any, arguments: list[Any]) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(term: Any) -> Any:
            return term.val if isinstance(term, Literal) else values[term]

        for equation in jaxpr.eqns:
            operands = [read(term) for term in equation.invars]
            found = self._one(equation, operands)
            values |= dict(zip(equation.outvars, found, strict=True))
        return [read(term) for term in jaxpr.outvars]

    def _one(self, equation: Any, operands: list[Any]) -> list[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive.name in _CALLS:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            closed = isinstance(inner, core.ClosedJaxpr)
            return self._inline(inner.jaxpr if closed else inner, inner.consts if closed else (), operands)
        if not any(isinstance(operand, Ref) for operand in operands):
            return Operation(primitive, params, (), ())(*operands)
        if primitive.name in _SAME:
            return operands
        operands = self._spread(primitive.name, operands, equation.outvars[0].aval.shape)
        rule = _rule(primitive.name, operands)
        if rule is not None:
            return self._traced(lambda *values: rule(*values, **params), operands)
        return self._append(primitive, params, operands, [var.aval for var in equation.outvars])

    def _spread(self, name: str, operands: list[Any], shape: tuple[int, ...]) -> list[Any]:
        """Operands of one number that an operation takes for each item, as arrays."""
        if name not in _SPREADING or not shape:
            return operands
        return [
            self._traced(lambda value: jnp.broadcast_to(value, shape), [operand])[0]
            if isinstance(operand, Ref) and not operand.shape
            else operand
            for operand in operands
        ]

    def _append(self, primitive: Any, params: dict[str, Any], operands: list[Any], kinds: list[Any]) -> list[Ref]:
        outputs = tuple(self._ref(kind.shape, kind.dtype) for kind in kinds)
        operation = Operation(primitive, params, tuple(operands), outputs)
        self.operations.append(operation)
        self.maker |= {output.number: operation for output in outputs}
        return list(outputs)

    def _traced(self, function: Callable[..., Any], operands: list[Any]) -> list[Any]:
        """The operations of `function`, a rewriting of one equation, in the place of that equation."""
        places = [place for place, operand in enumerate(operands) if isinstance(operand, Ref)]

        def of_refs(*values: Any) -> Any:
            full = list(operands)
            for place, value in zip(places, values, strict=True):
                full[place] = value
            return function(*full)

        refs = [operands[place] for place in places]
        closed = jax.make_jaxpr(of_refs)(*(jax.ShapeDtypeStruct(ref.shape, ref.dtype) for ref in refs))
        return self._inline(closed.jaxpr, closed.consts, refs)


def _rule(name: str, operands: list[Any]) -> Callable[..., Any] | None:
    """How an operation is written with simpler ones; `None` where it stays as it is."""
    both = len(operands) == 2 and all(isinstance(operand, Ref) for operand in operands)
    if name in ("max", "min") and (not both or operands[0] == operands[1]):
        constant = next((operand for operand in operands if not isinstance(operand, Ref)), None)
        idle = -math.inf if name == "max" else math.inf
        if constant is None or bool((jnp.asarray(constant) == idle).all()):
            return lambda *values: next(v for v, o in zip(values, operands, strict=True) if isinstance(o, Ref))
        return None
    pairs = {"max": _max, "min": lambda a, b: -_max(-a, -b), "div": lambda a, b: a * (1 / b)}
    others = {"reduce_max": _reduce_max, "reduce_min": _reduce_min, "reduce_window_max": _reduce_window_max,
              "clamp": lambda low, x, high: jnp.minimum(jnp.maximum(low, x), high)}  # fmt: skip
    return others.get(name) or (pairs.get(name) if both else None)


def _max(a: Any, b: Any) -> Any:
    return a + jax.nn.relu(b - a)


def _reduce_max(x: Any, *, axes: tuple[int, ...], **_: Any) -> Any:
    rest = jnp.moveaxis(x, axes, range(len(axes)))
    rest = rest.reshape(-1, *rest.shape[len(axes) :])
    while rest.shape[0] > 1:  # a tree of pairs: fewer relaxations on the way of each item than in a chain
        half = rest.shape[0] // 2
        rest = jnp.concatenate([_max(rest[:half], rest[half : 2 * half]), rest[2 * half :]])
    return rest[0]


def _reduce_min(x: Any, *, axes: tuple[int, ...], **_: Any) -> Any:
    return -_reduce_max(-x, axes=axes)


def _reduce_window_max(x: Any, *, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
                       window_dilation: Any) -> Any:  # fmt: skip
    """The largest item of each window: a gather, then the maximum over an axis.

    Outside of the array nothing counts, so a window takes another of its own items there instead.
    """
    if any(step != 1 for step in base_dilation):
        raise InputError("bounds do not know reduce_window_max with a dilated base: leave that layer out.")
    spots = np.arange(x.size).reshape(x.shape)
    padded = np.pad(spots, padding, constant_values=-1)
    items = []
    for place in np.ndindex(*window_dimensions):
        slices = []
        for axis, (size, step, far) in enumerate(zip(window_dimensions, window_strides, window_dilation, strict=True)):
            first = place[axis] * far
            slices.append(slice(first, padded.shape[axis] - (size - 1) * far + first, step))
        items.append(padded[tuple(slices)])
    items = np.stack(items)
    inside = items.max(axis=0)  # some item of the window
    if inside.min() < 0:
        raise InputError("bounds do not know reduce_window_max with windows outside of its array: use less padding.")
    return _reduce_max(x.reshape(-1)[np.where(items < 0, inside, items)], axes=(0,))
