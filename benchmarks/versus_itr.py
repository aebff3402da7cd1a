"""The trend rule `itr` beside that of OS-Climate's ITR tool, on the ITR sample and 6-year windows of Carbon Majors.

The tool projects intensities; both get emissions, as if production were 1. Of the tool's `project_ei_trajectories` only
the filling of years before a first report is left out. The peer's half: `sh tools/peers.sh itr`.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _emissions import carbon_majors
from _machine import described, write_result
from _peers import run_peer

from thalweg.portfolio.data.emissions import read_emissions
from thalweg.portfolio.data.panel import Panel
from thalweg.portfolio.tasks.baselines import ITR_YEARS, itr

TARGET, AHEAD, BAR = 2050, 28, 1e-9  # the tool's last year; from the sample's last year to it
GAP = "a gap: the tool interpolates across it, ours counts the years since"
ONE = "one year: the tool repeats it, ours forecasts none"
LEAD = "open years on both sides: the tool's fill of the later ones grows by the earlier ones, too"
LONG = f"more than {ITR_YEARS} years: the tool counts all, ours the last {ITR_YEARS}"


def tables() -> dict[str, list[tuple[str, Panel, int]]]:
    """Every panel with its label and the last year to project, by set."""
    scopes = ("s1", "s2", "s3", "s1s2", "s1s2s3")
    shared = [(scope, read_emissions("itr", scope=scope).panel, TARGET) for scope in scopes]
    own = [(scope, alone(one, place), TARGET) for scope, one, _ in shared for place in range(len(one.companies))]
    whole, windows = carbon_majors(), []
    for place in range(whole.years.size - ITR_YEARS + 1):
        part = slice(place, place + ITR_YEARS)
        cut = Panel(whole.companies, whole.years[part], whole.emissions[:, part])
        last = int(cut.years[-1])
        windows.append((f"to {last}", cut.only(cut.recent() == ITR_YEARS), last + AHEAD))
    return {"sample": own, "sample_in_shared_tables": shared, "carbon_majors_windows": windows}


def alone(one: Panel, place: int) -> Panel:
    """A company from its first to its last report."""
    known = np.flatnonzero(np.isfinite(one.emissions[place]))
    part = slice(known[0], known[-1] + 1)
    return Panel((one.companies[place],), one.years[part], one.emissions[place : place + 1, part])


def compared(one: Panel, place: int, target: int, theirs: np.ndarray, years: int | None) -> tuple[float, str]:
    """The largest relative difference in the years after a company's last report, and why one is expected if it is."""
    known = np.flatnonzero(np.isfinite(one.emissions[place]))
    last = int(one.years[known[-1]])
    mine = itr(one.only(np.array([place])).until(last), target - last, years=years)[0]
    other = theirs[known[-1] + 1 :]
    difference = float(np.abs(mine / other - 1).max()) if np.isfinite(mine).all() else float("inf")
    if known[-1] - known[0] >= known.size:
        return difference, GAP
    if known.size == 1:
        return difference, ONE
    if years is not None and known.size > years:
        return difference, LONG
    growth = (mine[1] / mine[0]) ** known[0]
    again = float(np.abs(mine * growth / other - 1).max())
    return difference, LEAD if difference > BAR >= again else ""


def summary(panels: list[tuple[str, Panel, int]], answers: list[Any], years: int | None) -> dict[str, Any]:
    """Differences of all series of a set, those that disagree by name."""
    alike, read, apart = [], dict.fromkeys((GAP, ONE, LONG, LEAD), 0), {}
    for (label, one, target), answer in zip(panels, answers, strict=True):
        for place, company in enumerate(one.companies):
            difference, cause = compared(one, place, target, np.array(answer[company]), years)
            if cause:
                read[cause] += 1
            else:
                alike.append(difference)
            if not difference <= BAR:
                said = difference if np.isfinite(difference) else None
                apart.setdefault(cause or "unexplained", {})[f"{company} {label}"] = said
    return {
        "series": len(alike) + sum(read.values()),
        "series_read_alike": len(alike),
        "largest_difference_of_those": max(alike),
        "largest_difference": max([*alike, *(value or 0.0 for rows in apart.values() for value in rows.values())]),
        "series_read_differently": {cause: count for cause, count in read.items() if count},
        "beyond_the_bar": apart,
    }


def main() -> None:
    """Measure both halves and write `results/versus_itr.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", default="versus_itr", help="the name of the file in results")
    options = parser.parse_args()
    sets = tables()
    theirs, rows = {}, {}
    for name, panels in sets.items():
        tables_of = [
            {
                "years": one.years.tolist(),
                "target": target,
                "series": dict(zip(one.companies, one.emissions.tolist(), strict=True)),
            }
            for _, one, target in panels
        ]
        theirs = run_peer("itr", "_peer_itr.py", {"tables": tables_of})
        answers = theirs.pop("tables")
        rows[name] = summary(panels, answers, ITR_YEARS if name == "carbon_majors_windows" else None)
        if name == "sample":
            rows[f"sample_last_{ITR_YEARS}_years"] = summary(panels, answers, ITR_YEARS)
    theirs.pop("seconds")
    worst = max(row["largest_difference_of_those"] for row in rows.values())
    result = {"peer": theirs, "sets": rows, "largest_difference": worst, "bar": BAR, "held": worst <= BAR}
    write_result(options.result, described() | result)


if __name__ == "__main__":
    main()
