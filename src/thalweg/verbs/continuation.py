"""`follow_branch` and `switch_branch`: stationary points against a parameter, round folds and onto other branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from thalweg.core.checks import check_scalar, floating, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Resumer
from thalweg.methods.bifurcation import SpecialPoint
from thalweg.methods.continuation import PseudoArclength
from thalweg.methods.corrector import Corrected, Stationary, corrected
from thalweg.verbs.branch import Branch, BranchWalk

Direction = Literal["up", "down", "both"]
_MOST = 1000  # unknowns: a Newton step decomposes the dense Hessian


def follow_branch(
    family: Callable[[Any], Landscape],
    x0: PyTree,
    value: float | Float[Array, ""],
    method: PseudoArclength | None = None,
    *,
    bounds: tuple[float, float],
    direction: Direction = "both",
    max_steps: int = 500,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Branch:
    """Follow the stationary points of `family(value)` that `x0` belongs to, stable or not, round every fold.

    **Arguments:**

    - `family`: from a value, a scalar array, to a landscape that is smooth in value and `x`.
    - `x0`: a stationary point at `value`, or a point so near that Newton's method finds one.
    - `method`: the lengths of steps along the branch.
    - `bounds`: the lowest and the highest value; the branch ends where it leaves them.
    - `direction`: where the walk sets out to: `up` or `down` in the value, or `both`, which joins the two.
    - `max_steps`: at most so many steps in each direction.
    - `throw`: raise where an end is neither at a bound nor closes a loop; otherwise the branch so far comes back.
    - `on_chunk`: hooks, called between chunks of steps, first on the way down.

    **Returns:** a `Branch` with its folds and branch points. A step in which two eigenvalues cross zero in opposite
    directions shows nothing: a smaller `longest` finds them. Zero modes of a continuous symmetry may be there.

    **Raises:** `InputError` for unusable arguments; `WalkError`, whose `solution.value` is the branch so far.
    """
    method = PseudoArclength() if method is None else method
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    equations, point = _checked(family, x0, value, bounds, direction, max_steps, hooks, "follow_branch")
    level = jnp.zeros_like(point).at[-1].set(1)
    start = _settled(equations, point, level, method.precision(point.dtype))
    if not bool(start.ok):
        raise InputError(
            f"follow_branch: Newton's method finds no stationary point near x0 at the value {float(point[-1]):.6g}: "
            "relax it there first."
        )
    walk = BranchWalk(method, equations, bounds, max_steps, hooks, throw, "follow_branch")
    headings = [way * level for way in {"up": (1,), "down": (-1,), "both": (-1, 1)}[direction]]
    return walk.joined([(start.point, heading) for heading in headings])


def switch_branch(
    family: Callable[[Any], Landscape],
    point: SpecialPoint,
    method: PseudoArclength | None = None,
    *,
    bounds: tuple[float, float],
    max_steps: int = 500,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Branch:
    """Follow the other branch that passes through a branch point, to both sides of it.

    **Arguments:** as for `follow_branch`; `point`, a member of `branch.points` that is no fold. Where several
    eigenvalues cross at once, the branch along `point.null` is followed.

    **Returns:** the emanating branch; its `arclength` is counted from beside the branch point.

    **Raises:** `InputError` for a fold, or where no second branch is found; `WalkError` as `follow_branch`.
    """
    if point.kind == "fold":
        raise InputError("switch_branch: no other branch meets this one at a fold: pass a branch point.")
    method = PseudoArclength() if method is None else method
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    equations, at = _checked(family, point.x, point.value, bounds, "both", max_steps, hooks, "switch_branch")
    along = jnp.append(ravel_pytree(point.emanating_x)[0], point.emanating_value).astype(at.dtype)
    starts = [_beside(equations, at, way * along, method) for way in (-1, 1)]
    return BranchWalk(method, equations, bounds, max_steps, hooks, throw, "switch_branch").joined(starts)


def _beside(equations: Stationary, at: Any, along: Any, method: PseudoArclength) -> tuple[Any, Any]:
    """A point on the emanating branch, as near as Newton's method needs it."""
    size = method.step.astype(at.dtype)
    while size >= method.shortest:
        guess = at + size * along
        found = _settled(equations, guess, along, method.precision(at.dtype))
        if bool(found.ok) and float(jnp.linalg.norm(found.point - guess)) < float(size) / 2:
            return found.point, along
        size = size / 2
    raise InputError("switch_branch: no second branch is found beside this point: pass a method with a shorter step.")


@eqx.filter_jit
def _settled(equations: Stationary, guess: Any, row: Any, tol: Any) -> Corrected:
    check_scalar(equations.family(guess[-1]), equations.x(guess), "follow_branch")
    return corrected(equations, guess, row, tol, iterations=50)


def _checked(family, x0, value, bounds, direction, max_steps, hooks, verb: str) -> tuple[Stationary, Any]:
    if traced(x0, value, bounds):
        raise InputError(f"{verb}: it steers on the host and does not work inside jit or vmap: call it from outside.")
    x = floating(x0, verb)
    flat = ravel_pytree(x)[0]
    if len(flat) > _MOST:
        raise InputError(
            f"{verb}: x0 holds {len(flat)} numbers, but its dense Hessian is decomposed in every step: at most {_MOST}."
        )
    point = jnp.append(flat, jnp.asarray(value, flat.dtype))
    low, high = (jnp.asarray(bound, flat.dtype) for bound in bounds)
    if not low <= point[-1] <= high:
        raise InputError(f"{verb}: the value {float(value):.6g} lies outside of the bounds {bounds}: widen them.")
    if direction not in ("up", "down", "both"):
        raise InputError(f"{verb}: direction is {direction!r}: choose one of up, down, both.")
    if max_steps < 1:
        raise InputError(f"{verb}: max_steps is {max_steps}, but at least one is needed.")
    if direction == "both" and any(isinstance(hook, Resumer) for hook in hooks):
        raise InputError(f"{verb}: one checkpoint cannot keep two walks: follow one direction at a time.")
    if isinstance(family(point[-1]), AbstractHostField):
        raise InputError(f"{verb}: a host field has no second derivatives: it needs a compiled landscape.")
    return Stationary(family, x), point
