"""`relax`: walk downhill to rest."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.refresh import Lists, Mend, have_room, refreshing, renewed, split
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean, Signs, innermost
from thalweg.methods.cluster import HasCouplings
from thalweg.methods.descent import AbstractDescent, AbstractFlow, look, tree_equal, tree_norm
from thalweg.methods.drive import drive
from thalweg.methods.registry import named
from thalweg.methods.signs.search import AbstractSearch
from thalweg.methods.trace import Trace
from thalweg.verbs.ending import concluded
from thalweg.verbs.search import search

Method = AbstractDescent | AbstractFlow


class Descending(eqx.Module):
    """A descent under way: the method's own `state`, the lowest point seen so far, and a landscape's lists."""

    state: PyTree
    best: PyTree
    lowest: Float[Array, ""]
    lists: Lists | None = None


# Functions at module level and parameters as leaves (`eqx.Partial`): a closure made anew in each call would
# compile anew in each call.
def _seen(before: Descending, state: PyTree, lists: Lists | None = None) -> Descending:
    lower = state.value < before.lowest
    best = jax.tree.map(lambda new, old: jnp.where(lower, new, old), state.x, before.best)
    return Descending(state, best, jnp.where(lower, state.value, before.lowest), lists)


@eqx.filter_jit
def _begun(method: Method, rest: Any, lists: Lists | None, space: AbstractSpace, x: PyTree) -> Descending:
    energy = rest if lists is None else eqx.combine(lists.parts, rest)
    check_scalar(energy, x, "relax")  # while tracing, so that it costs nothing in later calls
    if isinstance(method, AbstractFlow):
        state = method.init(energy, space, x)
    else:
        state = method.init(space, x, *look(energy, space, x))
    return Descending(state, state.x, state.value, lists)


def _advance(method: Method, rest: Any, space: AbstractSpace, walk: Descending) -> Descending:
    if isinstance(method, AbstractFlow):
        return _seen(walk, method.step(rest, space, walk.state))
    energy, lists = renewed(walk.lists, rest, walk.state.trial)
    return _seen(walk, method.tell(space, walk.state, *look(energy, space, walk.state.trial)), lists)


@eqx.filter_jit
def _told(method: AbstractDescent, space: AbstractSpace, walk: Descending, value, push) -> Descending:
    return _seen(walk, method.tell(space, walk.state, value, space.project(walk.state.trial, push)))


def _advance_on_host(method: AbstractDescent, field: AbstractHostField, space: AbstractSpace, walk: Descending):
    value, push = look(field, Euclidean(), walk.state.trial)
    return _told(method, space, walk, value, push)


@eqx.filter_jit
def _judge(tol: Float[Array, ""], walk: Descending) -> Int[Array, ""]:
    push = tree_norm(walk.state.force)
    finite = jnp.isfinite(walk.state.value) & jnp.isfinite(push)
    trial = getattr(walk.state, "trial", None)
    stuck = jnp.array(False) if trial is None else tree_equal(trial, walk.state.x)
    resting = jnp.where(stuck, Outcome.STALLED.code, Outcome.WALKING.code)
    ending = jnp.where(push < tol, Outcome.DONE.code, resting)
    ending = jnp.where(have_room(walk.lists), ending, Outcome.CAPACITY.code)
    return jnp.where(finite, ending, Outcome.NONFINITE.code)


def relax(
    energy: Landscape | AbstractHostField | HasCouplings,
    x0: PyTree,
    method: Method | AbstractSearch | str | None = None,
    *,
    space: AbstractSpace | None = None,
    tol: float | None = None,
    max_steps: int = 10_000,
    trace: Trace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Solution:
    """Relax `x0` on `energy` until the norm of the force is below `tol`.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar (an `AbstractEnergy` compiles once for all its parameters), or a
      host field, which is then asked once per step. Lists of fixed size (`AbstractRefreshing`) are kept fresh.
    - `x0`: the start, a pytree of floating arrays.
    - `method`: a descent, or its name (`fire`, `lbfgs`, `projected`, `flow`); by default `projected` where `space`
      has walls and `fire` elsewhere. In the space `Signs`, where nothing is downhill, a search for the lowest signs
      (`annealing`, `exchange`, `memetic`; by default `annealing`): `energy` must then offer its couplings
      (`HasCouplings`), a step is one unit of the search, and `x0` may be `None`.
    - `space`: where `x` lives; by default unbounded.
    - `tol`: bound on the Euclidean norm, over all leaves, of the force that can still move `x`; by default eps^0.4 of
      the dtype of `x` (5e-7 in float64, 2e-3 in float32), about what rounding lets most landscapes reach.
    - `max_steps`: at most so many steps, each one energy and force (the flow: one integrator step).
    - `trace`: what to record of the walk (`walk.state.x`, `.value`, `.force`).
    - `throw`: raise on any other ending than `DONE`; otherwise the lowest point so far comes back with its outcome.
      Inside `jit` and `vmap` nothing can be raised: pass `throw=False` there and read the outcome.
    - `on_chunk`: hooks, called between chunks of steps.

    **Returns:** a `Solution` with `stats` `steps`, `force_norm` and `seconds`.

    **Raises:** `InputError` for an unusable start or method; `WalkError` for a walk that did not arrive.
    """
    space = Euclidean() if space is None else space
    method = _chosen(method, space)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    if not traced(max_steps) and max_steps < 0:
        raise InputError(f"relax: max_steps is {max_steps}, but it must not be negative.")
    if isinstance(method, AbstractSearch):
        return search(energy, x0, method, max_steps, hooks, throw, unused=(tol, trace))
    x = _checked(energy, x0, method, space, throw)
    tol = reachable(x) if tol is None else tol
    positive(tol, "tol", "relax")
    host = isinstance(energy, AbstractHostField)
    lists, rest = split(energy, x, "relax")
    begun: Any = _begun_on_host if host else _begun
    step: Any = _advance_on_host if host else _advance
    state: Any = begun(method, rest, lists, space, x)
    advance: Any = eqx.Partial(step, method, rest, space)
    judge = eqx.Partial(_judge, jnp.asarray(tol))
    end = drive(advance, state, max_steps, judge=judge, host=host, hooks=hooks, trace=trace, mend=Mend(rest))
    walk = end.state
    arrived = end.outcome == Outcome.DONE.code
    value = jax.tree.map(lambda here, best: jnp.where(arrived, here, best), walk.state.x, walk.best)
    height = jnp.where(arrived, walk.state.value, walk.lowest)
    stats = {"steps": end.step, "force_norm": tree_norm(walk.state.force), "seconds": end.seconds}
    return concluded(Solution(value, height, end.outcome, end.records, stats), end, "relax", hooks, throw)


def _chosen(method: Method | AbstractSearch | str | None, space: AbstractSpace) -> Method | AbstractSearch:
    over_signs = isinstance(innermost(space), Signs)
    if method is None:
        method = "annealing" if over_signs else "fire" if isinstance(innermost(space), Euclidean) else "projected"
    chosen = named("relax", method) if isinstance(method, str) else method
    if over_signs and (not isinstance(chosen, AbstractSearch) or not isinstance(space, Signs)):
        raise InputError(
            "relax: signs have no downhill direction: search them with 'annealing' in the bare space Signs(), or walk "
            "on them with sample."
        )
    if isinstance(chosen, AbstractSearch) and not over_signs:
        raise InputError(f"relax: {type(chosen).__name__} searches over signs: pass space=Signs().")
    return chosen


def reachable(x: PyTree) -> float:
    """The default tolerance on forces, eps^0.4 of the dtype of `x`."""
    return float(jnp.finfo(jnp.result_type(*jax.tree.leaves(x))).eps) ** 0.4


def _checked(energy, x0: PyTree, method: Method, space: AbstractSpace, throw: bool) -> PyTree:
    x = floating(x0, "relax")
    fits(space, x, "relax")
    x = space.wrap(x)
    if isinstance(energy, AbstractHostField) and isinstance(method, AbstractFlow):
        raise InputError("relax: a gradient flow needs a compiled landscape, not a host field: use 'fire'.")
    if isinstance(method, AbstractFlow) and refreshing(energy):
        raise InputError("relax: a gradient flow cannot refresh a landscape's lists within its steps: use 'fire'.")
    if throw and traced(x, energy):
        raise InputError("relax: nothing can be raised inside jit or vmap: pass throw=False and read `outcome`.")
    return x


def _begun_on_host(method: Any, field: AbstractHostField, lists: None, space: AbstractSpace, x: PyTree) -> Descending:
    value, push = look(field, Euclidean(), x)
    return _initial(method, space, x, value, push)


@eqx.filter_jit
def _initial(method: AbstractDescent, space: AbstractSpace, x: PyTree, value, push) -> Descending:
    state = method.init(space, x, value, space.project(x, push))
    return Descending(state, state.x, state.value)
