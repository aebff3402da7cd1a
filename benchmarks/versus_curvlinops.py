"""Hessian-vector products, top eigenvalues and the eigenvalue density of a 2-64-64-1 tanh net, against curvlinops.

Both on one thread, on the same weights and 256 points, half the mean squared residual; seconds are of processor time.
Peers: `sh tools/peers.sh curvlinops`.
"""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _machine import described, write_result
from _peers import run_peer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from thalweg import AbstractEnergy, Euclidean
from thalweg.diagnostics.spectrum import extreme_modes, spectral_density
from thalweg.methods.curvature import product_at

WIDTHS, POINTS, TOP, PROBES, KRYLOV = (2, 64, 64, 1), 256, 5, 10, 80
PRODUCTS, COLUMNS, REPEATS = 100, 32, 2


class NetLoss(AbstractEnergy):
    """Half the mean squared residual."""

    x: Float[Array, "points inputs"]
    y: Float[Array, " points"]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        hidden = jnp.tanh(jnp.tanh(self.x @ x["w0"] + x["b0"]) @ x["w1"] + x["b1"])
        return 0.5 * jnp.mean(((hidden @ x["w2"] + x["b2"])[:, 0] - self.y) ** 2)


@jax.jit
def singly(energy: NetLoss, x: PyTree, v: Array) -> Array:
    """Many products one after the other, each of the one before."""
    apply = product_at(energy, Euclidean(), x)
    return jax.lax.fori_loop(0, PRODUCTS, lambda _, v: (image := apply(v)) / jnp.linalg.norm(image), v)


@jax.jit
def in_blocks(energy: NetLoss, x: PyTree, columns: Array) -> Array:
    """Many products at once."""
    return jax.vmap(product_at(energy, Euclidean(), x))(columns)


@jax.jit
def called(energy: NetLoss, x: PyTree, v: Array) -> Array:
    """One product by one call from Python."""
    return product_at(energy, Euclidean(), x)(v)


def best_of(work: Callable[[], Any]) -> float:
    """The least seconds of several runs, after one that compiles."""
    jax.block_until_ready(work())
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        jax.block_until_ready(work())
        spent.append(time.process_time() - began)
    return min(spent)


def ours(energy: NetLoss, x: PyTree) -> tuple[dict[str, Any], Any]:
    """Rates, seconds and values."""
    flat = ravel_pytree(x)[0]
    columns = jax.random.normal(jax.random.key(1), (COLUMNS, flat.size), flat.dtype)
    density = lambda: spectral_density(energy, x, key=jax.random.key(2), probes=PROBES, krylov=KRYLOV)  # noqa: E731
    modes = lambda: extreme_modes(energy, x, top=TOP, bottom=1).top.values  # noqa: E731
    rates = {
        "one_by_one": PRODUCTS / best_of(lambda: singly(energy, x, columns[0])),
        "by_calls": 1 / best_of(lambda: called(energy, x, columns[0])),
        "in_blocks": COLUMNS / best_of(lambda: in_blocks(energy, x, columns)),
    }
    found = density()
    result = {
        "products_per_second": rates,
        "top": np.asarray(modes()).tolist(),
        "eigen_seconds": best_of(modes),
        "density_seconds": best_of(density),
        "moments": [[float(part) for part in found.moment(order)] for order in (1, 2, 3)],
        "edges": [float(found.lowest), float(found.highest)],
    }
    return result, found


def exact_moments(energy: NetLoss, x: PyTree) -> list[float]:
    """Means of powers of the eigenvalues, from traces of powers of the whole Hessian."""
    flat = ravel_pytree(x)[0]
    rows = jax.lax.map(product_at(energy, Euclidean(), x), jnp.eye(flat.size, dtype=flat.dtype), batch_size=COLUMNS)
    whole = np.asarray(rows, np.float64)
    powers = (np.trace(whole), np.sum(whole * whole.T), np.sum((whole @ whole) * whole.T))
    return [float(power) / flat.size for power in powers]


def compared(dtype: str) -> dict[str, Any]:
    """Both halves in one floating type."""
    numbers = np.random.default_rng(0)
    points = numbers.normal(size=(POINTS, 2)).astype(dtype)
    heights = (np.sin(2 * points[:, 0]) * points[:, 1]).astype(dtype)
    x = {}
    for number, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        x[f"w{number}"] = jnp.asarray(numbers.normal(size=(inputs, outputs)).astype(dtype) / inputs**0.5)
        x[f"b{number}"] = jnp.asarray(numbers.normal(size=outputs).astype(dtype))
    energy = NetLoss(jnp.asarray(points), jnp.asarray(heights))
    task = {"dtype": dtype, "x": points.tolist(), "y": heights.tolist(), "threads": 1, "products": PRODUCTS}
    task |= {"weights": {name: np.asarray(leaf).tolist() for name, leaf in x.items()}, "repeats": REPEATS}
    task |= {"columns": COLUMNS, "top": TOP, "krylov": KRYLOV, "probes": PROBES}
    mine, _ = ours(energy, x)
    peer = run_peer("curvlinops", "_peer_curvlinops.py", task)
    moments = np.array(peer.pop("moments"))
    peer["moments"] = [[m, e] for m, e in zip(moments.mean(0), moments.std(0, ddof=1) / PROBES**0.5, strict=True)]
    top = np.array([mine["top"], peer["top"]])
    rates = (mine["products_per_second"], peer["products_per_second"])
    ratios = {
        "products_one_by_one": rates[0]["one_by_one"] / rates[1]["one_by_one"],
        "products_by_calls": rates[0]["by_calls"] / rates[1]["one_by_one"],
        "products_in_blocks": rates[0]["in_blocks"] / rates[1]["in_blocks"],
        "density": peer["density_seconds"] / mine["density_seconds"],
        "eigenvalues": peer["eigen_seconds"] / mine["eigen_seconds"],
    }
    return {
        "dtype": dtype,
        "exact_moments": exact_moments(energy, x),
        "thalweg": mine,
        "curvlinops": peer,
        "largest_relative_difference_of_top": float(np.max(np.abs(top[0] / top[1] - 1))),
        "times_as_quick": {name: round(ratio, 2) for name, ratio in ratios.items()},
    }


def main() -> None:
    """Measure both in turn and write `results/versus_curvlinops.json`."""
    cases = [compared("float32")]
    with jax.enable_x64(True):
        cases.append(compared("float64"))
    write_result("versus_curvlinops", described() | {"parameters": 4417, "points": POINTS, "cases": cases})


if __name__ == "__main__":
    main()
