"""Forecasts of emissions beside skforecast: one recursive gradient boosting over all series.

The 76 Carbon Majors entities of versus_statsforecast, five years ahead from 2007 to 2017. The peer sees logarithms,
differenced by itself; its lags and its regressor are the best of a grid at the origin 2002, before the scored ones.
THALWEG_DATA names the folder of the data.
"""

from __future__ import annotations

from _emissions import HORIZON, SETS, VALID, carbon_majors, ours, theirs, told
from _machine import described, write_result
from _peers import run_peer

from thalweg.session import start


def main() -> None:
    """Measure and write `results/versus_skforecast.json`."""
    panel = carbon_majors()
    task = {
        "valid": told(panel, VALID - HORIZON), "after": told(panel, VALID), "horizon": HORIZON,
        "origins": {str(origin): told(panel, origin) for origin in SETS["all_origins"]},
    }  # fmt: skip
    found = run_peer("skforecast", "_peer_skforecast.py", task, timeout=7200)
    result = described() | {"skforecast": found["version"]}
    write_result("versus_skforecast", result | {"thalweg": ours(panel), "peer": theirs(panel, found["models"])})


if __name__ == "__main__":
    with start(None, note=print):
        main()
