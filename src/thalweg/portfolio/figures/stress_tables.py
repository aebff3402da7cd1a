"""The tables of a stress test as files: one workbook, and a CSV file for each table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import require


def stress_tables(result: Mapping[str, Any]) -> dict[str, list[Sequence[Any]]]:
    """Tables by name, each with its headings as the first row."""
    years, names = [int(year) for year in result["years"]], list(result["drivers"])
    found = result["stress"]
    growth_of = [f"{name}, {which} growth (log)" for which in ("expected", "stressed") for name in names]
    paths: list[Sequence[Any]] = [
        ("year", "expected (t CO2e)", "stressed (t CO2e)", "limit (t CO2e)", *growth_of),
    ]
    for place, year in enumerate(years):
        grown = (np.asarray(which["growth"])[place].tolist() for which in (result["expected"], found))
        paths.append((year, float(found["expected"][place]), float(found["footprint"][place]), float(found["limit"]),
                      *(value for row in grown for value in row)))  # fmt: skip
    slopes: list[Sequence[Any]] = [("footprint of", "driver", "year of the driver", "t CO2e per 1 % more growth",
                                    "t CO2e per 1 % higher level")]  # fmt: skip
    growth, level = (np.asarray(result["sensitivity"][which]) for which in ("by_growth", "by_level"))
    slopes += [
        (year, name, other, float(growth[h, k, d]), float(level[h, k, d]))
        for h, year in enumerate(years) for d, name in enumerate(names) for k, other in enumerate(years)
    ]  # fmt: skip
    rest = [tuple(one.values()) for one in result["sensitivity"]["most"]]
    tables: dict[str, list[Sequence[Any]]] = {
        "paths": paths,
        "sensitivity": slopes,
        "history": [("company", "year", "t CO2e per 1 % more", "t financed per t reported"), *rest],
        "left out": [("company", "why"), *result["left_out"].items()],
    }
    if told := result["scenarios"]:
        head: Sequence[Any] = ("year", f"{told['from']} (t CO2e)", f"{told['to']} (t CO2e)",
                               *(f"part of {name} in the last year (t CO2e)" for name in names))  # fmt: skip
        columns = [np.asarray(told[which], float)[:, None] for which in ("footprint_from", "footprint_to")]
        rows = np.hstack([*columns, np.asarray(told["parts"], float)]).tolist()
        tables["scenarios"] = [head, *((year, *row) for year, row in zip(years, rows, strict=True))]
    if told := result["weights"]:
        shares = (np.asarray(told[which]).tolist() for which in ("benchmark", "weights"))
        held = zip(told["companies"], *shares, strict=True)
        tables["weights"] = [("company", "benchmark weight", "weight"), *held]
    return tables


def write_stress_tables(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `stress.xlsx` with a sheet for each table, and `stress_NAME.csv`. **Returns:** the paths."""
    openpyxl = require("openpyxl", extra="portfolio")
    book, written = openpyxl.Workbook(), []
    book.remove(book.active)
    for name, rows in stress_tables(result).items():
        sheet = book.create_sheet(name)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            sheet.append(list(row))
            writer.writerow(row)
        sheet.freeze_panes = "A2"
        written.append(write_atomic(folder / f"stress_{name.replace(' ', '_')}.csv", text.getvalue()))
    packed = io.BytesIO()
    book.save(packed)
    return [write_atomic(folder / "stress.xlsx", packed.getvalue()), *written]
