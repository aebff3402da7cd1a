"""Programs that run once or twice: compiled without delay."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


# What LLVM would gain by optimising programs that run for milliseconds, it loses tenfold.
@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _compiled(function: Any, static: Any, dynamic: Any) -> Any:
    return function(*eqx.combine(dynamic, static))


def quickly(function: Callable[..., Any], *given: Any) -> Any:
    """What a function of modules and arrays says, for a function at the level of a module."""
    dynamic, static = eqx.partition(given, eqx.is_array)
    return _compiled(function, static, dynamic)
