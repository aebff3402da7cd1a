"""The seven aggregations of temperature scores by `aggregated` and by SBTi's finance tool, on the ITR sample.

The sample states no temperature scores: they are drawn between 1.2 and 3.2 degrees. Of its cash only a part is stated:
it is EVIC less enterprise value. The peer's half runs in its own environment: `sh tools/peers.sh sbti`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _machine import described, write_result
from _peers import run_peer

from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.fundamentals import read_fundamentals
from thalweg.portfolio.data.holdings import read_holdings
from thalweg.portfolio.tasks.aggregations import METHODS, aggregated
from thalweg.portfolio.tasks.attribution import amount
from thalweg.portfolio.tasks.footprint import accounted

AMOUNTS = ("market_cap", "ev", "assets", "revenue")


def companies() -> dict[str, np.ndarray]:
    """Columns of the sample's companies that have every amount."""
    figures = read_fundamentals("itr")
    account = accounted(read_holdings("itr"), figures, read_emissions("itr"))
    held = account.attribution
    columns = {"value": held.value, "emissions": account.tonnes}
    for name in (*AMOUNTS, "evic"):
        columns[name] = np.array([amount(figures.of[company], name, held.currency) for company in held.companies])
    columns["cash"] = columns.pop("evic") - columns["ev"]
    columns["score"] = np.random.default_rng(0).uniform(1.2, 3.2, len(held.companies))
    whole = np.isfinite(np.sum(list(columns.values()), axis=0)) & (columns["ev"] + columns["cash"] > 0)
    return {name: values[whole] for name, values in columns.items()}


def ours(columns: dict[str, np.ndarray], turns: int) -> dict[str, Any]:
    """Contributions and seconds of each method."""
    found = {}
    for method in METHODS:
        best, parts = float("inf"), np.zeros(0)
        for _ in range(turns):
            began = time.perf_counter()
            parts = aggregated(method, columns["score"], columns["value"], columns["emissions"], columns)
            best = min(best, time.perf_counter() - began)
        found[method] = {"parts": parts, "seconds": best}
    return found


def main() -> None:
    """Measure both halves and write `results/versus_sbti.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--result", default="versus_sbti", help="the name of the file in results")
    options = parser.parse_args()
    columns = companies()
    task = {"turns": options.turns, "companies": {name: values.tolist() for name, values in columns.items()}}
    theirs, mine = run_peer("sbti", "_peer_sbti.py", task), ours(columns, options.turns)
    rows = {}
    for method in METHODS:
        one, other = mine[method]["parts"], np.asarray(theirs["methods"][method]["parts"])
        rows[method] = {
            "score": float(one.sum()),
            "difference": abs(float(one.sum() - other.sum())),
            "largest_difference_of_a_company": float(np.abs(one - other).max()),
            "seconds": mine[method]["seconds"],
            "peer_seconds": theirs["methods"][method]["seconds"],
        }
    worst = max(row["largest_difference_of_a_company"] for row in rows.values())
    result = {"companies": len(columns["value"]), "sbti_finance_tool": theirs["version"], "methods": rows}
    write_result(
        options.result, described() | result | {"largest_difference": worst, "bar": 1e-9, "held": worst <= 1e-9}
    )


if __name__ == "__main__":
    main()
