"""The peer's half of versus_dwave: the simulated annealing of dwave-samplers on a graph in rudy's format."""

from __future__ import annotations

import json
import sys
import time

import dimod
import numpy as np
from dwave.samplers import SimulatedAnnealingSampler


def model(path: str) -> dimod.BinaryQuadraticModel:
    """Weights as couplings, so that low energies are large cuts."""
    rows = np.loadtxt(path, skiprows=1, ndmin=2)
    size = int(open(path).readline().split()[0])  # noqa: SIM115 - a script of one minute
    ends = (rows[:, :2] - 1).astype(np.int64)
    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        np.zeros(size), (ends[:, 0], ends[:, 1], rows[:, 2]), 0.0, "SPIN"
    )


def main() -> None:
    """Read the task, take `reads`, again and again while there are `seconds` left, and print."""
    task = json.load(sys.stdin)
    bqm = model(task["path"])
    settings = {"num_sweeps": task["sweeps"], "beta_schedule_type": task.get("schedule", "geometric")}
    if "beta_range" in task:
        settings["beta_range"] = task["beta_range"]
    sampler, signs, sampling, cpu = SimulatedAnnealingSampler(), [], 0, time.process_time()
    began = time.perf_counter()
    end = began + task.get("seconds", 0.0)
    while not signs or time.perf_counter() < end:
        stop = (lambda: time.perf_counter() >= end) if "seconds" in task else None
        found = sampler.sample(bqm, num_reads=task["reads"], interrupt_function=stop, **settings)
        sampling += found.info["timing"]["sampling_ns"]
        order = np.argsort(np.asarray(found.variables, int))
        signs.append(found.record.sample[:, order])
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    every = np.concatenate(signs)
    result = {"reads": len(every), "seconds": seconds, "sampling_seconds": sampling * 1e-9, "cpu_seconds": cpu}
    result |= {"beta_range": [float(beta) for beta in found.info["beta_range"]]}
    print(json.dumps(result | {"signs": [row.tobytes().hex() for row in np.packbits(every > 0, axis=1)]}))


if __name__ == "__main__":
    main()
