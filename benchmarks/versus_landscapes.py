"""`relax`, `find_path` and `find_saddle` on Lennard-Jones clusters, against ASE and pele on the same configurations.

The peers' half runs in their own environment: `sh tools/peers.sh landscapes`. Both ends of the path are minima reached
downhill from one saddle, so that no program has to align them first; pele aligns all the same.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _machine import described, write_result
from _peers import run_peer
from jaxtyping import Array, Float

from thalweg import Solution, find_path, find_saddle, landscapes, relax

CLUSTERS = {"lj13": 13, "lj38": 38}
STARTS, ASE_STARTS, IMAGES, RMS = 50, 5, 15, 1e-6
CLUSTER = landscapes.LennardJones()


def starts(points: int) -> Float[np.ndarray, "starts points 3"]:
    """Points scattered in a ball of about the right density."""
    generator = np.random.default_rng(points)
    return generator.uniform(-1, 1, (STARTS, points, 3)) * 1.5 * (points / 13) ** (1 / 3)


def relaxed(x: Float[np.ndarray, "starts points 3"], tol: float) -> dict[str, Any]:
    """One compiled batch of walks, and the walks one after another; compiled beforehand."""
    many = jax.jit(jax.vmap(lambda one: relax(CLUSTER, one, "lbfgs", tol=tol, throw=False)))
    batch = jnp.asarray(x)
    jax.block_until_ready(many(batch).value)
    began = time.perf_counter()
    ends: Solution = jax.block_until_ready(many(batch))
    together = time.perf_counter() - began
    relax(CLUSTER, batch[0], "lbfgs", tol=tol, throw=False)
    began = time.perf_counter()
    alone = [relax(CLUSTER, one, "lbfgs", tol=tol, throw=False) for one in batch]
    apart = time.perf_counter() - began
    return {
        "batch_seconds": together,
        "single_seconds": apart,
        "evaluations": int(np.sum(ends.stats["steps"])) + STARTS,
        "single_evaluations": sum(int(end.stats["steps"]) + 1 for end in alone),
        "arrived": int(np.sum(np.asarray(ends.outcome) == alone[0].outcome)),
        "lowest": float(jnp.min(ends.energy)),
    }


def saddles(count: int) -> list[Solution]:
    """Saddles around the global minimum of thirteen points, each found from another random displacement."""
    rest = relax(CLUSTER, jnp.asarray(starts(13)[0]), "lbfgs")
    for start in starts(13):
        there = relax(CLUSTER, jnp.asarray(start), "lbfgs", throw=False)
        rest = there if there.energy < rest.energy else rest
    keys = jax.random.split(jax.random.key(0), count)
    moved = [rest.value + 0.15 * jax.random.normal(key, rest.value.shape) for key in keys]
    found = [find_saddle(CLUSTER, x, tol=1e-8, throw=False) for x in moved]
    return [each for each in found if each.done]


def sides(saddle: Solution) -> tuple[Array, Array]:
    """The two minima below a saddle."""
    mode = saddle.stats["mode"]
    ends = [relax(CLUSTER, saddle.value + way * 0.05 * mode, "flow", tol=1e-7, throw=False) for way in (1, -1)]
    ends = [relax(CLUSTER, end.value, "lbfgs", tol=1e-9, throw=False) for end in ends]
    low, high = sorted(ends, key=lambda end: float(end.energy))
    return low.value, high.value


def connected(a: Array, b: Array, tol: float) -> dict[str, Any]:
    """The path and its saddles, compiled beforehand."""
    find_path(CLUSTER, a, b, images=IMAGES, tol=tol)
    began = time.perf_counter()
    path = find_path(CLUSTER, a, b, images=IMAGES, tol=tol)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "barrier": float(path.barrier),
        "band_barrier": float(path.band_barrier),
        "connected": bool(path.connected),
        "saddles": len(path.saddles),
        "stats": {name: float(value) for name, value in path.stats.items() if np.ndim(value) == 0},
    }


def main() -> None:
    """Measure both halves in turn and write `results/versus_landscapes.json`."""
    jax.config.update("jax_enable_x64", True)
    ours: dict[str, Any] = {}
    task: dict[str, Any] = {"rms": RMS, "fmax": 1e-3, "ase_starts": ASE_STARTS, "images": IMAGES, "fmax_band": 0.01}
    task["starts"] = {name: starts(points).tolist() for name, points in CLUSTERS.items()}
    for name, points in CLUSTERS.items():
        # pele bounds the root mean square of the gradient, we bound its norm.
        ours[name] = relaxed(starts(points), RMS * (3 * points) ** 0.5)
    began = time.perf_counter()
    found = saddles(20)
    ours["saddle_seconds"] = time.perf_counter() - began
    distinct: dict[int, Solution] = {round(float(each.energy) * 1e5): each for each in found}
    first = min(distinct.values(), key=lambda each: float(each.energy))
    a, b = sides(first)
    ours["path"] = connected(a, b, 0.01)
    noise = np.random.default_rng(0)
    near = [np.asarray(each.value) + 0.01 * noise.normal(size=(13, 3)) for each in distinct.values()]
    task |= {"ends": [np.asarray(a).tolist(), np.asarray(b).tolist()], "saddles": [x.tolist() for x in near]}
    peers = run_peer("landscapes", "_peer_landscapes.py", task)
    theirs = [each["energy"] for each in peers["pele_saddles"]["saddles"]]
    apart = [abs(float(one.energy) - other) for one, other in zip(distinct.values(), theirs, strict=True)]
    ours["saddles"] = {"found": len(found), "distinct": len(distinct), "largest_difference_to_pele": max(apart)}
    ours["saddles"]["energies"] = sorted(float(each.energy) for each in distinct.values())
    write_result("versus_landscapes", described() | {"ours": ours, "peers": peers})


if __name__ == "__main__":
    main()
