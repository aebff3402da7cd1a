"""Annealing, equal time and time to solution, by `relax` and by dwave-samplers.

The peer's half runs in its own environment: `sh tools/peers.sh spins`.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
from _spins import READS, TUNED, TURNS, cuts, instance, measured, pinned, place, sampled_by, searched, throughput

from thalweg.spins.tasks.solve import time_to_solution

SCRIPT = "_peer_dwave.py"
LONG = {"G22": 13359, "G55": 10299, "G70": 9595}
TARGETS = {"G11": 564, "G32": 1410}


def equal_time(seconds: float, seeds: int) -> dict[str, Any]:
    """Best cuts in the same time: ours with all cores and with one, theirs as it is, with one."""
    result: dict[str, Any] = {}
    for name in LONG:
        problem = instance(name)
        searched(problem, 0.5, 0)  # compiles
        rows: dict[str, list] = {"ours": [searched(problem, seconds, seed) for seed in range(seeds)]}
        with pinned():
            rows["ours_one_core"] = [searched(problem, seconds, seed) for seed in range(seeds)]
        for sweeps in (1000, 10_000):
            task = {"path": str(place(name)), "reads": 100_000_000 // (problem.size * 100), "sweeps": sweeps}
            rows[f"dwave_{sweeps}_sweeps"] = one = []
            for _ in range(seeds):
                found, signs = sampled_by(SCRIPT, problem, seconds=seconds, **task, **TUNED)
                one.append({"cut": int(cuts(problem, signs).max()), "reads": found["reads"]})
                one[-1]["seconds"] = round(found["seconds"], 2)
        best = {who: max(run["cut"] for run in runs) for who, runs in rows.items()}
        result[name] = {"best_known": LONG[name], "best": best, **rows}
    return result


def to_target(seconds: float, runs: int) -> dict[str, Any]:
    """TTS99 of ours by restarts, and of theirs by the share of its reads that meet the target."""
    result: dict[str, Any] = {}
    for name, target in TARGETS.items():
        problem = instance(name)
        time_to_solution(problem, target=target, runs=1, seconds=1.0, seed=1000)  # compiles
        rows = {"target": target, "ours": time_to_solution(problem, target=target, runs=runs, seconds=30.0).result}
        with pinned():
            rows["ours_one_core"] = time_to_solution(problem, target=target, runs=runs, seconds=30.0).result
            for sweeps, schedule in itertools.product((100, 1000, 10_000), ("geometric", "linear")):
                settings = {"sweeps": sweeps, "schedule": schedule, "reads": 100_000 // sweeps, **TUNED}
                found, signs = sampled_by(SCRIPT, problem, path=str(place(name)), seconds=seconds, **settings)
                met = int((cuts(problem, signs) >= target).sum())
                each = found["sampling_seconds"] / found["reads"]
                rows[f"dwave_{sweeps}_{schedule}"] = shares(met, found["reads"], each)
        theirs = [row["tts99"] for key, row in rows.items() if key.startswith("dwave") and row["tts99"]]
        result[name] = rows | {"dwave_best_tts99": min(theirs, default=None)}
    return result


def shares(met: int, reads: int, seconds: float) -> dict[str, Any]:
    """TTS99 of independent reads of so many seconds each, with the 95 % interval of Clopper and Pearson."""
    from scipy.stats import beta

    def needed(share: float) -> float:
        return float(seconds * max(1.0, np.log(0.01) / np.log1p(-min(share, 1 - 1e-12))))

    low = float(beta.ppf(0.025, met, reads - met + 1)) if met else None
    high = float(beta.ppf(0.975, met + 1, reads - met)) if met < reads else 1.0
    return {
        "tts99": needed(met / reads) if met else None,
        "tts99_interval": [needed(high), needed(low) if low else None],
        "successes": met,
        "reads": reads,
        "seconds_per_read": seconds,
    }


def main() -> None:
    """Measure the sections asked for, all by default, into `results/versus_dwave.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help="throughput, equal_time, to_target; all by default")
    parser.add_argument("--reads", type=int, default=READS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run in equal_time")
    parser.add_argument("--seeds", type=int, default=3, help="of each run in equal_time")
    parser.add_argument("--runs", type=int, default=20, help="of ours in to_target")
    parser.add_argument("--reading", type=float, default=15.0, help="seconds of each of their settings in to_target")
    parser.add_argument("--result", default="versus_dwave", help="the name of the file in results")
    options = parser.parse_args()
    settings = {"dwave": {}, "dwave_tuned": TUNED}
    sections = {
        "throughput": lambda: throughput(SCRIPT, settings, options.reads, options.turns),
        "equal_time": lambda: equal_time(options.seconds, options.seeds),
        "to_target": lambda: to_target(options.reading, options.runs),
    }
    for section in options.sections or sections:
        measured(options.result, section, sections[section])


if __name__ == "__main__":
    main()
