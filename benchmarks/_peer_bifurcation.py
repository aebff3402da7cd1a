"""The peer's half of versus_bifurcation: simulated bifurcation on PyTorch, on a graph in rudy's format."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import simulated_bifurcation
import torch


def main() -> None:
    """Read the task, minimise until all agents have settled or the time is up, and print."""
    task = json.load(sys.stdin)
    torch.manual_seed(task["seed"])
    rows = np.loadtxt(task["path"], skiprows=1, ndmin=2)
    size = int(open(task["path"]).readline().split()[0])  # noqa: SIM115 - a script of one minute
    matrix = torch.zeros((size, size))
    ends = (rows[:, :2] - 1).astype(np.int64)
    matrix[ends[:, 0], ends[:, 1]] = torch.tensor(rows[:, 2], dtype=torch.float32)
    began = time.perf_counter()
    signs, _ = simulated_bifurcation.minimize(
        matrix,
        domain="spin",
        agents=task["agents"],
        mode=task["mode"],
        heated=task["heated"],
        max_steps=task["steps"],
        timeout=task["seconds"],
        best_only=False,
        verbose=False,
    )
    result = {"seconds": time.perf_counter() - began, "reads": len(signs), "threads": torch.get_num_threads()}
    packed = np.packbits(signs.numpy() > 0, axis=1)
    print(json.dumps(result | {"signs": [row.tobytes().hex() for row in packed]}))


if __name__ == "__main__":
    main()
