"""The peer's half of versus_sbti: the aggregations of temperature scores in SBTi's finance tool."""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata

import pandas
from SBTi.interfaces import EScope
from SBTi.portfolio_aggregation import PortfolioAggregation, PortfolioAggregationMethod

COLUMNS = {
    "value": "investment_value",
    "score": "temperature_score",
    "emissions": "ghg_s1s2",
    "market_cap": "company_market_cap",
    "ev": "company_enterprise_value",
    "cash": "company_cash_equivalents",
    "assets": "company_total_assets",
    "revenue": "company_revenue",
}


def main() -> None:
    """Read the companies, aggregate by every method, and print contributions and seconds."""
    task = json.load(sys.stdin)
    table = pandas.DataFrame({COLUMNS[name]: values for name, values in task["companies"].items()})
    table["company_name"] = [str(place) for place in range(len(table))]
    table["scope"] = EScope.S1S2
    table["ghg_s3"] = 0.0
    tool = PortfolioAggregation()
    result = {}
    for method in PortfolioAggregationMethod:
        best = float("inf")
        for _ in range(task["turns"]):
            copied = table.copy()
            began = time.perf_counter()
            parts = tool._calculate_aggregate_score(copied, "temperature_score", method)
            best = min(best, time.perf_counter() - began)
        result[method.value.lower()] = {"parts": parts.tolist(), "seconds": best}
    print(json.dumps({"methods": result, "version": metadata.version("sbti-finance-tool")}))


if __name__ == "__main__":
    main()
