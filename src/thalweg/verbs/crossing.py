"""`nearest_crossing`: the nearest point to each of many where a landscape is below zero."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.checks import fits, floating, traced
from thalweg.core.energy import AbstractHostField, Landscape, value_and_force
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace, Euclidean
from thalweg.methods.crossing import AbstractCrossing, Best, PlaneSteps, ShrinkingBall
from thalweg.methods.drive import drive
from thalweg.verbs.ending import sentence


class Crossings(eqx.Module):
    """The nearest points below zero that were found, one for each origin.

    **Fields:** `x [n, ...]`; `distance [n]`, infinite where none was found (`x` is then no crossing); `height [n]`, of
    the landscape there; `outcome`, how the walk ended, `Outcome.code`; `slopes` and `heights`, how often each of the
    `n` was asked for a slope (which brings a height) and for a height alone.
    """

    x: Float[Array, "n ..."]
    distance: Float[Array, " n"]
    height: Float[Array, " n"]
    outcome: Int[Array, ""]
    slopes: int
    heights: int

    def nearer(self, other: Crossings) -> Crossings:
        """Of two searches from the same origins the nearer crossing of each; evaluations are added."""
        first = self.distance <= other.distance
        choose = lambda a, b: jnp.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
        x, distance = choose(self.x, other.x), choose(self.distance, other.distance)
        height, outcome = choose(self.height, other.height), jnp.maximum(self.outcome, other.outcome)
        return Crossings(x, distance, height, outcome, self.slopes + other.slopes, self.heights + other.heights)


class _Walk(eqx.Module):
    state: Any
    share: Float[np.ndarray, ""]


def nearest_crossing(
    landscape: Landscape | AbstractHostField,
    origin: Float[Array, "n ..."],
    methods: tuple[tuple[AbstractCrossing, int], ...] | None = None,
    *,
    start: Float[Array, "n ..."] | None = None,
    known: Crossings | None = None,
    space: AbstractSpace | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Crossings:
    """Search, for each of `n` origins, the nearest point where a landscape is below zero.

    **Arguments:**

    - `landscape`: a callable of one configuration; or a host field, which is asked for all `n` in one batch and may be
      another landscape for each of them. Its height at the origins is positive, or they are crossings themselves.
    - `methods`: searches with their numbers of steps, one after another, each going on from the nearest crossing so
      far; all of one norm. By default `ShrinkingBall` for 30 steps and `PlaneSteps` for 10: Euclidean distance.
    - `start`: where to begin, by default at the origins; `known`, crossings that are known already.
    - `space`: where the points live, a `Box` for instance.
    - `throw`, `on_chunk`: as in `relax`; a hook hears of each search anew.

    **Returns:** `Crossings`; local ones, so that their distances are upper bounds.

    **Raises:** `InputError` for unusable arguments; `WalkError` for a landscape that stops being finite, or where a
    hook stopped the walk.
    """
    methods = ((ShrinkingBall(), 30), (PlaneSteps(), 10)) if methods is None else methods
    space = Euclidean() if space is None else space
    if traced(landscape, origin, start, space):
        raise InputError(
            "nearest_crossing: it asks for its evaluations from the host: call it outside of jit and vmap."
        )
    if len({method.norm for method, _ in methods}) != 1:
        raise InputError("nearest_crossing: the searches measure distance in different norms: use one.")
    origin = floating(origin, "nearest_crossing")
    fits(space, jax.tree.map(lambda leaf: leaf[0], origin), "nearest_crossing")
    field = landscape if isinstance(landscape, AbstractHostField) else _EachByItself(landscape)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    found = known if known is not None else _nothing(origin)
    for method, steps in methods:
        found = _searched(field, space, origin, origin if start is None else start, found, method, steps, hooks, throw)
    return found


def _searched(field, space, origin, start, found: Crossings, method, steps: int, hooks, throw: bool) -> Crossings:
    begun = _begun(method, space, origin, Best(found.x, found.distance, found.height), jnp.asarray(start, origin.dtype))
    width = np.dtype(origin.dtype)

    def advance(walk: _Walk) -> _Walk:
        value, force = field.value_and_force_batch(walk.state.trial)
        state = _told(method, space, origin, walk.state, jnp.asarray(walk.share), value, force)
        for _ in range(method.probes):
            state = _probed(method, space, origin, state, _heights(field, state.trial))
        return _Walk(state, np.asarray(walk.share + 1 / max(steps - 1, 1), width))

    end = drive(advance, _Walk(begun, np.zeros((), width)), steps, host=True, hooks=hooks, judge=_judge)
    best = end.state.state.best
    taken = int(end.step)
    found = Crossings(
        best.x, best.distance, best.height, end.outcome, found.slopes + taken, found.heights + taken * method.probes
    )
    if throw and Outcome.of(end.outcome) not in (Outcome.DONE, Outcome.STEPS):
        raise WalkError(sentence(end, "nearest_crossing", hooks), found)  # pyright: ignore[reportArgumentType]
    return found


def _nothing(origin: Array) -> Crossings:
    far = jnp.full(origin.shape[0], jnp.inf, origin.dtype)
    return Crossings(origin, far, far, jnp.asarray(Outcome.WALKING.code), 0, 0)


def _judge(walk: _Walk) -> int:
    return Outcome.WALKING.code if bool(_finite(walk.state.trial)) else Outcome.NONFINITE.code


@jax.jit
def _finite(x: Array) -> Array:
    return jnp.isfinite(x).all()


@eqx.filter_jit
def _begun(method: AbstractCrossing, space: AbstractSpace, origin: Array, best: Best, start: Array) -> Any:
    return jax.vmap(lambda *each: method.init(space, *each))(origin, best, start)


@eqx.filter_jit
def _told(method: AbstractCrossing, space: AbstractSpace, origin: Array, state: Any, share: Array, value, force) -> Any:
    # A height that is not a number must reach the judge: it goes into the point that is looked at next.
    slope = jax.tree.map(jnp.negative, force) + jnp.where(jnp.isfinite(value), 0, jnp.nan).reshape(
        -1, *[1] * (origin.ndim - 1)
    )
    told = lambda *each: method.tell(space, each[0], each[1], share, *each[2:])  # noqa: E731
    return jax.vmap(told)(origin, state, value, slope)


@eqx.filter_jit
def _probed(method: AbstractCrossing, space: AbstractSpace, origin: Array, state: Any, value: Array) -> Any:
    return jax.vmap(lambda *each: method.probe(space, *each))(origin, state, value)


def _heights(field: Any, x: Array) -> Array:
    return field.value_batch(x) if hasattr(field, "value_batch") else field.value_and_force_batch(x)[0]


class _EachByItself(AbstractHostField):
    """A compiled landscape, asked in batches from the host."""

    def __init__(self, landscape: Landscape):
        self.landscape = landscape

    def value_and_force_batch(self, x: Array) -> tuple[Array, Array]:
        return _values_and_forces(self.landscape, x)

    def value_batch(self, x: Array) -> Array:
        return _values(self.landscape, x)


@eqx.filter_jit
def _values_and_forces(landscape: Landscape, x: Array) -> tuple[Array, Array]:
    return jax.vmap(lambda one: value_and_force(landscape, one))(x)


@eqx.filter_jit
def _values(landscape: Landscape, x: Array) -> Array:
    return jax.vmap(landscape)(x)
