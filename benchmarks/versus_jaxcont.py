"""`follow_branch` and jaxcont round the same folds: three linear layers, and tanh units on a parabola.

Peers: `sh tools/peers.sh jaxcont`. Both walk from the same point upwards, with the same first and longest steps.
"""

from __future__ import annotations

import time
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from _machine import described, write_result  # noqa: E402
from _peers import run_peer  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from thalweg import relax  # noqa: E402
from thalweg.learning.data import Regression, parabola, whitened  # noqa: E402
from thalweg.learning.model.exact import linear_transitions  # noqa: E402
from thalweg.learning.model.families import family  # noqa: E402
from thalweg.learning.model.problem import Problem  # noqa: E402
from thalweg.methods.continuation import PseudoArclength  # noqa: E402
from thalweg.verbs.continuation import follow_branch  # noqa: E402

REPEATS, STEPS = 4, 120


def compared(name: str, problem: Problem, data: Regression, decay: float, high: float) -> dict[str, Any]:
    """Both halves on one branch: the folds that each found, the first time with compilation, and the best time."""
    lanes = [relax(problem.at(decay), problem.start(jax.random.key(seed)), "fire") for seed in range(6)]
    start = min(lanes, key=lambda one: float(one.energy)).value
    seconds, folds, branch = [], [], None
    for _ in range(REPEATS):
        began = time.perf_counter()
        branch = follow_branch(problem.at, start, decay, PseudoArclength(step=0.02, longest=0.1),
                               bounds=(decay / 2, high), direction="up", max_steps=STEPS, throw=False)  # fmt: skip
        folds = [float(point.value) for point in branch.points if point.kind == "fold"]
        seconds.append(time.perf_counter() - began)
    task = {"loss": name, "data": [data[0][:, 0].tolist(), data[1][:, 0].tolist()], "decay": decay, "high": high}
    task |= {"start": np.asarray(ravel_pytree(start)[0]).tolist(), "steps": STEPS, "repeats": REPEATS}
    theirs = run_peer("jaxcont", "_peer_jaxcont.py", task)
    assert branch is not None
    rows = {"ours": {"folds": folds, "points": len(branch.value), "seconds": seconds}, "jaxcont": theirs}
    for row in rows.values():
        row["first_seconds"], row["best_seconds"] = row["seconds"][0], min(row.pop("seconds"))
    return rows


def main() -> None:
    """Measure into `results/versus_jaxcont.json`."""
    white, textbook = whitened(parabola()), parabola(64, -1.0, 1.0)
    (known,) = linear_transitions(white, 3)
    assert known.coexistence is not None
    deep = compared("linear", family("linear", white, depth=3), white, 0.8 * known.coexistence, 1.0)
    for row in deep.values():
        row["relative_error"] = [abs(fold / known.spinodal - 1) for fold in row["folds"]]
    problem = family("tanh", textbook, width=4, output_bias=True)
    result = {"three_linear_layers": {"exact": known.spinodal, **deep}}
    result["four_tanh_units"] = compared("tanh", problem, textbook, 0.01, 0.1)
    write_result("versus_jaxcont", described() | result)


if __name__ == "__main__":
    main()
