"""A small sweep whose functions can be imported by name: what the tests send to other processes, kill and resume."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from thalweg.core.energy import AbstractEnergy, force
from thalweg.core.solution import Outcome, Solution
from thalweg.runs.points import Points
from thalweg.verbs.sweep import sweep

VALUES = np.linspace(-0.6, 0.6, 40, dtype=np.float32)  # NumPy: JAX must not start before the fork
LIMIT = 2 / 3**1.5  # where a well of x^4/4 - x^2/2 - tilt x vanishes


class Tilted(AbstractEnergy):
    """Double wells under a common tilt, `sum(x^4/4 - x^2/2 - tilt x)`."""

    tilt: jax.Array

    def __call__(self, x):
        return jnp.sum(x**4 / 4 - x**2 / 2 - self.tilt * x)


def solve(energy, x0, key):
    """A hundred small steps downhill from a start that its key has shaken: cheaper to compile than `relax`."""
    shaken = x0 + 0.01 * jax.random.uniform(key, x0.shape, x0.dtype)
    x = jax.lax.fori_loop(0, 100, lambda _, x: x + 0.1 * force(energy, x), shaken)
    return Solution(x, energy(x), jnp.array(Outcome.DONE.code))


def observe(energy, solution):
    return {
        "x": solution.value,
        "energy": solution.energy,
        "wide": jnp.zeros((), float),
        "process": jnp.array(os.getpid()),
    }


def seen(energy, solution):
    return {"x": solution.value, "energy": solution.energy}


def start(key):
    return jax.random.uniform(key, (2,), jnp.float32, -1, 1)


class Deadly(AbstractEnergy):
    """Kills its process when it is traced there, unless that process is the one that made it."""

    tilt: jax.Array
    maker: int

    def __call__(self, x):
        if os.getpid() != self.maker:
            os.kill(os.getpid(), signal.SIGKILL)
        return jnp.sum((x - self.tilt) ** 2)


def go(folder: Path, follow: bool, nap: float = 0.0) -> xarray.Dataset:
    """The sweep of the fault tests, with a nap after every batch so that a kill can meet it anywhere."""

    def rest(report):
        time.sleep(nap)

    ways: dict = {"order": "both", "follow": True, "batch": 2} if follow else {"batch": 8}
    return sweep(
        Tilted,
        VALUES,
        solve,
        start,
        observe=seen,
        key=jax.random.key(3),
        seeds=4,
        done=Points(folder),
        on_chunk=rest,
        **ways,
    )


def go_slowly(folder: str, follow: str, cache: str) -> None:
    """The entry point of the fork server: the sweep, and its arrays in a file once it is complete."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    dataset = go(Path(folder) / "points", follow == "follow", 0.05)
    arrays = {str(name): dataset[name].values for name in [*dataset.data_vars, *dataset.coords]}
    with open(Path(folder) / "result.npz", "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
