"""The peer's half of versus_coniii: the pseudo-likelihood solver of coniii."""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import scipy

# coniii 2.3.0 takes these from SciPy, which no longer has them.
for _name in "exp cosh sinh tanh dot array sqrt log sum diag pi transpose zeros ones outer arctanh".split():
    if not hasattr(scipy, _name):
        setattr(scipy, _name, getattr(np, _name))
warnings.simplefilter("ignore")

from coniii.solvers import Pseudo  # noqa: E402 - after the aliases


def main() -> None:
    """Read the task, solve, print: fields first, then couplings in row order."""
    task = json.load(sys.stdin)
    samples = np.array(task["samples"], np.int64)
    solver = Pseudo(samples)
    seconds = []
    for _ in range(task["repeats"]):
        began = time.perf_counter()
        found = solver.solve()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "multipliers": np.asarray(found, float).tolist()}))


if __name__ == "__main__":
    main()
