"""The splice junctions of UCI by our recurrent network: ten folds, rows of the same bases in one fold.

    python benchmarks/splice_junctions.py [SEEDS] [STEPS] [FIRST]

The same network and training as of `thalweg genome train`, but smaller, and scored only at the two bases around the
middle of each window of 60: donor, acceptor or neither, whichever scores highest. All 3,190 rows count, those with
conflicting labels too. Shape and recipe were chosen on folds of other seeds (FIRST from 100 on) than are reported.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import numpy as np
from _machine import described, write_result

from thalweg.genome.data.uci import LENGTH, Junctions, folds, read_junctions
from thalweg.genome.model.build import Shape
from thalweg.genome.model.network import SpliceNetwork
from thalweg.genome.model.streaming import probabilities
from thalweg.genome.model.window import IGNORED
from thalweg.genome.tasks.prepare import Packed
from thalweg.genome.tasks.train import Recipe, learnt, parameters, started

SHAPE = Shape(blocks=2, channels=32, width=32, features=64)
EXON, NEXT = LENGTH // 2 - 1, LENGTH // 2  # where a donor and an acceptor would be


def rows_packed(junctions: Junctions, rows: np.ndarray, margin: int) -> tuple[Packed, np.ndarray]:
    """Windows one after the other, scored at both bases around their middle, and where each begins."""
    stride = LENGTH + margin
    size = margin + rows.size * stride
    found = Packed(
        np.full(size, 4, np.int8), np.full(size, IGNORED, np.int8), np.zeros(size, np.int8),
        np.zeros(size, bool), np.zeros(size, bool), np.full(size, -1, np.int32),
    )  # fmt: skip
    starts = margin + stride * np.arange(rows.size)
    for number, (start, row) in enumerate(zip(starts, rows, strict=True)):
        found.codes[start : start + LENGTH] = junctions.codes[row]
        found.gene[start : start + LENGTH] = number
        found.targets[start + EXON] = 1 if junctions.labels[row] == 1 else 0
        found.targets[start + NEXT] = 2 if junctions.labels[row] == 2 else 0
        found.first[start] = found.last[start + LENGTH - 1] = True
    return found, starts


def answers(net: SpliceNetwork, packed: Packed, starts: np.ndarray) -> np.ndarray:
    """0 neither, 1 donor, 2 acceptor: the largest odds against `none` at its base, or none of both."""
    chances = np.log(probabilities(net, packed.codes, packed.first, packed.last, held=packed.codes.size) + 1e-30)
    odds = np.stack([
        np.zeros(starts.size),
        chances[starts + EXON, 1] - chances[starts + EXON, 0],
        chances[starts + NEXT, 2] - chances[starts + NEXT, 0],
    ])  # fmt: skip
    return odds.argmax(axis=0)


def main(seeds: str = "3", steps: str = "1000", first: str = "0") -> None:
    """Measure, and write `results/splice_junctions.json`."""
    junctions = read_junctions()
    recipe = Recipe(steps=int(steps), batch=2, length=1024, thin=0.3)
    rows = []
    for seed in range(int(first), int(first) + int(seeds)):
        parts, began = folds(junctions, seed=seed), time.process_time()
        right = np.zeros(junctions.labels.size, bool)
        for fold in range(10):
            train, test = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
            margin = SHAPE.window // 2
            material, _ = rows_packed(junctions, train, margin)
            net = learnt(started(SHAPE, material, seed=seed), material, recipe, seed=seed).value
            seen, starts = rows_packed(junctions, test, margin)
            right[test] = answers(net, seen, starts) == junctions.labels[test]
        share = [float(right[parts == fold].mean()) for fold in range(10)]
        rows.append({"seed": seed, "mean": float(np.mean(share)), "folds": share,
                     "cpu_seconds": time.process_time() - began, "parameters": parameters(net)})  # fmt: skip
        print(rows[-1]["seed"], round(rows[-1]["mean"], 4), round(rows[-1]["cpu_seconds"]), flush=True)
    if int(first) < 100:
        write_result("splice_junctions", described() | {"threads": 1, "steps": int(steps), "rows": rows})
    jax.clear_caches()


if __name__ == "__main__":
    main(*sys.argv[1:])
