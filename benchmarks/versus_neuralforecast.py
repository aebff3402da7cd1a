"""Forecasts of emissions beside neuralforecast: NHITS, MLP, GRU and LSTM over all series.

The 76 Carbon Majors entities of versus_statsforecast, five years ahead from 2007 to 2017. The peers see yearly growth
of logarithms; input size, width, steps and rate of each are the best of a grid at the origin 2002, before the scored
ones; the median of three seeds is scored. THALWEG_DATA names the folder of the data.
"""

from __future__ import annotations

from _emissions import HORIZON, SETS, VALID, carbon_majors, ours, theirs, told
from _machine import described, write_result
from _peers import run_peer

from thalweg.session import start


def main() -> None:
    """Measure and write `results/versus_neuralforecast.json`."""
    panel = carbon_majors()
    task = {
        "valid": told(panel, VALID - HORIZON), "after": told(panel, VALID), "horizon": HORIZON, "threads": 1,
        "origins": {str(origin): told(panel, origin) for origin in SETS["all_origins"]},
    }  # fmt: skip
    found = run_peer("neuralforecast", "_peer_neuralforecast.py", task, timeout=4 * 3600)
    result = described() | {"neuralforecast": found["version"], "torch": found["torch"]}
    write_result("versus_neuralforecast", result | {"thalweg": ours(panel), "peer": theirs(panel, found["models"])})


if __name__ == "__main__":
    with start(None, note=print):
        main()
