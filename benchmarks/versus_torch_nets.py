"""A thousand small nets trained through `sweep`, against PyTorch one by one and by `torch.func.vmap`.

Every net is 2-16-1 tanh without an output bias, on 64 points, by full-batch gradient descent in float32; the sweep is
over 125 weight decays times 8 seeds, its batches on two threads, as PyTorch has at its best.
Peers: `sh tools/peers.sh torch`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _machine import described, write_result
from _peers import run_peer
from jaxtyping import Array, Float, Key, PyTree

from thalweg import AbstractEnergy, Solution, Whole, from_loss, sweep, train

POINTS, INPUTS, HIDDEN, RATE = 64, 2, 16, 0.1
STEPS, BATCH, THREADS, REPEATS = 1000, 250, 2, 3


class NetLoss(AbstractEnergy):
    """Half the mean squared residual and half the decay times all squares."""

    x: Float[Array, "points inputs"]
    y: Float[Array, " points"]
    decay: Float[Array, ""]

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        predictions = jnp.tanh(self.x @ x["w"] + x["b"]) @ x["v"]
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))
        return 0.5 * jnp.mean((predictions - self.y) ** 2) + 0.5 * self.decay * squares


def start(key: Key[Array, ""]) -> PyTree:
    """Random weights."""
    w, b, v = jax.random.split(key, 3)
    draw = lambda key, *shape: jax.random.normal(key, shape, jnp.float32)  # noqa: E731
    return {"w": draw(w, INPUTS, HIDDEN), "b": draw(b, HIDDEN), "v": draw(v, HIDDEN) / HIDDEN**0.5}


def loss(model: PyTree, energy: NetLoss, key: Key[Array, ""]) -> Float[Array, ""]:
    """The loss of `train`: the whole data set comes along as the batch."""
    return energy(model)


def solve(energy: NetLoss, x0: PyTree, key: Key[Array, ""]) -> Solution:
    """One training."""
    return train(x0, from_loss(loss), Whole(energy), optax.sgd(RATE), key=key, steps=STEPS, throw=False)


def observe(energy: NetLoss, solution: Solution) -> dict[str, Array]:
    """The height that was reached."""
    return {"height": energy(solution.value)}


def ours(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Net-steps per second of whole sweeps, compilation apart."""
    points = eqx.Partial(NetLoss, jnp.asarray(x), jnp.asarray(y))
    decays = jnp.linspace(0, 1e-2, 125, dtype=jnp.float32)
    best, last, first = 0.0, 0.0, None
    for repeat in range(REPEATS):
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as threads:
            settings = {"key": jax.random.key(0), "seeds": 8, "batch": BATCH, "executor": threads}
            found = sweep(points, decays, solve, start, observe=observe, **settings)
        last = time.perf_counter() - began
        if repeat == 0:
            first = last
        # Compiling is part of every sweep of a fresh process; the rate is that of the stepping.
        best = max(best, 1000 * STEPS / (last - float(found.attrs.get("compile_seconds", 0.0))))
    heights = found["height"].to_numpy()
    return {
        "threads": THREADS,
        "net_steps_per_second": best,
        "first_sweep_seconds": first,
        "median_height": float(np.median(heights)),
    }


def main() -> None:
    """Measure both halves in turn and write `results/versus_torch_nets.json`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(POINTS, INPUTS)).astype(np.float32)
    y = (np.sin(x[:, 0]) * x[:, 1]).astype(np.float32)
    mine = ours(x, y)
    task = {"x": x.tolist(), "y": y.tolist(), "hidden": HIDDEN, "rate": RATE, "repeats": REPEATS}
    task |= {"loop_steps": 1000, "vmap_steps": 100, "vmap_nets": [100, 1000]}
    peers = [run_peer("torch", "_peer_torch_nets.py", task | {"threads": threads}) for threads in (1, 2)]
    loop = max(peer["loop"]["net_steps_per_second"] for peer in peers)
    vmapped = max(each["net_steps_per_second"] for peer in peers for each in peer["vmap"])
    rate = mine["net_steps_per_second"]
    ratios = {"over_loop": round(rate / loop, 1), "over_vmap": round(rate / vmapped, 2)}
    write_result("versus_torch_nets", described() | {"ours": mine, "torch": peers, "ratios": ratios})


if __name__ == "__main__":
    main()
