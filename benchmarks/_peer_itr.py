"""The peer's half of versus_itr: the trend rule of OS-Climate's ITR tool on tables of emissions."""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata

import pandas
from ITR.configs import ProjectionControls
from ITR.data.base_providers import EITrajectoryProjector

CALLED = ("_standardize", "_winsorize", "_get_trends", "_year_on_year_ratio", "_extrapolate")


def main() -> None:
    """Read the tables, project each as the tool projects intensities, and print every series from its first year on."""
    tool = EITrajectoryProjector(ProjectionControls())
    answers, began = [], time.perf_counter()
    for table in json.load(sys.stdin)["tables"]:
        history = pandas.DataFrame(table["series"], index=table["years"], dtype="float64")
        years = range(table["years"][-1], table["target"] + 1)
        # As project_ei_trajectories does it: trends of the clipped history, growth from the history as reported.
        trends = tool._get_trends(tool._standardize(history))
        found = tool._extrapolate(trends, years, history)
        answers.append({name: found[name].tolist() for name in found})
    print(
        json.dumps(
            {
                "tables": answers,
                "seconds": time.perf_counter() - began,
                "called": CALLED,
                "controls": {key: value for key, value in vars(tool.projection_controls).items() if key.isupper()},
                "versions": {name: metadata.version(name) for name in ("itr", "pandas", "numpy")},
            },
            default=lambda one: one.__name__,
        )
    )


if __name__ == "__main__":
    main()
