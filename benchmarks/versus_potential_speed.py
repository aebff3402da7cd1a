"""Energy-and-force calls and MD steps of ethanol and of 64 H2O, beside MACE, SchNetPack, apax and mlip on one thread.

Weights are random: the time of a call does not depend on them. Neighbours are given to the calls and found anew by the
steps. A result is written after every peer, so that one which fails or is not installed costs only its own rows.
THALWEG_DATA names the folder of full data sets. Peers: `sh tools/peers.sh mace|schnetpack|apax|mlip`.
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
from _peers import run_peer

THREADS = 1
PEERS = {name: f"_peer_{name}.py" for name in ("mace", "schnetpack", "apax", "mlip")}


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """Rows as the peers': system, model, way, median_ms, parameters; and steps_per_second of our own MD on ethanol."""
    script = Path(__file__).with_name("_ours_potential.py")
    done = subprocess.run([sys.executable, str(script)], input=json.dumps(task), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure every program in turn and write `results/versus_potential_speed.json`."""
    with tempfile.TemporaryDirectory() as folder:
        task = _atoms.systems(Path(folder)) | {"mode": "time", "threads": THREADS}
        result = described() | {"threads": THREADS, "ours": ours(task)}
        for group, script in PEERS.items():
            try:
                result[group] = run_peer(group, script, task, timeout=7200)
            except SystemExit as error:
                result[group] = {"failed": str(error)[-500:]}
            write_result("versus_potential_speed", result)


if __name__ == "__main__":
    main()
