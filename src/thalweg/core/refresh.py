"""Landscapes with lists of fixed size that must be built anew when the configuration has moved."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from thalweg.core.checks import check_scalar, leaf_name, traced
from thalweg.core.energy import AbstractEnergy, Restrict
from thalweg.core.errors import InputError
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace

E = TypeVar("E")
S = TypeVar("S")

_MOST_GROWTHS = 16  # at one step; 1.5^16 is a buffer 650 times as long, which is no longer bad luck


class AbstractRefreshing(AbstractEnergy):
    """A landscape that reads lists (of neighbours, of active terms) which hold for a while and then go stale.

    The verbs that walk call these methods; whoever evaluates such a landscape by hand refreshes it with `refreshed`.
    The capacity of a list is the shape of an array, never a static field. A landscape that hands its parts
    another `x` than its own must be refreshing itself and pass the calls on; `Sum`, `Scaled` and `Restrict` need not.
    """

    @abc.abstractmethod
    def stale(self, x: PyTree) -> Bool[Array, ""]:
        """Whether the lists no longer hold at `x`; displacements are the space's (`farthest`), not differences."""

    @abc.abstractmethod
    def rebuilt(self, x: PyTree) -> tuple[AbstractRefreshing, Bool[Array, ""]]:
        """The landscape with lists made at `x`, every shape as before, and whether they had room for all.

        Leaves that the rebuilding does not touch must come back as they are (`eqx.tree_at` does that): only the
        others travel in the walk's state.
        """

    @abc.abstractmethod
    def grown(self) -> AbstractRefreshing:
        """The landscape with the same lists in buffers half as long again (`padded`), not rebuilt."""


class Lists(eqx.Module):
    """The part of a landscape that changes along a walk.

    **Fields:** `parts`, the landscape with `None` in place of all that is fixed; `ok`, whether the last rebuilding had
    room for all; `rebuilds`, how many there were. The shapes of `parts` may grow along a walk.
    """

    parts: PyTree
    ok: Bool[Array, ""]
    rebuilds: Int[Array, ""]


def refreshing(energy: Any) -> bool:
    """Whether a refreshing landscape is anywhere inside `energy`."""
    found = []
    _each(energy, lambda part, _: found.append(part) or part)
    return bool(found)


def refreshed(energy: E, x: PyTree) -> tuple[E, Bool[Array, ""]]:
    """`energy` with lists that hold at `x`, rebuilt only where they are stale, and whether they had room for all.

    A vmapped batch rebuilds only in those steps in which some lane is stale.

    **Raises:** `InputError` for a `rebuilt` that changes a shape.
    """
    energy, ok, _ = _refreshed(energy, x)
    return energy, ok


def grown(energy: E) -> E:
    """`energy` with longer buffers in every refreshing landscape inside it.

    **Raises:** `InputError` for a `grown` that grows nothing.
    """

    def grow(part: AbstractRefreshing, _: Any) -> AbstractRefreshing:
        larger = part.grown()
        before, after = ([jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (part, larger))
        if before == after:
            raise InputError(f"{type(part).__name__}.grown() grows nothing: pad its buffers to half as long again.")
        return larger

    return _each(energy, grow)


def fitted(energy: E, x: PyTree) -> tuple[E, Bool[Array, ""]]:
    """`energy` with lists that hold at `x`, grown until they have room.

    Inside a transformation nothing can grow: whether there was room comes back.
    """
    energy, ok = _compiled_refresh(energy, x)
    for _ in range(_MOST_GROWTHS):
        if traced(ok) or bool(ok):
            break
        # The overflowing lists may look fresh at x, so that every part is built anew.
        energy, ok = _compiled_rebuild(grown(energy), x)
    return energy, ok


def split(energy: Any, x: PyTree, where: str) -> tuple[Lists | None, Any]:
    """What of `energy` travels in the state of a walk that starts at `x`, and the rest; no lists: `None`, all of it.

    On the host the lists are grown until they fit; inside a transformation `ok` says whether they do.

    **Raises:** `InputError` for a refreshing landscape that cannot be evaluated at `x`, in the name of `where`.
    """
    if not refreshing(energy):
        return None, energy
    check_scalar(energy, x, where)
    energy, ok = fitted(energy, x)
    marks = _each(energy, _travelling, x, other=False)
    parts, rest = eqx.partition(energy, marks)
    return Lists(parts, ok, jnp.zeros((), jnp.int32)), rest


def renewed(lists: Lists | None, rest: Any, x: PyTree) -> tuple[Any, Lists | None]:
    """The landscape that holds at `x`, and the lists to carry on."""
    if lists is None:
        return rest, None
    energy, ok, again = _refreshed(eqx.combine(lists.parts, rest), x)
    parts = eqx.filter(energy, jax.tree.map(lambda part: part is not None, lists.parts, is_leaf=_is_none))
    return energy, Lists(parts, ok, lists.rebuilds + again.astype(jnp.int32))


def have_room(lists: Lists | None) -> Bool[Array, ""]:
    """Whether the lists of a walk have room for all: what a judge asks."""
    return jnp.array(True) if lists is None else lists.ok


class Mend:
    """Grows the lists in the state of a walk whenever they overflow: for `drive(mend=...)`.

    **Arguments:** `rest`, as of `split`. The state holds its `Lists` as `lists`.
    """

    def __init__(self, rest: Any):
        self.rest = rest
        self._growths = (-1, 0)

    def __call__(self, state: S, outcome: Outcome) -> S | None:
        lists = getattr(state, "lists", None)
        if outcome is not Outcome.CAPACITY or lists is None:
            return None
        rebuilds, (last, count) = int(lists.rebuilds), self._growths
        self._growths = (rebuilds, count + 1 if rebuilds == last else 1)
        if self._growths[1] > _MOST_GROWTHS or not bool(lists.ok):
            return None
        energy = grown(eqx.combine(lists.parts, self.rest))
        parts = eqx.filter(energy, jax.tree.map(lambda part: part is not None, lists.parts, is_leaf=_is_none))
        return eqx.tree_at(lambda walk: walk.lists.parts, state, parts)


def farthest(space: AbstractSpace, a: PyTree, b: PyTree) -> Float[Array, ""]:
    """The longest row of the shortest step from `a` to `b`, in the units of `x`; a row is the last axis of a leaf.

    Half a skin is what two rows may stray towards each other before a list of neighbours within it goes stale. The
    step is the space's own, because a row that was wrapped into the cell has not gone far. Ask
    `~(farthest(...) <= skin / 2)`: lists that were built nowhere yet, at NaN, are then stale.
    """
    steps = jax.tree.leaves(space.displacement(a, b))
    squares = [jnp.max(jnp.sum(jnp.atleast_1d(step) ** 2, axis=-1)) for step in steps]
    return jnp.sqrt(jnp.max(jnp.stack(squares)))


def padded(buffer: Array, axis: int, fill: Any) -> Array:
    """`buffer` half as long again along `axis`, with `fill` in the new places."""
    width = [(0, 0)] * buffer.ndim
    width[axis] = (0, max(1, buffer.shape[axis] // 2))
    return jnp.pad(buffer, width, constant_values=fill)


def _is_none(node: Any) -> bool:
    return node is None


def _each(energy: Any, act: Callable[[Any, Any], Any], x: Any = None, **other: Any) -> Any:
    """`energy` with `act(part, x)` for each refreshing part, at the x that it sees; `other` replaces all else."""
    parts, tree = jax.tree.flatten(energy, is_leaf=lambda node: isinstance(node, AbstractRefreshing | Restrict))

    def done(part: Any) -> Any:
        if isinstance(part, AbstractRefreshing):
            return act(part, x)
        if isinstance(part, Restrict):
            inner = _each(part.energy, act, None if x is None else part.lift(x), **other)
            base, along = (_replaced(tree, other) for tree in (part.base, part.directions))
            return Restrict(inner, base, along)
        return _replaced(part, other)

    return jax.tree.unflatten(tree, [done(part) for part in parts])


def _replaced(tree: Any, other: dict[str, Any]) -> Any:
    return jax.tree.map(lambda leaf: other.get("other", leaf), tree)


def _refreshed(energy: Any, x: PyTree) -> tuple[Any, Bool[Array, ""], Bool[Array, ""]]:
    fine, again = [jnp.array(True)], [jnp.array(False)]

    def refresh(part: AbstractRefreshing, at: PyTree) -> AbstractRefreshing:
        stale = part.stale(at)
        part, ok = _rebuilt_where(stale, part, at)
        fine.append(ok)
        again.append(stale)
        return part

    # Lists are chosen, not differentiated: no slope may leak through where they are made.
    energy = _each(energy, refresh, jax.lax.stop_gradient(x))
    return energy, jnp.all(jnp.stack(fine)), jnp.any(jnp.stack(again))


def _rebuilt(energy: Any, x: PyTree) -> tuple[Any, Bool[Array, ""]]:
    fine = [jnp.array(True)]

    def rebuild(part: AbstractRefreshing, at: PyTree) -> AbstractRefreshing:
        part, ok = part.rebuilt(at)
        fine.append(ok)
        return part

    return _each(energy, rebuild, x), jnp.all(jnp.stack(fine))


_compiled_refresh = eqx.filter_jit(refreshed)
_compiled_rebuild = eqx.filter_jit(_rebuilt)


def _marked(part: AbstractRefreshing, x: PyTree) -> PyTree:
    """`part` with True in place of each leaf that `rebuilt` makes anew, False in place of all others."""
    before = jax.tree_util.tree_leaves_with_path(part)
    moves: list[bool] = []

    def look(x: PyTree) -> tuple:
        after = part.rebuilt(x)[0]
        if jax.tree.structure(after) != jax.tree.structure(part):
            raise InputError(f"{type(part).__name__}.rebuilt changes more than arrays: keep its static fields.")
        for (path, old), new in zip(before, jax.tree.leaves(after), strict=True):
            if eqx.is_array(old) and (jnp.shape(old), old.dtype) != (jnp.shape(new), jnp.result_type(new)):
                raise InputError(
                    f"{type(part).__name__}.rebuilt makes {leaf_name(path)} {jnp.result_type(new)}{[*jnp.shape(new)]} "
                    f"out of {old.dtype}{[*old.shape]}: keep shapes and dtypes, only grown() may change them."
                )
        # An untouched leaf is the very same object, whatever values it may have.
        moves.extend(new is not old for (_, old), new in zip(before, jax.tree.leaves(after), strict=True))
        return ()

    jax.eval_shape(look, x)
    return jax.tree.unflatten(jax.tree.structure(part), moves)


def _travelling(part: AbstractRefreshing, x: PyTree) -> PyTree:
    """`part` with True in place of each leaf that can change along a walk, by rebuilding and on the host by growing."""
    marks = _marked(part, x)
    if traced(part):
        return marks
    pairs = zip(jax.tree.leaves(marks), jax.tree.leaves(part), jax.tree.leaves(part.grown()), strict=True)
    return jax.tree.unflatten(jax.tree.structure(part), [mark or new is not old for mark, old, new in pairs])


def _rebuilt_where(stale: Bool[Array, ""], part: AbstractRefreshing, x: PyTree) -> tuple[Any, Bool[Array, ""]]:
    arrays, static = eqx.partition(part, eqx.is_array)
    marks = _marked(part, x)
    moving, fixed = eqx.partition(arrays, marks)

    def again(moving: PyTree, rest: PyTree) -> tuple[PyTree, Bool[Array, ""]]:
        fixed, x = rest
        new, ok = eqx.combine(moving, fixed, static).rebuilt(x)
        return eqx.filter(new, marks), ok

    moving, ok = _chosen(stale, again, moving, (fixed, x), ())
    return eqx.combine(moving, fixed, static), ok


def _chosen(
    stale: Array, again: Callable, moving: PyTree, rest: PyTree, lanes: tuple[int, ...]
) -> tuple[PyTree, Array]:
    """`again(moving, rest)` if `stale`, else `moving` and that all is well.

    A `cond` becomes a select under `vmap`, which would rebuild in every step: here the batch asks whether any lane is
    stale, and asks again where batches are nested.
    """

    @jax.custom_batching.custom_vmap
    def choose(stale: Array, moving: PyTree, rest: PyTree) -> tuple[PyTree, Array]:
        return jax.lax.cond(stale, again, lambda moving, rest: (moving, jnp.ones(lanes, bool)), moving, rest)

    @choose.def_vmap
    def _(size: int, batched: Any, stale: Array, moving: PyTree, rest: PyTree) -> tuple[Any, Any]:
        wide = lambda leaf, has: leaf if has else jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))  # noqa: E731
        stale, moving = jax.tree.map(wide, (stale, moving), (batched[0], batched[1]))
        axes = jax.tree.map(lambda has: 0 if has else None, batched[2])

        def many(moving: PyTree, rest: PyTree) -> tuple[PyTree, Array]:
            rest, stale = rest
            new, ok = jax.vmap(again, in_axes=(0, axes))(moving, rest)

            def pick(new: Array, old: Array) -> Array:
                return jnp.where(stale.reshape(stale.shape + (1,) * (new.ndim - stale.ndim)), new, old)

            return jax.tree.map(pick, (new, ok), (moving, jnp.ones_like(ok)))

        out = _chosen(jnp.any(stale), many, moving, (rest, stale), (size, *lanes))
        return out, jax.tree.map(lambda _: True, out)

    return choose(stale, moving, rest)
