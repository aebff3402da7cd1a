"""What the benchmarks of ground states share: graphs, cuts recomputed from the files, cores, annealing in turns."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _machine import described
from _peers import run_peer
from jaxtyping import Int, Int8

from thalweg import relax
from thalweg.core.hooks import Report
from thalweg.core.space import Signs
from thalweg.datasets import locate
from thalweg.methods.signs.annealing import Annealing
from thalweg.methods.signs.graph import sign_graph
from thalweg.runs import TimeLimit
from thalweg.spins.data.problem import Problem
from thalweg.spins.data.read import read
from thalweg.spins.tasks.solve import search_named

GRAPHS = ("G11", "G14", "G22")
READS, SWEEPS, TURNS = 100, 1000, 3
# Annealing of couplings of size one is better, and faster, between these than between the peers' own defaults.
TUNED: dict[str, Any] = {"beta_range": [0.2, 3.0]}


def place(name: str) -> Path:
    """Where the file of an instance lies."""
    return locate(f"{'qubo' if name.endswith('.mc') else 'gset'}/{name}")


def instance(name: str) -> Problem:
    """The max-cut problem in that file."""
    return read(place(name))


def cuts(problem: Problem, signs: Int8[np.ndarray, "reads n"]) -> Int[np.ndarray, " reads"]:
    """The cut of each row, recomputed from the weights in the file, a thousand rows at a time."""
    weights, parts = -problem.coupling, []
    for rows in np.split(signs, range(1000, len(signs), 1000)):
        parts.append((rows[:, problem.first] != rows[:, problem.second]) @ weights)
    return np.concatenate(parts)


def summary(problem: Problem, signs: Int8[np.ndarray, "reads n"]) -> dict[str, Any]:
    """Best, mean and number of the cuts."""
    found = cuts(problem, signs)
    return {"best_cut": int(found.max()), "mean_cut": round(float(found.mean()), 2), "reads": len(found)}


@contextlib.contextmanager
def pinned(cores: int | None = 1) -> Iterator[None]:
    """This thread, and whatever it starts, on the first cores that it may use; `None` for all of them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Last:
    """A hook that keeps the signs of all replicas as they were last seen."""

    signs: Int8[np.ndarray, "reads n"]

    def __call__(self, report: Report) -> None:
        """Copy them."""
        lanes = report.state.state.lanes.signs
        self.signs = lanes.transpose(0, 2, 1).reshape(-1, lanes.shape[1]).astype(np.int8)


def annealed(problem: Problem, reads: int, sweeps: int, seed: int) -> dict[str, Any]:
    """One round of annealing by thalweg, timed as a whole, from the problem to the end of all replicas."""
    last = Last()
    method = Annealing(replicas=reads, sweeps=sweeps, restarts=1, seed=seed)
    began, cpu = time.perf_counter(), time.process_time()
    found = relax(problem, None, method, space=Signs(), max_steps=10**9, throw=False, on_chunk=(last,))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    updates = int(found.stats["updates"])
    rates = {"seconds": seconds, "cpu_seconds": cpu, "updates": updates}
    rates |= {"updates_per_second": updates / seconds, "updates_per_cpu_second": updates / cpu}
    return rates | summary(problem, last.signs)


def searched(problem: Problem, seconds: float, seed: int) -> dict[str, Any]:
    """The best cut of the method that `auto` chooses, in so many seconds."""
    began = time.perf_counter()
    search, told = search_named("auto", sign_graph(problem), seed=seed)
    found = relax(problem, None, search, space=Signs(), throw=False, max_steps=10**9, on_chunk=(TimeLimit(seconds),))
    spent = round(time.perf_counter() - began, 2)
    return {"cut": int(cuts(problem, np.asarray(found.value)[None])[0]), "seconds": spent, "method": told, "seed": seed}


def sampled_by(
    script: str, problem: Problem, group: str = "spins", **task: Any
) -> tuple[dict[str, Any], Int8[np.ndarray, "reads n"]]:
    """What a peer says of its reads, and their signs."""
    found = run_peer(group, script, task)
    packed = np.frombuffer(bytes.fromhex("".join(found.pop("signs"))), np.uint8).reshape(found["reads"], -1)
    ones = np.unpackbits(packed, axis=1, count=problem.size).astype(np.int8)
    return found, (2 * ones - 1).astype(np.int8)


def annealed_by(script: str, name: str, problem: Problem, reads: int, sweeps: int, **settings: Any) -> dict[str, Any]:
    """The same annealing by a peer: only its own sampling counts, not the making of its model."""
    found, signs = sampled_by(script, problem, path=str(place(name)), reads=reads, sweeps=sweeps, **settings)
    updates = found["reads"] * sweeps * problem.size
    rates = {"seconds": found["sampling_seconds"], "whole_seconds": found["seconds"], "updates": updates}
    rates |= {"cpu_seconds": found["cpu_seconds"], "updates_per_second": updates / found["sampling_seconds"]}
    # The processor's time of the whole call: where the model is made anew in it, somewhat more than the sampling took.
    rates["updates_per_cpu_second"] = updates / found["cpu_seconds"]
    return rates | {"beta_range": found["beta_range"]} | summary(problem, signs)


def throughput(script: str, settings: dict[str, dict[str, Any]], reads: int, turns: int) -> dict[str, Any]:
    """Annealing on one core, ours and the peer's in turn: all turns, the best of each, the ratio of their speeds."""
    result: dict[str, Any] = {}
    with pinned():
        for name in GRAPHS:
            problem = instance(name)
            annealed(problem, 16, 2, 0)  # compiles
            runs: dict[str, list] = {"ours": [], **{setting: [] for setting in settings}}
            for turn in range(turns):
                runs["ours"].append(annealed(problem, reads, SWEEPS, turn))
                for setting, options in settings.items():
                    runs[setting].append(annealed_by(script, name, problem, reads, SWEEPS, **options))
            result[name] = {}
            for per in ("updates_per_second", "updates_per_cpu_second"):
                best = {who: max(run[per] for run in each) for who, each in runs.items()}
                peer = max(rate for who, rate in best.items() if who != "ours")
                result[name][f"best_{per}"] = best | {"ratio_to_faster_setting": best["ours"] / peer}
            result[name] |= runs
    return result


def measured(path_name: str, section: str, measure: Callable[[], Any]) -> None:
    """Put one section into `results/NAME.json` beside the others, with the machine's state before and after it."""
    path = Path(__file__).with_name("results") / f"{path_name}.json"
    path.parent.mkdir(exist_ok=True)
    state = described()
    state["versions"]["numba"] = metadata.version("numba")
    found = measure()
    state["load_average_after"] = [round(load, 2) for load in os.getloadavg()]
    known = json.loads(path.read_text()) if path.exists() else {}
    text = json.dumps(known | {section: {"machine": state, "result": found}}, indent=2) + "\n"
    path.write_text(text)
    print(section, json.dumps(found, indent=2), flush=True)
