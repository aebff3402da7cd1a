"""What makes two processes compute alike: JAX's settings, and the versions of what computes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from typing import Any

# What changes the bits of a computation; a fresh process would start with the defaults.
_BITS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
)
_PACKAGES = ("thalweg", "jax", "jaxlib", "numpy", "equinox")


def settings(*more: str) -> dict[str, Any]:
    """The settings of this thread that change bits, the platform, and `more` by name."""
    import jax

    return {name: getattr(jax.config, name) for name in (*_BITS, "jax_platforms", *more)}


@contextmanager
def computing_as(wanted: Mapping[str, Any]) -> Iterator[None]:
    """Compute as another process does, in this thread only: a worker may serve two programs at once."""
    import jax

    with ExitStack() as stack:
        for name in _BITS:
            stack.enter_context(getattr(jax, name.removeprefix("jax_"))(wanted[name]))
        yield


def versions() -> dict[str, str]:
    """The versions that must agree for tasks to travel and bits to be the same."""
    return {"python": ".".join(platform.python_version_tuple()[:2])} | {
        name: metadata.version(name) for name in _PACKAGES
    }


def differing(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Where versions differ, in words; empty if they agree."""
    return ", ".join(
        f"{name} {theirs.get(name, 'none')} there and {mine[name]} here"
        for name in mine
        if theirs.get(name) != mine[name]
    )


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
