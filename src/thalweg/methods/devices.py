"""One batch on several devices: each has an equal part of it, and all of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from thalweg.core.errors import InputError


def mesh_of(devices: Sequence[Any] | None) -> Mesh | None:
    """The devices in a row, or `None` for one alone.

    **Raises:** `InputError` for none at all.
    """
    if devices is not None and not devices:
        raise InputError("train: devices is empty: name at least one, or leave it out.")
    return None if devices is None or len(devices) == 1 else Mesh(np.array(devices), ("batch",))


def beyond_process(mesh: Mesh | None) -> bool:
    """Whether some of the devices belong to another process."""
    return mesh is not None and mesh.is_multi_process


def dividing(devices: Sequence[Any], size: int) -> Sequence[Any]:
    """The first devices, as many as can have equal parts of a batch of some size."""
    return devices[: max(count for count in range(1, len(devices) + 1) if size % count == 0)]


def put_on_all(mesh: Mesh, tree: PyTree) -> PyTree:
    """The tree with its arrays on every device."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    everywhere = NamedSharding(mesh, PartitionSpec())
    if beyond_process(mesh):
        return eqx.combine(jax.tree.map(lambda leaf: _same_in_all(leaf, everywhere), arrays), rest)
    return eqx.combine(jax.device_put(arrays, everywhere), rest)


def _same_in_all(leaf: Any, everywhere: NamedSharding) -> Any:
    """An array that every process has, as one array of all of them."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _same_in_all(jax.random.key_data(leaf), everywhere)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, everywhere, lambda index: values[index])


def kept_on_all(mesh: Mesh, tree: PyTree) -> PyTree:
    """As `put_on_all`, inside a compiled function."""
    return _laid_out(mesh, tree, PartitionSpec())


def shared(mesh: Mesh, batch: PyTree) -> PyTree:
    """The batch with the leading axes of its arrays shared by the devices.

    **Raises:** `InputError` where they cannot have equal parts.
    """
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch) if eqx.is_array(leaf)}
    if any(size == () or size[0] % mesh.size for size in sizes):
        raise InputError(
            f"train: batches with leading axes {sorted(sizes)} cannot be shared by {mesh.size} devices: choose a "
            "multiple of that as their size."
        )
    return _laid_out(mesh, batch, PartitionSpec("batch"))


def _laid_out(mesh: Mesh, tree: PyTree, parts: PartitionSpec) -> PyTree:
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.lax.with_sharding_constraint(arrays, NamedSharding(mesh, parts)), rest)
