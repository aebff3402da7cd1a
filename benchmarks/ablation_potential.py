"""What every part of the network of orbitals is worth: each left out or changed alone, on a validation split.

    python benchmarks/ablation_potential.py [STEPS] [SEEDS]

All learn from the same 950 training frames of rMD17's ethanol for STEPS steps, and are compared on 50 more; the set's
test frames are not looked at. What was measured stays in the result: a run that was stopped goes on with what is
missing. THALWEG_DATA names the folder of full data sets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import _atoms
from _machine import described, write_result

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "Bessel functions and SiLU in place of orbitals": {"radial": "bessel"},
    "one layer": {"layers": 1},
    "three layers": {"layers": 3},
    "coefficients that know nothing of their atom": {"recursive": False},
    "no messages": {"messages": 0},
    "neither": {"recursive": False, "messages": 0},
    "no triple products": {"paths": []},
    "triple products 112 only": {"paths": [[1, 1, 2]]},
    "degree 1": {"degree": 1},
    "degree 3": {"degree": 3},
    "8 orbitals": {"orbitals": 8},
    "32 orbitals": {"orbitals": 32},
    "16 channels": {"channels": 16},
    "48 channels": {"channels": 48},
    "cutoff 4 A": {"cutoff": 4.0},
    "no repulsion of nuclei": {"repulsion": False},
}


def learnt(shape: dict[str, Any], steps: int, seed: int) -> dict[str, Any]:
    """Errors on the validation frames, parameters, and milliseconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        task = _atoms.split("ethanol", Path(folder), 1000, 50, 0)
        table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in shape.items())
        config, out = Path(folder) / "shape.toml", Path(folder) / "run"
        config.write_text(f"[shape]\n{table}[recipe]\nsteps = {steps}\n")
        alone = str(_atoms.data() / "ethanol" / "isolated_atoms.xyz")
        words = ["atoms", "train", task["train"], "--valid", task["valid"], "--isolated", alone]
        words += ["--config", str(config), "--seed", str(seed), "--out", str(out), "--json"]
        program = Path(sys.executable).with_name("thalweg")
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told = json.loads(done.stdout)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[1], lines[-1]  # the first line includes compilation
    pace = (last["seconds"] - first["seconds"]) / max(last["step"] - first["step"], 1)
    kept = ("force_mae_meV_A", "energy_mae_meV", "parameters")
    return {name: told[name] for name in kept} | {"milliseconds_per_step": round(1000 * pace, 2)}


def main(steps: str = "8000", seeds: str = "1") -> None:
    """Measure what is not yet in `results/ablation_potential.json` and write it there."""
    path = Path(__file__).with_name("results") / "ablation_potential.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for seed in range(int(seeds)):
        for name, shape in VARIANTS.items():
            row = {"variant": name, "steps": int(steps), "seed": seed}
            if any(row.items() <= old.items() for old in rows):
                continue
            rows.append(row | learnt(shape, int(steps), seed) | {"load": os.getloadavg()[0]})
            write_result("ablation_potential", described() | {"rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
