"""Learning rates of single connections: how far each may move, as a part of any optimiser and as a mobility."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from thalweg.core.checks import leaf_name, traced
from thalweg.core.errors import InputError
from thalweg.methods.gradient_energy import Energies, shares


class PlasticityState(NamedTuple):
    """What the moves are scaled by.

    **Fields:** how far each connection is `held`, or the running `energies` that it follows from and their `decay`
    (the other one is `None`); `beta`, or `None` where it is zero and nothing is done.
    """

    held: PyTree
    energies: Energies | None
    decay: Float[Array, ""] | None
    beta: Float[Array, ""] | None


def scale_by_plasticity(
    held: PyTree = None, beta: float | Float[Array, ""] = 0.5, *, decay: float | None = None
) -> optax.GradientTransformationExtraArgs:
    """Multiply the move of each connection by `1 - beta m`, where `m` in [0, 1] says how far it is held.

    Place it after the optimiser, `optax.chain(optax.adam(rate), scale_by_plasticity(m, beta))`: then the learning rate
    of a connection is `rate (1 - beta m)`. Before Adam, or anything else that divides by the size of the gradients,
    a constant factor cancels. A decoupled decay of weights that stands before it is scaled as well.

    As physics `1 - beta m` is a diagonal mobility (see `mobility`): critical points stay critical points of the same
    index, and the energy still falls. That is exact for a constant `m`. With `decay`, `m` is a running average over
    the past: the mobility then depends on history and not on the point alone, and no stationary law is promised.

    **Arguments:**

    - `held`: a pytree like the parameters, or a prefix of it; numbers or arrays that broadcast to their leaves; `None`
      where nothing is held.
    - `beta`: from 0 to below 1. The number 0 leaves the moves as they are, bit for bit.
    - `decay`: instead of `held`: `m` is the ratio of two exponential moving averages that keep this much in each step,
      of what every `update` is given as `energies` (an `Energies` like the parameters, `None` where nothing is held).
      A step without `energies` leaves the averages as they are.

    **Returns:** a transformation; its numbers are leaves of a pytree, so that another map of the same shapes, or
    another `beta` given as an array, compiles nothing anew.

    **Raises:** `InputError` for a `beta` or an `m` out of range, and where `m` does not fit the parameters.
    """
    held = eqx.filter(held, eqx.is_array_like)
    _check(held, beta, decay)
    # Not a factor of one: the compiler may join a product and a sum, and so round otherwise than without it.
    none = isinstance(beta, float | int) and beta == 0
    return _rule(_Init(held, None if none else beta, decay), _update)


def plastic(
    optimiser: optax.GradientTransformation,
    held: PyTree = None,
    beta: float | Float[Array, ""] = 0.5,
    *,
    decay: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An optimiser followed by `scale_by_plasticity`, as by `optax.chain`, whose closures compile anew for every map.

    **Arguments:** `optimiser`, any; the others as of `scale_by_plasticity`.
    """
    return followed(optimiser, scale_by_plasticity(held, beta, decay=decay))


def followed(*parts: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optax.chain` without a closure: the arrays that the parts hold stay leaves of a pytree."""
    # Not Optax's own wrapper, which is another function each time and would compile anew.
    extra = tuple(isinstance(part, optax.GradientTransformationExtraArgs) for part in parts)
    return _rule(_InitAll(tuple(part.init for part in parts)), _UpdateAll(tuple(part.update for part in parts), extra))


def _rule(init: Any, update: Any) -> optax.GradientTransformationExtraArgs:
    return optax.GradientTransformationExtraArgs(init, update)


def mobility(held: PyTree, beta: float | Float[Array, ""], x: PyTree) -> PyTree:
    """The diagonal mobility `D = 1 - beta m`, a pytree like `x`.

    `w' = -D grad E` has the minima of `E` and descends; with noise `sqrt(2 T D)` and the drift `T div D`, which is
    zero for a constant `m`, motion has the Boltzmann law of `E` (`Overdamped(mobility=...)` adds both).

    **Arguments:** `held` and `beta`, as of `scale_by_plasticity`; `x`, the parameters.

    **Raises:** `InputError`.
    """
    held = eqx.filter(held, eqx.is_array_like)
    _check(held, beta, None)
    spread = fitted(held, x)
    factors = jax.tree.map(lambda leaf, m: None if m is None else _factor(m, beta, leaf), x, spread)
    one = lambda leaf, factor: jnp.ones_like(leaf) if factor is None else jnp.broadcast_to(factor, leaf.shape)  # noqa: E731
    return jax.tree.map(one, x, factors)


def fitted(held: PyTree, params: PyTree) -> PyTree:
    """A map with the structure of the parameters, from one that may be a prefix of it; `None` where nothing is held.

    **Raises:** `InputError` naming the leaf that does not fit.
    """
    if held is None:
        return jax.tree.map(lambda _: None, params)

    def over(path: tuple[Any, ...], m: Any, part: PyTree) -> PyTree:
        def one(inner: tuple[Any, ...], leaf: Any) -> Any:
            if m is None or leaf is None:
                return None
            if np.broadcast_shapes(jnp.shape(m), jnp.shape(leaf)) != jnp.shape(leaf):
                raise ValueError
            return m

        try:
            return jax.tree_util.tree_map_with_path(one, part, is_leaf=_is_none)
        except ValueError:
            shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(part)]
            raise InputError(
                f"plasticity: the map at {leaf_name(path)} has the shape {jnp.shape(m)}, but the parameters there have "
                f"{shapes}: give a number, or an array that broadcasts to them."
            ) from None

    try:
        return jax.tree_util.tree_map_with_path(over, held, params, is_leaf=_is_none)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"plasticity: the map has not the structure of the parameters ({reason}): give a pytree like them."
        ) from error


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _check(held: PyTree, beta: Any, decay: float | None) -> None:
    if not traced(beta) and not 0 <= float(beta) < 1:
        raise InputError(f"plasticity: beta is {beta}, but it must be at least 0 and below 1.")
    if decay is not None and (held is not None or not 0 <= decay < 1):
        raise InputError(f"plasticity: a decay of {decay} needs no map, and lies between 0 and 1: mend one of them.")
    for path, m in jax.tree_util.tree_leaves_with_path(held):
        # A comparison with NaN is false, which refuses it too.
        if not isinstance(m, Tracer) and not bool(np.all((np.asarray(m) >= 0) & (np.asarray(m) <= 1))):
            raise InputError(
                f"plasticity: the map at {leaf_name(path)} holds values outside of [0, 1], or NaN: a share of how far "
                "a connection is held lies between 0 and 1."
            )


def _factor(m: Any, beta: Any, like: Any) -> Array:
    m = jnp.asarray(m).astype(like.dtype)
    return 1 - jnp.asarray(beta).astype(like.dtype) * m


class _Init(eqx.Module):
    """Makes the state; a pytree, whose numbers need no new compilation."""

    held: PyTree
    beta: Any
    decay: Any

    def __call__(self, params: PyTree) -> PlasticityState:
        number = lambda value: None if value is None else jnp.asarray(value)  # noqa: E731
        held, energies = None, None
        if self.decay is None:
            held = jax.tree.map(number, fitted(self.held, params))
        else:
            zeros = jax.tree.map(jnp.zeros_like, params)
            energies = Energies(zeros, zeros)
        return PlasticityState(held, energies, number(self.decay), number(self.beta))

    def __hash__(self) -> int:  # for `jax.jit`, which asks functions for it: those that hold arrays have none
        return id(self)


def _update(
    updates: PyTree, state: PlasticityState, params: PyTree = None, *, energies: Energies | None = None, **extra: Any
) -> tuple[PyTree, PlasticityState]:
    if state.energies is not None and energies is not None:
        assert state.decay is not None
        state = state._replace(energies=averaged(state.energies, energies, state.decay))
    if state.beta is None:
        return updates, state
    held = state.held if state.energies is None else shares(state.energies)

    def scaled(move: Any, m: Any) -> Any:
        return move if m is None or move is None else _factor(m, state.beta, move) * move

    return jax.tree.map(scaled, updates, held, is_leaf=_is_none), state


def averaged(old: PyTree, new: PyTree, decay: float | Float[Array, ""]) -> PyTree:
    """Exponential moving averages that began at zero: of the ratio of two, the weight of the start cancels."""

    def mix(before: Any, now: Any) -> Any:
        if before is None or now is None:
            return before
        kept = jnp.asarray(decay).astype(before.dtype)
        return kept * before + (1 - kept) * now.astype(before.dtype)

    return jax.tree.map(mix, old, new, is_leaf=_is_none)


class _InitAll(eqx.Module):
    """The states of several transformations."""

    parts: tuple[Any, ...]

    def __call__(self, params: PyTree) -> tuple[Any, ...]:
        return tuple(init(params) for init in self.parts)

    def __hash__(self) -> int:
        return id(self)


class _UpdateAll(eqx.Module):
    """Several transformations one after the other; those that take extra arguments are given them."""

    parts: tuple[Any, ...]
    extra: tuple[bool, ...] = eqx.field(static=True)

    def __call__(
        self, updates: PyTree, state: tuple[Any, ...], params: PyTree = None, **given: Any
    ) -> tuple[PyTree, tuple[Any, ...]]:
        after = []
        for rule, takes, old in zip(self.parts, self.extra, state, strict=True):
            updates, new = rule(updates, old, params, **(given if takes else {}))
            after.append(new)
        return updates, tuple(after)

    def __hash__(self) -> int:
        return id(self)
