"""A thousand small nets trained through `trainings`, against PyTorch one by one and by `torch.func.vmap`.

Every net is 2-16-1 tanh without an output bias, on 64 points, by full-batch gradient descent in float32; the trainings
are over 125 weight decays times 8 seeds, their batches on two threads, as PyTorch has at its best. PyTorch's nets are
also written with the items as columns, which is our quickest form. Peers: `sh tools/peers.sh torch`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _machine import described, write_result
from _peers import run_peer

from thalweg.learning.model.families import family
from thalweg.learning.tasks.many.trainings import trainings

POINTS, INPUTS, HIDDEN, RATE = 64, 2, 16, 0.1
STEPS, THREADS, REPEATS = 1000, 2, 3
FORMS = ("matmul", "columns")


def ours(x: np.ndarray, y: np.ndarray, form: Any) -> dict[str, Any]:
    """Net-steps per second of whole sweeps with the default batches, compilation apart."""
    settings = {"width": HIDDEN, "output_bias": False, "form": form, "dtype": jnp.float32}
    problem = family("tanh", (x, y[:, None]), **settings)
    decays = np.linspace(0, 1e-2, 125)
    best, first, height = 0.0, None, 0.0
    for _ in range(REPEATS):
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as threads:
            fixed = {"steps": STEPS, "optimiser": optax.sgd(RATE), "key": jax.random.key(0), "executor": threads}
            found = trainings(problem, decays, seeds=8, **fixed)
        seconds = time.perf_counter() - began
        first = seconds if first is None else first
        # Compiling is part of every sweep of a fresh process; the rate is that of the stepping.
        height = float((found["loss"] + found["penalty"]).median())
        best = max(best, 1000 * STEPS / (seconds - float(found.attrs["compile_seconds"])))
    return {
        "form": form,
        "threads": THREADS,
        "net_steps_per_second": best,
        "first_sweep_seconds": first,
        "median_height": height,
    }


def main() -> None:
    """Measure both halves in turn and write `results/versus_torch_nets.json`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(POINTS, INPUTS)).astype(np.float32)
    y = (np.sin(x[:, 0]) * x[:, 1]).astype(np.float32)
    mine = [ours(x, y, form) for form in FORMS]
    task = {"x": x.tolist(), "y": y.tolist(), "hidden": HIDDEN, "rate": RATE, "repeats": REPEATS}
    task |= {"loop_steps": 1000, "vmap_steps": 100, "vmap_nets": [100, 250, 1000]}
    peers = [run_peer("torch", "_peer_torch_nets.py", task | {"threads": threads}) for threads in (1, 2)]
    loop = max(peer["loop"]["net_steps_per_second"] for peer in peers)
    vmapped = max(each["net_steps_per_second"] for peer in peers for each in peer["vmap"])
    rate = max(one["net_steps_per_second"] for one in mine)
    ratios = {"over_loop": round(rate / loop, 1), "over_vmap": round(rate / vmapped, 2)}
    write_result("versus_torch_nets", described() | {"ours": mine, "torch": peers, "ratios": ratios})


if __name__ == "__main__":
    main()
