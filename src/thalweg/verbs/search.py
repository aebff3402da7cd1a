"""`relax` over signs: units of a search, until a target, a limit or nothing is left to do."""

from __future__ import annotations

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from thalweg.core.checks import traced
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome, Solution
from thalweg.methods.drive import drive
from thalweg.methods.signs.graph import SignGraph, height, one_flip_optimal, sign_graph
from thalweg.methods.signs.search import AbstractSearch
from thalweg.verbs.ending import concluded


class Searching(eqx.Module):
    """A search under way: the method's own `state`, and what was found so far for those who look."""

    state: PyTree
    signs: Any
    lowest: Any
    updates: Any
    whole: Any


def search(
    energy: Any,
    x0: Any,
    method: AbstractSearch,
    max_steps: int,
    hooks: tuple[Hook, ...],
    throw: bool,
    unused: tuple[Any, ...] = (),
) -> Solution:
    """Search the signs of lowest energy: what `relax` does in the space `Signs`.

    **Arguments:** `energy`, with couplings to offer (`HasCouplings`); `x0`, signs `[n]` to begin from, or `None`.

    **Returns:** a `Solution` whose energy is computed anew from the couplings, with `stats` `steps`, `seconds`,
    `updates`, `one_flip_optimal`, and the `energy` in full precision.

    **Raises:** `InputError` for an energy without couplings or a start of no signs.
    """
    if traced(x0, energy):
        raise InputError("relax: a search over signs runs on the host: call it outside of jit and vmap.")
    if any(each is not None for each in unused):
        raise InputError("relax: a search over signs has no `tol` and no `trace`: give its method a `target`.")
    graph, clock = sign_graph(energy), time.perf_counter()
    words = np.random.SeedSequence(method.seed).generate_state(256, np.uint64)
    state = _seen(method, graph, method.init(graph, _signs(graph, x0), words))
    begun = time.perf_counter() - clock  # a search may do much before its first unit
    walk = drive(
        eqx.Partial(_advance, method, graph),
        state,
        max_steps,
        judge=eqx.Partial(_judge, method.target),
        host=True,
        hooks=hooks,
    )
    end: Searching = walk.state
    # A search has no other aim than its units of work.
    spent = np.where(walk.outcome == Outcome.STEPS.code, Outcome.DONE.code, walk.outcome)
    signs = np.asarray(end.signs)
    stats = {"steps": int(walk.step), "seconds": begun + walk.seconds, "updates": int(end.updates)}
    stats |= {"one_flip_optimal": one_flip_optimal(graph, signs), "energy": height(graph, signs)}
    value, lowest = jnp.asarray(signs, float), jnp.asarray(stats["energy"], float)
    solution = Solution(value, lowest, jnp.asarray(spent), None, stats)
    return concluded(solution, walk, "relax", hooks, throw)


def _seen(method: AbstractSearch, graph: SignGraph, state: Any) -> Searching:
    found = method.found(graph, state)
    numbers = np.float64(found.height), np.int64(found.updates), np.bool_(found.whole)
    return Searching(state, np.array(found.signs, np.int8), *map(np.asarray, numbers))


def _advance(method: AbstractSearch, graph: SignGraph, walk: Searching) -> Searching:
    return _seen(method, graph, method.advance(graph, walk.state))


def _judge(target: float | None, walk: Searching) -> int:
    if not np.isfinite(walk.lowest):
        return Outcome.NONFINITE.code
    arrived = walk.whole or (target is not None and walk.lowest <= target)
    return Outcome.DONE.code if arrived else Outcome.WALKING.code


def _signs(graph: SignGraph, x0: Any) -> np.ndarray | None:
    if x0 is None:
        return None
    leaves = jax.tree.leaves(x0)
    if len(leaves) != 1 or np.shape(leaves[0]) != (graph.size,):
        raise InputError(f"relax: x0 must be one array of {graph.size} signs, or None for random ones.")
    signs = np.asarray(leaves[0])
    if not (np.abs(signs) == 1).all():
        raise InputError("relax: x0 holds other numbers than -1 and +1: start from signs, or from None.")
    return signs.astype(np.int8)
