"""A training problem: a loss over parameters, where to start, and which units may be exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.learning.energy import Regularised, RegularisedField
from thalweg.learning.model.units import UnitCopies, Units, check_units


class Problem(eqx.Module):
    """Something to train.

    **Fields:**

    - `name`, for people.
    - `loss`: a landscape over the params, without the penalty; or a host field.
    - `start`: from a random key to params, a pytree of floating arrays.
    - `units`: the exchangeable units of each layer that has some.
    - `penalised`: one boolean per array of the params, in the order of its leaves; `None` penalises all.
    - `predict`: from params to predictions `[n, m]` on the problem's own inputs, where there are some.
    - `hidden`: from params to the activations of the hidden units on these inputs, one array `[n, width]` per layer.
    - `notes`: what people should know about the units, such as layers across which nothing may be exchanged.
    """

    name: str = eqx.field(static=True)
    loss: Landscape | AbstractHostField
    start: Callable[[Key[Array, ""]], PyTree]
    units: tuple[Units, ...] = eqx.field(default=(), static=True)
    penalised: tuple[bool, ...] | None = eqx.field(default=None, static=True)
    predict: Callable[[PyTree], Float[Array, "n m"]] | None = None
    hidden: Callable[[PyTree], list[Float[Array, "n width"]]] | None = None
    notes: tuple[str, ...] = eqx.field(default=(), static=True)

    @property
    def copies(self) -> UnitCopies:
        """The symmetry under exchanges of units."""
        return UnitCopies(self.units)

    @property
    def on_host(self) -> bool:
        """Whether the loss is somebody else's program."""
        return isinstance(self.loss, AbstractHostField)

    def at(self, decay: Any) -> Any:
        """The loss with the penalty `decay / 2` times the squares of the penalised parameters."""
        if isinstance(self.loss, AbstractHostField):
            return RegularisedField(self.loss, float(decay), self.penalised)
        return Regularised(self.loss, decay, self.penalised)

    def starts(self, key: Key[Array, ""], count: int) -> PyTree:
        """Random params, every leaf with a leading axis of `count`."""
        return jax.vmap(self.start)(jax.random.split(key, count))

    def checked(self) -> Problem:
        """This problem, after making sure that its parts fit each other.

        **Raises:** `InputError`.
        """
        params = jax.eval_shape(self.start, jax.random.key(0))
        leaves = jax.tree.leaves(params)
        if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
            raise InputError(f"{self.name}: its params must be arrays of floats, and at least one: mend `start`.")
        if self.penalised is not None and len(self.penalised) != len(leaves):
            raise InputError(f"{self.name}: penalised has {len(self.penalised)} entries for {len(leaves)} arrays.")
        check_units(params, self.units)
        return self
