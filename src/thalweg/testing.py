"""Contracts for other people's energies, spaces and methods: each check raises one sentence about a broken promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.energy import AbstractEnergy, AbstractHostField, Landscape, value_and_force
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean
from thalweg.landscapes import MullerBrown
from thalweg.methods.descent import AbstractDescent, AbstractFlow, look
from thalweg.methods.drive import drive
from thalweg.methods.registry import named
from thalweg.verbs.relax import relax

_SMALL = 64  # up to so many coordinates, every one of them is differenced
_DIRECTIONS = 8


def _promise(kept: Any, sentence: str) -> None:
    if not bool(kept):
        raise AssertionError(sentence)


# Energies -------------------------------------------------------------------------------------------------------------


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
        _promise(shapes == [()], f"the energy returned shape {shapes}, not one number: sum it.")
    value, push = _looked(energy, x)
    _promise(value.dtype == dtype, f"the energy of a {dtype} x is {value.dtype}: cast parameters with astype(x.dtype).")
    _promise(np.isfinite(value), f"the energy is {value} at x, but it must be finite there.")
    _check_like(push, x, "the force")
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(push))
    _promise(finite, "the force is not finite at x: guard both branches of each `where` (its gradient sees both).")


def _check_like(found: PyTree, x: PyTree, what: str) -> None:
    same = jax.tree.structure(found) == jax.tree.structure(x)
    _promise(same, f"{what} has the structure {jax.tree.structure(found)}, x has {jax.tree.structure(x)}.")
    for (path, leaf), like in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(x), strict=True):
        name = f"{what}{jax.tree_util.keystr(path)}"
        _promise(leaf.shape == like.shape, f"{name} has shape {leaf.shape}, but x has {like.shape}.")
        _promise(leaf.dtype == like.dtype, f"{name} is {leaf.dtype}, but x is {like.dtype}.")


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
    _promise(
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
    _promise(
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
    _promise(
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
    _promise(traces == 1, f"the energy compiled {traces} times for 3 values of its parameters: make them array leaves.")


def _python_floats(part: Any, place: str) -> Iterator[str]:
    if isinstance(part, float):
        yield place
    elif isinstance(part, eqx.Module):
        for field in dataclasses.fields(part):
            yield from _python_floats(getattr(part, field.name, None), f"{place}.{field.name}")
    elif isinstance(part, list | tuple | dict):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _python_floats(value, f"{place}[{name!r}]")


# Spaces ---------------------------------------------------------------------------------------------------------------


def check_space(space: AbstractSpace, x: PyTree, *, key: Key[Array, ""] | None = None) -> None:
    """Hold a space to its promises, at the member that `x` stands for.

    Wrapping twice is wrapping once; a shift of any length stays in the space; projecting twice is projecting once;
    no way leads from a point to itself but none; and a short free step is what `displacement` says it was. Structure,
    shapes and dtypes are kept throughout.

    **Arguments:** `x`, a configuration in the dtype that matters; `key`, of the random steps.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    key = jax.random.key(0) if key is None else key
    here = space.wrap(x)
    _check_like(here, x, "wrap(x)")
    _promise(_equal(space.wrap(here), here), "wrap is not idempotent: wrap(wrap(x)) differs from wrap(x).")
    push = _random_like(key, here)
    for length in (1e-3, 1.0, 30.0):
        there = space.shift(here, jax.tree.map(lambda leaf, by=length: by * leaf, push))
        _check_like(there, x, "shift(x, step)")
        _promise(_equal(space.wrap(there), there), f"a shift of length {length} leaves the space: wrap moves its end.")
    free = space.project(here, push)
    _check_like(free, x, "project(x, force)")
    # Projections may be sums over coordinates, whose rounding grows as the square root of their number at worst.
    bound = 16 * _eps(x) * _size(push) * ravel_pytree(push)[0].size ** 0.5
    again = _size(jax.tree.map(jnp.subtract, space.project(here, free), free))
    _promise(again <= bound, f"project is not idempotent: projecting twice changes the force by {again:.1e}.")
    _promise(_size(space.displacement(here, here)) == 0, "displacement(x, x) is not zero: a point is away from itself.")
    _check_short_step(space, here, free)


def _check_short_step(space: AbstractSpace, here: PyTree, free: PyTree) -> None:
    length = _eps(here) ** 0.5
    step = jax.tree.map(lambda leaf: (length * leaf).astype(leaf.dtype), free)
    there = space.shift(here, step)
    moved = space.displacement(here, there)
    _check_like(moved, here, "displacement(a, b)")
    error = _size(jax.tree.map(jnp.subtract, moved, step))
    # Adding the step rounds to the spacing of the numbers at both ends.
    bound = 8 * _eps(here) * max(_size(here), _size(there), length)
    _promise(
        error <= bound,
        f"displacement(x, shift(x, step)) misses a free step of length {length:.1e} by {error:.1e}: the two disagree.",
    )


def _random_like(key: Key[Array, ""], x: PyTree) -> PyTree:
    flat, unravel = ravel_pytree(x)
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))


def _equal(a: PyTree, b: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


def _size(x: PyTree) -> float:
    """The largest absolute value in `x`."""
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(x))


def _eps(x: PyTree) -> float:
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(x))


# Methods --------------------------------------------------------------------------------------------------------------

_ARRIVED = 1e-6  # the bound on the force at which the checked walks end; their energies are below 150, in float64


class _Quadratic(AbstractEnergy):
    """A bowl over any pytree with its minimum at 1, as stiff as the Muller-Brown landscape: 200 to 1000."""

    stiffest: Float[Array, ""] = eqx.field(default=1000.0, converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        flat = ravel_pytree(x)[0]
        stiffness = jnp.linspace(200.0, self.stiffest.astype(flat.dtype), flat.size, dtype=flat.dtype)
        return 0.5 * jnp.sum(stiffness * (flat - 1) ** 2)


def check_method(method: AbstractDescent | AbstractFlow | str) -> None:
    """Hold a relaxation method to its promises, in float64.

    It cites its source; finds the minimum of a bowl over a dict of arrays, and the published one of the
    Muller-Brown landscape; ends with the same bits whatever the chunk size; and arrives at the same place when
    walks are batched with `vmap`.

    **Arguments:** `method`, or its name.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    with jax.enable_x64(True):
        chosen = named("relax", method) if isinstance(method, str) else method
        cited = getattr(chosen, "bibtex", "")
        _promise(isinstance(cited, str) and cited.lstrip().startswith("@"), "the method carries no BibTeX entry.")
        _check_bowl(chosen)
        _check_chunks(chosen)
        _check_batch(chosen)


def _check_bowl(method: AbstractDescent | AbstractFlow) -> None:
    start = {"a": jnp.zeros(3), "b": jnp.full((2, 2), 2.0)}
    end = relax(_Quadratic(), start, method, tol=_ARRIVED, throw=False)
    _promise(end.done, f"the walk into a bowl did not arrive: {end.sentence}")
    _check_like(end.value, start, "the end of the walk into a bowl")
    # The softest direction has a stiffness above 1, so a force below the bound is a distance below the bound.
    off = _size(jax.tree.map(lambda leaf: leaf - 1, end.value))
    _promise(off <= _ARRIVED, f"the walk into a bowl says that it arrived, but ends {off:.1e} from the minimum.")


def _check_batch(method: AbstractDescent | AbstractFlow) -> None:
    starts = jnp.array([[0.6, 0.0], [0.65, 0.05]])
    alone = [relax(MullerBrown(), start, method, tol=_ARRIVED, throw=False) for start in starts]
    for end in alone:
        _promise(end.done, f"the walk on the Muller-Brown landscape did not arrive: {end.sentence}")
        # Six published decimals.
        gap = abs(float(end.energy) + 108.166724)
        _promise(gap < 1e-6, f"the walk on the Muller-Brown landscape ends {gap:.1e} above the published minimum.")
    batched: Solution = jax.vmap(lambda x: relax(MullerBrown(), x, method, tol=_ARRIVED, throw=False))(starts)
    _promise(batched.done, f"under vmap the walk on the Muller-Brown landscape did not arrive: {batched.sentence}")
    softest = float(jnp.linalg.eigvalsh(jax.hessian(MullerBrown())(alone[0].value))[0])
    apart = float(jnp.abs(batched.value - jnp.stack([end.value for end in alone])).max())
    # Both ends have a force below the bound: each is at most bound / stiffness from the minimum, to first order.
    _promise(apart <= 3 * _ARRIVED / softest, f"under vmap the walk ends {apart:.1e} from where it ends alone.")


def _check_chunks(method: AbstractDescent | AbstractFlow) -> None:
    energy, space = MullerBrown(), Euclidean()
    start = jnp.array([0.6, 0.0])
    first = _begun(method, energy, space, start)
    step = eqx.Partial(_advance, method, energy, space)
    ends = [drive(step, first, 30, judge=_judge_value, chunk=chunk) for chunk in (1, 7, 1000)]
    _promise(
        int(ends[0].outcome) == Outcome.STEPS.code,
        f"30 steps of the method on the Muller-Brown landscape do not stay finite: step {ends[0].step + 1} breaks.",
    )
    for size, end in zip((7, 1000), ends[1:], strict=True):
        same = _equal(eqx.filter(end.state, eqx.is_array), eqx.filter(ends[0].state, eqx.is_array))
        _promise(same, f"chunks of {size} steps end with other bits than chunks of 1: the step is not a pure function.")


@eqx.filter_jit
def _begun(method: AbstractDescent | AbstractFlow, energy: Landscape, space: AbstractSpace, x: PyTree) -> Any:
    if isinstance(method, AbstractFlow):
        return method.init(energy, space, x)
    return method.init(space, x, *look(energy, space, x))


def _advance(method: AbstractDescent | AbstractFlow, energy: Landscape, space: AbstractSpace, state: Any) -> Any:
    if isinstance(method, AbstractFlow):
        return method.step(energy, space, state)
    return method.tell(space, state, *look(energy, space, state.trial))


def _judge_value(state: Any) -> Int[Array, ""]:
    return jnp.where(jnp.isfinite(state.value), Outcome.WALKING.code, Outcome.NONFINITE.code)
