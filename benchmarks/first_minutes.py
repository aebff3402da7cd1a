"""The first minutes of a new user: the first figure, the tour cold and warm, `--help`, and the size of it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import described, write_result

THALWEG = str(Path(sys.executable).with_name("thalweg"))


def tour(cache: str, out: Path) -> dict[str, float]:
    """Seconds of one tour in a process of its own, with the store of compiled programs in `cache`."""
    began = time.perf_counter()
    done = subprocess.run(
        [THALWEG, "tour", "--json", "--quiet", "--no-open", "--out", str(out)],
        env=os.environ | {"THALWEG_CACHE": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    return {
        "wall_seconds": round(time.perf_counter() - began, 2),
        "first_figure_seconds": answer["first_figure_seconds"],
        "compile_seconds": answer["compile_seconds"],
        "claims": len(answer["claims"]),
        "holds": answer["holds"],
    }


def help_seconds(runs: int = 15) -> dict[str, float]:
    """Wall-clock seconds of `thalweg --help`, least and median of `runs`, and of an empty Python program."""

    def timed(command: list[str]) -> list[float]:
        seconds = []
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)

    ours, bare = timed([THALWEG, "--help"]), timed([sys.executable, "-c", "pass"])
    return {
        "least": round(ours[0], 3),
        "median": round(ours[runs // 2], 3),
        "empty_python_median": round(bare[runs // 2], 3),
    }


def size_mebibytes(folder: Path) -> float:
    """What the files of a folder take, links not followed."""
    return round(sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20, 1)


def main() -> None:
    """Measure and write `results/first_minutes.json`."""
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        cold = tour(cache, Path(folder) / "cold")
        warm = tour(cache, Path(folder) / "warm")
        report = (Path(folder) / "warm" / "report.html").stat().st_size
    write_result(
        "first_minutes",
        described()
        | {
            "tour_cold": cold,
            "tour_warm": warm,
            "report_bytes": report,
            "help_wall_seconds": help_seconds(),
            "environment_mebibytes": size_mebibytes(Path(sys.prefix)),
        },
    )


if __name__ == "__main__":
    main()
