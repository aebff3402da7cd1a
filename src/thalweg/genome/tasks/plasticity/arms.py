"""The arms of the experiment: maps that differ in one respect each, and two penalties against forgetting."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PyTree

from thalweg.core.errors import InputError
from thalweg.methods.anchoring import pull_to
from thalweg.methods.plasticity import followed, plastic

MAPS = ("methylation", "uniform", "permuted", "random")
PENALTIES = ("l2sp", "ewc")
PLAIN = "plain"
ARMS = (*MAPS, *PENALTIES, PLAIN)


def map_of(arm: str, methylation: PyTree, permuted: PyTree, seed: int) -> PyTree:
    """How far each connection is held in an arm that has a map.

    - `methylation`: the map itself;
    - `uniform`: its mean everywhere that it holds anything;
    - `permuted`: the map that follows from levels permuted across genes;
    - `random`: its values, permuted across all connections.

    **Arguments:** `methylation` and `permuted`, pytrees with `None` where nothing is held; `seed`, of the random arm.
    """
    if arm == "methylation":
        return methylation
    if arm == "permuted":
        return permuted
    values = pooled(methylation)
    if arm == "uniform":
        return _refilled(methylation, np.full_like(values, values.mean() if len(values) else 0))
    if arm == "random":
        return _refilled(methylation, np.random.default_rng([seed, 2]).permutation(values))
    raise InputError(f"plasticity: the arm {arm!r} has no map: {', '.join(MAPS)} have.")


def ranked(held: PyTree) -> PyTree:
    """The map with every value replaced by its rank among all, from 0 to 1; equal values share their mean rank."""
    from scipy.stats import rankdata

    values = pooled(held)
    return _refilled(held, (rankdata(values, method="average") - 1) / max(1, len(values) - 1))


def pooled(tree: PyTree) -> Float[np.ndarray, " values"]:
    """All numbers of a tree, one leaf after the other."""
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves).astype(np.float64) if leaves else np.zeros(0)


def _refilled(tree: PyTree, values: Float[np.ndarray, " values"]) -> PyTree:
    """The tree with other numbers, in the order and kind of its own."""
    leaves, structure = jax.tree.flatten(tree)
    parts = np.split(values, np.cumsum([np.size(leaf) for leaf in leaves])[:-1]) if leaves else []
    new = [part.reshape(np.shape(leaf)).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)


def permuted_levels(
    levels: Float[np.ndarray, " genes"], seed: int, strata: np.ndarray | None = None
) -> Float[np.ndarray, " genes"]:
    """The levels of genes given to other genes, within strata where there are any: equal numbers of introns, say."""
    random, levels = np.random.default_rng([seed, 1]), np.asarray(levels)
    strata = np.zeros(len(levels), np.int64) if strata is None else np.asarray(strata)
    found = levels.copy()
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        found[members] = levels[random.permutation(members)]
    return found


def optimiser_of(
    arm: str,
    base: optax.GradientTransformation,
    *,
    strength: float,
    held: PyTree = None,
    anchor: PyTree = None,
    fisher: PyTree = None,
) -> optax.GradientTransformation:
    """The optimiser of an arm: `base`, with a map behind it or springs before it.

    **Arguments:** `strength`: `beta` of a map, or the stiffness of the springs (of mean one times that); `held`, the
    map; `anchor`, the model before; `fisher`, the weights of its springs in the arm `ewc`.
    """
    if arm == PLAIN:
        return base
    if arm in MAPS:
        arrays = jax.tree.map(jnp.asarray, held)
        return plastic(base, arrays, jnp.asarray(strength, jnp.float32))
    if arm not in PENALTIES:
        raise InputError(f"plasticity: there is no arm {arm!r}: choose among {', '.join(ARMS)}.")
    trained: Any = eqx.filter(anchor, eqx.is_inexact_array)
    weights = jax.tree.map(jnp.asarray, fisher) if arm == "ewc" else None
    return followed(pull_to(trained, jnp.asarray(strength, jnp.float32), weights), base)
