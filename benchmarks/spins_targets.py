"""How long `solve` takes to reach the best known cuts, or cuts close to them: TTS99 by restarts from many seeds.

One instance after another, the quick ones first, into `results/spins_targets.json`; what is there already is left.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from _spins import instance, measured, pinned, searched

from thalweg.core.hooks import Report
from thalweg.spins.tasks.solve import time_to_solution

RESULT = "spins_targets"


class Aim(NamedTuple):
    """A cut, how many seeds are tried, the limit of each in seconds, and whether to look at the end of it besides."""

    cut: int
    runs: int
    limit: float
    whole: bool = False


AIMS = {
    "G11": Aim(564, 20, 10),
    "G32": Aim(1410, 20, 30),
    "G1": Aim(11624, 20, 10),
    "G6": Aim(2178, 20, 10),
    "G43": Aim(6660, 20, 10),
    "be100.1.mc": Aim(19412, 20, 10),
    "be120.3.1.mc": Aim(13067, 20, 10),
    "be150.3.1.mc": Aim(18889, 20, 10),
    "bqp250-1.mc": Aim(45607, 20, 10),
    "bqp250-2.mc": Aim(44810, 20, 10),
    "bqp250-8.mc": Aim(35726, 20, 10),
    "G70": Aim(9591, 10, 10, whole=True),
    "G14": Aim(3064, 20, 120),
    "G22": Aim(13359, 10, 120),
    "G60": Aim(14176, 10, 60),
    "G55": Aim(10294, 10, 120),
}


def tell(name: str, report: Report) -> None:
    """Say what a run took."""
    seconds, met = float(report.state["seconds"]), bool(report.state["met"])
    print(f"{name} {report.step}/{report.steps}: {seconds:.3f} s{'' if met else ', not met'}", flush=True)


def measure(name: str, aim: Aim, runs: int, method: str) -> dict[str, Any]:
    """Seconds to the cut from each seed, and where it is asked for the best cut of whole runs."""
    problem = instance(name)
    # Compiles, with seeds that are not used again.
    time_to_solution(problem, target=aim.cut, runs=1, seconds=2.0, seed=10_000, method=method)
    began = time.perf_counter()
    found = time_to_solution(
        problem, target=aim.cut, runs=runs, seconds=aim.limit, method=method, hooks=(functools.partial(tell, name),)
    )
    row: dict[str, Any] = {"cut": aim.cut, "limit": aim.limit, "method": method} | found.result
    row |= {"seconds_max": max(row["run_seconds"]), "seconds_median": sorted(row["run_seconds"])[runs // 2]}
    row["seconds_mean"] = round(float(found.seconds.mean()), 4)
    # With the choice of the method and its beginning, which a run's own clock leaves out.
    row["whole_seconds_mean"] = round((time.perf_counter() - began) / runs, 4)
    if aim.whole:
        row["whole_runs"] = [searched(problem, aim.limit, seed) for seed in range(runs)]
    return row


def main() -> None:
    """Measure what is asked for, as far as the budget goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instances", nargs="*", help=f"of {', '.join(AIMS)}; all by default, in this order")
    parser.add_argument("--runs", type=int, help="seeds for each, instead of its own number")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds after which no other instance begins")
    parser.add_argument("--again", action="store_true", help="measure anew what is in the result")
    parser.add_argument("--one-core", action="store_true", help="use one core; the names then end in -one-core")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--result", default=RESULT, help="the name of the file in results")
    options = parser.parse_args()
    path, began = Path(__file__).with_name("results") / f"{options.result}.json", time.perf_counter()
    for name in options.instances or AIMS:
        told = name + ("-one-core" if options.one_core else "")
        if path.exists() and told in json.loads(path.read_text()) and not options.again:
            continue
        if time.perf_counter() - began > options.budget:
            print(f"spins_targets: the budget is spent before {name}: run again to go on.")
            break
        aim = AIMS[name]
        with pinned(1 if options.one_core else None):
            cores = len(os.sched_getaffinity(0))
            measured(
                options.result,
                told,
                lambda name=name, aim=aim, cores=cores: (
                    {"cores": cores} | measure(name, aim, options.runs or aim.runs, options.method)
                ),
            )


if __name__ == "__main__":
    main()
