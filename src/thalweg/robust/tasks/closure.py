"""Work along a push: straight and bent, against the energy that was climbed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from thalweg.core.paths import Bent, Straight
from thalweg.diagnostics.closure import Closure, closure
from thalweg.robust.energy import Classifier, LabelLoss


def work_of_pushes(
    model: Classifier,
    clean: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    pushed: Float[Array, "n ..."],
    *,
    key: Key[Array, ""],
) -> tuple[Closure, Closure]:
    """The closure of the label's loss along the straight and along a bent path from each clean input to its pushed one.

    **Arguments:** `clean` and `pushed`, of one shape; `key`, for the direction in which each path is bent, by a
    quarter of the length of its push.

    **Returns:** two `Closure`s with a leading axis of items.
    """
    keys = jax.random.split(key, len(clean))
    return _along_both(model, clean, labels, pushed, keys)


@eqx.filter_jit
def _along_both(model: Classifier, clean: Array, labels: Array, pushed: Array, keys: Array) -> tuple[Closure, Closure]:
    def one(start: Array, label: Array, end: Array, key: Array) -> tuple[Closure, Closure]:
        energy = LabelLoss(model, label)
        aside = jax.random.normal(key, start.shape, start.dtype)
        bulge = 0.25 * jnp.linalg.norm((end - start).ravel()) * aside / jnp.linalg.norm(aside.ravel())
        return closure(energy, Straight(start, end)), closure(energy, Bent(start, end, bulge))

    return jax.vmap(one)(clean, labels, pushed, keys)
