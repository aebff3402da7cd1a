"""Errors of potentials trained on the same frames in the same time, beside MACE, PaiNN (SchNetPack), apax and mlip.

    python benchmarks/versus_potential_training.py [SET[:TRAINING]] [SECONDS] [SEEDS] [PROGRAM,...]

Every program has SECONDS of the CPU on one thread for everything from the frames to the finished model: neighbour
lists, compilation, validation. Each runs at the settings that its authors give for small sets of molecules, with a
learning rate that has fallen when the time is over; apax and mlip measure their own pace first, outside of the time.
What was measured stays in the result: a run that was stopped goes on with what is missing. THALWEG_DATA names the
folder of full data sets. Peers: `sh tools/peers.sh mace|schnetpack|apax|mlip`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import _atoms
from _machine import described, write_result
from _peers import run_peer

THREADS = 1
# Frames to learn from and, of those, to validate by; the published tables use 950 and 50.
FRAMES = {"ethanol": (1000, 50), "acac": (450, 45), "acac-gfn2": (450, 45), "3bpa": (450, 45)}
PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mace": ("mace", {"size": "28x0e+28x1o"}),
    "mace-64": ("mace", {"size": "64x0e+64x1o"}),
    "painn": ("schnetpack", {"model": "PaiNN 128"}),
    "apax": ("apax", {"model": "default"}),
    "apax-16": ("apax", {"model": "default", "batch": 16, "rate": 0.003}),
    "mlip-mace": ("mlip", {"model": "MACE 28"}),
}


def ours(task: dict[str, Any], config: str = "") -> dict[str, Any]:
    """As the peers': energy_mae, energy_rmse, force_mae, force_rmse, seconds and parameters, at our defaults."""
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone.xyz"
        alone.write_text(
            "".join(
                f"1\nenergy={value} config_type=IsolatedAtom\n{name} 0 0 0\n" for name, value in task["alone"].items()
            )
        )
        run = Path(folder) / "run"
        more = ["--config", config] if config else []
        options = ["--isolated", alone, "--minutes", task["seconds"] / 60, "--seed", task["seed"], "--out", run]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        learnt = _command("train", task["train"], "--valid", task["valid"], *options, *more)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        tested = _command("evaluate", run, task["test"])
        card = json.loads((run / "potential.json").read_text()) if (run / "potential.json").exists() else {}
    kinds = {f"{what}_{kind}": tested[f"{what}_{kind}_meV{unit}"] for what, unit in (("energy", ""), ("force", "_A"))
             for kind in ("mae", "rmse")}  # fmt: skip
    return kinds | {
        "seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "steps": learnt["steps"],
        "parameters": learnt["parameters"],
        "valid_force_mae": learnt["force_mae_meV_A"],
        "settings": card.get("recipe", "defaults"),
    }


def _command(*words: Any) -> dict[str, Any]:
    program = [Path(sys.executable).with_name("thalweg"), "atoms", *map(str, words), "--json"]
    found = subprocess.run(program, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout)


def measured(program: str, task: dict[str, Any]) -> dict[str, Any]:
    """The result of one program on one split."""
    if program == "thalweg":
        return ours(task)
    group, settings = PROGRAMS[program]
    try:
        return run_peer(group, f"_peer_{group}.py", task | {"settings": settings}, timeout=10 * task["seconds"] + 3600)
    except SystemExit as error:
        return {"failed": str(error)[-500:]}


def main(wanted: str = "ethanol", seconds: str = "1800", seeds: str = "1", programs: str = "") -> None:
    """Measure what is not yet in `results/versus_potential_training.json` and write it there."""
    name, _, some = wanted.partition(":")
    training, validation = FRAMES[name]
    if some:
        training, validation = int(some), max(int(some) // 10, 1)
    path = Path(__file__).with_name("results") / "versus_potential_training.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    keys = ("program", "set", "training", "seed", "budget")
    for seed in range(int(seeds)):
        for program in programs.split(",") if programs else ["thalweg", *PROGRAMS]:
            row = dict(zip(keys, (program, name, training, seed, float(seconds)), strict=True))
            if any(all(old[key] == row[key] for key in keys) and "failed" not in old for old in rows):
                continue
            with tempfile.TemporaryDirectory() as folder:
                task = _atoms.split(name, Path(folder), training, validation, seed)
                task |= {"mode": "train", "threads": THREADS, "clock": "cpu", "seconds": float(seconds), "seed": seed}
                found = measured(program, task)
            rows = [old for old in rows if any(old[key] != row[key] for key in keys)]
            rows.append(row | {"validation": validation} | found | {"load": os.getloadavg()[0]})
            write_result("versus_potential_training", described() | {"threads": THREADS, "rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
