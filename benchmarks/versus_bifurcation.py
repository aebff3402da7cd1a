"""`solve` and simulated bifurcation (PyTorch), with all cores: theirs as long as it takes, ours as long as it took.

The peer's half runs in its own environment: `sh tools/peers.sh bifurcation`.
"""

from __future__ import annotations

import argparse
from typing import Any

from _spins import cuts, instance, measured, place, sampled_by, searched

GRAPHS = ("G1", "G11", "G14", "G22")
SETTINGS = {
    "ballistic": {"mode": "ballistic", "heated": False},
    "discrete": {"mode": "discrete", "heated": False},
    "heated_discrete": {"mode": "discrete", "heated": True},
}


def compared(name: str, seconds: float, agents: int, steps: int) -> dict[str, Any]:
    """Each of their settings, and ours for the same time."""
    problem, rows = instance(name), {}
    searched(problem, 0.5, 1000)  # compiles
    for setting, options in SETTINGS.items():
        task = {"agents": agents, "steps": steps, "seconds": seconds, "path": str(place(name)), "seed": 0} | options
        found, signs = sampled_by("_peer_bifurcation.py", problem, "bifurcation", **task)
        theirs = cuts(problem, signs)
        rows[setting] = found | {"best_cut": int(theirs.max()), "mean_cut": round(float(theirs.mean()), 2)}
        rows[setting]["ours_as_long"] = searched(problem, found["seconds"], 0)
    return rows


def main() -> None:
    """Measure into `results/versus_bifurcation.json`, one section for each graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", nargs="*", help=f"of {', '.join(GRAPHS)}; all by default")
    parser.add_argument("--seconds", type=float, default=20.0, help="at most, for each of their settings")
    parser.add_argument("--agents", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--result", default="versus_bifurcation", help="the name of the file in results")
    options = parser.parse_args()
    for name in options.graphs or GRAPHS:
        measured(
            options.result,
            name,
            lambda name=name: compared(name, options.seconds, options.agents, options.steps),
        )


if __name__ == "__main__":
    main()
