"""`solve` and the heuristics of MQLib for the same time on one core.

MQLib is a program of its own (MIT licence, https://github.com/MQLib/MQLib). To build it, outside of this repository:

    git clone https://github.com/MQLib/MQLib && cd MQLib
    make CXXFLAGS="-Iinclude -std=c++11 -O3 -march=native" bin/MQLib

Then name the program in THALWEG_MQLIB, or put it where the peers are: benchmarks/.peers/mqlib/bin/MQLib.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _spins import cuts, instance, measured, pinned, place, searched

GRAPHS = {"G11": 564, "G14": 3064, "G22": 13359, "G55": 10299, "G70": 9595}
# The two that did best on max-cut in the comparison by Dunning, Gupta and Silberholz (2018).
HEURISTICS = ("BURER2002", "PALUBECKIS2006")


def program() -> str:
    """Where MQLib lies."""
    folder = Path(os.environ.get("THALWEG_PEERS", Path(__file__).parent / ".peers"))
    path = Path(os.environ.get("THALWEG_MQLIB", folder / "mqlib" / "bin" / "MQLib"))
    if not path.exists():
        sys.exit(f"bench: there is no {path}.\n{(__doc__ or '').partition('core.')[2].strip()}")
    return str(path)


def run(heuristic: str, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """The best cut of one heuristic, recomputed from its solution, and when it was found."""
    command = [program(), "-h", heuristic, "-fM", str(place(name)), "-r", str(seconds), "-s", str(seed), "-ps", "-nv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20 * seconds + 60)
    first, _, rest = done.stdout.partition("Solution:")
    signs = np.array(rest.split(), np.int8)
    history = first[first.index("[") + 1 : first.index("]")].split(";")
    spent = float(first.partition('",')[2].split(",")[1])
    cut = int(cuts(instance(name), np.where(signs > 0, 1, -1)[None])[0])
    return {"cut": cut, "seconds": round(spent, 2), "found_after": float(history[-1].split(":")[1]), "seed": seed}


def compared(names: list[str], seconds: float, seeds: int) -> dict[str, Any]:
    """Ours and theirs in turn."""
    result: dict[str, Any] = {}
    with pinned():
        for name in names:
            searched(instance(name), 0.5, 1000)  # compiles
            rows: dict[str, list] = {who: [] for who in ("ours", *HEURISTICS)}
            for seed in range(seeds):
                rows["ours"].append(searched(instance(name), seconds, seed))
                for heuristic in HEURISTICS:
                    rows[heuristic].append(run(heuristic, name, seconds, seed + 1))
            best = {who: max(one["cut"] for one in runs) for who, runs in rows.items()}
            result[name] = {"best_known": GRAPHS[name], "best": best, **rows}
    return result


def main() -> None:
    """Measure into `results/versus_mqlib.json`, one section for each graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="*", help=f"of {', '.join(GRAPHS)}; all by default")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--result", default="versus_mqlib", help="the name of the file in results")
    options = parser.parse_args()
    program()
    for name in options.graphs or GRAPHS:
        measured(options.result, name, lambda name=name: compared([name], options.seconds, options.seeds)[name])


if __name__ == "__main__":
    main()
