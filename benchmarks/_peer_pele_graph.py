"""The peer's half of versus_pele_graph: pele connects minima of a Lennard-Jones cluster until its time is up."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from typing import Any

import numpy as np
import pele.optimize
from pele.landscape import ConnectManager, TSGraph
from pele.systems import LJCluster
from pele.transition_states import FindTransitionState

MORE = 16  # further random starts whenever all pairs have been tried


def quenched(database: Any, potential: Any, starts: np.ndarray) -> None:
    """Add the minima below some starts."""
    for x in starts:
        rest = pele.optimize.lbfgs_cpp(x.ravel(), potential, tol=1e-8, nsteps=10_000)
        if rest.success:
            database.addMinimum(rest.energy, rest.coords)


def connected(system: Any, database: Any, seconds: float, scale: float, seed: int) -> dict[str, int]:
    """Double-ended connections, first to the lowest minimum and then between random ones."""
    generator, potential = np.random.default_rng(seed + 1), system.get_potential()
    count = {"connections": 0, "succeeded": 0, "failed": 0, "further_starts": 0}
    began = time.process_time()
    strategies = ["gmin", "random"]
    manager = ConnectManager(database, strategy="gmin", verbosity=0)
    while time.process_time() - began < seconds:
        try:
            a, b = manager.get_connect_job(strategies[0])
        except Exception as error:
            if type(error).__name__ != "NoMoreConnectionsError":
                raise
            strategies = strategies[1:]
            if not strategies:
                quenched(database, potential, generator.uniform(-1, 1, (MORE, system.natoms, 3)) * scale)
                count["further_starts"] += MORE
                strategies, manager = ["gmin", "random"], ConnectManager(database, strategy="gmin", verbosity=0)
            continue
        count["connections"] += 1
        try:
            connect = system.get_double_ended_connect(a, b, database, verbosity=0)
            connect.connect()
            count["succeeded"] += bool(connect.success())
        except Exception as error:  # pele ends some connections by an exception: they are counted
            count["failed"] += 1
            print(repr(error)[:200], file=sys.stderr)
    return count


def barrier(database: Any) -> float | None:
    """The lowest way from the lowest minimum to the second one: the height of its highest saddle over the lowest."""
    graph, (a, b) = TSGraph(database).graph, database.minima()[:2]
    heights = sorted({top.energy for top in database.transition_states()})
    for level in heights:
        seen, waiting = {a}, [a]
        for here in waiting:
            for there in graph[here]:
                if there not in seen and database.getTransitionState(here, there).energy <= level:
                    seen.add(there)
                    waiting.append(there)
        if b in seen:
            return level - a.energy
    return None


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    starts = np.asarray(task["starts"])
    np.random.seed(task["seed"])
    points = starts.shape[1]
    with contextlib.redirect_stdout(io.StringIO()):
        system = LJCluster(points)
        database, potential = system.create_database(), system.get_potential()
        began = time.process_time()
        quenched(database, potential, starts)
        count = connected(system, database, task["seconds"], 1.5 * (points / 13) ** (1 / 3), task["seed"])
        took = time.process_time() - began
        refound = []
        for x in task["saddles"]:
            found = FindTransitionState(np.ravel(x), potential, tol=1e-8, iprint=-1, verbosity=-1).run()
            refound.append(float(found.energy) if found.success else None)
        graph = {
            "pele": "0.1.2",
            "seconds": took,
            "minima": [float(each.energy) for each in database.minima()],
            "saddles": sorted(float(each.energy) for each in database.transition_states()),
            "barrier": barrier(database),
        }
    print(json.dumps({"graph": graph | count, "refound": refound}))


if __name__ == "__main__":
    main()
