"""A float32 program of JAX operations evaluated in float64, its own constants included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Float

from thalweg.core.errors import InputError

_CALLS = frozenset("jit pjit closed_call core_call custom_jvp_call remat remat2 checkpoint".split())
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_SINGLE = np.dtype(np.float32)


def in_double(function: Callable[[Array], Array], x: Float[Array, "..."], name: str) -> Array:
    """The value of a function of float32 arrays, computed in float64 with its constants widened exactly.

    Its operations are read with a float32 input and repeated one by one, so that a function whose constants refuse an
    input of another width can be differentiated and audited in double precision. Rules for derivatives of smooth
    functions (`custom_jvp`) are those of the operations inside.

    **Arguments:** `x` in float64; `name`, for messages.

    **Raises:** `InputError` for loops, branches and functions with a backward pass of their own (`custom_vjp`), which
    reading the operations would silently replace.
    """
    program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(x.shape, _SINGLE))
    return _evaluated(program.jaxpr, program.consts, [x], name)[0]


def _evaluated(program: Jaxpr, constants: Any, arguments: list[Any], name: str) -> list[Any]:
    values = dict(zip(program.constvars, map(_widened, constants), strict=True))
    values |= dict(zip(program.invars, arguments, strict=True))

    def read(term: Any) -> Any:
        return _widened(term.val) if isinstance(term, Literal) else values[term]

    for equation in program.eqns:
        operands = [read(term) for term in equation.invars]
        found = _one(equation, operands, name)
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(term) for term in program.outvars]


def _one(equation: Any, operands: list[Any], name: str) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name in _CALLS:
        inner = next(params[key] for key in _INNER if key in params)
        if isinstance(inner, ClosedJaxpr):
            return _evaluated(inner.jaxpr, inner.consts, operands, name)
        return _evaluated(inner, [], operands, name)
    if any(isinstance(value, ClosedJaxpr | Jaxpr) for value in params.values()) or "custom_vjp" in primitive.name:
        raise InputError(
            f"{name} computes in float32 only, and its {primitive.name} cannot be repeated in float64: keep its "
            "weights in an Equinox module, or convert them with .astype(x.dtype) where they are used."
        )
    wide = {key: jnp.float64 if _is_single(value) else value for key, value in params.items()}
    found = primitive.bind(*operands, **wide)
    return list(found) if primitive.multiple_results else [found]


def _is_single(value: Any) -> bool:
    try:
        return isinstance(value, type | np.dtype) and np.dtype(value) == _SINGLE
    except TypeError:  # a class that is no dtype
        return False


def _widened(value: Any) -> Any:
    return jnp.asarray(value, jnp.float64) if getattr(value, "dtype", None) == _SINGLE else value
