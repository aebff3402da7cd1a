"""Annealing on one core by `relax` and by OpenJij, in turn on the same graphs.

The peer's half runs in its own environment: `sh tools/peers.sh spins`.
"""

from __future__ import annotations

import argparse

from _spins import READS, TUNED, TURNS, measured, throughput


def main() -> None:
    """Measure both halves in turn and write `results/versus_openjij.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=READS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--result", default="versus_openjij", help="the name of the file in results")
    options = parser.parse_args()
    settings = {"openjij": {}, "openjij_tuned": TUNED}
    measured(
        options.result,
        "throughput",
        lambda: throughput("_peer_openjij.py", settings, options.reads, options.turns),
    )


if __name__ == "__main__":
    main()
