"""What every landscape promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.energy import AbstractHostField, Landscape, value_and_force
from thalweg.testing.promises import check_like, promise

_SMALL = 64  # up to so many coordinates, every one of them is differenced
_DIRECTIONS = 8


def check_energy(
    energy: Landscape | AbstractHostField,
    x: PyTree,
    *,
    key: Key[Array, ""] | None = None,
    tolerance: float | None = None,
) -> None:
    """Hold a landscape to the promises that every verb relies on.

    At `x` the energy is one finite number and the force has the structure, shapes and dtypes of `x`; in float64 the
    force is what central differences say, along random directions and, up to 64 coordinates, along each of them. A
    compiled landscape further computes in the dtype of `x`, with no float64 in a float32 program, and compiles once
    for all values of its parameters.

    **Arguments:**

    - `energy`: a landscape, or a host field, of which only values and forces are checked.
    - `x`: one configuration, a pytree of floats at which the energy is smooth.
    - `key`: of the random directions.
    - `tolerance`: the largest difference between the slope along a unit direction and its difference quotient, in
      units of energy over those of `x`. By default it is found from the quotients themselves: four times what they
      change by when the step is halved twice (truncation and rounding as they occur), plus `64 eps |E| / step`.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    directions = jax.random.key(0) if key is None else key
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), x)
        _check_shapes(energy, wide)
        _check_slopes(energy, wide, directions, tolerance)
        if not isinstance(energy, AbstractHostField):
            narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x)
            _check_shapes(energy, narrow)
            _check_narrow(energy, narrow)
            _check_traces(energy, wide)


def _check_shapes(energy: Landscape | AbstractHostField, x: PyTree) -> None:
    dtype = jnp.result_type(*jax.tree.leaves(x))
    if not isinstance(energy, AbstractHostField):
        shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(energy, x))]
        promise(shapes == [()], f"the energy returned shape {shapes}, not one number: sum it.")
    value, push = _looked(energy, x)
    promise(value.dtype == dtype, f"the energy of a {dtype} x is {value.dtype}: cast parameters with astype(x.dtype).")
    promise(np.isfinite(value), f"the energy is {value} at x, but it must be finite there.")
    check_like(push, x, "the force")
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(push))
    promise(finite, "the force is not finite at x: guard both branches of each `where` (its gradient sees both).")


def _check_slopes(energy, x: PyTree, key: Key[Array, ""], tolerance: float | None) -> None:
    flat, unravel = ravel_pytree(x)
    here, eps = np.asarray(flat), np.finfo(np.float64).eps
    steps = eps ** (1 / 3) * max(1.0, float(np.sqrt(np.mean(here**2)))) * np.array([1.0, 0.5, 0.25])
    along = np.asarray(jax.random.normal(key, (_DIRECTIONS, here.size)))
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    if here.size <= _SMALL:
        along = np.concatenate([along, np.eye(here.size)])
    offsets = np.stack([steps, -steps])[:, :, None, None] * along
    heights = np.asarray(_heights(energy, unravel, jnp.asarray((here + offsets).reshape(-1, here.size))))
    heights = heights.reshape(2, len(steps), len(along))
    quotients = (heights[0] - heights[1]) / (2 * steps[:, None])
    slopes = -along @ np.asarray(ravel_pytree(_looked(energy, x)[1])[0])
    allowed = 4 * np.ptp(quotients, axis=0) + 64 * eps * np.abs(heights).max() / steps[-1]
    allowed = allowed if tolerance is None else np.full_like(allowed, tolerance)
    gap = np.abs(slopes - quotients[-1])
    worst = int(np.argmax(np.nan_to_num(gap - allowed, nan=np.inf)))
    which = f"coordinate {worst - _DIRECTIONS}" if worst >= _DIRECTIONS else f"random direction {worst}"
    promise(
        gap[worst] <= allowed[worst],
        f"the slope along {which} is {slopes[worst]:.10g}, but central differences say {quotients[-1][worst]:.10g} "
        f"(allowed difference {allowed[worst]:.1e}): the force is not the gradient of the energy.",
    )


@eqx.filter_jit
def _looked_compiled(energy, x: PyTree) -> tuple[Array, PyTree]:
    return value_and_force(energy, x)


def _looked(energy, x: PyTree) -> tuple[Array, PyTree]:
    return value_and_force(energy, x) if isinstance(energy, AbstractHostField) else _looked_compiled(energy, x)


@eqx.filter_jit
def _heights_compiled(energy, unravel, points: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jax.lax.map(lambda point: energy(unravel(point)), points)


def _heights(energy, unravel, points: Float[Array, "n d"]) -> Float[Array, " n"]:
    if isinstance(energy, AbstractHostField):
        return jnp.asarray(energy.value_and_force_batch(jax.vmap(unravel)(points))[0])
    return _heights_compiled(energy, unravel, points)


def _check_narrow(energy: Landscape, x: PyTree) -> None:
    wide = sorted(set(wide_results(jax.make_jaxpr(lambda here: value_and_force(energy, here))(x).jaxpr)))
    promise(
        not wide,
        f"a float32 x is computed on in float64 (by {', '.join(wide)}): give every array the dtype of x, and cast "
        "parameters with astype(x.dtype).",
    )


def wide_results(jaxpr: Any) -> Iterator[str]:
    """The primitives of a jaxpr that produce float64; weakly typed results do not count, for they widen nothing."""
    for equation in jaxpr.eqns:
        inner = [part for part in jax.tree.leaves(list(equation.params.values()), is_leaf=_jaxpr) if _jaxpr(part)]
        for part in inner:
            yield from wide_results(getattr(part, "jaxpr", part))
        if not inner and any(_wide(out.aval) for out in equation.outvars):
            yield equation.primitive.name


def _wide(aval: Any) -> bool:
    return getattr(aval, "dtype", None) == np.float64 and not getattr(aval, "weak_type", False)


def _jaxpr(part: Any) -> bool:
    return hasattr(part, "eqns")


def _check_traces(energy: Landscape, x: PyTree) -> None:
    floats = list(_python_floats(energy, "energy"))
    promise(
        not floats,
        f"{', '.join(floats)} is a Python float, for each value of which everything compiles anew: declare the field "
        "with eqx.field(converter=jnp.asarray).",
    )
    traces = 0

    @eqx.filter_jit
    def compiled(energy, x):
        nonlocal traces
        traces += 1
        return value_and_force(energy, x)

    for change in (1.0, 1.01, 1.02):
        compiled(jax.tree.map(lambda leaf, by=change: leaf * by if eqx.is_inexact_array(leaf) else leaf, energy), x)
    promise(traces == 1, f"the energy compiled {traces} times for 3 values of its parameters: make them array leaves.")


def _python_floats(part: Any, place: str) -> Iterator[str]:
    if isinstance(part, float):
        yield place
    elif isinstance(part, eqx.Module):
        for field in dataclasses.fields(part):
            yield from _python_floats(getattr(part, field.name, None), f"{place}.{field.name}")
    elif isinstance(part, list | tuple | dict):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _python_floats(value, f"{place}[{name!r}]")
