"""`find_saddle`: walk to a stationary point with one downhill direction."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, KeptCompiled, Landscape
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.refresh import refreshing
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean
from thalweg.methods.descent import tree_norm
from thalweg.methods.drive import Walk, drive
from thalweg.methods.registry import named
from thalweg.methods.saddle import AbstractSaddleSearch, AbstractSaddleState
from thalweg.methods.trace import Trace
from thalweg.verbs.ending import sentence
from thalweg.verbs.relax import reachable


@eqx.filter_jit
def _begun(method: AbstractSaddleSearch, energy: Landscape, space: AbstractSpace, x: PyTree, tol, key) -> Any:
    check_scalar(energy, x, "find_saddle")  # while tracing, so that it costs nothing in later calls
    return method.init(energy, space, x, tol, key)


def _advance(method: AbstractSaddleSearch, energy: Landscape, space: AbstractSpace, state: Any) -> Any:
    return method.step(energy, space, state)


def _begun_on_host(method: AbstractSaddleSearch, field: AbstractHostField, space, x: PyTree, tol, key) -> Any:
    with jax.disable_jit():
        return method.init(KeptCompiled(field), space, x, tol, key)


def _advance_on_host(method: AbstractSaddleSearch, field: AbstractHostField, space: AbstractSpace, state: Any) -> Any:
    # Without compilation the loops of the method run in Python, where the field can be called. A callback from inside
    # compiled code would do too, but a field that itself uses JAX can then wait for the thread that it runs on.
    with jax.disable_jit():
        return method.step(KeptCompiled(field), space, state)


@eqx.filter_jit
def _judge(state: AbstractSaddleState) -> Int[Array, ""]:
    finite = jnp.isfinite(state.value) & jnp.isfinite(tree_norm(state.force))
    going = jnp.where(state.stuck, Outcome.STALLED.code, Outcome.WALKING.code)
    return jnp.where(~finite, Outcome.NONFINITE.code, jnp.where(state.verified, Outcome.DONE.code, going))


def find_saddle(
    energy: Landscape | AbstractHostField,
    x0: PyTree,
    method: AbstractSaddleSearch | str | None = None,
    *,
    space: AbstractSpace | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    key: Key[Array, ""] | None = None,
    along: PyTree | None = None,
    trace: Trace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Walk from `x0` to a saddle: a stationary point with exactly one negative eigenvalue, which is verified.

    A walk that comes to rest at a minimum or at a point of higher index (the start may be one) is kicked at random and
    goes on, so that it ends at a saddle or with its budget.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar, twice differentiable on the way; or a host field, whose second
      derivatives are differences of its forces.
    - `x0`: the start, a pytree of floating arrays.
    - `method`: a saddle search, or its name (`following`, the default).
    - `space`: where `x` lives, without walls; by default unbounded.
    - `tol`: bound on the Euclidean norm of the force that can still move `x`; by default as in `relax`.
    - `max_steps`: at most so many steps; one of them is the check at rest.
    - `key`: of the kicks; by default a fixed one, so that the same call gives the same saddle.
    - `along`: the direction to climb first, with the structure of `x0` (the tangent of a band, say); by default the
      gradient.
    - `trace`: what to record of the walk (`walk.x`, `.value`, `.force`, `.eigenvalue`).
    - `throw`, `on_chunk`: as in `relax`.

    **Returns:** a `Solution` with `stats` `index` (the number of negative eigenvalues where the walk last rested; -1 if
    it never did), `eigenvalue` and `mode` (the lowest eigenvalue and its unit direction, with the structure of `x`),
    `steps`, `force_norm`, `hvps` (products with the Hessian) and `seconds`. Where not `DONE`, the last point is given.

    **Raises:** `InputError` for an unusable start or method; `WalkError` for a walk that found no saddle.
    """
    space = Euclidean() if space is None else space
    if method is None or isinstance(method, str):
        method = named("find_saddle", method or "following")
    x = _checked(energy, x0, space, throw)
    tol = reachable(x) if tol is None else tol
    positive(tol, "tol", "find_saddle")
    if not traced(max_steps) and max_steps < 0:
        raise InputError(f"find_saddle: max_steps is {max_steps}, but it must not be negative.")
    host = isinstance(energy, AbstractHostField)
    begun: Any = _begun_on_host if host else _begun
    step: Any = _advance_on_host if host else _advance
    key = jax.random.key(0) if key is None else key
    bound = jnp.asarray(tol, jnp.result_type(*jax.tree.leaves(x)))
    state: Any = begun(method, energy, space, x, bound, key)
    if along is not None:
        state = eqx.tree_at(lambda s: s.mode, state, ravel_pytree(space.project(x, along))[0])
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    advance: Any = eqx.Partial(step, method, energy, space)
    end = drive(advance, state, max_steps, judge=_judge, host=host, hooks=hooks, trace=trace)
    return _concluded(end, hooks, throw)


def _concluded(end: Walk, hooks: tuple[Hook, ...], throw: bool) -> Solution:
    state: AbstractSaddleState = end.state
    stats = {
        "steps": end.step,
        "force_norm": tree_norm(state.force),
        "index": state.index,
        "eigenvalue": state.eigenvalue,
        "mode": ravel_pytree(state.x)[1](state.mode),
        "hvps": state.hvps,
        "seconds": end.seconds,
    }
    solution = Solution(state.x, state.value, end.outcome, end.records, stats)
    if not throw or traced(end.outcome) or solution.done:
        return solution
    index = int(state.index)
    rested = (
        f" It rested last at a point of index {index}, not 1: start elsewhere or with another key."
        if index >= 0
        else ""
    )
    raise WalkError(sentence(end, "find_saddle", hooks) + rested, solution)


def _checked(energy: Any, x0: PyTree, space: AbstractSpace, throw: bool) -> PyTree:
    if refreshing(energy):
        raise InputError("find_saddle: an energy with lists keeps them for one configuration: pass it without lists.")
    x = floating(x0, "find_saddle")
    fits(space, x, "find_saddle")
    if throw and traced(x, energy):
        raise InputError("find_saddle: nothing can be raised inside jit or vmap: pass throw=False and read `outcome`.")
    return space.wrap(x)
