"""The peer's half of versus_openjij: the simulated annealing of OpenJij on a graph in rudy's format."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import openjij


def model(path: str) -> openjij.BinaryQuadraticModel:
    """Weights as couplings, so that low energies are large cuts."""
    rows = np.loadtxt(path, skiprows=1, ndmin=2)
    size = int(open(path).readline().split()[0])  # noqa: SIM115 - a script of one minute
    pairs = {(int(i) - 1, int(j) - 1): float(weight) for i, j, weight in rows}
    return openjij.BinaryQuadraticModel(dict.fromkeys(range(size), 0.0), pairs, 0.0, "SPIN", sparse=True)


def main() -> None:
    """Read the task, take `reads` without a seed, because with one all reads are the same, and print."""
    task = json.load(sys.stdin)
    bqm = model(task["path"])
    settings = {"num_sweeps": task["sweeps"], "num_reads": task["reads"]}
    if "beta_range" in task:
        settings |= dict(zip(("beta_min", "beta_max"), task["beta_range"], strict=True))
    began, cpu = time.perf_counter(), time.process_time()
    found = openjij.SASampler().sample(bqm, **settings)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    order = np.argsort(np.asarray(found.variables, int))
    signs = found.record.sample[:, order]
    schedule = found.info["schedule"]
    # Microseconds of the kernel's own calls, read by read.
    result = {"reads": len(signs), "seconds": seconds, "sampling_seconds": sum(found.info["list_exec_times"]) * 1e-6}
    result |= {"cpu_seconds": cpu, "beta_range": [float(schedule[end]) for end in ("beta_min", "beta_max")]}
    result |= {"distinct": len({row.tobytes() for row in signs})}
    print(json.dumps(result | {"signs": [row.tobytes().hex() for row in np.packbits(signs > 0, axis=1)]}))


if __name__ == "__main__":
    main()
