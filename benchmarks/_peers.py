"""Runs a peer's half of a benchmark in the peer's own environment (made by tools/peers.sh)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_peer(group: str, script: str, task: dict[str, Any], timeout: float = 1800.0) -> dict[str, Any]:
    """What `script`, run by the Python of the peer group, prints as its last line for the JSON `task` on its input.

    THALWEG_PEERS names another folder of environments than benchmarks/.peers.
    """
    folder = Path(os.environ.get("THALWEG_PEERS", HERE / ".peers"))
    python = folder / group / "bin" / "python"
    if not python.exists():
        sys.exit(f"bench: the peers of {group} are not installed: run sh tools/peers.sh {group}")
    done = subprocess.run(
        [str(python), str(HERE / script)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: {script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
