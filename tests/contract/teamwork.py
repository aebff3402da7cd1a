"""A training that several processes share, each of which runs this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core.solution import Outcome
from thalweg.methods.data import Batches
from thalweg.methods.trace import Trace
from thalweg.runs.hooks import Checkpoint
from thalweg.scale import together
from thalweg.verbs.train import from_loss, train


def loss(model: eqx.nn.MLP, batch: Any, key: Any) -> Any:
    x, y = batch
    return jnp.mean((jax.vmap(model)(x)[:, 0] - y) ** 2)


def learnt(devices: Any, steps: int, hooks: tuple = ()) -> Any:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 3)).astype(np.float32)
    data = Batches((x, np.sin(x).sum(axis=1)), 16)
    model = eqx.nn.MLP(3, 1, 16, 1, jnp.tanh, key=jax.random.key(1), dtype=jnp.float32)
    return train(model, from_loss(loss), data, optax.adam(1e-2), key=jax.random.key(2), steps=steps, devices=devices,
                 trace=Trace(lambda walk: walk.metrics["loss"]), on_chunk=hooks, throw=False)  # fmt: skip


def curve(solution: Any) -> list[float]:
    return np.asarray(solution.trace, np.float64)[1:].tolist()


def main(address: str, rank: str, folder: str) -> None:
    with together(address, 2, int(rank), timeout=60) as team:
        place = Path(folder) / f"{rank}.safetensors"  # a folder of its own: only the first process writes
        whole = learnt(team.devices, 60, team.hooks())
        stopped = learnt(
            team.devices, 60, team.hooks(Checkpoint(place), lambda told: Outcome.TIME if told.step > 20 else None)
        )
        gone_on = learnt(team.devices, 60, team.hooks(Checkpoint(place)))
        refused = ""
        try:
            learnt(team.devices, 5)
        except Exception as error:
            refused = str(error)
        leaves = [jax.tree.leaves(eqx.filter(found.value, eqx.is_array)) for found in (whole, gone_on)]
        told = {
            "curve": curve(whole),
            "devices": len(team.devices),
            "stopped": int(stopped.stats["steps"]),
            "gone_on": curve(gone_on)[-1],
            "same": all(bool((np.asarray(a) == np.asarray(b)).all()) for a, b in zip(*leaves, strict=True)),
            "wrote": place.exists(),
            "refused": refused,
        }
        (Path(folder) / f"{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
