"""`survey` on a Lennard-Jones cluster, against pele's double-ended connections from the same starts in equal time.

Both may use so many seconds of one thread. Compilation is not among them, and told apart: pele comes compiled. The
peer's half runs in its own environment: `sh tools/peers.sh landscapes`.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
from _machine import described, write_result
from _peers import run_peer

from thalweg import Outcome, landscapes
from thalweg.methods.copies import RigidCopies
from thalweg.verbs.survey import Survey, survey

POINTS, STARTS, SEED = 13, 16, 13
NEVER = 10**6
CLUSTER = landscapes.LennardJones()


def starts() -> np.ndarray:
    """Points scattered in a ball of about the right density."""
    generator = np.random.default_rng(SEED)
    return generator.uniform(-1, 1, (STARTS, POINTS, 3)) * 1.5 * (POINTS / 13) ** (1 / 3)


def mapped(seconds: float) -> tuple[Survey, float, list[list[float]]]:
    """A survey that is stopped after so much time of the processor; its growth as [seconds, minima, saddles]."""
    began, growth = time.process_time(), []

    def stop(report: Any) -> Outcome | None:
        growth.append([time.process_time() - began, report.step])
        return Outcome.TIME if growth[-1][0] > seconds else None

    found = survey(
        CLUSTER,
        jnp.asarray(starts()),
        copies=RigidCopies(),
        key=jax.random.key(0),
        rounds=NEVER,
        wanted=NEVER,
        throw=False,
        on_chunk=stop,
    )
    return found, time.process_time() - began, growth


def compared(found: Survey, theirs: dict[str, Any]) -> dict[str, Any]:
    """How far the saddles and minima that both found differ in height, and the barrier that both report."""
    result: dict[str, Any] = {}
    for name, ours, other in (
        ("minima", found.energies, np.asarray(theirs["minima"])),
        ("saddles", found.saddle_energies, np.asarray(theirs["saddles"])),
    ):
        gaps = np.min(np.abs(ours[:, None] - other[None]), axis=0)
        common = gaps < 1e-4
        result[name] = {
            "common": int(common.sum()),
            "of_theirs": len(other),
            "largest_difference": float(gaps[common].max(initial=0.0)),
        }
    barrier = found.tree.barrier(0, 1) - found.energies[0]
    return result | {"barrier_of_the_two_lowest": [float(barrier), theirs["barrier"]]}


def main() -> None:
    """Measure both halves in turn and write `results/versus_pele_graph.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    jax.config.update("jax_enable_x64", True)
    began = time.process_time()
    small = {"key": jax.random.key(0), "throw": False, "copies": RigidCopies(), "rounds": 2, "wanted": NEVER}
    survey(CLUSTER, jnp.asarray(starts()[:2]), **small)
    compiling = time.process_time() - began
    found, took, _ = mapped(seconds)
    index = [
        int(np.sum(np.linalg.eigvalsh(jax.hessian(CLUSTER)(x).reshape(3 * POINTS, -1)) < -1e-4)) for x in found.saddles
    ]
    ours = {
        "seconds": took,
        "warm_up_seconds": compiling,
        "minima": len(found.energies),
        "saddles": len(found.saddle_energies),
        "saddles_between_two_minima": int(np.sum(found.joined[:, 0] != found.joined[:, 1])),
        "all_of_index_one": set(index) == {1},
        "connected": found.connected,
        "lowest": float(found.energies[0]),
        "stats": {name: float(value) for name, value in found.stats.items()},
    }
    near = found.saddles[:20] + 0.01 * jax.random.normal(jax.random.key(1), found.saddles[:20].shape)
    task = {"starts": starts().tolist(), "seconds": seconds, "saddles": np.asarray(near).tolist(), "seed": SEED}
    theirs = run_peer("landscapes", "_peer_pele_graph.py", task)
    apart = [
        abs(a - b) for a, b in zip(found.saddle_energies[:20].tolist(), theirs["refound"], strict=True) if b is not None
    ]
    comparison = compared(found, theirs["graph"])
    comparison["our_saddles_refound_by_pele"] = {"found": len(apart), "largest_difference": max(apart)}
    kept = {name: value for name, value in theirs["graph"].items() if name not in ("minima", "saddles")}
    kept |= {"minima": len(theirs["graph"]["minima"]), "saddles": len(theirs["graph"]["saddles"])}
    write_result("versus_pele_graph", described() | {"ours": ours, "pele": kept, "comparison": comparison})


if __name__ == "__main__":
    main()
