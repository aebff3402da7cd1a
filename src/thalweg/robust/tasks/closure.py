"""Work along a push: straight and bent, against the energy that was climbed."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from thalweg.core.errors import InputError
from thalweg.core.paths import Bent, Straight
from thalweg.diagnostics.closure import Closure, closure
from thalweg.robust.classifier import AbstractClassifier, JaxClassifier
from thalweg.robust.energy import LabelLoss, Model, OverInputs
from thalweg.robust.tasks.attack import Attack
from thalweg.robust.tasks.push import double_of


def work_of_pushes(
    classifier: AbstractClassifier,
    clean: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    pushed: Float[Array, "n ..."],
    *,
    key: Key[Array, ""],
) -> tuple[Closure, Closure]:
    """The closure of the label's loss along the straight and along a bent path from each clean input to its pushed one.

    In float64, where the model can be had in it.

    **Arguments:** `clean` and `pushed`, of one shape; `key`, for the direction in which each path is bent, by a
    quarter of the length of its push.

    **Returns:** two `Closure` objects, each with a leading axis of items.
    """
    judge, dtype = double_of(classifier, clean)
    clean, pushed = (jnp.asarray(x, dtype) for x in (clean, pushed))
    bulges = jax.vmap(_bulge)(clean, pushed, jax.random.split(key, len(clean)))
    if isinstance(judge, JaxClassifier):
        return _along_both(judge.graph, clean, jnp.asarray(labels), pushed, bulges)
    each = [
        (closure(energy, Straight(a, b)), closure(energy, Bent(a, b, bulge)))
        for label, a, b, bulge in zip(labels, clean, pushed, bulges, strict=True)
        for energy in (judge.landscape(LabelLoss(jnp.asarray(label))),)
    ]
    straight, bent = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *found) for found in zip(*each, strict=True))
    return straight, bent


def _bulge(start: Array, end: Array, key: Array) -> Array:
    aside = jax.random.normal(key, start.shape, start.dtype)
    return 0.25 * jnp.linalg.norm((end - start).ravel()) * aside / jnp.linalg.norm(aside.ravel())


@eqx.filter_jit
def _along_both(model: Model, clean: Array, labels: Array, pushed: Array, bulges: Array) -> tuple[Closure, Closure]:
    def one(start: Array, label: Array, end: Array, bulge: Array) -> tuple[Closure, Closure]:
        energy = OverInputs(LabelLoss(label), model)
        return closure(energy, Straight(start, end)), closure(energy, Bent(start, end, bulge))

    return jax.vmap(one)(clean, labels, pushed, bulges)


def work_table(found: Attack, *, seed: int = 0) -> list[dict[str, Any]]:
    """The works of an attack's successful pushes, one row per input and path."""
    over = np.flatnonzero(found.success)
    if len(over) == 0:
        raise InputError("work: no input was pushed over its ridge: there is no path to integrate along.")
    posed = found.posed
    both = work_of_pushes(
        posed.classifier, posed.x[over], posed.labels[over], jnp.asarray(found.pushed[over]), key=jax.random.key(seed)
    )
    return [
        {
            "input": int(posed.places[item]),
            "path": name,
            "work": float(one.work.value[row]),
            "fall": float(one.fall[row]),
            "gap": float(one.gap[row]),
            "error": float(one.error[row]),
            "evaluations": int(one.work.evaluations[row]),
            "reached": bool(one.work.reached[row]),
        }
        for name, one in zip(("straight", "bent"), both, strict=True)
        for row, item in enumerate(over)
    ]


def work_result(table: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of the command: the largest gaps, and whether all lie within the quadrature's own error."""
    gaps = {name: max(abs(row["gap"]) for row in table if row["path"] == name) for name in ("straight", "bent")}
    return {
        "n": len(table) // 2,
        "gap_straight_max": gaps["straight"],
        "gap_bent_max": gaps["bent"],
        "relative_max": max(abs(row["gap"] / row["fall"]) for row in table if row["fall"]),
        "within_error": all(abs(row["gap"]) <= row["error"] for row in table),
        "paths": table,
    }
