"""The peer's half of versus_jaxcont: folds of regularised losses by jaxcont."""

from __future__ import annotations

import json
import sys
import time

import jax
import jax.numpy as jnp
import jaxcont

jax.config.update("jax_enable_x64", True)


def linear(u, decay, data):
    """Three linear layers of one unit each."""
    return 0.5 * jnp.mean((u[0] * u[1] * u[2] * data[0] - data[1]) ** 2) + decay / 2 * jnp.sum(u**2)


def tanh(u, decay, data):
    """One hidden layer of tanh units with penalised biases `[w, b, v]`, and a free output bias."""
    width = (len(u) - 1) // 3
    w, b, v = u[:width], u[width : 2 * width], u[2 * width : 3 * width]
    prediction = jnp.tanh(data[0][:, None] * w + b) @ v + u[-1]
    return 0.5 * jnp.mean((prediction - data[1]) ** 2) + decay / 2 * jnp.sum(u[:-1] ** 2)


def main() -> None:
    """Read the task, follow the branch, print the folds."""
    task = json.load(sys.stdin)
    data = tuple(jnp.asarray(part) for part in task["data"])
    height = {"linear": linear, "tanh": tanh}[task["loss"]]

    def slope(u, decay, args):
        return jax.grad(height)(u, decay, args)

    problem = jaxcont.bif_problem(slope, jnp.asarray(task["start"]), task["decay"], args=data)
    settings = jaxcont.ContinuationPar(ds=0.02, ds_max=0.1, max_steps=task["steps"], newton_tol=1e-12)
    seconds = []
    for _ in range(task["repeats"]):
        began = time.perf_counter()
        found = jaxcont.continuation(problem, p_span=(task["decay"], task["high"]), settings=settings,
                                     events=[jaxcont.Fold()])  # fmt: skip
        jax.block_until_ready(found.branch.params)
        seconds.append(time.perf_counter() - began)
    folds = [float(hit.p) for hit in found.events]
    print(json.dumps({"folds": folds, "points": found.branch.n_valid, "seconds": seconds,
                      "largest_value": float(found.branch.params.max())}))  # fmt: skip


if __name__ == "__main__":
    main()
