"""The nine claims as the tour measures them on this machine, each with figure, expectation and tolerance."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _machine import described, write_result

THALWEG = str(Path(sys.executable).with_name("thalweg"))
KEPT = "system id statement measured expected tolerance unit holds seconds source command".split()


def toured() -> dict[str, Any]:
    """The answer of `thalweg tour --json`; a claim that does not hold is an answer, too."""
    with tempfile.TemporaryDirectory() as folder:
        command = [THALWEG, "tour", "--json", "--quiet", "--no-open", "--out", str(Path(folder) / "tour")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def main() -> None:
    """Measure and write `results/nine_claims.json`."""
    machine, answer = described(), toured()
    rows = [{key: claim[key] for key in KEPT} for claim in answer["claims"]]
    write_result("nine_claims", machine | {"holds": answer["holds"], "claims": rows})


if __name__ == "__main__":
    main()
